"""Batches of callers: their file read into lines, and what came of the lines written into files again.

Belongs here: both ends of a batch, each in steps that may be taken again from where they were left. Does not belong here:
the lines' own ways (broker.py) and the endpoints (http/batches.py).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.adapters.jobs.files import KEPT_MS, File
from router.adapters.jobs.store import CHUNK
from router.core.errors import RouterError
from router.core.jobs.jobs import Answer, Job, Line
from router.dialects.batch_requests import params_of
from router.dialects.ways import INBOUND
from router.ports import BlobMissing

if TYPE_CHECKING:
    from router.adapters.broker.yard import Yard
    from router.adapters.jobs.files import FileStore, FileWriter
    from router.adapters.jobs.records import Leased, Tally

MOST_LINES: Final = 50_000
MOST_LINE_BYTES: Final = 8 << 20
OUTPUT_KEPT: Final = "output_kept_ms"
"""What a batch's creator said of how long its output is to be kept."""
MESSAGES: Final = "messages_batch"
"""Kind of a job that is a Message Batch."""
CANCELLED: Final = "cancelled"
_READ: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Entry(msgspec.Struct, frozen=True):
    """One line of an input file, as far as it can be read."""

    custom_id: str
    body: bytes = b""
    code: str = ""
    """Why it cannot be run; "" where it can."""
    words: str = ""


class Batches:
    """Does what is to be done about batches."""

    def __init__(self, yard: Yard, files: FileStore) -> None:
        self._yard = yard
        self._files = files

    async def turn(self, tally: Tally, leased: Leased) -> int | None:
        """Read further, or write down what came; when to come again, or None where it is done."""
        if not tally.sealed:
            return await self._read(tally, leased)
        if tally.ended_ms and "output" not in tally.notes:
            await (self._write_results(tally, leased) if tally.job.kind == MESSAGES else self._write(tally, leased))
        return None

    async def _read(self, tally: Tally, leased: Leased) -> int | None:
        """Lines from the input file to the queue, from where it was left."""
        yard, job, done = self._yard, tally.job, int(tally.at or 0)
        waiting: list[tuple[int, _Entry]] = []
        seen: set[bytes] = set()
        number = 0
        blob = await self._input(job)
        if blob:
            async for raw in self._files.lines(blob):
                if not raw.strip():
                    continue
                entry = _params(number, raw) if job.kind == MESSAGES else self._entry(job, number, raw, seen)
                if tally.unwanted and not entry.code:
                    entry = msgspec.structs.replace(entry, body=b"", code=CANCELLED)
                if number >= done:
                    waiting.append((number, entry))
                number += 1
                if len(waiting) == CHUNK:
                    if not await self._taken(job, leased, done, waiting):
                        return yard.now_ms() + 1_000
                    done, waiting = number, []
        if not number:
            await yard.store.note(job.tenant, job.id, fault="The input file is empty, or gone.")
        if waiting and not await self._taken(job, leased, done, waiting):
            return yard.now_ms() + 1_000
        await yard.store.put(job, [], sealed=True, now_ms=yard.now_ms())
        return None

    async def _input(self, job: Job) -> str:
        """The blob that its lines lie in; "" for none."""
        if job.kind == MESSAGES:
            return job.given["blob"]
        file = await self._files.find(job.tenant, job.given.get("file", ""))
        return "" if file is None else file.blob

    async def _taken(self, job: Job, leased: Leased, done: int, entries: list[tuple[int, _Entry]]) -> bool:
        yard = self._yard
        blob = yard.blob(job.tenant, "lines", f"{job.id}.{entries[0][0]}")
        lines: list[tuple[int, Line, bytes]] = []
        async with await yard.vault.writer(blob) as writing:
            for number, entry in entries:
                if not entry.code:
                    place = await writing.add(entry.body)
                    lines.append((number, Line("queued", 0, "", place, custom_id=entry.custom_id), b""))
                    continue
                if entry.code == CANCELLED:
                    lines.append((number, _never(entry, "cancelled", yard.now_ms()), b""))
                    continue
                place = await writing.add(msgspec.msgpack.encode(Answer(400, {}, _refusal(job, entry))))
                line = msgspec.structs.replace(_never(entry, "failed", yard.now_ms()), status=400, result=place)
                lines.append((number, line, b""))
        await yard.store.expire(job.tenant, job.deadline_ms + job.keep_ms, f"blob:{blob}")
        before = str(done) if done else ""
        after = str(entries[-1][0] + 1)
        if not await yard.store.put(job, lines, sealed=False, checkpoint=(before, after), now_ms=yard.now_ms()):
            return False
        return await yard.store.extend(job.tenant, leased, yard.now_ms())

    def _entry(self, job: Job, number: int, raw: bytes, seen: set[bytes]) -> _Entry:
        """A line as it can be run, or the reason why not and the cure."""
        where = f"line {number + 1}"
        if number >= MOST_LINES:
            return _Entry(
                "", code="too_many_tasks", words=f"{where}: a batch has at most {MOST_LINES} lines; split the file."
            )
        if len(raw) > MOST_LINE_BYTES:
            words = f"{where}: {len(raw)} bytes; a line has at most {MOST_LINE_BYTES}. Send large files by reference."
            return _Entry("", code="line_too_large", words=words)
        try:
            found = _READ.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _Entry("", code="invalid_json_line", words=f"{where} is not one JSON object: {error}.")
        name = _text(found.get("custom_id"))
        if not name:
            return _Entry("", code="missing_custom_id", words=f"{where}: give it a custom_id, a text of its own.")
        mark = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).digest()
        if mark in seen:
            words = f"{where}: the custom_id {name[:64]!r} has been used before; give each line its own."
            return _Entry(name, code="duplicate_custom_id", words=words)
        seen.add(mark)
        url = job.given["url"]
        if _text(found.get("method") or msgspec.Raw(b'"POST"')) != "POST" or _text(found.get("url")) != url:
            return _Entry(
                name, code="mismatched_url", words=f"{where}: method must be POST and url {url}, as of the batch."
            )
        body = bytes(found.get("body", b""))
        if not body.startswith(b"{"):
            return _Entry(name, code="invalid_body", words=f"{where}: body must be the request, a JSON object.")
        return _Entry(name, body)

    async def _write(self, tally: Tally, leased: Leased) -> None:
        """Output and error file, from the lines' answers."""
        yard, job = self._yard, tally.job
        tenant = job.tenant
        async with await self._files.writer(tenant) as good, await self._files.writer(tenant) as bad:
            for start in range(0, tally.lines, CHUNK):
                numbers = range(start, min(start + CHUNK, tally.lines))
                for number, line in zip(numbers, await yard.store.lines(tenant, job.id, numbers), strict=True):
                    if line is not None:
                        writer = good if line.state == "succeeded" else bad
                        await writer.add(await self._told(job, number, line))
                if start % (CHUNK * 16) == 0 and not await yard.store.extend(tenant, leased, yard.now_ms()):
                    return
        notes: dict[str, str | int] = {"output": "", "errors": ""}
        for name, writer, suffix in (("output", good, "output"), ("errors", bad, "error")):
            if writer.size:
                await self._files.keep(self._file(job, writer, suffix))
                notes[name] = writer.id
        notes["final"] = yard.now_ms()
        await yard.store.note(tenant, job.id, **notes)

    async def _write_results(self, tally: Tally, leased: Leased) -> None:
        """The results of a Message Batch, from the lines' answers."""
        yard, job = self._yard, tally.job
        async with await self._files.writer(job.tenant) as writer:
            for start in range(0, tally.lines, CHUNK):
                numbers = range(start, min(start + CHUNK, tally.lines))
                for number, line in zip(numbers, await yard.store.lines(job.tenant, job.id, numbers), strict=True):
                    if line is not None:
                        await writer.add(await self._result(job, number, line))
                if start % (CHUNK * 16) == 0 and not await yard.store.extend(job.tenant, leased, yard.now_ms()):
                    return
        await yard.store.expire(job.tenant, job.deadline_ms + job.keep_ms, f"blob:{writer.blob}")
        notes: dict[str, str | int] = {"output": writer.blob if writer.size else "", "output_size": writer.size}
        await yard.store.note(job.tenant, job.id, **notes, final=yard.now_ms())

    async def _result(self, job: Job, number: int, line: Line) -> bytes:
        """A line of a Message Batch's results."""
        if line.state == "cancelled":
            result: dict[str, Any] = {"type": "canceled"}
        else:
            try:
                body = (await self._yard.answer(job, number, line)).body
            except BlobMissing:
                body = INBOUND["messages"].error_body(RouterError("internal_error", "The answer is not kept any more."))
                line = msgspec.structs.replace(line, state="failed")
            if line.state == "succeeded":
                result = {"type": "succeeded", "message": msgspec.Raw(body)}
            else:
                result = {"type": "errored", "error": msgspec.Raw(body or b"null")}
        return msgspec.json.encode({"custom_id": line.custom_id, "result": result}) + b"\n"

    def _file(self, job: Job, writer: FileWriter, suffix: str) -> File:
        now_ms = self._yard.now_ms()
        kept_ms = int(job.given.get(OUTPUT_KEPT, KEPT_MS))
        return File(
            writer.id, job.tenant, job.key, f"{job.id}_{suffix}.jsonl", "batch_output", writer.size, now_ms,
            now_ms + kept_ms, writer.blob,
        )  # fmt: skip  # its fields in their order

    async def _told(self, job: Job, number: int, line: Line) -> bytes:
        """A line of the output or error file."""
        document: dict[str, Any] = {
            "id": f"batch_req_{job.id[6:]}{number:06x}",
            "custom_id": line.custom_id or None,
            "response": None,
            "error": None,
        }
        if line.state == "cancelled":
            document["error"] = {
                "code": "batch_cancelled",
                "message": "The batch was cancelled before this line was run.",
            }
        else:
            try:
                answer = await self._yard.answer(job, number, line)
                document["response"] = {
                    "status_code": answer.status,
                    "request_id": f"{job.id}/{number}",
                    "body": msgspec.Raw(answer.body or b"null"),
                }
                if line.state != "succeeded":
                    document["error"] = {
                        "code": line.error or "failed",
                        "message": _words(answer.body),
                        "line": number + 1,
                    }
            except BlobMissing:
                document["error"] = {"code": "answer_lost", "message": "The answer is not kept any more."}
        return msgspec.json.encode(document) + b"\n"


def _never(entry: _Entry, state: str, now_ms: int) -> Line:
    """A line that is not run."""
    return Line(state, 0, "", ("", 0, 0), custom_id=entry.custom_id, error=entry.code, ended_ms=now_ms)


def _refusal(job: Job, entry: _Entry) -> bytes:
    """Why a line is not run, in the caller's dialect."""
    if job.kind == MESSAGES:
        return INBOUND["messages"].error_body(RouterError("invalid_request", entry.words))
    error = {"message": entry.words, "type": "invalid_request_error", "param": None, "code": entry.code}
    return msgspec.json.encode({"error": error})


def _params(number: int, raw: bytes) -> _Entry:
    """A line of a Message Batch: it was seen to be one when the batch was taken in."""
    name, body = params_of(raw)
    if len(body) > MOST_LINE_BYTES:
        words = (
            f"requests.{number}: {len(body)} bytes; a request has at most {MOST_LINE_BYTES}. Send large files by URL."
        )
        return _Entry(name, code="line_too_large", words=words)
    return _Entry(name, body)


def _text(raw: msgspec.Raw | None) -> str:
    try:
        found = msgspec.json.decode(raw or b"null")
    except msgspec.DecodeError:
        return ""
    return found if isinstance(found, str) else ""


def _words(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body)
        return str(said["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return "It was not answered."

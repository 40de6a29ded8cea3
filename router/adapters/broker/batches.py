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
from router.core.jobs.jobs import Answer, Job, Line
from router.dialects.batch_files import URLS
from router.ports import BlobMissing

if TYPE_CHECKING:
    from router.adapters.broker.yard import Yard
    from router.adapters.jobs.files import FileStore, FileWriter
    from router.adapters.jobs.records import Leased, Tally

MOST_LINES: Final = 50_000
MOST_LINE_BYTES: Final = 8 << 20
_STEP: Final = 8
"""Chunks of lines read in one turn, before the lease is looked after."""
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
            await self._write(tally, leased)
        return None

    async def _read(self, tally: Tally, leased: Leased) -> int | None:
        """Lines from the input file to the queue, from where it was left."""
        yard, job, done = self._yard, tally.job, int(tally.at or 0)
        file = await self._files.find(job.tenant, job.given.get("file", ""))
        waiting: list[tuple[int, _Entry]] = []
        seen: set[bytes] = set()
        number = 0
        if file is not None and not tally.unwanted:
            async for raw in self._files.lines(file):
                if not raw.strip():
                    continue
                entry = self._entry(job, number, raw, seen)
                if number >= done:
                    waiting.append((number, entry))
                number += 1
                if len(waiting) == CHUNK:
                    if not await self._taken(job, leased, done, waiting):
                        return yard.now_ms() + 1_000
                    done, waiting = number, []
        if not number and not tally.unwanted:
            await yard.store.note(job.tenant, job.id, fault="The input file is empty, or gone.")
        if waiting and not await self._taken(job, leased, done, waiting):
            return yard.now_ms() + 1_000
        await yard.store.put(job, [], sealed=True, now_ms=yard.now_ms())
        return None

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
                error = {"message": entry.words, "type": "invalid_request_error", "param": None, "code": entry.code}
                place = await writing.add(
                    msgspec.msgpack.encode(Answer(400, {}, msgspec.json.encode({"error": error})))
                )
                line = Line(
                    "failed", 0, "", ("", 0, 0), custom_id=entry.custom_id, status=400, result=place,
                    error=entry.code, ended_ms=yard.now_ms(),
                )  # fmt: skip  # one field a line would hide that it is one line
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
        url = URLS[job.endpoint]
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

    def _file(self, job: Job, writer: FileWriter, suffix: str) -> File:
        now_ms = self._yard.now_ms()
        return File(
            writer.id, job.tenant, job.key, f"{job.id}_{suffix}.jsonl", "batch_output", writer.size, now_ms,
            now_ms + KEPT_MS, writer.blob,
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

"""What came back of a parcel: results read, rows booked, lines answered or sent on.

Belongs here: from a provider's results to the ledger and the lines, in an order that may be begun anew at any point. Does
not belong here: when it is due (parcels.py).

    results → sealed blob → holds handed on → rows, numbered by the manifest → lines

Every step gives the same whoever does it again: results of a batch that is over do not change.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.broker.yard import encode_answer
from router.adapters.jobs.records import Move
from router.adapters.store.layout import decode_row
from router.core.booking.ending import ended_row
from router.core.errors import RouterError
from router.core.jobs.jobs import (
    UNFOUND,
    Answer,
    Event,
    Line,
    LineFate,
    Manifest,
    Parcel,
    after,
    attempt_name,
    custom_id,
)
from router.core.money import nano_ceil
from router.core.pricing import cost_pico
from router.core.values import Certainty, Outcome, Price, Row, Usage
from router.dialects.openai.errors import provider_error
from router.dialects.ways import INBOUND, OUTBOUND, translated_answer
from router.ports import BlobMissing

if TYPE_CHECKING:
    from router.adapters.broker.yard import Yard
    from router.adapters.jobs.batch_calls import BatchApi
    from router.core.jobs.jobs import Job
    from router.dialects.batch_files import Result
    from router.dialects.request import Request

_OK: Final[tuple[Outcome, int]] = ("ok", 200)
_OUTCOMES: Final[dict[str, tuple[Outcome, int]]] = {
    "refused": ("upstream_error", 400),
    "failed": ("upstream_error", 502),
    "expired": ("upstream_error", 504),
    "cancelled": ("client_left", 499),
    "missing": ("upstream_interrupted", 502),
}
"""How the ledger calls what became of a try, and the status where the provider gave none."""


_RESTS: Final[dict[str, LineFate]] = {"failed": "failed", "expired": "expired", "cancelled": "cancelled"}
"""What became of lines that no result speaks of, by how their batch ended."""


class _Found(msgspec.Struct):
    """A line's result: where its answer lies, and what it metered."""

    fate: LineFate
    status: int
    place: tuple[str, int, int]
    usage: Usage | None


class Booking:
    """Books parcels."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard

    async def book(self, api: BatchApi | None, parcel: Parcel) -> tuple[Event, Parcel]:
        """Everything that a parcel that is over leaves behind. Raises `BatchTrouble`, `BlobsUnavailable`."""
        yard = self._yard
        manifest = await yard.store.manifest(parcel)
        never_sent = not parcel.remote and parcel.outcome != UNFOUND
        found = {} if never_sent or api is None else await self._read(api, parcel, manifest)
        if found is None:
            return "not_ours", _taken_back(parcel)
        lines = await self._lines(parcel, manifest)
        jobs = {entry.job for entry in manifest}
        unwanted = {job: bool((tally := await yard.store.tally(parcel.tenant, job)) and tally.unwanted) for job in jobs}
        rest = _RESTS.get(parcel.outcome, "missing")
        moves: list[Move] = []
        rows: list[Row] = []
        hand_on: list[tuple[str, str]] = []
        release: list[str] = []
        for index, entry in enumerate(manifest):
            result = found.get(index) or _Found("cancelled" if never_sent else rest, 0, ("", 0, 0), None)
            row = _row(entry, result, yard.now_ms())
            line = lines[index]
            if not never_sent:
                rows.append(row)
            name = attempt_name(entry.job, entry.number, entry.attempt)
            if line is None or line.bound != parcel.id:
                continue  # it has gone on without this parcel, or its job is gone
            cost_nano = 0 if never_sent else row.cost_nano
            move = self._move(parcel, entry, line, result, cost_nano, unwanted=unwanted[entry.job])
            moves.append(move)
            if move.queue:
                hand_on.append((name, attempt_name(entry.job, entry.number, entry.attempt + 1)))
            elif never_sent:
                release.append(name)
        await yard.ledger.hand_on(parcel.tenant, hand_on)
        at_once = {attempt_name(entry.job, entry.number, entry.attempt): entry.instant for entry in manifest}
        for row in await yard.ledger.book(parcel.tenant, parcel.id, rows):
            self._saved(row, at_once[row.attempt])
            for listener in yard.listeners:
                listener.on_row(row, None)
        if release:
            await yard.ledger.release(parcel.tenant, release)
        moved = await yard.store.move(parcel.tenant, moves, yard.now_ms())
        self._count(parcel, moves, moved)
        return "booked", parcel

    async def go_on_without(self, parcel: Parcel) -> None:
        """The deadline does not wait for the provider to stop: lines that still travel in the parcel go their way out
        now; what it bills is booked once it is over.
        """
        yard = self._yard
        manifest = await yard.store.manifest(parcel)
        lines = await self._lines(parcel, manifest)
        moves, hand_on = [], []
        for entry, line in zip(manifest, lines, strict=True):
            if line is not None and line.bound == parcel.id:
                moves.append(self._again(entry, line, parcel))
                name = attempt_name(entry.job, entry.number, entry.attempt)
                hand_on.append((name, attempt_name(entry.job, entry.number, entry.attempt + 1)))
        await yard.ledger.hand_on(parcel.tenant, hand_on)
        moved = await yard.store.move(parcel.tenant, moves, yard.now_ms())
        yard.count(sum(moved), "costrouter_escalations", parcel.provider, parcel.tier)

    async def _read(self, api: BatchApi, parcel: Parcel, manifest: list[Manifest]) -> dict[int, _Found] | None:
        """Results by place in the manifest; the first counts where one comes twice, and strangers are passed over. None
        where there are only strangers, and the batch may be another one's.
        """
        yard, strange = self._yard, False
        places = {custom_id(entry.job, entry.number, entry.attempt): i for i, entry in enumerate(manifest)}
        found: dict[int, _Found] = {}
        # Of its own for each reading: a provider may give lines in another order the next time, and two brokers may read
        # the same parcel where one was taken for dead, so a place in one blob means nothing in another.
        name = yard.blob(parcel.tenant, "parcel", f"{parcel.id}.{secrets.token_hex(4)}")
        keep_ms = max([job.keep_ms for job in await self._jobs(parcel, manifest)], default=0)
        await yard.store.expire(parcel.tenant, parcel.deadline_ms + keep_ms, f"blob:{name}")
        told = {"x-costrouter-model": parcel.entry.partition("@")[0], "x-costrouter-provider": parcel.provider}
        told["x-costrouter-tier"] = parcel.tier
        async with await yard.vault.writer(name) as writing:
            async for result in api.results(parcel):
                index = places.get(result.custom_id) if result.custom_id else 0
                strange = strange or index is None
                if index is None or index in found:
                    continue
                usage = OUTBOUND[api.dialect].usage_of(result.body)
                if usage is None and result.fate != "succeeded":
                    usage = Usage(0)
                headers = told
                if usage is not None:
                    cost = nano_ceil(cost_pico(manifest[index].price, usage))
                    headers = {**told, "x-costrouter-cost-nano": str(cost)}
                fate, status, body = await self._told(api.dialect, parcel, manifest[index], result)
                place = await writing.add(encode_answer(Answer(status, headers, body)))
                found[index] = _Found(fate, status, place, usage)
        if strange and not found and not api.named:
            return None
        return found

    async def _told(self, dialect: str, parcel: Parcel, entry: Manifest, result: Result) -> tuple[LineFate, int, bytes]:
        """What a caller is told of a result, in their own dialect."""
        status = result.status or _OUTCOMES.get(result.fate, ("", 502))[1]
        job = await self._yard.job(parcel.tenant, entry.job)
        api = "" if job is None else job.endpoint
        if job is None or INBOUND[api].native == dialect:
            return result.fate, status, result.body
        if result.fate == "succeeded":
            at_s = self._yard.now_ms() // 1000
            request = await self._asked(job, entry) if INBOUND[api].id_prefix else None
            name = f"{INBOUND[api].id_prefix}{entry.job}_{entry.number}"
            try:
                said = translated_answer(api, dialect, result.body, at_s, request, name, shows=entry.shows_thoughts)
            except ValueError as error:
                failure = RouterError("upstream_bad_response", f"{parcel.provider} sent no answer: {error}.")
                return "refused", failure.status, INBOUND[api].error_body(failure)
            return result.fate, status, said
        model = parcel.entry.partition("@")[0]
        failure = provider_error(status, result.body, None, provider=parcel.provider, model=model)
        return result.fate, status, INBOUND[api].error_body(failure)

    async def _asked(self, job: Job, entry: Manifest) -> Request | None:
        """A line's request, as it was read when it came; None where it is gone."""
        (line,) = await self._yard.store.lines(job.tenant, job.id, [entry.number])
        if line is None:
            return None
        try:
            return INBOUND[job.endpoint].read(await self._yard.body(job, entry.number, line), job.headers)
        except BlobMissing:
            return None

    async def _jobs(self, parcel: Parcel, manifest: list[Manifest]) -> list[Job]:
        found = [await self._yard.job(parcel.tenant, job) for job in {entry.job for entry in manifest}]
        return [job for job in found if job is not None]

    async def _lines(self, parcel: Parcel, manifest: list[Manifest]) -> list[Line | None]:
        by_job: dict[str, list[int]] = {}
        for entry in manifest:
            by_job.setdefault(entry.job, []).append(entry.number)
        known: dict[tuple[str, int], Line | None] = {}
        for job, numbers in by_job.items():
            lines = await self._yard.store.lines(parcel.tenant, job, numbers)
            known |= {(job, number): line for number, line in zip(numbers, lines, strict=True)}
        return [known[entry.job, entry.number] for entry in manifest]

    def _move(
        self, parcel: Parcel, entry: Manifest, line: Line, result: _Found, cost_nano: int, *, unwanted: bool
    ) -> Move:
        then = after(result.fate, line.tries, unwanted=unwanted)
        if then == "again":
            move = self._again(entry, line, parcel)
            return msgspec.structs.replace(move, cost_nano=cost_nano)
        state = {"deliver": "succeeded" if result.fate == "succeeded" else "failed", "drop": "cancelled"}.get(
            then, "failed"
        )
        ended = msgspec.structs.replace(
            line,
            state=state,
            bound="",
            status=result.status or _OUTCOMES.get(result.fate, _OK)[1],
            result=result.place,
            error="" if state == "succeeded" else ("cancelled" if state == "cancelled" else f"batch_{result.fate}"),
            ended_ms=self._yard.now_ms(),
        )
        return Move(entry.job, entry.number, line, ended, cost_nano=cost_nano)

    def _again(self, entry: Manifest, line: Line, parcel: Parcel) -> Move:
        then = msgspec.structs.replace(line, state="queued", bound="", avoid=parcel.tier)
        return Move(entry.job, entry.number, line, then, queue=True)

    def _saved(self, row: Row, instant: Price | None) -> None:
        if row.outcome == "ok" and instant is not None:
            usage = Usage(
                row.prompt_tokens,
                row.completion_tokens,
                row.cached_tokens,
                row.cache_write_tokens,
                cache_write_1h_tokens=row.cache_write_1h_tokens,
            )
            saved = max(0, nano_ceil(cost_pico(instant, usage)) - row.cost_nano)
            self._yard.count(saved, "costrouter_tier_saved_nanodollars", row.provider, row.tier)

    def _count(self, parcel: Parcel, moves: list[Move], moved: list[bool]) -> None:
        gone_on = sum(done and move.queue for move, done in zip(moves, moved, strict=True))
        self._yard.count(gone_on, "costrouter_escalations", parcel.provider, parcel.tier)


def _taken_back(parcel: Parcel) -> Parcel:
    """A parcel whose batch was another one's, to be looked for again."""
    strangers = (*parcel.strangers, parcel.remote)
    return msgspec.structs.replace(parcel, remote="", outputs=(), outcome="", done=0, strangers=strangers)


def _row(entry: Manifest, result: _Found, now_ms: int) -> Row:
    """A try's row, from what was planned and what came back. The same for whoever books it, but for the time it took."""
    planned = decode_row(entry.row)
    outcome, status = _OK if result.fate == "succeeded" else _OUTCOMES[result.fate]
    status = result.status or status
    certainty: Certainty = "metered"
    usage = result.usage
    if result.fate != "succeeded":
        usage = usage or Usage(0)
    if usage is None or result.fate == "missing":
        # It was answered, or nobody knows: what was expected stands.
        usage = Usage(prompt_tokens=planned.prompt_tokens, completion_tokens=planned.completion_tokens)
        certainty = "estimated"
    cost = cost_pico(entry.price, usage)
    baseline = nano_ceil(cost if entry.baseline is None else cost_pico(entry.baseline, usage))
    return ended_row(
        planned,
        usage,
        cost,
        outcome=outcome,
        status=status,
        certainty=certainty,
        baseline_nano=baseline if result.fate in ("succeeded", "missing") else 0,
        total_ms=max(0, now_ms - planned.at_ms),
    )

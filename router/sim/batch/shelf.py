"""One provider's files and batches, and what time does to them.

Belongs here: the life of a batch, the same for every API. Does not belong here: how each API writes it down (openai.py
and its neighbours), durations (clock.py).

Nothing runs in the background: whoever looks at a batch first brings it up to now.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from router.sim.batch.clock import Waits
from router.sim.batch.line import Answered, answer
from router.sim.batch.mischief import Mischief
from router.sim.bill import Call

if TYPE_CHECKING:
    from router.sim.catalog import Provider
    from router.sim.world import World

_BREATH: Final = 8
"""Lines answered before the loop gets its turn."""
_DONE_AT: Final = 0.95
"""Part of a batch's time after which its last line is answered; the rest is finalizing."""
_CANCELS_S: Final = 20.0
"""How long a cancellation takes."""


@dataclass(slots=True)
class File:
    """A file as it was uploaded or made."""

    id: str
    name: str
    purpose: str
    data: bytes
    created: int


@dataclass(slots=True)
class Line:
    """One request of a batch. ``due`` is when it is answered, in seconds of the batch's clock."""

    custom_id: str
    body: Any
    due: float = 0.0
    answered: Answered | None = None
    fate: str = ""
    """Of one that was not answered: ``expired`` or ``cancelled``."""


@dataclass(slots=True)
class Batch:
    """One batch. Times are seconds since the epoch, ``state`` one of OpenAI's words for it."""

    id: str
    url: str
    created: float
    window_s: float
    takes_s: float
    lines: list[Line]
    given: dict[str, Any]
    """What the creator said: metadata, file, model, display name."""
    errors: list[dict[str, Any]] = field(default_factory=list)
    state: str = "validating"
    cancelled: float | None = None
    ended: float | None = None
    tier: str = "batch"
    """At whose price its lines are billed."""
    turning: asyncio.Lock = field(default_factory=asyncio.Lock)
    times: dict[str, float] = field(default_factory=dict)
    output: str | None = None
    error: str | None = None
    results: bytes | None = None
    hidden: bool = False
    """Deleted by its owner; the bill remembers."""

    @property
    def over(self) -> bool:
        """Whether it changes no more."""
        return self.state in ("completed", "failed", "expired", "cancelled")

    def counts(self) -> tuple[int, int, int]:
        """Lines answered with success, without, and all."""
        good = sum(line.answered is not None and line.answered.status == 200 for line in self.lines)
        bad = sum(line.answered is not None and line.answered.status != 200 for line in self.lines)
        return good, bad, len(self.lines)


class Shelf:
    """A provider's files and batches."""

    def __init__(self, provider: Provider, world: World, waits: Waits, mischief: Mischief) -> None:
        self.provider = provider
        self.world = world
        self.waits = waits
        self.mischief = mischief
        self.files: dict[str, File] = {}
        self.batches: dict[str, Batch] = {}
        self._rng = random.Random(f"{world.seed}/{provider.name}")  # noqa: S311 - durations of a simulation

    def new_id(self, kind: str) -> str:
        """An identifier of this provider."""
        return f"{kind}{self.world.rng.getrandbits(96):024x}"

    def strikes(self, kind: str) -> bool:
        """Whether this mischief happens now."""
        return self.mischief.strikes(kind, self.provider.name)

    def keep(self, name: str, purpose: str, data: bytes, kind: str = "file-") -> File:
        """Put a file on the shelf."""
        found = File(self.new_id(kind), name, purpose, data, int(self.world.now()))
        self.files[found.id] = found
        return found

    def open(  # noqa: PLR0917 - all that a batch is made of
        self, kind: str, url: str, lines: list[Line], window_s: float, given: dict[str, Any], tier: str = "batch"
    ) -> Batch:
        """Begin a batch."""
        takes = self.waits.draw(self._rng) if tier == "batch" else self.waits.draw_in_window(self._rng, tier)
        if self.strikes("never"):
            takes = 1e12
        batch = Batch(self.new_id(kind), url, self.world.now(), window_s, takes, lines, given, tier=tier)
        start, end = self._validated(batch), takes * _DONE_AT
        for line in lines:
            line.due = start + (end - start) * (0.3 + 0.7 * self._rng.random())
        self.batches[batch.id] = batch
        return batch

    def waiting_tokens(self) -> int:
        """Roughly the prompt tokens that lie in batches that are not over."""
        bodies = (orjson.dumps(line.body) for b in self.batches.values() if not b.over for line in b.lines)
        return sum(len(body) // 4 for body in bodies)

    async def look(self, batch: Batch) -> Batch:
        """Bring a batch up to now."""
        async with batch.turning:
            if not batch.over:
                await self._turn(batch)
        return batch

    async def look_at_all(self) -> None:
        """Bring every batch up to now."""
        for batch in list(self.batches.values()):
            await self.look(batch)

    def cancel(self, batch: Batch) -> None:
        """Begin to cancel. Does nothing to one that is over."""
        if not batch.over and batch.cancelled is None:
            batch.cancelled = self.world.now()
            batch.state = "cancelling"
            batch.times["cancelling"] = batch.cancelled

    def _validated(self, batch: Batch) -> float:
        return min(0.02 * batch.takes_s, 60.0)

    def _elapsed(self, batch: Batch, instant: float | None = None) -> float:
        since = (self.world.now() if instant is None else instant) - batch.created
        return since * self.waits.speed if self.waits.speed > 0 else batch.takes_s

    def _when(self, batch: Batch, elapsed: float) -> float:
        return batch.created + (elapsed / self.waits.speed if self.waits.speed > 0 else 0.0)

    async def _turn(self, batch: Batch) -> None:
        elapsed = self._elapsed(batch)
        starts = self._validated(batch)
        if elapsed < starts:
            return
        if "in_progress" not in batch.times:
            batch.times["in_progress"] = self._when(batch, starts)
            self._validate(batch)
        if batch.errors:
            self._end(batch, "failed", starts)
            return
        stops = min(batch.window_s, elapsed)
        if batch.cancelled is not None:
            stops = min(stops, self._elapsed(batch, batch.cancelled) + _CANCELS_S)
        await self._answer(batch, stops)
        if batch.takes_s <= stops:
            self._end(batch, "completed", batch.takes_s)
        elif batch.cancelled is not None and elapsed >= stops and stops < batch.window_s:
            self._end(batch, "cancelled", stops)
        elif elapsed >= batch.window_s:
            self._end(batch, "expired", batch.window_s)
        elif batch.cancelled is None:
            batch.state = "finalizing" if elapsed >= batch.takes_s * _DONE_AT else "in_progress"
            batch.times.setdefault(batch.state, self.world.now())

    def _validate(self, batch: Batch) -> None:
        if self.strikes("validation"):
            batch.errors = [{"code": "invalid_request", "message": "The batch could not be read.", "line": None}]
        elif self.waiting_tokens() > self.waits.enqueued_tokens:
            text = "Enqueued token limit reached for this organization. Please try again once some are completed."
            batch.errors = [{"code": "token_limit_exceeded", "message": text, "line": None, "param": None}]

    async def _answer(self, batch: Batch, until: float) -> None:
        done = 0
        for line in batch.lines:
            if line.answered is not None or line.due > until:
                continue
            line.answered = await answer(self.world, self.provider, batch.url, line.body, batch.tier)
            if self.strikes("line_error"):
                body = (
                    b'{"error":{"message":"The server had an error.","type":"server_error","param":null,"code":null}}'
                )
                line.answered = Answered(500, body, line.answered.request_id)
            model, meters = line.answered.model, line.answered.meters
            if model is not None and meters is not None:
                call = Call(
                    self.provider.name, model, line.answered.request_id, batch.created, meters, complete=True,
                    tier=batch.tier,
                )  # fmt: skip  # as long as it is flat
                self.world.bill.add(call)
            done += 1
            if done % _BREATH == 0:
                await asyncio.sleep(0)

    def _end(self, batch: Batch, state: str, elapsed: float) -> None:
        fate = {"expired": "expired", "cancelled": "cancelled"}.get(state, "")
        for line in batch.lines:
            if line.answered is None:
                line.fate = fate
        batch.state = state
        batch.ended = batch.times[state] = self._when(batch, elapsed)


class Shelves:
    """Every provider's shelf, and the clock and mischief that they share."""

    def __init__(self, world: World, speed: float) -> None:
        self.waits = Waits(speed=speed)
        self.mischief = Mischief()
        self._world = world
        self._shelves: dict[str, Shelf] = {}

    def of(self, provider: Provider) -> Shelf:
        """One provider's."""
        shelf = self._shelves.get(provider.name)
        if shelf is None:
            shelf = self._shelves[provider.name] = Shelf(provider, self._world, self.waits, self.mischief)
        return shelf

    async def settle(self) -> None:
        """Bring every batch up to now, so that the bill has what was done."""
        for shelf in list(self._shelves.values()):
            await shelf.look_at_all()

    def report(self) -> list[dict[str, Any]]:
        """Every batch as it was last seen."""
        return [
            {
                "provider": name,
                "id": batch.id,
                "state": batch.state,
                "lines": batch.counts(),
                "custom_ids": [line.custom_id for line in batch.lines],
                "given": batch.given.get("metadata"),
                "takes_s": batch.takes_s,
                "hidden": batch.hidden,
            }
            for name, shelf in self._shelves.items()
            for batch in shelf.batches.values()
        ]

    def clear(self) -> None:
        """Forget everything, settings apart."""
        self._shelves.clear()
        self.mischief.clear()


SHELVES = web.AppKey("shelves", Shelves)

"""Lines on their way into parcels: gathered by provider, model and urgency, while that costs nobody their deadline.

Belongs here: groups of planned lines and when one leaves. Does not belong here: which way a line goes (planner.py),
and what becomes of a parcel (parcels.py).

Until its parcel is staged a line stays on the queue as this broker's; if the broker dies, another one takes it up.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.jobs.jobs import Line, Manifest, Parcel
from router.dialects.ways import INBOUND

if TYPE_CHECKING:
    from router.adapters.broker.planner import Planned
    from router.adapters.broker.yard import Yard
    from router.adapters.jobs.records import Taken
    from router.core.jobs.jobs import Job
    from router.core.values import Price, Row

MOST_BYTES: Final = 16 << 20
"""Of one parcel's requests: far below any provider's limit, so that little is in memory at a time."""
MOST_WAITING: Final = 48 << 20
"""Of all requests that gather."""
LINGER_MS: Final = 30_000
"""How long the first line of a parcel waits for others, at most."""

_Key = tuple[str, str, str, str, int]


@dataclass
class Waiting:
    """A line that gathers: how it was planned, and its request as it goes to the provider."""

    taken: Taken
    job: Job
    planned: Planned
    row: Row
    baseline: Price | None
    body: bytes
    shows_thoughts: bool = False


@dataclass
class _Group:
    since_ms: int
    until_ms: int
    endpoint: str
    lines: list[Waiting]
    size: int = 0


class Gatherer:
    """Groups of lines that will travel together."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._groups: dict[_Key, _Group] = {}
        self.left: set[str] = set()
        """Tenants of whom a parcel has left, for whoever looks after parcels."""

    @property
    def waiting(self) -> int:
        """Lines that gather."""
        return sum(len(group.lines) for group in self._groups.values())

    def entries(self) -> dict[str, list[str]]:
        """Their entries in each tenant's queue."""
        found: dict[str, list[str]] = {}
        for (tenant, *_), group in self._groups.items():
            found.setdefault(tenant, []).extend(waiting.taken.entry for waiting in group.lines)
        return found

    async def add(self, waiting: Waiting) -> None:
        """A line that goes by batch. Raises `StoreUnavailable`, `BlobsUnavailable` where a full parcel cannot leave."""
        job, planned, body = waiting.job, waiting.planned, waiting.body
        now_ms = self._yard.now_ms()
        left_ms = max(job.deadline_ms - now_ms, 1)
        # Lines of about the same urgency: a parcel is given up for all of them at once.
        endpoint = INBOUND[job.endpoint].endpoint
        option = planned.option
        key = (job.tenant, option.entry, option.tier, endpoint, left_ms.bit_length())
        group = self._groups.get(key)
        api = self._yard.api(option.provider, option.tier)
        most = 1 if api is None else api.most_lines
        if group is not None and (len(group.lines) >= most or group.size + len(body) > MOST_BYTES):
            await self._leave(key)
            group = None
        if group is None:
            linger = min(LINGER_MS / self._yard.pace, left_ms / 20)
            group = self._groups[key] = _Group(now_ms, now_ms + round(linger), endpoint, [])
        group.lines.append(waiting)
        group.size += len(body)
        if most == 1:
            await self._leave(key)
        elif sum(found.size for found in self._groups.values()) > MOST_WAITING:
            await self._leave(max(self._groups, key=lambda name: self._groups[name].size))

    async def leave(self, *, all_of_them: bool = False) -> None:
        """Send off what has waited long enough. Raises `StoreUnavailable`, `BlobsUnavailable`: it waits on."""
        now_ms = self._yard.now_ms()
        for key in [key for key, group in self._groups.items() if all_of_them or group.until_ms <= now_ms]:
            await self._leave(key)

    async def _leave(self, key: _Key) -> None:
        # Out of the way first: others may come while this one is written.
        group = self._groups.pop(key)
        try:
            await self._stage(key[0], group)
            self.left.add(key[0])
        except BaseException:
            came = self._groups.get(key)
            if came is not None:
                group.lines += came.lines
                group.size += came.size
            self._groups[key] = group
            raise

    async def _stage(self, tenant: str, group: _Group) -> None:
        yard = self._yard
        name = f"pcl-{secrets.token_hex(10)}"
        blob = yard.blob(tenant, "upload", name)
        async with await yard.vault.writer(blob) as writing:
            places = [await writing.add(waiting.body) for waiting in group.lines]
        first = group.lines[0].planned
        deadline_ms = min(waiting.job.deadline_ms for waiting in group.lines)
        parcel = Parcel(
            id=name,
            tenant=tenant,
            provider=first.option.provider,
            entry=first.option.entry,
            tier=first.option.tier,
            endpoint=group.endpoint,
            state="staged",
            created_ms=yard.now_ms(),
            deadline_ms=deadline_ms,
            lines=len(group.lines),
            tokens=sum(waiting.row.prompt_tokens for waiting in group.lines),
            model=first.option.upstream_model,
            run_ms=max(waiting.planned.reserve.run_ms for waiting in group.lines),
        )
        await yard.store.expire(tenant, deadline_ms + 3_600_000, f"blob:{blob}")
        staged = [self._bound(waiting, name, place) for waiting, place in zip(group.lines, places, strict=True)]
        await yard.store.stage(parcel, staged, parcel.created_ms)

    def _bound(self, waiting: Waiting, parcel: str, place: tuple[str, int, int]) -> tuple[Taken, Line, Manifest]:
        taken = waiting.taken
        tries = taken.line.tries + 1
        line = msgspec.structs.replace(taken.line, state="bound", bound=parcel, tries=tries)
        manifest = Manifest(
            job=taken.job,
            number=taken.number,
            attempt=tries,
            row=msgspec.msgpack.encode(waiting.row),
            price=waiting.planned.option.price,
            baseline=waiting.baseline,
            payload=place,
            instant=None if waiting.planned.instant is None else waiting.planned.instant.price,
            shows_thoughts=waiting.shows_thoughts,
        )
        return taken, line, manifest

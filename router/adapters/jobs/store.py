"""Jobs, lines and parcels in the store: what is kept of each, the queue of lines, and whose turn it is.

Belongs here: keys and script calls. Does not belong here: what follows from a state (core/jobs/jobs.py), doing it (broker/broker.py),
money (ledger.py), and payloads beyond a few kilobytes (vault.py).

    cr:{tenant}:job:ID        hash    record; lines, done and each final state's count; cost; sealed, ended, cancel; at
    cr:{tenant}:lines:ID      hash    number → guard, line break, msgpack of the Line
    cr:{tenant}:payload:ID    hash    number → sealed request, "r" and number → sealed answer, where they are small; "b" and
                                      number → what a line under way is expected to cost, where its job has a limit
    cr:{tenant}:jobs          zset    job ids by creation
    cr:{tenant}:queue         stream  lines to be taken up, by consumer group "b"
    cr:{tenant}:parcels       hash    parcel id → msgpack of the Parcel
    cr:{tenant}:parcel:ID     list    its manifest
    cr:{tenant}:due           zset    "p:PARCEL", "j:JOB" → when something is to be done about it
    cr:{tenant}:leases        zset    the same, while somebody is at it → until when
    cr:{tenant}:unwanted      set     parcels that are to be cancelled
    cr:{tenant}:jobprices     hash    version → msgpack of the Price
    cr:{tenant}:expiry        zset    "job:ID", "blob:NAME" → when it goes
    cr:{@}:jobtenants         set     tenants that ever had a job

All of a tenant's keys share its hash tag, so every step is one script on one node of a cluster.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.adapters.jobs.news import tell_ends, tell_news
from router.adapters.jobs.records import Leased, Looked, Move, Taken, Tally, guard, packed
from router.adapters.store.layout import tenant_prefix
from router.adapters.store.resp import Arg, Script, StoreRefused
from router.core.jobs.jobs import Job, Line, Manifest, Parcel
from router.core.values import Price

if TYPE_CHECKING:
    from router.adapters.store.connection import StoreConnection

PUT: Final = Script("jobs_put")
TURN: Final = Script("jobs_turn")
STAGE: Final = Script("jobs_stage")
LEASE: Final = Script("jobs_lease")
SAVE: Final = Script("jobs_save")
NOTE: Final = Script("jobs_note")
BEGIN: Final = Script("jobs_begin")
TENANTS: Final = "cr:{@}:jobtenants"
GROUP: Final = "b"
CHUNK: Final = 64
"""Lines in one call."""
LEASE_MS: Final = 60_000
GONE_MS: Final = 86_400_000
_pack: Final = msgspec.msgpack.Encoder().encode
_job: Final = msgspec.msgpack.Decoder(Job).decode
_line: Final = msgspec.msgpack.Decoder(Line).decode
_parcel: Final = msgspec.msgpack.Decoder(Parcel).decode
_manifest: Final = msgspec.msgpack.Decoder(Manifest).decode
_price: Final = msgspec.msgpack.Decoder(Price).decode


class JobStore:
    """One broker's, or one server's, view of all jobs. Methods raise `StoreUnavailable`."""

    def __init__(
        self, connection: StoreConnection, consumer: str, *, lease_ms: int = LEASE_MS, gone_ms: int = GONE_MS
    ) -> None:
        self._connection = connection
        self._consumer = consumer
        self.lease_ms = lease_ms
        self.gone_ms = gone_ms
        self._grouped: set[str] = set()
        self._told: set[str] = set()
        """Tenants that are known to be among `TENANTS`."""

    # Handing in.

    async def put(
        self,
        job: Job,
        lines: Sequence[tuple[int, Line, bytes]],
        prices: Iterable[Price] = (),
        *,
        sealed: bool = True,
        checkpoint: tuple[str, str] = ("", ""),
        due_ms: int | None = None,
        now_ms: int,
    ) -> bool:
        """Take in a job, or further lines of one; False if its checkpoint is not where the caller thinks.

        Args:
            job: kept as it was first given.
            lines: number, line and sealed payload (b"" where that lies in a blob); queued ones go to the queue.
            prices: that the lines speak of by version.
            sealed: whether these are the last.
            checkpoint: how far its lines had been read before, and after.
            due_ms: when something is to be done about the job itself.
            now_ms: the store's time.
        """
        prefix = tenant_prefix(job.tenant)
        if job.tenant not in self._told:
            await self._connection.call("SADD", TENANTS, job.tenant)
            self._told.add(job.tenant)
        args: list[Arg] = [
            job.id, _pack(job), job.created_ms, *checkpoint, "1" if sealed else "", "" if due_ms is None else due_ms, now_ms,
        ]  # fmt: skip  # as the script reads them
        known = {price.version: price for price in prices}
        args.append(len(known))
        for version, price in known.items():
            args += (version, _pack(price))
        args.append(len(lines))
        for number, line, payload in lines:
            args += (number, packed(line), "1" if line.state == "queued" else "", payload)
        keys = [
            f"{prefix}job:{job.id}", f"{prefix}lines:{job.id}", f"{prefix}payload:{job.id}", f"{prefix}jobs",
            f"{prefix}queue", f"{prefix}due", f"{prefix}jobprices",
        ]  # fmt: skip  # as the script reads them
        done = bool(await self._connection.script(PUT, keys, args))
        if due_ms is not None or any(line.state == "queued" for _, line, _ in lines):
            await tell_news(self._connection, job.tenant)
        return done

    async def move(self, tenant: str, moves: Sequence[Move], now_ms: int) -> list[bool]:
        """Which of the lines were moved."""
        done: list[bool] = []
        for start in range(0, len(moves), CHUNK):
            done += await self._move(tenant, moves[start : start + CHUNK], now_ms)
        return done

    async def _move(self, tenant: str, moves: Sequence[Move], now_ms: int) -> list[bool]:
        prefix = tenant_prefix(tenant)
        jobs = list(dict.fromkeys(move.job for move in moves))
        keys = [f"{prefix}queue", f"{prefix}due"]
        for job in jobs:
            keys += (f"{prefix}job:{job}", f"{prefix}lines:{job}", f"{prefix}payload:{job}")
        args: list[Arg] = [now_ms, len(jobs), *jobs]
        for move in moves:
            args += (
                jobs.index(move.job) + 1, move.number, guard(move.seen), packed(move.then),
                "1" if move.queue else "", move.result, move.cost_nano, move.entry,
            )  # fmt: skip  # as the script reads them
        reply = await self._connection.script(TURN, keys, args)
        done = [bool(moved) for moved in reply[: len(moves)]]
        await tell_ends(self._connection, (jobs[number - 1] for number in reply[len(moves) :]))
        if any(move.queue for move in moves):
            await tell_news(self._connection, tenant)
        return done

    async def stage(self, parcel: Parcel, lines: Sequence[tuple[Taken, Line, Manifest]], due_ms: int) -> int:
        """Bind lines to a new parcel and take them off the queue; how many were still free."""
        prefix = tenant_prefix(parcel.tenant)
        jobs = list(dict.fromkeys(taken.job for taken, _, _ in lines))
        keys = [f"{prefix}queue", f"{prefix}due", f"{prefix}parcels", f"{prefix}parcel:{parcel.id}"]
        keys += [f"{prefix}lines:{job}" for job in jobs]
        args: list[Arg] = [parcel.id, _pack(parcel), due_ms]
        for taken, line, manifest in lines:
            args += (
                jobs.index(taken.job) + 1, taken.number, guard(taken.line), packed(line), _pack(manifest), taken.entry,
            )  # fmt: skip  # as the script reads them
        return int(await self._connection.script(STAGE, keys, args))

    # The queue.

    async def tenants(self) -> list[str]:
        """Every tenant that ever had a job."""
        return [name.decode() for name in await self._connection.call("SMEMBERS", TENANTS)]

    async def take(self, tenant: str, most: int, idle_ms: int | None) -> list[Taken]:
        """Lines off the queue, those first of which nobody has spoken for so long; with None, only new ones. They stay this
        broker's until they are moved, staged or dropped.
        """
        queue = f"{tenant_prefix(tenant)}queue"
        if tenant not in self._grouped:
            with contextlib.suppress(StoreRefused):
                await self._connection.call("XGROUP", "CREATE", queue, GROUP, "0", "MKSTREAM")
            self._grouped.add(tenant)
        entries: list[Any] = []
        try:
            if idle_ms is not None:
                claimed = await self._connection.call(
                    "XAUTOCLAIM", queue, GROUP, self._consumer, idle_ms, "0-0", "COUNT", most
                )
                entries += claimed[1]
            if len(entries) < most:
                read = await self._connection.call(
                    "XREADGROUP", "GROUP", GROUP, self._consumer, "COUNT", most - len(entries), "STREAMS", queue, ">"
                )
                entries += read[0][1] if read else []
        except StoreRefused:
            self._grouped.discard(tenant)  # the store has lost the group; it is made again
            raise
        places = [(entry[0].decode(), entry[1][1].decode(), int(entry[1][3])) for entry in entries if entry[1]]
        return await self._taken(tenant, places)

    async def _taken(self, tenant: str, places: list[tuple[str, str, int]]) -> list[Taken]:
        by_job: dict[str, list[tuple[str, int]]] = {}
        for entry, job, number in places:
            by_job.setdefault(job, []).append((entry, number))
        found: list[Taken] = []
        stale: list[str] = []
        for job, wanted in by_job.items():
            lines = await self.lines(tenant, job, [number for _, number in wanted])
            for (entry, number), line in zip(wanted, lines, strict=True):
                if line is None:
                    stale.append(entry)
                else:
                    found.append(Taken(job, number, entry, line))
        await self.drop(tenant, stale)
        return found

    async def keep(self, tenant: str, entries: Sequence[str]) -> None:
        """Say that these lines are still this broker's."""
        if entries:
            queue = f"{tenant_prefix(tenant)}queue"
            await self._connection.call("XCLAIM", queue, GROUP, self._consumer, 0, *entries, "JUSTID")

    async def drop(self, tenant: str, entries: Sequence[str]) -> None:
        """Take entries off the queue."""
        if entries:
            queue = f"{tenant_prefix(tenant)}queue"
            await self._connection.call("XACK", queue, GROUP, *entries)
            await self._connection.call("XDEL", queue, *entries)

    async def forget_consumers(self, tenant: str) -> None:
        """Take brokers out of the queue's group that have ended: silent for `GONE_MS`, with nothing left to them."""
        queue = f"{tenant_prefix(tenant)}queue"
        try:
            listed = await self._connection.call("XINFO", "CONSUMERS", queue, GROUP)
        except StoreRefused:
            return  # there is no queue yet
        for entry in listed:
            told = dict(zip(entry[::2], entry[1::2], strict=True))
            if not told[b"pending"] and told[b"idle"] >= self.gone_ms:
                await self._connection.call("XGROUP", "DELCONSUMER", queue, GROUP, told[b"name"])

    # Turns.

    async def lease(self, tenant: str, most: int) -> Looked:
        """Take up parcels and jobs that are due."""
        keys = [*self._turns(tenant), f"{tenant_prefix(tenant)}queue"]
        now_ms, next_ms, queued, *rest = await self._connection.script(LEASE, keys, [self.lease_ms, most])
        leased = [
            Leased(rest[i].decode(), rest[i + 1].decode(), _parcel(rest[i + 2]) if rest[i + 2] else None)
            for i in range(0, len(rest), 3)
        ]
        return Looked(int(now_ms), leased, int(float(next_ms)) if next_ms else None, int(queued))

    async def extend(self, tenant: str, leased: Leased, now_ms: int, record: Parcel | None = None) -> bool:
        """Keep it for another while, and write its record down; False if it is another's by now."""
        until = str(now_ms + self.lease_ms)
        args: list[Arg] = [leased.member, leased.until, until, "", b"" if record is None else _pack(record)]
        kept = bool(await self._connection.script(SAVE, self._turns(tenant), args))
        if kept:
            leased.until = until
        return kept

    async def give_back(
        self, tenant: str, leased: Leased, due_ms: int | None, record: Parcel | None = None, *, forget: bool = False
    ) -> bool:
        """Done with it for now; None: for good. ``forget`` removes a parcel's record."""
        written: Arg = "-" if forget else b"" if record is None else _pack(record)
        args: list[Arg] = [leased.member, leased.until, "", "" if due_ms is None else due_ms, written]
        return bool(await self._connection.script(SAVE, self._turns(tenant), args))

    async def nudge(self, tenant: str, members: Sequence[str], now_ms: int) -> None:
        """Have something done about these at once, unless somebody is at it."""
        for member in members:
            await self._connection.call("ZADD", f"{tenant_prefix(tenant)}due", "XX", now_ms, member)
        await tell_news(self._connection, tenant)

    def _turns(self, tenant: str) -> list[str]:
        prefix = tenant_prefix(tenant)
        return [f"{prefix}due", f"{prefix}leases", f"{prefix}parcels"]

    # Parcels.

    async def unwant(self, tenant: str, parcels: Iterable[str], now_ms: int) -> None:
        """Have parcels cancelled."""
        ids = list(parcels)
        if ids:
            await self._connection.call("SADD", f"{tenant_prefix(tenant)}unwanted", *ids)
            await self.nudge(tenant, [f"p:{parcel}" for parcel in ids], now_ms)

    async def unwanted(self, parcel: Parcel) -> bool:
        """Whether somebody has asked for it to be cancelled."""
        key = f"{tenant_prefix(parcel.tenant)}unwanted"
        return bool(await self._connection.call("SISMEMBER", key, parcel.id))

    async def manifest(self, parcel: Parcel, start: int = 0, count: int = -1) -> list[Manifest]:
        """Its lines, in order."""
        key = f"{tenant_prefix(parcel.tenant)}parcel:{parcel.id}"
        end = -1 if count < 0 else start + count - 1
        return [_manifest(part) for part in await self._connection.call("LRANGE", key, start, end)]

    async def parcels(self, tenant: str) -> list[Parcel]:
        """All that are on their way."""
        return [_parcel(part) for part in await self._connection.call("HVALS", f"{tenant_prefix(tenant)}parcels")]

    async def forget_parcel(self, parcel: Parcel) -> None:
        """Remove what was kept of it beside its record."""
        prefix = tenant_prefix(parcel.tenant)
        await self._connection.call("DEL", f"{prefix}parcel:{parcel.id}")
        await self._connection.call("SREM", f"{prefix}unwanted", parcel.id)

    # Reading and noting.

    async def tally(self, tenant: str, job: str) -> Tally | None:
        """How far a job is; None where there is none."""
        flat = await self._connection.call("HGETALL", f"{tenant_prefix(tenant)}job:{job}")
        if not flat:
            return None
        found = dict(zip(flat[::2], flat[1::2], strict=True))
        record = _job(found.pop(b"record"))
        text = {name.decode(): value.decode() for name, value in found.items()}

        def number(name: str) -> int:
            return int(text.pop(name, "0") or 0)

        return Tally(
            job=record, lines=number("lines"), done=number("done"), succeeded=number("succeeded"),
            failed=number("failed"), cancelled=number("cancelled"), expired=number("expired"), cost_nano=number("cost"),
            sealed=bool(number("sealed")), ended_ms=number("ended"), unwanted=bool(number("cancel")),
            at=text.pop("at", ""), notes=text,
        )  # fmt: skip  # one figure a line would be a page

    async def ids(self, tenant: str, count: int, after: str | None = None) -> list[str]:
        """Job ids, the newest first, from behind one of them on."""
        key = f"{tenant_prefix(tenant)}jobs"
        start = 0
        if after is not None:
            rank = await self._connection.call("ZREVRANK", key, after)
            start = 0 if rank is None else int(rank) + 1
        found = await self._connection.call("ZREVRANGE", key, start, start + count - 1)
        return [name.decode() for name in found]

    async def note(self, tenant: str, job: str, **notes: str | int) -> None:
        """Write something down of a job, unless it has been deleted."""
        flat: list[Arg] = [part for pair in notes.items() for part in pair]
        await self._connection.script(NOTE, [f"{tenant_prefix(tenant)}job:{job}"], ["HSET", *flat])

    async def begin(self, job: Job, number: int, nano: int) -> tuple[bool, int]:
        """Whether a line may begin under its job's own limit, and what is spent or under way beside it. It is counted once,
        however often it is asked.
        """
        prefix = tenant_prefix(job.tenant)
        keys = [f"{prefix}job:{job.id}", f"{prefix}payload:{job.id}"]
        may, begun = await self._connection.script(BEGIN, keys, [number, nano, job.cap_nano])
        return bool(may), int(begun)

    async def ended(self, tenant: str, job: str) -> bool:
        """Whether every line has its end."""
        return bool(await self._connection.call("HEXISTS", f"{tenant_prefix(tenant)}job:{job}", "ended"))

    async def lines(self, tenant: str, job: str, numbers: Sequence[int]) -> list[Line | None]:
        """These lines of a job."""
        if not numbers:
            return []
        found = await self._connection.call("HMGET", f"{tenant_prefix(tenant)}lines:{job}", *numbers)
        return [None if value is None else _line(value.partition(b"\n")[2]) for value in found]

    async def payload(self, tenant: str, job: str, field: str) -> bytes | None:
        """A sealed payload that lies in the store."""
        found: bytes | None = await self._connection.call("HGET", f"{tenant_prefix(tenant)}payload:{job}", field)
        return found

    async def price(self, tenant: str, version: str) -> Price | None:
        """A price that lines speak of."""
        found = await self._connection.call("HGET", f"{tenant_prefix(tenant)}jobprices", version)
        return None if found is None else _price(found)

    # Retention.

    async def expire(self, tenant: str, at_ms: int, *what: str) -> None:
        """Have ``job:ID`` and ``blob:NAME`` go then."""
        flat = [part for member in what for part in (at_ms, member)]
        if flat:
            await self._connection.call("ZADD", f"{tenant_prefix(tenant)}expiry", *flat)

    async def expired(self, tenant: str, now_ms: int) -> list[str]:
        """What should have gone by now."""
        key = f"{tenant_prefix(tenant)}expiry"
        found = await self._connection.call("ZRANGEBYSCORE", key, "-inf", now_ms, "LIMIT", 0, CHUNK)
        return [member.decode() for member in found]

    async def forget(self, tenant: str, member: str) -> None:
        """It is gone; of a job, everything that the store has."""
        prefix = tenant_prefix(tenant)
        kind, _, name = member.partition(":")
        if kind == "job":
            keys = [f"{prefix}job:{name}", f"{prefix}lines:{name}", f"{prefix}payload:{name}"]
            await self._connection.call("DEL", *keys)
            await self._connection.call("ZREM", f"{prefix}jobs", name)
        await self._connection.call("ZREM", f"{prefix}expiry", member)

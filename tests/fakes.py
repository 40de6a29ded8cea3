"""The ports' shipped fakes: in memory, same promises. The contract suites run over these and the real ones.

Belongs here: one fake for each contract of router/ports.py. Does not belong here: a stand-in for a library.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

from router.core.budgets.budget import BUCKETS, NO_TERMS, Budget, Budgets
from router.core.budgets.limits import BUCKETS as LIMIT_BUCKETS
from router.core.budgets.limits import Limit, corrections, counted
from router.ports import (
    BlobMissing,
    BudgetExceeded,
    JournalUnavailable,
    LimitReached,
    NotHeld,
    PeriodOver,
    StoreUnavailable,
    UpstreamFailure,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from router.core.budgets.budget import Dims, Term, Terms
    from router.core.errors import RouterError
    from router.core.values import Hold, Identity, Row
    from router.ports import ProviderLink, UpstreamRequest


class FakeClock:
    """Stands still until told to advance."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 1_000.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now_ms += round(seconds * 1000)
        self._monotonic += seconds


class FakeLedger:
    """Books at once. ``available = False`` makes it a store that is down: rows are kept until it is back.
    ``writable = False`` makes its journal's disk full. ``sent_rows`` are what would be booked if the process died.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.available = True
        self.writable = True
        self.sent_rows: dict[str, Row] = {}
        self.holds: dict[str, Hold] = {}
        self.reserved: list[Hold] = []
        """Every hold that was granted, ended or not."""
        self.spent: Counter[str] = Counter()
        """By budget period; a rolling budget's by bucket."""
        self.rates: Counter[str] = Counter()
        """What was counted in each bucket of limits on rates: ``id~bucket``."""
        self._clock = clock
        self._rows: list[Row] = []
        self._queued: list[Row] = []

    @property
    def rows(self) -> list[Row]:
        """What is in the store."""
        self._book()
        return self._rows

    def reserve(self, hold: Hold) -> asyncio.Future[int]:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[int] = loop.create_future()
        now_ms = self._clock.now_ms()
        if not self.available:
            result.set_exception(StoreUnavailable("the fake store is down"))
        elif hold.not_after_ms < now_ms:
            result.set_exception(StoreUnavailable(f"the reservation of {hold.attempt} reached the store too late"))
        else:
            self._book()
            refusal = self._refusal(hold, now_ms)
            if refusal is not None:
                result.set_exception(refusal)
            else:
                if not hold.grows and hold.attempt not in self.holds:
                    for entry in counted(hold, now_ms):
                        name, _, tokens = entry.partition(":")
                        self.rates[name] += int(tokens or 1)
                if hold.grows or hold.attempt not in self.holds:
                    self.holds[hold.attempt] = hold
                    self.reserved.append(hold)
                loop.call_soon(self._granted, hold, result, now_ms)
        return result

    def counted(self, limit: Limit) -> int:
        return self.limited(limit, self._clock.now_ms())

    def limited(self, limit: Limit, now_ms: int) -> int:
        if limit.kind == "concurrency":
            return sum(limit in hold.terms.limits for hold in self.holds.values())
        bucket = now_ms // limit.bucket_ms
        return sum(self.rates[f"{limit.id}~{number}"] for number in range(bucket - LIMIT_BUCKETS, bucket + 1))

    def spent_of(self, term: Term, but: str = "") -> tuple[int, int]:
        """(spent, held) that count for a budget's period, without one attempt."""
        held = [
            held_amount(hold, other)
            for hold in self.holds.values()
            for other in hold.terms.terms
            if hold.attempt != but
            and (other.name == term.name or (term.bucket >= 0 and other.budget.id == term.budget.id))
        ]
        if term.bucket < 0:
            return self.spent[term.name], sum(held)
        buckets = range(term.bucket - BUCKETS, term.bucket + 1)
        return sum(self.spent[f"{term.budget.id}~{number}"] for number in buckets), sum(held)

    def _refusal(self, hold: Hold, now_ms: int) -> Exception | None:
        had = self.holds.get(hold.attempt)
        if hold.grows and had is None:
            return NotHeld(f"{hold.attempt} is not held, so it cannot grow")
        if not hold.grows and had is not None:
            return None
        for term in hold.terms.terms:
            if not hold.grows and not term.from_ms <= now_ms < term.until_ms:
                return PeriodOver(now_ms)
        for limit in () if hold.grows else hold.terms.limits:
            amount = limit_amount(limit, hold)
            current = self.limited(limit, now_ms)
            if amount and current + amount > limit.limit:
                return LimitReached(limit, current, hold.tokens if limit.kind == "tokens" else 1, 1_000)
        for term in hold.terms.terms:
            spent, held = self.spent_of(term, but=hold.attempt)
            amount = held_amount(hold, term)
            before = held_amount(had, term) if had is not None else 0
            if amount > before and spent + held + amount > term.budget.limit_nano:
                return BudgetExceeded(term, spent, held + before, amount)
        return None

    def store_ms(self) -> int:
        return self._clock.now_ms()

    def _granted(self, hold: Hold, result: asyncio.Future[int], now_ms: int) -> None:
        if not result.cancelled():
            result.set_result(now_ms)
        elif not hold.grows:
            self.holds.pop(hold.attempt, None)

    def sent(self, row: Row) -> None:
        if not self.writable:
            raise JournalUnavailable("the fake disk is full")
        self.sent_rows[row.attempt] = row

    def settle(self, row: Row) -> None:
        self.sent_rows.pop(row.attempt, None)
        self._queued.append(row)
        self._book()

    async def flush(self) -> None:
        if self._queued and not self.available:
            raise StoreUnavailable(f"{len(self._queued)} rows still wait for the fake store")
        self._book()

    def _book(self) -> None:
        if not self.available:
            return
        queued, self._queued = self._queued, []
        for row in queued:
            self.holds.pop(row.attempt, None)
            if row.outcome != "released":
                self._rows.append(row)
                for name in row.budgets:
                    self.spent[name] += row.cost_nano
            for name, difference in corrections(row):
                self.rates[name] += difference


def limit_amount(limit: Limit, hold: Hold) -> int:
    """What a hold adds to one of its limits."""
    if limit.id in hold.terms.counted:
        return 0
    return hold.tokens if limit.kind == "tokens" else 1


def held_amount(hold: Hold, term: Term) -> int:
    """What a hold sets aside in one of its budgets."""
    likely = hold.amount_nano if hold.likely_nano is None else hold.likely_nano
    return hold.amount_nano if term.budget.mode == "hard" else likely


class FakeBook:
    """Budgets by tenant, in UTC."""

    def __init__(self, *budgets: Budget) -> None:
        self._by_tenant: dict[str, Budgets] = {}
        self.used = 0
        """Thousandths of the fullest budget."""
        self.put(*budgets)

    def put(self, *budgets: Budget) -> None:
        for tenant in {budget.tenant for budget in budgets}:
            own = [budget for budget in budgets if budget.tenant == tenant]
            self._by_tenant[tenant] = Budgets(own, {"UTC": dt.UTC})

    def terms(self, tenant: str, dims: Dims, now_ms: int) -> Terms:
        found = self._by_tenant.get(tenant)
        return NO_TERMS if found is None else found.terms(dims, now_ms)

    async def used_milli(self, tenant: str, dims: Dims, now_ms: int) -> int:
        return self.used if self.terms(tenant, dims, now_ms).terms else 0


class FakeKeys:
    """Knows the secrets that it was given."""

    def __init__(self, known: Mapping[str, Identity]) -> None:
        self.known = dict(known)
        self.available = True

    async def identify(self, secret: str) -> Identity | None:
        if not self.available:
            raise StoreUnavailable("the fake store is down")
        return self.known.get(secret)


class FakeCounter:
    """A token a word. ``broken`` is raised by `count`; while ``hold`` is an unset event, `count` waits for it."""

    def __init__(self) -> None:
        self.broken: BaseException | None = None
        self.hold: asyncio.Event | None = None

    def count_now(self, text: str) -> int:
        return len(text.split())

    def known(self, text: str) -> int | None:
        return len(text.split())

    async def count(self, texts: Sequence[str]) -> list[int]:
        if self.hold is not None:
            await self.hold.wait()
        if self.broken is not None:
            raise self.broken
        return [len(text.split()) for text in texts]


class FakeWays:
    """A key a provider, none of them ever shut unless it is in ``away``. Remembers what it hears."""

    def __init__(self, links: Mapping[str, ProviderLink]) -> None:
        self.links = dict(links)
        self.away: dict[str, int] = {}
        """Provider to the ms after which it is worth another try."""
        self.probes: set[str] = set()
        self.faulty: set[str] = set()
        """Providers that have failed more than once in a row."""
        self.heard: list[tuple[str, str, str]] = []

    def link(self, provider: str, model: str, tokens: int) -> ProviderLink | None:
        return None if provider in self.away else self.links[provider]

    def named(self, provider: str, key: str) -> ProviderLink | None:
        return self.links.get(provider)

    def open(self, link: ProviderLink, model: str) -> bool:
        return link.name not in self.away

    def probing(self, link: ProviderLink, model: str) -> bool:
        return link.name in self.probes

    def failing(self, link: ProviderLink, model: str) -> bool:
        return link.name in self.faulty

    def wait_ms(self, provider: str, model: str) -> int | None:
        return self.away.get(provider)

    def answered(self, link: ProviderLink, model: str, headers: Mapping[str, str]) -> None:
        self.heard.append((link.name, "answered", headers.get("x-ratelimit-remaining-requests", "")))

    def ended(self, link: ProviderLink, model: str, outcome: str, error: RouterError | None) -> None:
        self.heard.append((link.name, outcome, error.code if error else ""))


class FakeListener:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.rows: list[tuple[Row, str | None]] = []
        self.refusals: list[tuple[str, str, Identity | None]] = []

    def on_row(self, row: Row, error: str | None) -> None:
        self.rows.append((row, error))

    def on_refusal(self, endpoint: str, code: str, identity: Identity | None) -> None:
        self.refusals.append((endpoint, code, identity))


class FakeResponse:
    """A response whose body comes in these parts; an exception among them is raised, an event waited for."""

    def __init__(
        self,
        parts: Iterable[bytes | BaseException | asyncio.Event] = (),
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.headers = {"content-type": "application/json"} if headers is None else dict(headers)
        self.closed = False
        self._parts = list(parts)

    @property
    def left(self) -> int:
        """Parts that nobody has taken."""
        return len(self._parts)

    async def chunk(self) -> bytes:
        while self._parts:
            part = self._parts.pop(0)
            if isinstance(part, BaseException):
                raise part
            if isinstance(part, bytes):
                return part
            await part.wait()
        return b""

    async def read(self, limit: int) -> bytes:
        body = b""
        while part := await self.chunk():
            body += part
            if len(body) > limit:
                raise UpstreamFailure("too_large", f"the fake upstream sent a body over {limit} bytes", sent=True)
        return body

    def gather(self) -> None:
        """Chunks come as they were given."""

    def close(self) -> None:
        self.closed = True


class FakeUpstream:
    """Answers each request with the next of ``script``: a response, or a failure to raise. Keeps what it was sent."""

    def __init__(self, *script: FakeResponse | BaseException) -> None:
        self.script = list(script)
        self.sent: list[UpstreamRequest] = []

    async def send(self, request: UpstreamRequest) -> FakeResponse:
        self.sent.append(request)
        told = self.script.pop(0)
        if isinstance(told, BaseException):
            raise told
        return told

    async def close(self) -> None:
        self.script.clear()


class FakeBlobs:
    """Keeps blobs in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def writer(self, name: str) -> FakeBlobWriter:
        return FakeBlobWriter(self, name)

    async def read(self, name: str, offset: int, length: int) -> bytes:
        if name not in self.kept:
            raise BlobMissing(name)
        return self.kept[name][offset : offset + length]

    async def delete(self, name: str) -> None:
        self.kept.pop(name, None)


class FakeBlobWriter:
    """Keeps nothing until it is told to."""

    def __init__(self, blobs: FakeBlobs, name: str) -> None:
        self._blobs = blobs
        self._name = name
        self._data = b""

    async def write(self, data: bytes) -> None:
        self._data += data

    async def keep(self) -> None:
        self._blobs.kept[self._name] = self._data

    async def drop(self) -> None:
        self._data = b""

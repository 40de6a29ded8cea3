"""Budget definitions in the store, and each worker's compiled copy of them.

Belongs here: creating, changing and removing definitions, noticing changes of others, and what has been counted.
Does not belong here: admission (the reserve script), who may do what (http/budgets.py), matching (core/budgets/budget.py).
"""

from __future__ import annotations

import asyncio
import secrets
import zoneinfo
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from router.adapters.store.layout import PLATFORM_BUDGETS, budget_key, tenant_prefix
from router.core.budgets.budget import BUCKETS, MOST_KNOWN, NO_TERMS, Budget, Budgets, Dims, Term, Terms, term_at
from router.core.budgets.limits import BUCKETS as LIMIT_BUCKETS
from router.core.budgets.limits import Limit
from router.core.catalog.catalog import did_you_mean
from router.ports import USAGE_MS, StoreUnavailable

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable

    from router.adapters.store.connection import StoreConnection

FRESH_S: Final = 0.4
"""Between two looks for changes: a new budget holds on every worker within a second."""
_ALL: Final = b""
_log: Final = structlog.get_logger(__name__)
_decode_limit: Final = msgspec.json.Decoder(Limit).decode
_decode: Final = msgspec.json.Decoder(Budget).decode


def zone_of(name: str) -> dt.tzinfo:
    """A time zone by its name, such as ``Europe/Berlin``.

    Raises:
        ValueError: this machine knows no such zone.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = _like(name[:64]) or "; write one such as Europe/Berlin"
        raise ValueError(f"{name[:64]!r} is no time zone of this machine{hint}") from None


def _like(name: str) -> str:
    known = zoneinfo.available_timezones()
    same = [zone for zone in known if zone.lower() == name.lower().replace(" ", "_")]
    # People write the city, whatever continent the database puts it in.
    city = [
        zone for zone in known if zone.rpartition("/")[2].lower() == name.rpartition("/")[2].lower().replace(" ", "_")
    ]
    found = same or sorted(city, key=lambda zone: (zone.count("/") != 1, zone))[:3]
    return f"; did you mean {' or '.join(found)}?" if found else did_you_mean(name, sorted(known))


class RedisBudgets:
    """Implements `router.ports.BudgetBook`.

    Args:
        connection: to the store; not the one of the hot path, as a tenant's definitions may be many.
        built_in: budgets that the node brings along.
    """

    def __init__(self, connection: StoreConnection, built_in: Iterable[Budget] = ()) -> None:
        self._connection = connection
        self._built_in: dict[str, list[Budget]] = {}
        for budget in built_in:
            self._built_in.setdefault(budget.tenant, []).append(budget)
        self._refreshing = asyncio.Lock()
        self._versions: dict[bytes, bytes] = {}
        self._compiled: dict[str, Budgets] = {}
        self._usage: dict[str, tuple[int, int]] = {}
        """By period: thousandths that are used or held, and when that was read."""
        self.tell: Callable[[str], None] | None = None
        """Tells every worker that a tenant's budgets or limits have changed."""
        self.alerting: dict[tuple[str, str], Budget] = {}
        """Budgets with thresholds, by their tenant's prefix and their id."""
        for tenant in self._built_in:
            self._compile(tenant, [], [])

    def terms(self, tenant: str, dims: Dims, now_ms: int) -> Terms:
        """The budgets that an attempt falls under, each with its period at ``now_ms``."""
        found = self._compiled.get(tenant)
        return NO_TERMS if found is None else found.terms(dims, now_ms)

    async def used_milli(self, tenant: str, dims: Dims, now_ms: int) -> int:
        """What is spent and held of the fullest of these budgets, in thousandths. What cannot be read counts as it was."""
        terms = self.terms(tenant, dims, now_ms).terms
        old = [term.budget for term in terms if self._usage.get(term.name, (0, 0))[1] + USAGE_MS <= now_ms]
        if old:
            if len(self._usage) > MOST_KNOWN:
                self._usage.clear()
            try:
                for term, spent, held in await self.counted(old, now_ms):
                    share = (spent + held) * 1000 // max(term.budget.limit_nano, 1)
                    self._usage[term.name] = share, now_ms
            except StoreUnavailable:
                _log.warning("budget_use_unknown", tenant=tenant)
        return max((self._usage.get(term.name, (0, 0))[0] for term in terms), default=0)

    async def refresh(self) -> None:
        """Take over what has changed in the store.

        Raises:
            StoreUnavailable: no answer; what was known stays in force.
        """
        # One at a time: of two, the one that read first could otherwise write last.
        async with self._refreshing:
            version = await self._connection.call("HGET", PLATFORM_BUDGETS, _ALL)
            if version != self._versions.get(_ALL):
                await self._take_over()

    async def _take_over(self) -> None:
        flat = await self._connection.call("HGETALL", PLATFORM_BUDGETS)
        versions = dict(zip(flat[::2], flat[1::2], strict=True))
        for name in versions.keys() | self._versions.keys():
            if name != _ALL and versions.get(name) != self._versions.get(name):
                tenant = name.decode()
                self._compile(tenant, await self._stored(tenant), await self.limits_of(tenant))
        self._versions = versions

    async def keep_fresh(self) -> None:
        """`refresh` again and again, until cancelled."""
        failed = False
        while True:
            await asyncio.sleep(FRESH_S)
            try:
                await self.refresh()
            except StoreUnavailable as error:
                if not failed:
                    _log.warning("budgets_not_refreshed", reason=str(error))
                failed = True
            except Exception as error:  # noqa: BLE001 - the known budgets stay in force; the next turn tries again
                _log.exception("budgets_refresh_failed", kind=type(error).__name__)
            else:
                failed = False

    async def put(self, budget: Budget) -> None:
        """Create a budget, or change the one with its id.

        Raises:
            StoreUnavailable: no answer; it may or may not be in force.
        """
        key = f"{tenant_prefix(budget.tenant)}budgets"
        await self._connection.call("HSET", key, budget.id, msgspec.json.encode(budget))
        await self._changed(budget.tenant)

    async def put_limit(self, limit: Limit) -> None:
        """Create a limit on a rate or on attempts at a time, or change the one with its id.

        Raises:
            StoreUnavailable: no answer; it may or may not be in force.
        """
        await self._connection.call(
            "HSET", f"{tenant_prefix(limit.tenant)}limits", limit.id, msgspec.json.encode(limit)
        )
        await self._changed(limit.tenant)

    async def remove_limit(self, tenant: str, limit: str) -> bool:
        """End a limit by its id; False when there is none.

        Raises:
            StoreUnavailable: no answer; ask again.
        """
        gone = await self._connection.call("HDEL", f"{tenant_prefix(tenant)}limits", limit)
        await self._changed(tenant)
        return bool(gone)

    async def limits_of(self, tenant: str) -> list[Limit]:
        """A tenant's limits.

        Raises:
            StoreUnavailable: no answer.
        """
        found = []
        for text in await self._connection.call("HVALS", f"{tenant_prefix(tenant)}limits"):
            try:
                found.append(_decode_limit(text))
            except (msgspec.DecodeError, ValueError) as error:
                _log.error("limit_unreadable", tenant=tenant, reason=str(error))
        return sorted(found, key=lambda limit: (limit.scope, limit.kind, limit.per))

    async def limits_counted(self, limits: Iterable[Limit], now_ms: int) -> list[tuple[Limit, int]]:
        """What each limit counts at an instant of the store's time.

        Raises:
            StoreUnavailable: no answer.
        """
        known = list(limits)
        keys = [budget_key(tenant_prefix(limit.tenant), limit.name) for limit in known]
        found = await asyncio.gather(*(self._connection.call("HGETALL", key) for key in keys))
        return [(limit, _counted(limit, flat, now_ms)) for limit, flat in zip(known, found, strict=True)]

    async def remove(self, tenant: str, budget: str) -> bool:
        """End a budget by its id; False when there is none. What it has counted ages out by itself.

        Raises:
            StoreUnavailable: no answer; ask again.
        """
        gone = await self._connection.call("HDEL", f"{tenant_prefix(tenant)}budgets", budget)
        await self._changed(tenant)
        return bool(gone)

    async def of_tenant(self, tenant: str) -> list[Budget]:
        """A tenant's budgets, the node's own first.

        Raises:
            StoreUnavailable: no answer.
        """
        return [*self._built_in.get(tenant, ()), *await self._stored(tenant)]

    async def counted(self, budgets: Iterable[Budget], now_ms: int) -> list[tuple[Term, int, int]]:
        """(period, spent, held in nano-dollars) of each budget, at an instant of the store's time.

        Raises:
            StoreUnavailable: no answer.
        """
        terms = [term_at(budget, zone_of(budget.zone), now_ms) for budget in budgets]
        keys = [budget_key(tenant_prefix(term.budget.tenant), term.name) for term in terms]
        found = await asyncio.gather(*(self._connection.call("HGETALL", key) for key in keys))
        return [(term, *_counts(term, flat)) for term, flat in zip(terms, found, strict=True)]

    async def _changed(self, tenant: str) -> None:
        # No count: after a failover that lost a change, the next one would have its number.
        version = secrets.token_hex(8)
        await self._connection.call("HSET", PLATFORM_BUDGETS, tenant, version)
        await self._connection.call("HSET", PLATFORM_BUDGETS, _ALL, version)
        if self.tell is not None:
            self.tell(tenant)
        await self.refresh()

    async def _stored(self, tenant: str) -> list[Budget]:
        budgets = []
        for text in await self._connection.call("HVALS", f"{tenant_prefix(tenant)}budgets"):
            try:
                budget = _decode(text)
            except (msgspec.DecodeError, ValueError) as error:
                _log.error("budget_unreadable", tenant=tenant, reason=str(error))
                continue
            try:
                zone_of(budget.zone)
            except ValueError as error:
                # A machine without that calendar must not pass the limit: UTC's periods are as long.
                _log.error("budget_zone_unknown", tenant=tenant, budget=budget.id, reason=str(error))
                budget = msgspec.structs.replace(budget, zone="UTC")
            budgets.append(budget)
        return sorted(budgets, key=lambda budget: (budget.scope, budget.period, budget.id))

    def _compile(self, tenant: str, stored: list[Budget], limits: list[Limit]) -> None:
        budgets = [*self._built_in.get(tenant, ()), *stored]
        prefix = tenant_prefix(tenant)
        others = {key: budget for key, budget in self.alerting.items() if key[0] != prefix}
        self.alerting = others | {(prefix, budget.id): budget for budget in budgets if budget.alerts}
        if budgets or limits:
            zones = {budget.zone: zone_of(budget.zone) for budget in budgets}
            self._compiled[tenant] = Budgets(budgets, zones, limits)
        else:
            self._compiled.pop(tenant, None)


def _counted(limit: Limit, flat: list[Any], now_ms: int) -> int:
    fields = {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    if limit.kind == "concurrency":
        return fields.get("h", 0)
    oldest = now_ms // limit.bucket_ms - LIMIT_BUCKETS
    return sum(value for name, value in fields.items() if name.isdigit() and int(name) >= oldest)


def _counts(term: Term, flat: list[Any]) -> tuple[int, int]:
    fields = {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    if term.bucket < 0:
        return fields.get("s", 0), fields.get("h", 0)
    counted = (value for name, value in fields.items() if name.isdigit() and int(name) >= term.bucket - BUCKETS)
    return sum(counted), fields.get("h", 0)

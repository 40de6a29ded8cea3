"""The endpoints of budgets: setting, listing and removing them.

Belongs here: who may, the bodies' shapes and checks. Does not belong here: keeping definitions (ledger/budgets.py),
and refusing requests (the pipeline).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from router.adapters.http.admin import (
    HOME,
    LABEL,
    OPERATOR,
    governed_tenant,
    json_reply,
    silent_store,
    tenant_of,
)
from router.adapters.http.keys import admin_body
from router.adapters.http.server import Handler
from router.adapters.ledger.budgets import RedisBudgets, zone_of
from router.core.budgets.budget import FIELDS, Budget, Period, Running, SetBy, budget_id
from router.core.budgets.words import budget_state, period_words
from router.core.catalog.catalog import did_you_mean
from router.core.errors import RouterError
from router.core.money import MAX_NANO, PICO_PER_NANO, parse_usd, usd
from router.core.schema import one_or_more
from router.pipeline import Pipeline
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.keys.audit import Audit
    from router.core.values import Identity

MOST_ALERTS: Final = 10
_TEXT: Final = r"^[^\x00-\x1f\x7f]{1,128}$"
_TAG: Final = r"^[A-Za-z0-9_.-]{1,32}=[A-Za-z0-9_.:/@ -]{1,64}$"
_PERCENT: Final = re.compile(r"([1-9]\d{0,2})\s*%?", re.ASCII)


class Scope(BaseModel):
    """What a budget counts: attempts for which all of this holds."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    tenant: str | None = Field(default=None, pattern=LABEL)
    team: str | None = Field(default=None, pattern=LABEL)
    app: str | None = Field(default=None, pattern=LABEL)
    key: str | None = Field(default=None, pattern=_TEXT)
    user: str | None = Field(default=None, pattern=_TEXT)
    model: str | None = Field(default=None, pattern=_TEXT)
    provider: str | None = Field(default=None, pattern=_TEXT)
    tag: str | None = Field(default=None, pattern=_TAG)

    @model_validator(mode="before")
    @classmethod
    def _no_nulls(cls, given: Any) -> Any:
        empty = [name for name, value in given.items() if value is None] if isinstance(given, dict) else []
        if empty:
            raise ValueError(f"{empty[0]} is null; leave it out, or the budget would count more than was meant")
        return given


def _in_quotes(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        shown = str(value) if "e" not in str(value) else "1.50"
        raise ValueError(f'put the amount in quotes, such as "{shown}"; a number may not be exact')  # noqa: TRY004 - pydantic reports ValueError only
    return value


class NewBudget(BaseModel):
    """The body of ``POST /costrouter/v1/budgets``."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    scope: Scope = Scope()
    limit_usd: Annotated[str, BeforeValidator(_in_quotes)]
    period: Period
    rolling: bool = False
    time_zone: str = "UTC"
    hard: bool = True
    running_streams: Running = "finish"
    alerts: Annotated[tuple[str | int, ...], BeforeValidator(one_or_more), Field(max_length=MOST_ALERTS)] = ()
    object: Literal["costrouter.budget"] = "costrouter.budget"

    @field_validator("limit_usd")
    @classmethod
    def _limit(cls, text: str) -> str:
        pico = parse_usd(text)
        if pico % PICO_PER_NANO:
            raise ValueError(f"{text!r} is finer than a nano-dollar")
        if pico // PICO_PER_NANO >= MAX_NANO:
            raise ValueError(f"{text!r} is too much: the limit must be less than ${usd(MAX_NANO)}")
        return text

    @field_validator("alerts")
    @classmethod
    def _percentages(cls, given: tuple[str | int, ...]) -> tuple[int, ...]:
        found = [_PERCENT.fullmatch(str(one).strip()) for one in given]
        if not all(found):
            raise ValueError("write percentages of the limit, such as 80%")
        return tuple(sorted({int(match[1]) for match in found if match}))


class BudgetApi:
    """Handlers by (method, path), for the server's table.

    Args:
        pipeline: knows keys, models and providers.
        budgets: where they are kept.
        now_ms: the store's time.
        audit: where changes are written down.
    """

    def __init__(self, pipeline: Pipeline, budgets: RedisBudgets, now_ms: Callable[[], int], audit: Audit) -> None:
        self._audit = audit
        self._pipeline = pipeline
        self._budgets = budgets
        self._now_ms = now_ms

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {
            ("POST", "/costrouter/v1/budgets"): self._set,
            ("GET", "/costrouter/v1/budgets"): self._list,
            ("DELETE", "/costrouter/v1/budgets/*"): self._remove,
        }

    async def _set(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        wanted = await admin_body(request, NewBudget)
        budget = self.checked(wanted, tenant_of(identity, wanted.scope.tenant))
        try:
            return await self._shown([await self.put(identity, budget, request_id)], request_id, 201)
        except StoreUnavailable:
            raise silent_store() from None

    async def _list(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        tenant = governed_tenant(identity, request, "budgets")
        try:
            return await self._shown(await self._budgets.of_tenant(tenant), request_id)
        except StoreUnavailable:
            raise silent_store() from None

    async def _remove(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        tenant = governed_tenant(identity, request, "budgets")
        name = request.path.rpartition("/")[2]
        try:
            found = [budget for budget in await self._budgets.of_tenant(tenant) if budget.id == name]
            if any(budget.built_in for budget in found):
                message = "This budget limits a generated key; set a key of your own (COSTROUTER_DEV_KEY, _ADMIN_KEY)."
                raise RouterError("not_allowed", message)
            self.check_right(identity, next(iter(found), None))
            if not found:
                raise RouterError("not_found", "There is no such budget; GET /costrouter/v1/budgets lists them by id.")
            before = budget_body(found[0])
            await self._audit.note(identity, tenant, "budget.remove", name, before=before, request_id=request_id)
            await self._budgets.remove(tenant, name)
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply({"object": "costrouter.budget.deleted", "id": name, "deleted": True}, request_id)

    async def put(self, who: Identity, budget: Budget, request_id: str) -> Budget:
        """Set a budget and write down who did; gives it as it is stored. Raises `StoreUnavailable`, and `RouterError` as `check_right`."""
        stored = next((found for found in await self._budgets.of_tenant(budget.tenant) if found.id == budget.id), None)
        self.check_right(who, stored)
        before = None if stored is None else budget_body(stored)
        budget = msgspec.structs.replace(budget, set_by=rank_of(who))
        after = budget_body(budget)
        await self._audit.note(
            who, budget.tenant, "budget.set", budget.id, before=before, after=after, request_id=request_id
        )
        await self._budgets.put(budget)
        return budget

    def check_right(self, who: Identity, stored: Budget | None) -> None:
        """Nothing, if they may change or remove this budget.

        Raises:
            RouterError: ``not_allowed``: the node's operator set it, and they are a tenant's administrator.
        """
        if stored is not None and stored.set_by == "operator" and rank_of(who) != "operator":
            message = (
                f"The node's operator set this budget ({stored.id}: ${usd(stored.limit_nano)} {period_words(stored)}), so only "
                "they can change it. A budget of your own with another scope or period can be stricter."
            )
            raise RouterError("not_allowed", message)

    async def of_tenant(self, tenant: str) -> list[Budget]:
        """A tenant's budgets. Raises `StoreUnavailable`."""
        return await self._budgets.of_tenant(tenant)

    async def _shown(self, budgets: list[Budget], request_id: str, status: int = 200) -> web.Response:
        counted = await self._budgets.counted(budgets, self._now_ms())
        states: list[dict[str, Any]] = [{"object": "costrouter.budget", **budget_state(*state)} for state in counted]
        return json_reply(states[0] if status == 201 else {"object": "list", "data": states}, request_id, status)

    def checked(self, wanted: NewBudget, tenant: str) -> Budget:
        """The budget, with names that mean something: one that could never match would protect nobody."""
        scope = {field: value for field in FIELDS if (value := getattr(wanted.scope, field)) is not None}
        world = self._pipeline.snapshot.world
        if "model" in scope:
            named = world.names.find(scope["model"])
            if named is None or len({entry.id for entry in named.entries}) != 1:
                hint = did_you_mean(scope["model"], world.catalog.ids)
                raise _wrong("scope.model", f"{scope['model'][:80]!r} is no model of the catalog{hint}")
            scope["model"] = named.entries[0].id
        if "provider" in scope and scope["provider"] not in world.catalog.providers:
            hint = did_you_mean(scope["provider"], world.catalog.providers)
            raise _wrong("scope.provider", f"{scope['provider'][:80]!r} is no provider of the catalog{hint}")
        if wanted.rolling and wanted.period == "total":
            raise _wrong("rolling", "a total has no length that could roll")
        try:
            zone_of(wanted.time_zone)
        except ValueError as error:
            raise _wrong("time_zone", str(error)) from None
        zone = "UTC" if wanted.rolling or wanted.period == "total" else wanted.time_zone
        return Budget(
            id=budget_id(tenant, scope.items(), wanted.period, zone, rolling=wanted.rolling),
            tenant=tenant,
            scope=tuple((field, scope[field]) for field in FIELDS if field in scope),
            limit_nano=parse_usd(wanted.limit_usd) // PICO_PER_NANO,
            period=wanted.period,
            rolling=wanted.rolling,
            zone=zone,
            mode="hard" if wanted.hard else "statistical",
            running=wanted.running_streams,
            alerts=tuple(int(percent) for percent in wanted.alerts),
        )


def budget_body(budget: Budget) -> dict[str, Any]:
    """The body that sets this budget."""
    return {
        "scope": dict(budget.scope),
        "limit_usd": usd(budget.limit_nano),
        "period": budget.period,
        "rolling": budget.rolling,
        "time_zone": budget.zone,
        "hard": budget.mode == "hard",
        "running_streams": budget.running,
        "alerts": [f"{percent}%" for percent in budget.alerts],
    }


def rank_of(who: Identity) -> SetBy:
    """Who sets or changes something: the node's operator, or a tenant's administrator."""
    return "operator" if (who.tenant, who.key) == (HOME, OPERATOR) else "tenant"


def _wrong(field: str, message: str) -> RouterError:
    end = "" if message.endswith("?") else "."
    return RouterError("invalid_request", f"{field}: {message}{end}", param=field)

"""The endpoints of limits on rates and on attempts at a time: setting, listing and removing them.

Belongs here: the bodies' shapes and checks. Does not belong here: keeping definitions (ledger/budgets.py), and refusing
requests (the pipeline).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, model_validator

from router.adapters.http.admin import governed_tenant, json_reply, silent_store, tenant_of
from router.adapters.http.budgets import BudgetApi, NewBudget, Scope, rank_of
from router.adapters.http.keys import admin_body
from router.core.budgets.limit_words import limit_body, limit_state, what
from router.core.budgets.limits import MOST, Kind, Limit, Per, limit_id
from router.core.errors import RouterError
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.http.server import Handler
    from router.adapters.keys.audit import Audit
    from router.adapters.ledger.budgets import RedisBudgets
    from router.core.values import Identity
    from router.pipeline import Pipeline

_PATH = "/costrouter/v1/limits"


class NewLimit(BaseModel):
    """The body of ``POST /costrouter/v1/limits``."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    scope: Scope = Scope()
    kind: Kind
    limit: int = Field(ge=0, le=MOST)
    per: Per = "minute"
    object: Literal["costrouter.limit"] = "costrouter.limit"

    @model_validator(mode="after")
    def _plain(self) -> NewLimit:
        if self.kind == "concurrency" and "per" in self.model_fields_set:
            raise ValueError("per: attempts at a time have no period; leave it out")
        return self


class LimitApi:
    """Handlers by (method, path), for the server's table.

    Args:
        pipeline: knows keys.
        budgets: checks scopes.
        book: where limits are kept.
        now_ms: the store's time.
        audit: where changes are written down.
    """

    def __init__(
        self, pipeline: Pipeline, budgets: BudgetApi, book: RedisBudgets, now_ms: Callable[[], int], audit: Audit
    ) -> None:
        self._pipeline = pipeline
        self._budgets = budgets
        self._book = book
        self._now_ms = now_ms
        self._audit = audit

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {("POST", _PATH): self._set, ("GET", _PATH): self._list, ("DELETE", f"{_PATH}/*"): self._remove}

    async def _set(self, request: web.BaseRequest, request_id: str) -> web.Response:
        who = await self._pipeline.authenticate(request.headers)
        wanted = await admin_body(request, NewLimit)
        limit = self.checked(wanted, tenant_of(who, wanted.scope.tenant))
        try:
            return await self._shown([await self.put(who, limit, request_id)], request_id, 201)
        except StoreUnavailable:
            raise silent_store() from None

    def checked(self, wanted: NewLimit, tenant: str) -> Limit:
        """The limit, with names that mean something. Scopes are those of budgets, and checked as such."""
        scope = self._budgets.checked(NewBudget(scope=wanted.scope, limit_usd="0", period="total"), tenant).scope
        name = limit_id(tenant, scope, wanted.kind, wanted.per)
        return Limit(name, tenant, scope, wanted.kind, wanted.limit, wanted.per)

    async def put(self, who: Identity, limit: Limit, request_id: str) -> Limit:
        """Set a limit and write down who did; gives it as it is stored. Raises `StoreUnavailable`, and `RouterError` as `check_right`."""
        stored = await self._stored(limit.tenant, limit.id)
        self.check_right(who, stored)
        limit = msgspec.structs.replace(limit, set_by=rank_of(who))
        before = None if stored is None else limit_body(stored)
        await self._audit.note(
            who, limit.tenant, "limit.set", limit.id, before=before, after=limit_body(limit), request_id=request_id
        )
        await self._book.put_limit(limit)
        return limit

    async def of_tenant(self, tenant: str) -> list[Limit]:
        """A tenant's limits. Raises `StoreUnavailable`."""
        return await self._book.limits_of(tenant)

    async def _list(self, request: web.BaseRequest, request_id: str) -> web.Response:
        who = await self._pipeline.authenticate(request.headers)
        try:
            return await self._shown(await self._book.limits_of(governed_tenant(who, request, "limits")), request_id)
        except StoreUnavailable:
            raise silent_store() from None

    async def _remove(self, request: web.BaseRequest, request_id: str) -> web.Response:
        who = await self._pipeline.authenticate(request.headers)
        tenant, name = governed_tenant(who, request, "limits"), request.path.rpartition("/")[2]
        try:
            stored = await self._stored(tenant, name)
            self.check_right(who, stored)
            if stored is None:
                raise RouterError("not_found", f"There is no such limit; GET {_PATH} lists them by id.")
            await self._audit.note(who, tenant, "limit.remove", name, before=limit_body(stored), request_id=request_id)
            await self._book.remove_limit(tenant, name)
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply({"object": "costrouter.limit.deleted", "id": name, "deleted": True}, request_id)

    def check_right(self, who: Identity, stored: Limit | None) -> None:
        """Nothing, if they may change or remove this limit.

        Raises:
            RouterError: ``not_allowed``: the node's operator set it, and they are a tenant's administrator.
        """
        if stored is not None and stored.set_by == "operator" and rank_of(who) != "operator":
            message = (
                f"The node's operator set this limit ({stored.id}: {what(stored)}), so only they can change it. A limit of your "
                "own with another scope or period can be stricter."
            )
            raise RouterError("not_allowed", message)

    async def _stored(self, tenant: str, name: str) -> Limit | None:
        return next((limit for limit in await self._book.limits_of(tenant) if limit.id == name), None)

    async def _shown(self, limits: list[Limit], request_id: str, status: int = 200) -> web.Response:
        counted = await self._book.limits_counted(limits, self._now_ms())
        states: list[dict[str, Any]] = [{"object": "costrouter.limit", **limit_state(*state)} for state in counted]
        return json_reply(states[0] if status == 201 else {"object": "list", "data": states}, request_id, status)

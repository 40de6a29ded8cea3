"""Keys, budgets and limits as one document: taken out, and put in again, here or on another node.

Belongs here: the document, and what putting it in would change. Does not belong here: any part's own rules
(keys.py, budgets.py, limits.py). Keys travel as digests: whoever has the document cannot call with them, and every application
keeps the key that it has. What is not named in a document stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import parse_qs

import msgspec
from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from router.adapters.http.admin import LABEL, governs, json_reply, silent_store, tenant_of
from router.adapters.http.budgets import BudgetApi, NewBudget, budget_body
from router.adapters.http.keys import Delegates, key_body, wrong_body
from router.adapters.http.limits import LimitApi, NewLimit
from router.adapters.http.server import Handler, read_body
from router.adapters.keys.keys import Key, KeyRecord
from router.core.access.rights import Role
from router.core.budgets.limit_words import limit_body
from router.core.errors import RouterError
from router.core.values import Identity
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.keys.audit import Audit
    from router.adapters.keys.keys import RedisKeys
    from router.core.budgets.budget import Budget
    from router.core.budgets.limits import Limit
    from router.pipeline import Pipeline

DOCUMENT: Final = 16 * 1024 * 1024
_FAR_MS: Final = 253_402_300_799_000
"""The year 9999."""


def _digest(text: str) -> str:
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError("write a SHA-256 as 64 hexadecimal digits")
    return text


class SecretDocument(BaseModel):
    """A secret, by its digest."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    sha256: Annotated[str, AfterValidator(_digest)]
    created_ms: int = Field(ge=0, le=_FAR_MS)
    expires_ms: int = Field(default=0, ge=0, le=_FAR_MS)


class KeyDocument(BaseModel):
    """A key."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    id: str = Field(pattern=r"^key-[0-9a-f]{16}$")
    name: str = Field(default="", max_length=64)
    tenant: str = Field(pattern=LABEL)
    team: str = Field(default="", pattern=f"{LABEL}|^$")
    app: str = Field(default="", pattern=f"{LABEL}|^$")
    role: Role = "app"
    delegates: Delegates = ()
    secrets: tuple[SecretDocument, ...] = Field(min_length=1, max_length=16)


class Document(BaseModel):
    """Everything that an export holds."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    version: Literal[1]
    keys: tuple[KeyDocument, ...] = ()
    budgets: tuple[NewBudget, ...] = ()
    limits: tuple[NewLimit, ...] = ()


class TransferApi:
    """Handlers by (method, path), for the server's table."""

    def __init__(self, pipeline: Pipeline, keys: RedisKeys, budgets: BudgetApi, limits: LimitApi, audit: Audit) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._budgets = budgets
        self._limits = limits
        self._audit = audit

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {
            ("GET", "/costrouter/v1/export"): self._export,
            ("POST", "/costrouter/v1/import"): self._import,
        }

    async def _export(self, request: web.BaseRequest, request_id: str) -> web.Response:
        who = await self._pipeline.authenticate(request.headers)
        tenant = _asked(request, "tenant")
        try:
            keys = [key for key in await self._keys.created() if governs(who, key.identity.tenant)]
            if tenant:
                tenants = [tenant_of(who, tenant)]
                keys = [key for key in keys if key.identity.tenant == tenant]
            else:
                tenants = sorted({who.tenant, *(key.identity.tenant for key in keys)})
            budgets = [
                budget for one in tenants for budget in await self._budgets.of_tenant(one) if not budget.built_in
            ]
            limits = [limit for one in tenants for limit in await self._limits.of_tenant(one)]
        except StoreUnavailable:
            raise silent_store() from None
        document = {
            "version": 1,
            "keys": [_key_document(key) for key in keys],
            "budgets": [_with_tenant(budget.tenant, budget_body(budget)) for budget in budgets],
            "limits": [_with_tenant(limit.tenant, limit_body(limit)) for limit in limits],
        }
        return json_reply(document, request_id)

    async def _import(self, request: web.BaseRequest, request_id: str) -> web.Response:
        who = await self._pipeline.authenticate(request.headers)
        dry = _asked(request, "dry_run") == "true"
        try:
            document = Document.model_validate_json(await read_body(request, DOCUMENT))
        except ValidationError as error:
            raise wrong_body(Document, error, "The document") from None
        # Everything is checked before anything is changed.
        for key in document.keys:
            tenant_of(who, key.tenant)
        budgets = [self._budgets.checked(wanted, tenant_of(who, wanted.scope.tenant)) for wanted in document.budgets]
        limits = [self._limits.checked(wanted, tenant_of(who, wanted.scope.tenant)) for wanted in document.limits]
        changes: list[dict[str, str]] = []
        try:
            actions = [await self._budget_action(who, budget) for budget in budgets]
            limited = [await self._limit_action(who, limit) for limit in limits]
            known = {key.identity.key: key for key in await self._keys.created()}
            changes += [
                await self._put_key(who, wanted, known.get(wanted.id), request_id, dry=dry) for wanted in document.keys
            ]
            for budget, action in zip(budgets, actions, strict=True):
                if action != "unchanged" and not dry:
                    await self._budgets.put(who, budget, request_id)
                changes.append({"kind": "budget", "id": budget.id, "tenant": budget.tenant, "action": action})
            for limit, action in zip(limits, limited, strict=True):
                if action != "unchanged" and not dry:
                    await self._limits.put(who, limit, request_id)
                changes.append({"kind": "limit", "id": limit.id, "tenant": limit.tenant, "action": action})
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply({"object": "costrouter.import", "dry_run": dry, "data": changes}, request_id)

    async def _budget_action(self, who: Identity, budget: Budget) -> str:
        stored = {found.id: found for found in await self._budgets.of_tenant(budget.tenant)}.get(budget.id)
        if stored is not None and stored == msgspec.structs.replace(budget, set_by=stored.set_by):
            return "unchanged"
        self._budgets.check_right(who, stored)
        return _action(stored, budget)

    async def _limit_action(self, who: Identity, limit: Limit) -> str:
        stored = {found.id: found for found in await self._limits.of_tenant(limit.tenant)}.get(limit.id)
        if stored is not None and stored == msgspec.structs.replace(limit, set_by=stored.set_by):
            return "unchanged"
        self._limits.check_right(who, stored)
        return _action(stored, limit)

    async def _put_key(
        self, who: Identity, wanted: KeyDocument, known: Key | None, request_id: str, *, dry: bool
    ) -> dict[str, str]:
        if known is not None and not governs(who, known.identity.tenant):
            raise RouterError("not_allowed", f"{wanted.id} is a key of another tenant.")
        key = _key(wanted)
        action = _action(known, key)
        if action != "unchanged" and not dry:
            await self._audit.note(
                who,
                wanted.tenant,
                "key.import",
                wanted.id,
                before=None if known is None else key_body(known.identity, known.current.expires_ms),
                after=key_body(key.identity, key.current.expires_ms),
                request_id=request_id,
            )
            try:
                await self._keys.put(key)
            except ValueError as error:
                raise RouterError("invalid_request", f"{error}.", param="keys") from None
        return {"kind": "key", "id": wanted.id, "tenant": wanted.tenant, "action": action}


def _action(before: object, after: object) -> str:
    if before is None:
        return "create"
    return "unchanged" if before == after else "change"


def _key(wanted: KeyDocument) -> Key:
    facts = wanted.model_dump(include={"name", "tenant", "team", "app", "role", "delegates"})
    identity = Identity(key=wanted.id, **facts)
    records = [
        KeyRecord(bytes.fromhex(secret.sha256), identity, secret.created_ms, secret.expires_ms)
        for secret in wanted.secrets
    ]
    return Key(tuple(sorted(records, key=lambda record: -record.created_ms)))


def _key_document(key: Key) -> dict[str, Any]:
    facts = {name: value for name, value in key_body(key.identity).items() if name not in ("object", "expires")}
    return {
        **facts,
        "secrets": [
            {
                "sha256": record.digest.hex(),
                "created_ms": record.created_ms,
                **({"expires_ms": record.expires_ms} if record.expires_ms else {}),
            }
            for record in key.records
        ],
    }


def _with_tenant(tenant: str, body: dict[str, Any]) -> dict[str, Any]:
    return body | {"scope": {"tenant": tenant} | body["scope"]}


def _asked(request: web.BaseRequest, field: str) -> str:
    query = parse_qs(request.rel_url.query_string)
    unknown = query.keys() - {field}
    if unknown:
        raise RouterError("invalid_request", f"This takes {field}, not {min(unknown)[:80]}.")
    return query.get(field, [""])[-1]

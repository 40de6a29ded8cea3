"""The endpoints of keys: making, listing, changing, rotating and revoking them; and the log of changes.

Belongs here: bodies' shapes and checks, and which keys a role may touch. Does not belong here: which roles come this far
(core/access/rights.py), and keeping keys (keys/keys.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from urllib.parse import parse_qs

import msgspec
from aiohttp import web
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from router.adapters.http.admin import LABEL, governs, json_reply, silent_store, tenant_of
from router.adapters.http.server import Handler, read_body
from router.core.access.delegation import read_delegates
from router.core.access.rights import Role, may_make
from router.core.errors import RouterError
from router.core.schema import one_or_more, problem_of
from router.core.units import milliseconds
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.keys.audit import Audit, Entry
    from router.adapters.keys.keys import Key, RedisKeys
    from router.core.values import Identity
    from router.pipeline import Pipeline

ADMIN_BODY: Final = 64 * 1024
USUAL_GRACE: Final = "24h"
MOST_ENTRIES: Final = 1000
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9 _.@-]{0,63}$"
_LABEL: Final = f"{LABEL}|^$"

Delegates = Annotated[tuple[str, ...], BeforeValidator(one_or_more), AfterValidator(read_delegates)]


class NewKey(BaseModel):
    """The body of ``POST /costrouter/v1/keys``."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: str = Field(pattern=_NAME)
    team: str = Field(default="", pattern=_LABEL)
    app: str = Field(default="", pattern=_LABEL)
    tenant: str | None = Field(default=None, pattern=LABEL)
    role: Role = "app"
    delegates: Delegates = ()
    expires: str = ""


class KeyChange(BaseModel):
    """The body of ``PATCH /costrouter/v1/keys/ID``: what is named is changed."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: str | None = Field(default=None, pattern=_NAME)
    team: str | None = Field(default=None, pattern=_LABEL)
    app: str | None = Field(default=None, pattern=_LABEL)
    delegates: Delegates | None = None
    expires: str | None = None


class Rotation(BaseModel):
    """The body of ``POST /costrouter/v1/keys/ID/rotate``."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    grace: str = USUAL_GRACE


Body = TypeVar("Body", bound=BaseModel)


async def admin_body(request: web.BaseRequest, kind: type[Body]) -> Body:
    """An administrator's body, checked; an empty one is one without fields.

    Raises:
        RouterError: ``invalid_request``, naming the field.
    """
    try:
        return kind.model_validate_json(await read_body(request, ADMIN_BODY) or b"{}")
    except ValidationError as error:
        raise wrong_body(kind, error, "The body") from None


def wrong_body(kind: type[BaseModel], error: ValidationError, whole: str) -> RouterError:
    """``invalid_request`` for the first thing that is wrong, naming the field, or the ``whole``."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] in {"extra_forbidden", "literal_error"}:
        said = problem_of(kind, dict(first)).message
    end = "" if said.endswith("?") else "."
    return RouterError("invalid_request", f"{field or whole}: {said}{end}", param=field or None)


class KeyApi:
    """Handlers by (method, path), for the server's table.

    Args:
        pipeline: knows who calls.
        keys: where they are kept.
        audit: where changes are written down.
        now_ms: the time, in ms since the epoch.
    """

    def __init__(self, pipeline: Pipeline, keys: RedisKeys, audit: Audit, now_ms: Callable[[], int]) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._audit = audit
        self._now_ms = now_ms

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {
            ("POST", "/costrouter/v1/keys"): self._create,
            ("GET", "/costrouter/v1/keys"): self._list,
            ("PATCH", "/costrouter/v1/keys/*"): self._change,
            ("POST", "/costrouter/v1/keys/*/rotate"): self._rotate,
            ("DELETE", "/costrouter/v1/keys/*"): self._revoke,
            ("GET", "/costrouter/v1/audit"): self._log,
        }

    async def _create(self, request: web.BaseRequest, request_id: str) -> web.Response:
        who = await self._pipeline.authenticate(request.headers)
        wanted = await admin_body(request, NewKey)
        if not may_make(who.role, wanted.role):
            message = (
                f"A key with the role {wanted.role} needs an administrator; {who.role} makes keys of applications."
            )
            raise RouterError("not_allowed", message, param="role")
        tenant = tenant_of(who, wanted.tenant)
        expires_ms = self._instant(wanted.expires, "expires")
        after = wanted.model_dump(exclude_defaults=True) | {"tenant": tenant}
        try:
            await self._audit.note(who, tenant, "key.create", wanted.name, after=after, request_id=request_id)
            secret, made = await self._keys.create(
                wanted.name,
                tenant,
                wanted.team,
                wanted.app,
                wanted.role,
                delegates=wanted.delegates,
                expires_ms=expires_ms,
            )
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply({**key_body(made, expires_ms), "key": secret}, request_id, 201)

    async def _list(self, request: web.BaseRequest, request_id: str) -> web.Response:
        who = await self._pipeline.authenticate(request.headers)
        try:
            keys = [key for key in await self._keys.created() if governs(who, key.identity.tenant)]
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply({"object": "list", "data": [key_state(key, self._now_ms()) for key in keys]}, request_id)

    async def _change(self, request: web.BaseRequest, request_id: str) -> web.Response:
        who, key = await self._mine(request)
        wanted = await admin_body(request, KeyChange)
        facts = wanted.model_dump(exclude_none=True, exclude={"expires"})
        identity = msgspec.structs.replace(key.identity, **facts)
        expires_ms = None if wanted.expires is None else self._instant(wanted.expires, "expires")
        before = {name: getattr(key.identity, name) for name in facts}
        after = wanted.model_dump(exclude_none=True)
        try:
            await self._note(who, key, "key.change", request_id, before=before, after=after)
            if not await self._keys.change(key.identity.key, identity, expires_ms):
                raise _no_such_key()
            changed = await self._keys.find(key.identity.key)
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply(key_state(changed or key, self._now_ms()), request_id)

    async def _rotate(self, request: web.BaseRequest, request_id: str) -> web.Response:
        who, key = await self._mine(request)
        wanted = await admin_body(request, Rotation)
        grace_ms = 0 if wanted.grace in ("0", "0s") else self._duration(wanted.grace, "grace")
        try:
            await self._note(who, key, "key.rotate", request_id, after={"grace": wanted.grace})
            made = await self._keys.rotate(key.identity.key, grace_ms)
            await self._keys.clear()
        except StoreUnavailable:
            raise silent_store() from None
        if made is None:
            raise _no_such_key()
        until = time_text(self._now_ms() + grace_ms)
        body = key_body(made[1], key.current.expires_ms)
        return json_reply({**body, "key": made[0], "old_secret_until": until}, request_id, 201)

    async def _revoke(self, request: web.BaseRequest, request_id: str) -> web.Response:
        who, key = await self._mine(request)
        name = key.identity.key
        try:
            await self._note(who, key, "key.revoke", request_id, before=key_body(key.identity, key.current.expires_ms))
            if not await self._keys.revoke(name):
                raise _no_such_key()
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply({"object": "costrouter.key.deleted", "id": name, "deleted": True}, request_id)

    async def _log(self, request: web.BaseRequest, request_id: str) -> web.Response:
        who = await self._pipeline.authenticate(request.headers)
        query = parse_qs(request.rel_url.query_string)
        unknown = query.keys() - {"tenant", "limit", "since"}
        if unknown:
            raise RouterError("invalid_request", f"audit takes tenant, limit and since, not {min(unknown)[:80]}.")
        tenant = tenant_of(who, query.get("tenant", [None])[-1])
        most = query.get("limit", ["100"])[-1]
        if not (most.isascii() and most.isdigit() and 0 < int(most[:6]) <= MOST_ENTRIES):
            raise RouterError("invalid_request", f"limit must be 1 to {MOST_ENTRIES}.", param="limit")
        since_ms = self._instant(query.get("since", [""])[-1], "since", past=True)
        try:
            entries = await self._audit.read(tenant, since_ms=since_ms, most=int(most))
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply({"object": "list", "data": [_entry_body(entry) for entry in entries]}, request_id)

    async def _mine(self, request: web.BaseRequest) -> tuple[Identity, Key]:
        """Who calls, and the key in the path, if they have a say over it. Another tenant's looks like none at all."""
        who = await self._pipeline.authenticate(request.headers)
        try:
            key = await self._keys.find(request.path.split("/")[4])
        except StoreUnavailable:
            raise silent_store() from None
        if key is None or not governs(who, key.identity.tenant):
            raise _no_such_key()
        if not may_make(who.role, key.identity.role):
            message = f"A key with the role {key.identity.role} is an administrator's business."
            raise RouterError("not_allowed", message)
        return who, key

    async def _note(
        self, who: Identity, key: Key, action: str, request_id: str, *, before: Any = None, after: Any = None
    ) -> None:
        identity = key.identity
        await self._audit.note(
            who, identity.tenant, action, identity.key, before=before, after=after, request_id=request_id
        )

    def _instant(self, text: str, field: str, *, past: bool = False) -> int:
        """A time as callers write it (``30d`` from now or ago, or RFC 3339), in ms since the epoch; 0 for none."""
        if text in ("", "never"):
            return 0
        try:
            moment = dt.datetime.fromisoformat(text)
            found = round((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1000)
        except ValueError:
            length = self._duration(text, field)
            found = self._now_ms() + (-length if past else length)
        if not past and found <= self._now_ms():
            raise RouterError("invalid_request", f"{field}: {text!r} has passed.", param=field)
        return found

    def _duration(self, text: str, field: str) -> int:
        try:
            return milliseconds(text)
        except ValueError:
            message = f"{field}: {text[:80]!r} is no time; write such as 30d, 12h, or 2026-12-31T00:00:00Z."
            raise RouterError("invalid_request", message, param=field) from None


def time_text(at_ms: int) -> str:
    """RFC 3339, in UTC, to the second."""
    return dt.datetime.fromtimestamp(at_ms // 1000, dt.UTC).isoformat().replace("+00:00", "Z")


def key_body(identity: Identity, expires_ms: int = 0) -> dict[str, Any]:
    """A key as it is shown."""
    return {
        "object": "costrouter.key",
        "id": identity.key,
        "name": identity.name,
        "tenant": identity.tenant,
        "team": identity.team,
        "app": identity.app,
        "role": identity.role,
        "delegates": list(identity.delegates),
        "expires": time_text(expires_ms) if expires_ms else None,
    }


def key_state(key: Key, now_ms: int) -> dict[str, Any]:
    """A key as it is listed: with its age, whether it is still good, and until when its former secret is."""
    end = key.current.expires_ms
    former = max((record.expires_ms for record in key.records[1:]), default=0)
    return {
        **key_body(key.identity, end),
        "created": key.records[-1].created_ms // 1000,
        "status": "expired" if 0 < end <= now_ms else "active",
        "old_secret_until": time_text(former) if former > now_ms else None,
    }


def _entry_body(entry: Entry) -> dict[str, Any]:
    return {"at": time_text(entry.at_ms), **msgspec.to_builtins(entry)}


def _no_such_key() -> RouterError:
    return RouterError("not_found", "There is no such key; GET /costrouter/v1/keys lists them by id.")

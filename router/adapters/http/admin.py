"""What all of the router's own endpoints share: who has a say where, and how they answer.

Belongs here: rights of administrators, JSON answers. Does not belong here: any one endpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import msgspec
from aiohttp import web

from router.core.errors import RouterError

if TYPE_CHECKING:
    from router.core.values import Identity

HOME: Final = "default"
"""The tenant of the keys from the settings."""
OPERATOR: Final = "admin"
"""The id of the settings' admin key, the only one with a say in every tenant."""
LABEL: Final = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
"""Names of tenants, teams and apps."""


def governs(identity: Identity, tenant: str) -> bool:
    """Whoever is more than an application has a say in their own tenant, as far as their role goes; the node's operator in all."""
    return identity.role != "app" and (tenant == identity.tenant or (identity.tenant, identity.key) == (HOME, OPERATOR))


def tenant_of(identity: Identity, asked: str | None) -> str:
    """The tenant that is asked about, or the caller's own.

    Raises:
        RouterError: ``not_allowed``.
    """
    if asked is None or asked == identity.tenant:
        return identity.tenant
    if not governs(identity, asked):
        raise RouterError("not_allowed", f"Another tenant than {identity.tenant} needs the node's own admin key.")
    return asked


def governed_tenant(identity: Identity, request: web.BaseRequest, what: str) -> str:
    """The tenant that a query asks for, where the caller has a say in it.

    Args:
        identity: who asks.
        request: its query may have ``tenant``, and nothing else.
        what: whose business it is about, such as ``budgets``.

    Raises:
        RouterError: ``invalid_request``, ``not_allowed``.
    """
    query = parse_qs(request.rel_url.query_string)
    unknown = query.keys() - {"tenant"}
    if unknown:
        raise RouterError("invalid_request", f"{what} takes tenant, not {min(unknown)[:80]}.")
    tenant = tenant_of(identity, query["tenant"][-1] if "tenant" in query else None)
    if not governs(identity, tenant):
        raise RouterError("not_allowed", f"{what.capitalize()} are an administrator's business.")
    return tenant


def json_reply(document: Any, request_id: str, status: int = 200) -> web.Response:
    """An answer."""
    headers = {"content-type": "application/json", "x-request-id": request_id}
    return web.Response(body=msgspec.json.encode(document), status=status, headers=headers)


def silent_store() -> RouterError:
    """What to raise where the store does not answer."""
    return RouterError("store_unavailable", "The store does not answer; try again.", retry_after_s=1)

"""``GET /costrouter/v1/decisions/{id}``: why a request went where it went, some time ago.

Belongs here: who may ask, and the answer's shape. Does not belong here: keeping decisions (fleet/decisions.py), explaining
(`router.core.deciding.explanation`).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from router.adapters.http.admin import governs, json_reply, silent_store
from router.core.deciding.decision_log import again
from router.core.deciding.explain import refusal
from router.core.deciding.explanation import explanation
from router.core.errors import RouterError
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from aiohttp import web

    from router.adapters.http.server import Handler
    from router.core.deciding.decision_log import Made
    from router.core.values import Identity
    from router.pipeline import Pipeline
    from router.ports import Decisions


class DecisionApi:
    """Handlers by (method, path), for the server's table."""

    def __init__(self, pipeline: Pipeline, decisions: Decisions) -> None:
        self._pipeline = pipeline
        self._decisions = decisions

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {("GET", "/costrouter/v1/decisions/*"): self._explain}

    async def _explain(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        asked = request.path.rpartition("/")[2]
        try:
            made = await self._decisions.find(asked)
        except StoreUnavailable:
            raise silent_store() from None
        except ValueError:
            made = None  # of another version of this software
        if made is None or not _may_see(identity, made):
            message = (
                f"No decision {asked[:80]!r} is kept for this key. Decisions are kept under the answer's "
                "x-costrouter-request-id for up to a week, within COSTROUTER_DECISIONS_MB; estimates are not."
            )
            raise RouterError("not_found", message)
        return json_reply(self._body(made), request_id)

    def _body(self, made: Made) -> dict[str, Any]:
        decision, plan = again(made), made.deciding
        at = dt.datetime.fromtimestamp(made.at_ms / 1000, dt.UTC)
        catalog = self._pipeline.snapshot.world.catalog
        told = explanation(plan, made.facts, made.baseline, decision, catalog, snapshot=made.snapshot, at=at)
        return {
            **told,
            "object": "costrouter.decision",
            "id": made.id,
            "tenant": made.tenant,
            "team": made.team,
            "app": made.app,
            "key": made.key,
            "budget_exhausted": made.exhausted,
            "refusal": refusal(plan, made.facts).message if decision is None else None,
        }


def _may_see(identity: Identity, made: Made) -> bool:
    """An application's key sees what it decided itself; other keys, what their tenant did."""
    if identity.role == "app":
        return (identity.tenant, identity.key) == (made.tenant, made.key)
    return governs(identity, made.tenant)

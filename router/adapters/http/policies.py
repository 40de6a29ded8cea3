"""``GET /costrouter/v1/policies``: which policies are in force, from which file, and what is wrong with the others.

Belongs here: who may see it, and its shape. Does not belong here: what is in force (`policies/store.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from router.adapters.http.admin import json_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from router.adapters.http.server import Handler
    from router.adapters.policies.store import PolicySet
    from router.pipeline import Pipeline


class PolicyApi:
    """Handlers by (method, path), for the server's table.

    Args:
        pipeline: knows who calls.
        current: gives what is in force.
    """

    def __init__(self, pipeline: Pipeline, current: Callable[[], PolicySet]) -> None:
        self._pipeline = pipeline
        self._current = current

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {("GET", "/costrouter/v1/policies"): self._list}

    async def _list(self, request: web.BaseRequest, request_id: str) -> web.Response:
        await self._pipeline.authenticate(request.headers)
        return json_reply(policies_body(self._current()), request_id)


def policies_body(found: PolicySet) -> dict[str, Any]:
    """The answer, as JSON has it."""
    return {
        "object": "list",
        "set": found.number,
        "data": [{"object": "costrouter.policy", **msgspec.structs.asdict(standing)} for standing in found.standing],
    }

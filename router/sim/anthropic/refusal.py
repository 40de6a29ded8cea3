"""An error answer in Anthropic's shape.

Belongs here: the shape, and OpenAI-shaped refusals of shared checks put into it. Does not belong here: any check.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import web

from router.sim.refusal import Refusal

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def body(status: int, message: str, request_id: str, type_: str = "") -> bytes:
    """The error's body."""
    error = {"type": type_ or _TYPES.get(status, "api_error"), "message": message}
    return orjson.dumps({"type": "error", "error": error, "request_id": request_id})


def refused(refusal: Refusal, request_id: str) -> web.Response:
    """A refusal as a response. An account without credit is 400 `billing_error` words at Anthropic, 429 at OpenAI."""
    said: dict[str, Any] = refusal.body["error"]
    type_ = "billing_error" if said["type"] == "insufficient_quota" else ""
    headers = {name: value for name, value in refusal.headers.items() if name == "retry-after"}
    return web.Response(
        status=402 if type_ else refusal.status,
        body=body(refusal.status, str(said["message"]), request_id, type_),
        content_type="application/json",
        headers={"request-id": request_id, **headers},
    )


def wrong(where: str, message: str) -> Refusal:
    """A field that cannot be as it is: its path, as Anthropic writes it (``messages.0.content``)."""
    return Refusal(400, f"{where}: {message}", param=where)

"""An error answer in Google's shape.

Belongs here: the shape, and OpenAI-shaped refusals of shared checks put into it. Does not belong here: any check.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import web

from router.sim.refusal import Refusal

_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def body(status: int, message: str, details: list[dict[str, Any]] | None = None) -> bytes:
    """``{"error": {code, message, status, details}}``."""
    error: dict[str, Any] = {"code": status, "message": message, "status": _STATUSES.get(status, "INTERNAL")}
    return orjson.dumps({"error": error | ({"details": details} if details else {})})


def refused(refusal: Refusal) -> web.Response:
    """A refusal as a response. How long to wait stands in the details, and in no header."""
    said: dict[str, Any] = refusal.body["error"]
    status = 402 if said["type"] == "insufficient_quota" else refusal.status
    wait = refusal.headers.get("retry-after")
    retry = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"}] if wait else None
    return web.Response(status=status, body=body(status, str(said["message"]), retry), content_type="application/json")


def wrong(where: str, message: str) -> Refusal:
    """A field that cannot be as it is."""
    return Refusal(400, f"Invalid value at '{where}': {message}", param=where)


def unknown(name: str, where: str) -> Refusal:
    """A field that there is not, in the words of Google's JSON reader."""
    at = f" at '{where}'" if where else ""
    return Refusal(400, f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.', param=name)

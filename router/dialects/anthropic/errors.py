"""Errors in Anthropic's shape: ours on their way out.

Belongs here: bodies. Does not belong here: a provider's errors on their way in, which are read alike in every dialect
(`router.dialects.openai.errors`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from router.core.errors import RouterError
from router.dialects.sse import named_event

_TYPES: Final[dict[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""By status, as Anthropic's error reference has them; 500 and what is not listed is `api_error`."""


def error_body(error: RouterError) -> bytes:
    """``{"type": "error", "error": {type, message, code, …}}`` as Anthropic's SDKs read it."""
    told = {"param": error.param} if error.param is not None else {}
    return msgspec.json.encode(
        {
            "type": "error",
            # What is told in detail may have a type of its own, the provider's; the shape's goes first.
            "error": error.details
            | told
            | {"type": _TYPES.get(error.status, "api_error"), "message": error.message, "code": error.code},
        }
    )


def error_event(error: RouterError) -> bytes:
    """The same inside a stream whose status has already gone out."""
    return named_event(b"error", error_body(error))

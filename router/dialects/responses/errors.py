"""Errors inside a stream of OpenAI's Responses: ours on their way out. Outside streams they have OpenAI's shape.

Belongs here: the event. Does not belong here: bodies and providers' errors (`router.dialects.openai.errors`).
"""

from __future__ import annotations

import msgspec

from router.core.errors import RouterError
from router.dialects.sse import named_event


def error_event(error: RouterError) -> bytes:
    """The event ``error`` as the SDK's type has it, and within it the object on which the SDKs raise."""
    told = {"type": error.type, "code": error.code, "message": error.message, "param": error.param, **error.details}
    event = {
        "type": "error",
        "code": error.code,
        "message": error.message,
        "param": error.param,
        "sequence_number": 0,
        "error": told,
    }
    return named_event(b"error", msgspec.json.encode(event))

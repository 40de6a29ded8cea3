"""A failed job's error, told anew.

Belongs here: from what was kept of it to an error of ours. Does not belong here: who is told, and in which shape.
"""

from __future__ import annotations

import msgspec

from router.core.errors import CODES, RouterError


def told_error(status: int, body: bytes, code: str) -> RouterError:
    """The error that a job ended with, to be told anew."""
    try:
        said = msgspec.json.decode(body).get("error")
    except (msgspec.DecodeError, AttributeError):
        said = None
    said = said if isinstance(said, dict) else {}
    words = said.get("message")
    kind = code if code in CODES else "invalid_request" if 400 <= status < 500 else "upstream_error"
    message = words if isinstance(words, str) and words else f"No try was answered ({code or status})."
    return RouterError(kind, message, status=status if 400 <= status < 600 else None)

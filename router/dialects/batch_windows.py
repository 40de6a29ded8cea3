"""Completion windows of OpenAI's Responses: answers that are made in the background, within some hours, for less.

Belongs here: bytes in, values out. Does not belong here: when to ask (adapters/broker/broker.py), sending it
(adapters/jobs/batch_windows.py), and background responses of our own callers (responses/background.py).

Each is a request of its own, without an id of ours: OpenAI lists no responses, so one whose creation was not answered cannot
be found. Sources: the types of the official SDK (openai 3.54) and its guide to background mode (November 2026).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.core.jobs.jobs import Event
from router.core.jobs.tiers import hours_of
from router.dialects.batch_files import Remote, Result
from router.dialects.json_object import TopLevel

PATH: Final = "/responses"
PROVIDERS: Final = frozenset({"openai"})
"""Who sells windows; for which models, for how long and at what price is the catalog's."""
_STATES: Final[dict[str, tuple[Event, str]]] = {
    "queued": ("running", ""),
    "in_progress": ("running", ""),
    "completed": ("over", "completed"),
    "incomplete": ("over", "completed"),
    "failed": ("over", "completed"),
    "cancelled": ("over", "cancelled"),
}
_ANSWERED: Final = frozenset({"completed", "incomplete"})


def creation(body: bytes, tier: str) -> bytes:
    """A request as it begins in the background.

    It is kept until it has been fetched, where otherwise it would go ten minutes after its end; windows are sold with the
    usual processing only, and not streamed.
    """
    window = msgspec.json.encode({"completion_window": f"{hours_of(tier)}h"})
    changes: dict[str, bytes | None] = {
        "background": b"true",
        "background_options": window,
        "store": b"true",
        "service_tier": b'"default"',
        "stream": None,
        "stream_options": None,
    }
    return TopLevel(body).edited(changes)


def read_response(body: bytes) -> Remote | None:
    """How a response stands; None for what is none."""
    document = _decoded(body)
    if document is None:
        return None
    event, outcome = _STATES.get(str(document.get("status")), ("running", ""))
    name = document["id"]
    outputs = (name,) if event == "over" else ()
    return Remote(name, event, outcome, outputs, done=len(outputs), note=_words(document))


def read_result(body: bytes) -> Result | None:
    """What came of a response that is over; None for what is none. It has no id of ours: there is one to a parcel."""
    document = _decoded(body)
    if document is None:
        return None
    if document.get("status") in _ANSWERED:
        # It was asked for in the background by us, not by its caller.
        return Result("", "succeeded", 200, TopLevel(body).edited({"background": b"false", "background_options": None}))
    if document.get("status") == "cancelled":
        return Result("", "cancelled", 0, body)
    error = {"message": _words(document) or "The response failed.", "type": "server_error", "code": "server_error"}
    return Result("", "failed", 502, msgspec.json.encode({"error": error, "usage": document.get("usage")}))


def _words(document: dict[str, Any]) -> str:
    error = document.get("error")
    return str(error.get("message") or "")[:300] if isinstance(error, dict) else ""


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    usable = isinstance(document, dict) and isinstance(document.get("id"), str) and "status" in document
    return document if usable else None

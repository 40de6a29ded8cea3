"""Responses that are made in the background: how they stand until they are there, and streams of those that are.

Belongs here: these forms. Does not belong here: making them (`router.adapters.http.defer`), and what is asked of them later
(`router.adapters.http.background`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.dialects.contract import Asked
from router.dialects.responses.answer import Written
from router.dialects.sse import named_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.dialects.request import Request

WINDOWS: Final = {"soonest": "10m", "2h": "2h", "8h": "8h"}
"""``background_options.completion_window`` (OpenAI API reference), as a deadline. Ours for ``soonest``, which holds where nothing
is said: too near for a tier that may take an hour."""
BEGUN_EVENTS: Final = 2
"""How many events of a stream come before anything is known of the answer."""


def standing(
    request: Request, answer_id: str, at_s: int, status: str, error: tuple[str, str] | None = None
) -> dict[str, Any]:
    """A response that is not there, or never will be.

    Args:
        request: what was asked.
        answer_id: its own.
        at_s: when it was asked for, in seconds since the epoch.
        status: ``queued``, ``in_progress``, ``cancelled`` or ``failed``.
        error: code and words of a failure.
    """
    written = Written(Asked(request, 0, at_s, answer_id, kept=True), answer_id, request.model)
    told = None if error is None else {"code": error[0], "message": error[1]}
    return written.begun() | {"status": status, "background": True, "error": told}


def arrived(body: bytes, answer_id: str, at_s: int) -> dict[str, Any]:
    """A response that is there, under the id that its caller knows.

    Raises:
        ValueError: it is none.
    """
    document = msgspec.json.decode(body)
    if not isinstance(document, dict) or "output" not in document:
        raise ValueError("no response")
    return document | {"id": answer_id, "background": True, "store": True, "created_at": at_s}


def begun_events(response: dict[str, Any]) -> bytes:
    """What a stream says before anything is known of the answer."""
    head = response | {"status": "queued", "output": [], "usage": None, "error": None, "incomplete_details": None}
    told = [("response.created", {"response": head}), ("response.queued", {"response": head})]
    return b"".join(_numbered(number, *event) for number, event in enumerate(told))


def events_of(response: dict[str, Any], after: int = -1) -> bytes:
    """A stream that tells a response that is there, whole items at a time.

    Args:
        response: it.
        after: the number of the last event that its caller has seen.
    """
    told = list(_events(response))
    rest = b"".join(_numbered(number, *event) for number, event in enumerate(told, BEGUN_EVENTS) if number > after)
    return (begun_events(response) if after < 0 else b"") + rest


def _events(response: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "response.in_progress", {"response": response | {"status": "in_progress", "output": [], "usage": None}}
    for at, item in enumerate(response["output"]):
        kind = item.get("type")
        where: dict[str, Any] = {"item_id": item.get("id") or f"item_{at}", "output_index": at}
        if kind == "message":
            yield (
                "response.output_item.added",
                {"output_index": at, "item": item | {"status": "in_progress", "content": []}},
            )
            yield from _parts(item, where)
        elif kind == "function_call":
            begun = item | {"status": "in_progress", "arguments": ""}
            yield "response.output_item.added", {"output_index": at, "item": begun}
            yield "response.function_call_arguments.delta", where | {"delta": item["arguments"]}
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield "response.function_call_arguments.done", where | done
        else:
            yield "response.output_item.added", {"output_index": at, "item": item}
        yield "response.output_item.done", {"output_index": at, "item": item}
    status = response["status"]
    yield f"response.{status if status in ('completed', 'failed') else 'incomplete'}", {"response": response}


def _parts(item: dict[str, Any], where: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, part in enumerate(item["content"]):
        within = where | {"content_index": index}
        name, field = ("refusal", "refusal") if part["type"] == "refusal" else ("output_text", "text")
        more: dict[str, Any] = {} if name == "refusal" else {"logprobs": []}
        yield "response.content_part.added", within | {"part": part | {field: ""}}
        yield f"response.{name}.delta", within | {"delta": part[field]} | more
        yield f"response.{name}.done", within | {field: part[field]} | more
        yield "response.content_part.done", within | {"part": part}


def _numbered(number: int, kind: str, told: dict[str, Any]) -> bytes:
    return named_event(kind.encode(), msgspec.json.encode({"type": kind, "sequence_number": number, **told}))

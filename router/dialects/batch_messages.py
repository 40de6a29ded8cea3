"""Anthropic's Message Batches: what is sent, and what comes back.

Belongs here: bytes in, values out. Does not belong here: when to ask (adapters/broker/), sending it
(adapters/jobs/batch_messages.py), and batches over files (batch_files.py).

A batch has neither metadata nor a file: one whose creation was not answered is known by its time and its count of
requests, and only its results tell whether it is the right one.

Sources: the types of the official SDK (anthropic 2.12); platform.claude.com, Message Batches.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from router.core.jobs.jobs import Event, LineFate, fate_of
from router.dialects.anthropic.request import VERSION
from router.dialects.batch_files import Remote, Result

PATH: Final = "/messages/batches"
HEADERS: Final = ((b"anthropic-version", VERSION),)
MOST_LINES: Final = 100_000
MOST_BYTES: Final = 256_000_000
_STATES: Final[dict[str, Event]] = {"in_progress": "running", "canceling": "stopped", "ended": "over"}
_STATUSES: Final[dict[str, int]] = {
    "invalid_request_error": 400,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""Of a line's error. What is wrong with the account (keys, credit, rights) is not the line's fault: as `api_error`, 500."""
_FATES: Final[dict[str, LineFate]] = {"expired": "expired", "canceled": "cancelled"}


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, Any] | None = None


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


_LINE: Final = msgspec.json.Decoder(_Line)


def creation(lines: Iterable[tuple[str, bytes]]) -> bytes:
    """The body that creates a batch: a custom id and a Messages request each."""
    requests = (b'{"custom_id":' + msgspec.json.encode(name) + b',"params":' + body + b"}" for name, body in lines)
    return b'{"requests":[' + b",".join(requests) + b"]}"


def read_batch(body: bytes) -> Remote | None:
    """A batch; None for what is none."""
    return _remote(_decoded(body))


def read_batches(body: bytes) -> tuple[list[Remote], str]:
    """A page of batches, the newest first, and the id behind which the next one begins; "" behind the last."""
    document = _decoded(body)
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        return [], ""
    found = [remote for entry in document["data"] if (remote := _remote(entry)) is not None]
    return found, found[-1].id if document.get("has_more") and found else ""


def read_result(line: bytes) -> Result | None:
    """One line of the results; None for what is none."""
    try:
        found = _LINE.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    result = found.result
    if result.type == "succeeded":
        return Result(found.custom_id, "succeeded", 200, bytes(result.message))
    if result.type != "errored":
        return Result(found.custom_id, _FATES.get(result.type, "failed"), 0, b"")
    said = (result.error or {}).get("error")
    kind = said.get("type") if isinstance(said, dict) else None
    status = _STATUSES.get(kind, 500) if isinstance(kind, str) else 500
    return Result(found.custom_id, fate_of(status), status, msgspec.json.encode(result.error))


def _remote(document: Any) -> Remote | None:
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        return None
    event = _STATES.get(str(document.get("processing_status")), "running")
    counts = document.get("request_counts")
    known = {name: count for name, count in counts.items() if type(count) is int} if isinstance(counts, dict) else {}
    outcome = ""
    if event == "over":
        outcome = "cancelled" if known.get("canceled") else "expired" if known.get("expired") else "completed"
    return Remote(
        id=document["id"],
        event=event,
        outcome=outcome,
        outputs=(document["id"],) if event == "over" else (),
        done=known.get("succeeded", 0) + known.get("errored", 0),
        lines=sum(known.values()),
        created_ms=_milliseconds(document.get("created_at")),
    )


def _milliseconds(text: object) -> int:
    try:
        return round(dt.datetime.fromisoformat(str(text)).timestamp() * 1000)
    except ValueError:
        return 0


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

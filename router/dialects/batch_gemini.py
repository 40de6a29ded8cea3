"""Google's batches, as the Gemini API has them with requests in the creation itself: what is sent, and what comes back.

Belongs here: bytes in, values out. Does not belong here: when to ask (adapters/broker/), sending it
(adapters/jobs/batch_gemini.py), and Vertex AI, whose batches lie in buckets.

Sources: the types and converters of the official SDK (google-genai 3.4); ai.google.dev, Batch API.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from router.core.jobs.jobs import Event, LineFate, fate_of
from router.dialects.batch_files import Remote, Result

MOST_BYTES: Final = 20_000_000
_STATES: Final[dict[str, tuple[Event, str]]] = {
    "SUCCEEDED": ("over", "completed"),
    "PARTIALLY_SUCCEEDED": ("over", "completed"),
    "FAILED": ("over", "failed"),
    "CANCELLED": ("over", "cancelled"),
    "EXPIRED": ("over", "expired"),
    "CANCELLING": ("stopped", ""),
}
"""By the word behind ``BATCH_STATE_`` or ``JOB_STATE_``; every other one runs."""
_STATUSES: Final = {3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 13: 500, 14: 503}
"""Of the codes of google.rpc.Code. What is wrong with the account (7, 16) is not the request's fault."""
_CANCELLED: Final = 1
_OURS: Final = frozenset({7, 16})


class _Line(msgspec.Struct):
    response: msgspec.Raw = msgspec.Raw(b"")
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class _Lines(msgspec.Struct, rename="camel"):
    inlined_responses: list[_Line] = []


class _Output(msgspec.Struct, rename="camel"):
    inlined_responses: _Lines | None = None


class _Metadata(msgspec.Struct):
    output: _Output | None = None


class _Ended(msgspec.Struct):
    metadata: _Metadata | None = None


_ENDED: Final = msgspec.json.Decoder(_Ended)


def creation(name: str, lines: bytes) -> bytes:
    """The body that creates a batch of requests as `packed` gives them, under a name of ours."""
    return (
        b'{"batch":{"displayName":'
        + msgspec.json.encode(name)
        + b',"inputConfig":{"requests":{"requests":['
        + lines
        + b"]}}}}"
    )


def packed(lines: Iterable[tuple[str, bytes]]) -> bytes:
    """Requests, each under its own key."""
    return b",".join(
        b'{"request":' + body + b',"metadata":{"key":' + msgspec.json.encode(key) + b"}}" for key, body in lines
    )


def read_batch(body: bytes) -> Remote | None:
    """A batch; None for what is none."""
    return _remote(_decoded(body))


def read_batches(body: bytes) -> tuple[list[Remote], str]:
    """A page of batches, and where the next one begins; "" behind the last."""
    document = _decoded(body)
    if not isinstance(document, dict) or not isinstance(document.get("operations"), list):
        return [], ""
    found = [remote for entry in document["operations"] if (remote := _remote(entry)) is not None]
    return found, str(document.get("nextPageToken") or "")


def read_results(body: bytes) -> Iterator[Result]:
    """What a batch that is over says of its requests.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        found = _ENDED.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no results: {error}") from None
    output = None if found.metadata is None else found.metadata.output
    for line in (
        () if output is None or output.inlined_responses is None else output.inlined_responses.inlined_responses
    ):
        key = (line.metadata or {}).get("key")
        if isinstance(key, str):
            yield _result(key, line)


def _result(key: str, line: _Line) -> Result:
    if bytes(line.response):
        return Result(key, "succeeded", 200, bytes(line.response))
    code = (line.error or {}).get("code")
    status = _STATUSES.get(code, 500) if isinstance(code, int) else 500
    fate: LineFate = "cancelled" if code == _CANCELLED else "failed" if code in _OURS else fate_of(status)
    return Result(key, fate, 0 if fate == "cancelled" else status, msgspec.json.encode({"error": line.error}))


def _remote(document: Any) -> Remote | None:
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        return None
    metadata = document.get("metadata")
    told = metadata if isinstance(metadata, dict) else {}
    event, outcome = _STATES.get(str(told.get("state")).rpartition("STATE_")[2], ("running", ""))
    name, label = document["name"].removeprefix("batches/"), told.get("displayName")
    error = document.get("error")
    return Remote(
        id=name,
        event=event,
        outcome=outcome,
        outputs=(name,) if event == "over" else (),
        done=_count(told.get("batchStats"), "successfulRequestCount")
        + _count(told.get("batchStats"), "failedRequestCount"),
        parcel=label if isinstance(label, str) else "",
        note=str(error.get("message") or "")[:300] if isinstance(error, dict) else "",
    )


def _count(stats: object, name: str) -> int:
    """A count, which proto3's JSON writes as a text."""
    found = stats.get(name) if isinstance(stats, dict) else None
    return int(found) if isinstance(found, (str, int)) and str(found).isdecimal() else 0


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

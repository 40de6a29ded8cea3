"""Batches over files of lines, as OpenAI, Groq, Together and Mistral have them: what is sent, and what comes back.

Belongs here: bytes in, values out, and one row a provider of what they call things. Does not belong here: when to ask
(adapters/broker/broker.py), sending it (adapters/jobs/batch_api.py), and batches without files.

Sources: the types of the official SDKs (openai 2.54, groq 1.7, mistralai 3.7, together 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from router.core.jobs.jobs import Event, LineFate, fate_of

PARCEL: Final = "costrouter_parcel"
"""Our own id in a batch's metadata: by it a batch is found whose creation was not answered."""
_BOUNDARY: Final = b"costrouter-5f1d1c6e0b7a4d2f"


class Flavour(msgspec.Struct, frozen=True):
    """What one provider calls things."""

    upload: str
    batches: str
    """Path of the collection of batches."""
    states: Mapping[str, Event]
    purpose: str = "batch"
    windows: tuple[tuple[int, str], ...] = ((24, "24h"),)
    """Hours and how they are written, shortest first."""
    lines: int = 50_000
    bytes: int = 100_000_000
    input: Literal["input_file_id", "input_files"] = "input_file_id"
    outputs: tuple[str, ...] = ("output_file_id", "error_file_id")
    endpoints: frozenset[str] = frozenset({"chat", "embeddings"})


_STATES: Final[dict[str, Event]] = {
    "validating": "running",
    "in_progress": "running",
    "finalizing": "running",
    "completed": "over",
    "failed": "over",
    "expired": "over",
    "cancelled": "over",
    "cancelling": "stopped",
}
_MISTRAL: Final[dict[str, Event]] = {
    "queued": "running",
    "running": "running",
    "success": "over",
    "failed": "over",
    "timeout_exceeded": "over",
    "cancelled": "over",
    "cancellation_requested": "stopped",
}
FLAVOURS: Final[Mapping[str, Flavour]] = {
    "openai": Flavour("/files", "/batches", _STATES, bytes=200_000_000),
    "groq": Flavour(
        "/files",
        "/batches",
        _STATES,
        windows=((24, "24h"), (48, "48h"), (72, "72h"), (168, "7d")),
        endpoints=frozenset({"chat"}),
    ),
    "together": Flavour("/files/upload", "/batches", _STATES, purpose="batch-api", endpoints=frozenset({"chat"})),
    "mistral": Flavour("/files", "/batch/jobs", _MISTRAL, input="input_files", outputs=("output_file", "error_file")),
}
"""By provider. Limits: OpenAI 50,000 lines and 200 MB; Groq, Together 100 MB; Mistral's are not published."""
URLS: Final[Mapping[str, str]] = {"chat": "/v1/chat/completions", "embeddings": "/v1/embeddings"}
LINES: Final[Mapping[str, str]] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
}
"""Endpoints of callers' batches, and which of our APIs their lines speak."""
_FULL: Final = frozenset({"token_limit_exceeded", "enqueued_token_limit_exceeded", "rate_limit_exceeded"})


class Remote(msgspec.Struct, frozen=True):
    """A batch as its provider tells of it."""

    id: str
    event: Event
    outcome: str
    """``completed``, ``failed``, ``expired``, ``cancelled``; "" while it runs."""
    outputs: tuple[str, ...] = ()
    done: int = 0
    parcel: str = ""
    file: str = ""
    note: str = ""
    lines: int = 0
    """How many requests it has, where batches carry no id of ours."""
    created_ms: int = 0
    """When it was begun, by the provider's clock; 0 where it does not say."""


class Result(msgspec.Struct, frozen=True):
    """What a provider says of one line."""

    custom_id: str
    fate: LineFate
    status: int = 0
    body: bytes = b""
    """The answer, or the error's body."""


def input_line(flavour: Flavour, custom_id: str, endpoint: str, body: bytes) -> bytes:
    """One line of an input file, its end included."""
    head = b'{"custom_id":' + msgspec.json.encode(custom_id)
    if flavour.input == "input_file_id":
        head += b',"method":"POST","url":' + msgspec.json.encode(URLS[endpoint])
    # A line break within the body would be two lines; JSON strings have none, so only white space is at stake.
    return head + b',"body":' + body.replace(b"\n", b" ").replace(b"\r", b" ") + b"}\n"


def upload_form(flavour: Flavour, name: str, data: bytes) -> tuple[bytes, bytes]:
    """(content type, body) of an upload."""
    part = b"--" + _BOUNDARY + b"\r\ncontent-disposition: form-data; name="
    body = b"".join(
        [
            part, b'"purpose"\r\n\r\n', flavour.purpose.encode(), b"\r\n",
            part, b'"file"; filename="', name.encode(), b'"\r\ncontent-type: application/jsonl\r\n\r\n', data,
            b"\r\n--", _BOUNDARY, b"--\r\n",
        ]
    )  # fmt: skip  # as it goes out
    return b"multipart/form-data; boundary=" + _BOUNDARY, body


def creation(flavour: Flavour, *, file: str, endpoint: str, hours: int, parcel: str, model: str) -> bytes:
    """The body that creates a batch, in the shortest window that is at least so long, or in the longest."""
    document: dict[str, Any] = {"endpoint": URLS[endpoint], "metadata": {PARCEL: parcel}}
    fitting = [window for window in flavour.windows if window[0] >= hours] or [flavour.windows[-1]]
    if flavour.input == "input_files":
        document |= {"input_files": [file], "model": model, "timeout_hours": fitting[0][0]}
    else:
        document |= {"input_file_id": file, "completion_window": fitting[0][1]}
    return msgspec.json.encode(document)


def read_batch(flavour: Flavour, body: bytes) -> Remote | None:
    """A batch; None for what is none."""
    document = _decoded(body)
    if isinstance(document, dict) and isinstance(document.get("job"), dict):
        document = document["job"]
    return _remote(flavour, document)


def read_batches(flavour: Flavour, body: bytes) -> list[Remote]:
    """A page of batches."""
    document = _decoded(body)
    entries = document.get("data") if isinstance(document, dict) else document
    found = (_remote(flavour, entry) for entry in (entries if isinstance(entries, list) else ()))
    return [remote for remote in found if remote is not None]


def read_id(body: bytes) -> str:
    """The id of whatever it is, or ""."""
    document = _decoded(body)
    found = document.get("id") if isinstance(document, dict) else None
    return found if isinstance(found, str) else ""


def read_result(line: bytes) -> Result | None:
    """One line of an output or error file; None for what is none."""
    document = _decoded(line)
    if not isinstance(document, dict) or not isinstance(document.get("custom_id"), str):
        return None
    name = document["custom_id"]
    response = document.get("response")
    if isinstance(response, dict) and isinstance(response.get("status_code"), int):
        status = response["status_code"]
        body = response.get("body")
        text = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
        return Result(name, fate_of(status), status, text)
    error = document.get("error")
    code = str(error.get("code") or "") if isinstance(error, dict) else ""
    fate: LineFate = "expired" if "expired" in code or "timeout" in code else "cancelled"
    if "expired" not in code and "timeout" not in code and "cancel" not in code:
        fate = "failed"
    return Result(name, fate, 0, msgspec.json.encode({"error": error}))


def refused_event(status: int, body: bytes) -> Event:
    """What a provider means that does not answer 200."""
    if status == 404:
        return "lost"
    if status in (408, 409, 429) or status >= 500:
        code = _decoded(body)
        error = code.get("error") if isinstance(code, dict) else None
        full = isinstance(error, dict) and error.get("code") in _FULL - {"rate_limit_exceeded"}
        return "full" if full else "unknown"
    return "refused"


def _remote(flavour: Flavour, document: Any) -> Remote | None:
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        return None
    state = str(document.get("status") or "").lower()
    event = flavour.states.get(state, "running")
    errors = document.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else errors
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    if state == "failed" and (first.get("code") in _FULL or "token limit" in str(first.get("message")).lower()):
        event = "full"
    counts = document.get("request_counts")
    done = counts.get("completed") if isinstance(counts, dict) else document.get("completed_requests")
    metadata = document.get("metadata")
    parcel = metadata.get(PARCEL) if isinstance(metadata, dict) else None
    files = document.get("input_files")
    file = files[0] if isinstance(files, list) and files else document.get("input_file_id")
    outputs = (document.get(name) for name in flavour.outputs)
    outcome = {"success": "completed", "timeout_exceeded": "expired"}.get(state, state)
    return Remote(
        id=document["id"],
        event=event,
        outcome=outcome if event == "over" else "",
        outputs=tuple(found for found in outputs if isinstance(found, str) and found),
        done=done if isinstance(done, int) else 0,
        parcel=parcel if isinstance(parcel, str) else "",
        file=file if isinstance(file, str) else "",
        note=str(first.get("message") or "")[:300],
    )


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

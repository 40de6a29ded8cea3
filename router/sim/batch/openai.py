"""OpenAI's batches, and those of Groq, Together and Mistral, which are cut from the same cloth.

Belongs here: ``/batches`` (OpenAI, Groq), Together's answer to its creation, and Mistral's ``/batch/jobs``, over files of
lines. Does not belong here: what becomes of a batch (shelf.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from router.sim.batch.files import on_shelf, said
from router.sim.batch.line import CHAT, EMBEDDINGS, RESPONSES
from router.sim.batch.shelf import Line
from router.sim.provider import body_of
from router.sim.refusal import Refusal

if TYPE_CHECKING:
    from router.sim.batch.shelf import Batch, Shelf

_URLS: Final = {"groq": (CHAT,), "together": (CHAT,)}
_WINDOWS: Final = {"groq": ("24h", "48h", "72h", "7d"), "together": ("24h",)}
_HOURS: Final = {"24h": 24, "48h": 48, "72h": 72, "7d": 168}
_MISTRAL: Final = {
    "validating": "QUEUED",
    "in_progress": "RUNNING",
    "finalizing": "RUNNING",
    "completed": "SUCCESS",
    "failed": "FAILED",
    "expired": "TIMEOUT_EXCEEDED",
    "cancelling": "CANCELLATION_REQUESTED",
    "cancelled": "CANCELLED",
}


@on_shelf
async def created(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``POST …/batches``."""
    body = await body_of(request)
    url = str(body.get("endpoint"))
    urls = _URLS.get(shelf.provider.name, (CHAT, EMBEDDINGS))
    if url not in urls:
        raise Refusal.of_value("endpoint", url, urls)
    windows = _WINDOWS.get(shelf.provider.name, ("24h",))
    window = body.get("completion_window", "24h")
    if window not in windows:
        raise Refusal.of_value("completion_window", window, windows)
    metadata = body.get("metadata")
    if metadata is not None and (not isinstance(metadata, dict) or len(metadata) > 16):
        raise Refusal.of_type("metadata", "an object of at most 16 strings", metadata)
    batch = _open(shelf, body.get("input_file_id"), url, _HOURS[window] * 3600.0, body)
    document = shown(batch, shelf)
    await _answered(request, shelf)
    return said(request, {"job": document, "warning": None} if shelf.provider.name == "together" else document)


@on_shelf
async def mistral_created(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``POST …/batch/jobs``."""
    body = await body_of(request)
    if body.get("endpoint") not in (CHAT, EMBEDDINGS):
        raise Refusal.of_value("endpoint", body.get("endpoint"), (CHAT, EMBEDDINGS))
    files = body.get("input_files") or [None]
    batch = _open(shelf, files[0], body["endpoint"], float(body.get("timeout_hours") or 24) * 3600, body)
    for line in batch.lines:
        if isinstance(line.body, dict):
            line.body.setdefault("model", body.get("model"))
    document = mistral_shown(batch, shelf)
    await _answered(request, shelf)
    return said(request, document)


async def _answered(request: web.Request, shelf: Shelf) -> None:
    if shelf.strikes("create_lost") and request.transport is not None:
        request.transport.abort()


def _open(shelf: Shelf, file_id: Any, url: str, window_s: float, given: dict[str, Any]) -> Batch:
    file = shelf.files.get(file_id) if isinstance(file_id, str) else None
    if file is None:
        raise Refusal(404, f"No such File object: {str(file_id)[:80]}", param="input_file_id")
    if shelf.strikes("create_fails"):
        raise Refusal(500, "The server had an error while processing your request.")
    lines, errors = read_lines(file.data, url, shelf)
    batch = shelf.open("batch_", url, lines, window_s, given)
    batch.errors = errors
    return batch


def read_lines(data: bytes, url: str, shelf: Shelf) -> tuple[list[Line], list[dict[str, Any]]]:
    """The lines of an input file, and what is wrong with them."""
    lines: list[Line] = []
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    models: set[str] = set()

    def wrong(number: int, code: str, message: str) -> None:
        errors.append({"code": code, "line": number, "message": message, "param": None})

    mistral = shelf.provider.name == "mistral"
    for number, raw in enumerate(data.splitlines(), 1):
        try:
            entry = orjson.loads(raw)
        except orjson.JSONDecodeError:
            wrong(number, "invalid_json_line", "This line is not parseable as valid JSON.")
            continue
        fault = _fault_of(entry, url, seen, mistral=mistral)
        if fault is not None:
            wrong(number, *fault)
            continue
        body = entry.get("body")
        models.add(str(body.get("model")) if isinstance(body, dict) else "")
        lines.append(Line(entry["custom_id"], body))
    if len(models) > 1 and not mistral:
        wrong(1, "mismatched_model", "All requests in a batch must be of the same model.")
    if not lines and not errors:
        wrong(1, "empty_file", "The input file is empty.")
    if len(lines) > shelf.waits.max_lines:
        wrong(shelf.waits.max_lines + 1, "too_many_tasks", f"A batch has at most {shelf.waits.max_lines} requests.")
    if len(data) > shelf.waits.max_bytes:
        wrong(1, "file_too_large", f"A batch input file has at most {shelf.waits.max_bytes} bytes.")
    return lines, errors


def _fault_of(entry: Any, url: str, seen: set[str], *, mistral: bool) -> tuple[str, str] | None:
    name = entry.get("custom_id") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        return "missing_required_parameter", "Missing required parameter: 'custom_id'."
    if name in seen:
        return "duplicate_custom_id", f"The custom_id '{name}' is used twice."
    if not mistral and (entry.get("method") != "POST" or entry.get("url") != url):
        return "mismatched_url", f"The URL or method does not match {url}."
    seen.add(name)
    return None


@on_shelf
async def retrieved(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``GET …/batches/{id}``."""
    return said(request, _say(await _seen(request, shelf), shelf))


@on_shelf
async def cancelled(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``POST …/batches/{id}/cancel``."""
    batch = await _seen(request, shelf)
    if shelf.strikes("cancel_lost"):
        raise Refusal(500, "The server had an error while processing your request.")
    if batch.over:
        raise Refusal(409, f"Cannot cancel a batch with status '{batch.state}'.", code="invalid_state")
    shelf.cancel(batch)
    return said(request, _say(batch, shelf))


@on_shelf
async def listed(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``GET …/batches``: newest first."""
    await shelf.look_at_all()
    own = (batch for batch in shelf.batches.values() if batch.url != RESPONSES)
    found = sorted(own, key=lambda batch: -batch.created)
    after = request.query.get("after")
    ids = [batch.id for batch in found]
    if after in ids:
        found = found[ids.index(after) + 1 :]
    limit = min(int(request.query.get("limit", request.query.get("page_size", "20"))), 100)
    data = [_say(batch, shelf) for batch in found[:limit]]
    document = {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > limit,
        "total": len(found),
    }
    return said(request, data if shelf.provider.name == "together" else document)


async def _seen(request: web.Request, shelf: Shelf) -> Batch:
    name = request.match_info["batch"]
    batch = shelf.batches.get(name)
    if batch is None:
        raise Refusal(404, f"No batch found with id '{name[:80]}'.")
    if shelf.strikes("get_fails"):
        raise Refusal(503, "The engine is currently overloaded, please try again later.")
    await shelf.look(batch)
    if batch.over and batch.state != "failed" and batch.output is None and batch.error is None:
        _write_files(batch, shelf)
    return batch


def _write_files(batch: Batch, shelf: Shelf) -> None:
    good: list[bytes] = []
    bad: list[bytes] = []
    for line in sorted(batch.lines, key=lambda line: line.due):
        if shelf.strikes("line_missing"):
            continue
        request_id = shelf.new_id("batch_req_")
        head = b'{"id":"%b","custom_id":%b,' % (request_id.encode(), orjson.dumps(line.custom_id))
        if line.answered is None:
            code = f"batch_{line.fate}"
            error = {"code": code, "message": f"This request could not be executed before the batch {line.fate}."}
            bad.append(head + b'"response":null,"error":%b}' % orjson.dumps(error))
            continue
        told = line.answered
        wrapped = head + b'"response":{"status_code":%d,"request_id":"%b","body":%b},"error":null}' % (
            told.status, told.request_id.encode(), told.body,
        )  # fmt: skip  # three values, one line
        # 4xx go to the error file; what broke on the way stays among the good.
        (bad if 400 <= told.status < 500 else good).append(wrapped)
        if shelf.strikes("line_twice"):
            good.append(wrapped)
        if shelf.strikes("line_garbage"):
            good.append(b'{"id": "batch_req_')
    if good:
        batch.output = shelf.keep(f"{batch.id}_output.jsonl", "batch_output", b"\n".join(good) + b"\n").id
    if bad or not good:
        batch.error = shelf.keep(f"{batch.id}_error.jsonl", "batch_output", b"\n".join(bad) + b"\n").id


def _say(batch: Batch, shelf: Shelf) -> dict[str, Any]:
    return mistral_shown(batch, shelf) if shelf.provider.name == "mistral" else shown(batch, shelf)


def shown(batch: Batch, shelf: Shelf) -> dict[str, Any]:
    """A batch as OpenAI, Groq and (in capitals) Together write it."""
    good, bad, total = batch.counts()
    times = {f"{name}_at": int(at) for name, at in batch.times.items()}
    state = batch.state.upper() if shelf.provider.name == "together" else batch.state
    usage = _usage(batch) if batch.over and shelf.provider.name == "openai" else None
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.url,
        "status": state,
        "errors": {"object": "list", "data": batch.errors} if batch.state == "failed" else None,
        "input_file_id": batch.given.get("input_file_id"),
        "completion_window": batch.given.get("completion_window", "24h"),
        "output_file_id": batch.output,
        "error_file_id": batch.error,
        "created_at": int(batch.created),
        "expires_at": int(batch.created + batch.window_s),
        **times,
        "request_counts": {"total": total, "completed": good, "failed": bad},
        "metadata": batch.given.get("metadata"),
        **({"usage": usage} if usage else {}),
    }


def mistral_shown(batch: Batch, shelf: Shelf) -> dict[str, Any]:  # noqa: ARG001 - one shape for all
    """A job as Mistral writes it."""
    good, bad, total = batch.counts()
    return {
        "id": batch.id,
        "object": "batch",
        "input_files": batch.given.get("input_files"),
        "metadata": batch.given.get("metadata"),
        "endpoint": batch.url,
        "model": batch.given.get("model"),
        "status": _MISTRAL[batch.state],
        "output_file": batch.output,
        "error_file": batch.error,
        "errors": [{"message": error["message"], "count": 1} for error in batch.errors],
        "created_at": int(batch.created),
        "started_at": int(batch.times["in_progress"]) if "in_progress" in batch.times else None,
        "completed_at": int(batch.ended) if batch.ended else None,
        "total_requests": total,
        "completed_requests": good + bad,
        "succeeded_requests": good,
        "failed_requests": bad,
    }


def _usage(batch: Batch) -> dict[str, Any]:
    meters = [line.answered.meters for line in batch.lines if line.answered and line.answered.meters]
    prompt, completion = sum(m.prompt for m in meters), sum(m.completion for m in meters)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": sum(m.cached for m in meters)},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": sum(m.reasoning for m in meters)},
        "total_tokens": prompt + completion,
    }

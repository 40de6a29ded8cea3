"""Google's batches: ``models/MODEL:batchGenerateContent`` with requests in it, and ``batches``.

Belongs here: these endpoints. Does not belong here: what becomes of a batch (shelf.py), and one line's answer (line.py).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from router.sim.batch.line import GEMINI
from router.sim.batch.shelf import SHELVES, Line
from router.sim.gemini.provider import check_key
from router.sim.gemini.refusal import refused
from router.sim.provider import body_of, provider_of
from router.sim.refusal import Refusal
from router.sim.world import WORLD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.sim.batch.shelf import Batch, Shelf

_WINDOW_S: Final = 48 * 3600.0
MOST_BYTES: Final = 20_000_000
_STATES: Final = {
    "validating": "PENDING",
    "in_progress": "RUNNING",
    "finalizing": "RUNNING",
    "completed": "SUCCEEDED",
    "failed": "FAILED",
    "expired": "EXPIRED",
    "cancelling": "RUNNING",
    "cancelled": "CANCELLED",
}


def _handled(
    handler: Callable[[web.Request, Shelf], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            provider = provider_of(request, request.app[WORLD])
            check_key(request, provider)
            return await handler(request, request.app[SHELVES].of(provider))
        except Refusal as refusal:
            return refused(refusal)

    return handle


@_handled
async def created(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``POST …/models/{model}:batchGenerateContent``."""
    body = await body_of(request)
    batch: dict[str, Any] = body.get("batch") or {}
    source = (batch.get("inputConfig") or {}).get("requests") or {}
    entries = source.get("requests")
    if not isinstance(entries, list) or not entries:
        raise Refusal(400, "batch.input_config: requests or a file must be given.")
    if (request.content_length or 0) > MOST_BYTES:
        raise Refusal(400, "Request payload size exceeds the limit: 20971520 bytes.")
    if shelf.strikes("create_fails"):
        raise Refusal(500, "Internal error encountered.")
    model = request.match_info["model"]
    lines = [
        Line(str((entry.get("metadata") or {}).get("key")), (entry.get("request") or {}) | {"model": model})
        for entry in entries
    ]
    found = shelf.open("", GEMINI, lines, _WINDOW_S, {"label": batch.get("displayName"), "model": model})
    if shelf.strikes("create_lost") and request.transport is not None:
        request.transport.abort()
    return _said(_shown(found, shelf))


@_handled
async def listed(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``GET …/batches``: the newest first."""
    await shelf.look_at_all()
    found = sorted((b for b in shelf.batches.values() if not b.hidden), key=lambda batch: -batch.created)
    start = int(request.query.get("pageToken") or 0)
    size = min(int(request.query.get("pageSize", "50")), 1000)
    page: dict[str, Any] = {"operations": [_shown(batch, shelf) for batch in found[start : start + size]]}
    if len(found) > start + size:
        page["nextPageToken"] = str(start + size)
    return _said(page)


@_handled
async def retrieved(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``GET …/batches/{batch}``: with all results once it is over."""
    batch = await _seen(request, shelf)
    response = _said(_shown(batch, shelf))
    if batch.over and shelf.strikes("content_cut") and isinstance(response.body, bytes):
        cut = web.StreamResponse(headers={"content-length": str(len(response.body))})
        await cut.prepare(request)
        await cut.write(response.body[: len(response.body) // 2])
        if request.transport is not None:
            request.transport.abort()
        return cut
    return response


@_handled
async def cancelled(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``POST …/batches/{batch}:cancel``."""
    batch = await _seen(request, shelf)
    if shelf.strikes("cancel_lost"):
        raise Refusal(500, "Internal error encountered.")
    shelf.cancel(batch)
    return _said({})


@_handled
async def deleted(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``DELETE …/batches/{batch}``."""
    (await _seen(request, shelf)).hidden = True
    return _said({})


async def _seen(request: web.Request, shelf: Shelf) -> Batch:
    name = request.match_info["batch"]
    batch = shelf.batches.get(name)
    if batch is None or batch.hidden:
        raise Refusal(404, "Requested entity was not found.")
    if request.method == "GET" and shelf.strikes("get_fails"):
        raise Refusal(503, "The model is overloaded. Please try again later.")
    return await shelf.look(batch)


def _shown(batch: Batch, shelf: Shelf) -> dict[str, Any]:
    """An operation, whose metadata is the batch."""
    good, bad, total = batch.counts()
    counts = {"requestCount": total, "successfulRequestCount": good, "failedRequestCount": bad}
    counts["pendingRequestCount"] = total - good - bad
    metadata: dict[str, Any] = {
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
        "name": f"batches/{batch.id}",
        "model": f"models/{batch.given['model']}",
        "displayName": batch.given["label"],
        "state": f"BATCH_STATE_{_STATES[batch.state]}",
        "createTime": _at(batch.created),
        "batchStats": {name: str(count) for name, count in counts.items() if count},
    }
    if batch.state in ("completed", "cancelled", "expired"):
        if batch.results is None:
            batch.results = b"[" + b",".join(_results(batch, shelf)) + b"]"
        metadata["output"] = {"inlinedResponses": {"inlinedResponses": orjson.Fragment(batch.results)}}
    return {"name": f"batches/{batch.id}", "metadata": metadata, "done": batch.over}


def _results(batch: Batch, shelf: Shelf) -> list[bytes]:
    rows: list[bytes] = []
    for line in batch.lines:
        told = line.answered
        if told is None or shelf.strikes("line_missing"):
            continue
        if told.status >= 500:
            said = b'"error":{"code":13,"message":"Internal error encountered."}'
        else:
            said = (b'"response":' if told.status == 200 else b'"error":') + told.body
        row = b'{%b,"metadata":{"key":%b}}' % (said, orjson.dumps(line.custom_id))
        rows.append(row)
        if shelf.strikes("line_twice"):
            rows.append(row)
    return rows


def _at(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")


def _said(document: Any) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")

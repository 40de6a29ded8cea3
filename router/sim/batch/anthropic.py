"""Anthropic's Message Batches: ``/messages/batches``, without files.

Belongs here: these endpoints. Does not belong here: what becomes of a batch (shelf.py), and one line's answer (line.py).
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from router.sim.anthropic.provider import check_version, speaker_of
from router.sim.anthropic.refusal import refused, wrong
from router.sim.batch.line import MESSAGES
from router.sim.batch.shelf import SHELVES, Line
from router.sim.provider import body_of
from router.sim.refusal import Refusal
from router.sim.world import WORLD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.sim.batch.shelf import Batch, Shelf

_DAY_S: Final = 86_400.0
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MOST: Final = 100_000
_STATES: Final = {
    "validating": "in_progress",
    "in_progress": "in_progress",
    "finalizing": "in_progress",
    "cancelling": "canceling",
}


def _handled(
    handler: Callable[[web.Request, Shelf], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        world = request.app[WORLD]
        request_id = world.new_id()
        try:
            provider = speaker_of(request, world)
            check_version(request, provider)
            return await handler(request, request.app[SHELVES].of(provider))
        except Refusal as refusal:
            return refused(refusal, request_id)

    return handle


@_handled
async def created(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``POST …/messages/batches``."""
    body = await body_of(request)
    entries = body.get("requests")
    if not isinstance(entries, list) or not entries:
        raise wrong("requests", "Field required")
    if len(entries) > min(MOST, shelf.waits.max_lines):
        raise wrong("requests", f"List should have at most {min(MOST, shelf.waits.max_lines)} items")
    lines: list[Line] = []
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        name = entry.get("custom_id") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise wrong(f"requests.{index}.custom_id", "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'")
        if name in seen:
            raise wrong(f"requests.{index}.custom_id", f"Duplicate custom_id: {name}")
        seen.add(name)
        if not isinstance(entry.get("params"), dict):
            raise wrong(f"requests.{index}.params", "Field required")
        lines.append(Line(name, entry["params"]))
    if shelf.strikes("create_fails"):
        raise Refusal(500, "Internal server error")
    batch = shelf.open("msgbatch_", MESSAGES, lines, _DAY_S, {})
    if shelf.strikes("create_lost") and request.transport is not None:
        request.transport.abort()
    return _said(_shown(batch, request))


@_handled
async def listed(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``GET …/messages/batches``: the newest first."""
    await shelf.look_at_all()
    found = sorted((b for b in shelf.batches.values() if b.url == MESSAGES), key=lambda batch: -batch.created)
    ids = [batch.id for batch in found]
    after, before = request.query.get("after_id"), request.query.get("before_id")
    if after in ids:
        found = found[ids.index(after) + 1 :]
    elif before in ids:
        found = found[: ids.index(before)]
    limit = min(int(request.query.get("limit", "20")), 1000)
    data = [_shown(batch, request) for batch in found[:limit]]
    document = {
        "data": data,
        "has_more": len(found) > limit,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }
    return _said(document)


@_handled
async def retrieved(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``GET …/messages/batches/{id}``."""
    return _said(_shown(await _seen(request, shelf), request))


@_handled
async def cancelled(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``POST …/messages/batches/{id}/cancel``."""
    batch = await _seen(request, shelf)
    if shelf.strikes("cancel_lost"):
        raise Refusal(500, "Internal server error")
    if batch.over:
        raise Refusal(400, f"Batch {batch.id} cannot be canceled because it has ended.")
    shelf.cancel(batch)
    return _said(_shown(batch, request))


@_handled
async def deleted(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``DELETE …/messages/batches/{id}``: of one that has ended."""
    batch = await _seen(request, shelf)
    if not batch.over:
        raise Refusal(400, f"Batch {batch.id} cannot be deleted while it is in progress.")
    batch.hidden = True
    return _said({"id": batch.id, "type": "message_batch_deleted"})


@_handled
async def results(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``GET …/messages/batches/{id}/results``: a line a request, in no promised order."""
    batch = await _seen(request, shelf)
    if not batch.over:
        raise Refusal(404, f"Batch {batch.id} has no available results.")
    if batch.results is None:
        batch.results = b"".join(_results(batch, shelf))
    data = batch.results
    if shelf.strikes("content_cut"):
        response = web.StreamResponse(headers={"content-length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        if request.transport is not None:
            request.transport.abort()
        return response
    return web.Response(body=data, content_type="application/x-jsonl")


def _results(batch: Batch, shelf: Shelf) -> list[bytes]:
    rows: list[bytes] = []
    for line in sorted(batch.lines, key=lambda line: line.due):
        if shelf.strikes("line_missing"):
            continue
        told = line.answered
        if told is None:
            result = b'{"type":"%b"}' % (b"expired" if line.fate == "expired" else b"canceled")
        elif told.status == 200:
            result = b'{"type":"succeeded","message":%b}' % told.body
        elif told.status >= 500:
            result = b'{"type":"errored","error":{"type":"error","error":{"type":"api_error","message":"Overloaded"}}}'
        else:
            result = b'{"type":"errored","error":%b}' % told.body
        row = b'{"custom_id":%b,"result":%b}\n' % (orjson.dumps(line.custom_id), result)
        rows.append(row)
        if shelf.strikes("line_twice"):
            rows.append(row)
        if shelf.strikes("line_garbage"):
            rows.append(b'{"custom_id": "\n')
    return rows


async def _seen(request: web.Request, shelf: Shelf) -> Batch:
    name = request.match_info["batch"]
    batch = shelf.batches.get(name)
    if batch is None or batch.url != MESSAGES or batch.hidden:
        raise Refusal(404, f"Batch {name[:80]} not found")
    if request.method == "GET" and shelf.strikes("get_fails"):
        raise Refusal(503, "Overloaded")
    return await shelf.look(batch)


def _shown(batch: Batch, request: web.Request) -> dict[str, Any]:
    """A batch. Its counts stay zero until all of it has ended."""
    total = len(batch.lines)
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    if batch.over:
        good, bad, _ = batch.counts()
        left = "expired" if batch.state == "expired" else "canceled"
        counts |= {"succeeded": good, "errored": bad, left: total - good - bad}
    else:
        counts["processing"] = total
    place = f"{request.url.origin()}{request.path.partition('/messages/')[0]}/messages/batches/{batch.id}/results"
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended" if batch.over else _STATES[batch.state],
        "request_counts": counts,
        "created_at": _at(batch.created),
        "expires_at": _at(batch.created + _DAY_S),
        "ended_at": _at(batch.ended),
        "cancel_initiated_at": _at(batch.cancelled),
        "archived_at": None,
        "results_url": place if batch.over else None,
    }


def _at(seconds: float | None) -> str | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")


def _said(document: Any) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")

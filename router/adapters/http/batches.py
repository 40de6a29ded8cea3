"""``/v1/batches``, as OpenAI's SDK knows it, over lines that are routed one by one.

Belongs here: these endpoints. Does not belong here: reading and writing the files (broker/batches.py).
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.adapters.broker.batches import OUTPUT_KEPT
from router.adapters.broker.ends import cancel
from router.adapters.broker.yard import encode_identity
from router.adapters.http.admin import json_reply, silent_store
from router.adapters.http.defer import KEEP_MS, MOST_DEADLINE_MS, carried, webhook_of
from router.adapters.http.files import kept_ms, sees
from router.adapters.http.jobs import may_see
from router.adapters.http.server import read_body
from router.core.errors import RouterError
from router.core.jobs.jobs import Job
from router.core.money import parse_usd, usd
from router.core.units import milliseconds
from router.dialects.batch_files import LINES
from router.ports import BlobsUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from aiohttp import web

    from router.adapters.broker.broker import Broker
    from router.adapters.broker.yard import Yard
    from router.adapters.http.server import Handler
    from router.adapters.jobs.files import FileStore
    from router.adapters.jobs.records import Tally
    from router.pipeline import Pipeline

MOST_BODY: Final = 64 * 1024
BUDGET: Final = "costrouter.budget_usd"
"""Key of a batch's metadata: what it may cost at most, in dollars."""


class _Asked(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: dict[str, str] | None = None
    output_expires_after: dict[str, Any] | None = None


class BatchesApi:
    """Handlers by (method, path), for the server's table."""

    def __init__(self, pipeline: Pipeline, yard: Yard, files: FileStore, broker: Broker | None) -> None:
        self._pipeline = pipeline
        self._yard = yard
        self._files = files
        self._broker = broker

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {
            ("POST", "/v1/batches"): self._create,
            ("GET", "/v1/batches"): self._list,
            ("GET", "/v1/batches/*"): self._get,
            ("POST", "/v1/batches/*/cancel"): self._cancel,
        }

    async def _create(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        asked = _asked(await read_body(request, MOST_BODY))
        api = LINES.get(asked.endpoint)
        if api is None:
            message = f"endpoint must be one of {', '.join(LINES)}, not {asked.endpoint[:80]}."
            raise RouterError("invalid_request", message, param="endpoint")
        window_ms = _window(asked.completion_window)
        metadata, expires = asked.metadata or {}, asked.output_expires_after
        now_ms = self._yard.now_ms()
        job = Job(
            id=f"batch_{secrets.token_hex(12)}",
            tenant=identity.tenant,
            key=identity.key,
            created_ms=now_ms,
            deadline_ms=now_ms + window_ms,
            promised_ms=now_ms + window_ms,
            endpoint=api,
            kind="batch",
            headers=carried(request.headers),
            identity=encode_identity(identity),
            keep_ms=KEEP_MS,
            webhook=webhook_of(request.headers),
            given={
                "file": asked.input_file_id,
                "window": asked.completion_window,
                "url": asked.endpoint,
                "metadata": msgspec.json.encode(metadata).decode(),
            }
            | ({} if expires is None else {OUTPUT_KEPT: str(kept_ms("output_expires_after", expires))}),
            cap_nano=_cap(metadata),
        )
        try:
            file = await self._files.find(identity.tenant, asked.input_file_id)
            if file is not None and sees(identity, file):
                await self._yard.promise(job, [], sealed=False, due_ms=now_ms)
                tally = await self._yard.store.tally(identity.tenant, job.id)
            else:
                tally = None
        except StoreUnavailable:
            with contextlib.suppress(StoreUnavailable, BlobsUnavailable):
                await cancel(self._yard, job)
            raise silent_store() from None
        if tally is None:
            raise RouterError("not_found", f"No such File object: {asked.input_file_id[:80]}", param="input_file_id")
        if self._broker is not None:
            self._broker.wake(job.tenant)
        return json_reply(batch_body(tally), request_id)

    async def _list(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        text = request.query.get("limit", "20")
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100:
            raise RouterError("invalid_request", f"limit must be from 1 to 100, not {text[:20]}.", param="limit")
        limit, after = int(text), request.query.get("after")
        found: list[Tally] = []
        try:
            while len(found) <= limit:
                ids = await self._yard.store.ids(identity.tenant, 100, after)
                for name in ids:
                    if name.startswith("batch_"):
                        tally = await self._yard.store.tally(identity.tenant, name)
                        if tally is not None and may_see(identity, tally):
                            found.append(tally)
                if len(ids) < 100:
                    break
                after = ids[-1]
        except StoreUnavailable:
            raise silent_store() from None
        data = [batch_body(tally) for tally in found[:limit]]
        document = {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": len(found) > limit,
        }
        return json_reply(document, request_id)

    async def _get(self, request: web.BaseRequest, request_id: str) -> web.Response:
        return json_reply(batch_body(await self._found(request)), request_id)

    async def _cancel(self, request: web.BaseRequest, request_id: str) -> web.Response:
        tally = await self._found(request)
        if tally.ended_ms:
            raise RouterError("invalid_request", f"{tally.job.id} has ended; it cannot be cancelled.", status=409)
        try:
            await cancel(self._yard, tally.job)
            again = await self._yard.store.tally(tally.job.tenant, tally.job.id)
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply(batch_body(again or tally), request_id)

    async def _found(self, request: web.BaseRequest) -> Tally:
        identity = await self._pipeline.authenticate(request.headers)
        name = request.path.split("/")[3]
        try:
            tally = await self._yard.store.tally(identity.tenant, name)
        except StoreUnavailable:
            raise silent_store() from None
        if tally is None or tally.job.kind != "batch" or not may_see(identity, tally):
            raise RouterError("not_found", f"No batch found with id '{name[:80]}'.")
        return tally


def batch_status(tally: Tally) -> str:
    """A batch's state in OpenAI's words."""
    if tally.ended_ms:
        if "final" not in tally.notes:
            return "cancelling" if tally.unwanted else "finalizing"
        if "fault" in tally.notes and not tally.lines:
            return "failed"
        return "cancelled" if tally.unwanted else "completed"
    if tally.unwanted:
        return "cancelling"
    return "in_progress" if tally.sealed else "validating"


def batch_body(tally: Tally) -> dict[str, Any]:
    """A batch as it is shown."""
    job, notes, state = tally.job, tally.notes, batch_status(tally)
    final = int(notes.get("final", "0")) // 1000 or None
    fault = {
        "object": "list",
        "data": [{"code": "empty_file", "message": notes.get("fault"), "line": None, "param": None}],
    }
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": job.given.get("url"),
        "errors": fault if state == "failed" else None,
        "input_file_id": job.given.get("file"),
        "completion_window": job.given.get("window"),
        "status": state,
        "output_file_id": notes.get("output") or None,
        "error_file_id": notes.get("errors") or None,
        "created_at": job.created_ms // 1000,
        "in_progress_at": job.created_ms // 1000 if tally.sealed else None,
        "expires_at": job.deadline_ms // 1000,
        "finalizing_at": tally.ended_ms // 1000 or None,
        "completed_at": final if state == "completed" else None,
        "failed_at": final if state == "failed" else None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": final if state == "cancelled" else None,
        "request_counts": {
            "total": tally.lines,
            "completed": tally.succeeded,
            "failed": tally.failed + tally.cancelled + tally.expired,
        },
        "metadata": msgspec.json.decode(job.given.get("metadata", "{}")) or None,
        "cost_usd": usd(tally.cost_nano),
    }


def _asked(body: bytes) -> _Asked:
    try:
        return msgspec.json.decode(body, type=_Asked)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RouterError("invalid_request", f"The body cannot be read: {error}.") from None


def _window(text: str) -> int:
    try:
        found = milliseconds(text)
    except ValueError:
        found = 0
    if not 0 < found <= MOST_DEADLINE_MS:
        message = "completion_window must be a duration such as 24h or 90m, of at most 30 days."
        raise RouterError("invalid_request", message, param="completion_window")
    return found


def _cap(metadata: dict[str, str]) -> int:
    text = metadata.get(BUDGET)
    try:
        return 0 if text is None else parse_usd(text) // 1000
    except ValueError as error:
        raise RouterError("invalid_request", f"metadata.{BUDGET}: {error}", param=f"metadata.{BUDGET}") from None

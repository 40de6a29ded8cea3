"""``/v1/messages/batches``, as Anthropic's SDK knows it, over requests that are routed one by one.

Belongs here: these endpoints. Does not belong here: cutting the body into requests (dialects/batch_requests.py), and what
becomes of them (broker/batches.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from router.adapters.broker.ends import cancel
from router.adapters.broker.yard import encode_identity
from router.adapters.http import connection as http_connection
from router.adapters.http.admin import json_reply, silent_store
from router.adapters.http.defer import carried, deadline_of, webhook_of
from router.adapters.http.files import stored
from router.adapters.http.jobs import may_see
from router.adapters.http.reply import SERVER
from router.core.errors import RouterError
from router.core.jobs.jobs import Job
from router.core.money import parse_usd, usd
from router.dialects.batch_requests import MOST_BYTES, Requests
from router.ports import BlobsUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.broker.broker import Broker
    from router.adapters.broker.yard import Yard
    from router.adapters.http.server import Handler
    from router.adapters.jobs.files import FileStore
    from router.adapters.jobs.records import Tally
    from router.pipeline import Pipeline

PATH: Final = "/v1/messages/batches"
KIND: Final = "messages_batch"
BUDGET: Final = "x-costrouter-budget-usd"
"""What a batch may cost at most, in dollars: there is no metadata to say it in."""
DAY_MS: Final = 86_400_000
KEEP_MS: Final = 28 * DAY_MS
"""Results are kept for 29 days from a batch's creation, of which its window is the first."""
_MOST_PAGE: Final = 1000
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class MessageBatchesApi:
    """Handlers by (method, path), for the server's table."""

    def __init__(self, pipeline: Pipeline, yard: Yard, files: FileStore, broker: Broker | None) -> None:
        self._pipeline = pipeline
        self._yard = yard
        self._files = files
        self._broker = broker

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {
            ("POST", PATH): self._create,
            ("GET", PATH): self._list,
            ("GET", f"{PATH}/*"): self._get,
            ("GET", f"{PATH}/*/results"): self._results,
            ("POST", f"{PATH}/*/cancel"): self._cancel,
            ("DELETE", f"{PATH}/*"): self._delete,
        }

    async def _create(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        now_ms = self._yard.now_ms()
        deadline = request.headers.get("x-costrouter-deadline", "")
        deadline_ms = deadline_of(deadline, now_ms) if deadline else now_ms + DAY_MS
        cap, webhook = _cap(request.headers.get(BUDGET)), webhook_of(request.headers)
        try:
            blob, count = await self._written(request, identity.tenant)
            job = Job(
                id=f"msgbatch_{secrets.token_hex(12)}",
                tenant=identity.tenant,
                key=identity.key,
                created_ms=now_ms,
                deadline_ms=deadline_ms,
                promised_ms=deadline_ms,
                endpoint="messages",
                kind=KIND,
                headers=carried(request.headers),
                identity=encode_identity(identity),
                keep_ms=KEEP_MS,
                webhook=webhook,
                given={"blob": blob, "count": str(count)},
                cap_nano=cap,
            )
            await self._yard.store.expire(job.tenant, deadline_ms + KEEP_MS, f"blob:{blob}")
            try:
                await self._yard.promise(job, [], sealed=False, due_ms=now_ms)
            except StoreUnavailable:
                with contextlib.suppress(StoreUnavailable, BlobsUnavailable):
                    await cancel(self._yard, job)
                raise
            tally = await self._yard.store.tally(identity.tenant, job.id)
        except StoreUnavailable:
            raise silent_store() from None
        except BlobsUnavailable as failure:
            raise RouterError("store_unavailable", f"Batches cannot be kept: {failure}.", retry_after_s=5) from None
        if tally is None:
            raise RouterError("internal_error", f"{job.id} is gone.")
        if self._broker is not None:
            self._broker.wake(job.tenant)
        return json_reply(batch_body(tally, _origin(request)), request_id)

    async def _written(self, request: web.BaseRequest, tenant: str) -> tuple[str, int]:
        """The body's requests, put down line by line as they arrive: where, and how many."""
        reader = Requests()
        async with await self._files.writer(tenant) as writer:
            async for piece in _body(request):
                for line in reader.feed(piece):
                    await writer.add(line + b"\n")
            count = reader.end()
        return writer.blob, count

    async def _list(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        text = request.query.get("limit", "20")
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_PAGE:
            raise RouterError(
                "invalid_request", f"limit: must be from 1 to {_MOST_PAGE}, not {text[:20]}.", param="limit"
            )
        limit, before = int(text), request.query.get("before_id")
        after = request.query.get("after_id")
        found: list[Tally] = []
        try:
            # The newest first; what comes before a batch is what is newer, the nearest of it.
            while before is not None or len(found) <= limit:
                ids = await self._yard.store.ids(identity.tenant, 100, after)
                for name in ids:
                    if name == before:
                        ids = []
                        break
                    tally = (
                        await self._yard.store.tally(identity.tenant, name) if name.startswith("msgbatch_") else None
                    )
                    if tally is not None and may_see(identity, tally):
                        found.append(tally)
                if len(ids) < 100:
                    break
                after = ids[-1]
        except StoreUnavailable:
            raise silent_store() from None
        more = len(found) > limit
        found = found[-limit:] if before is not None else found[:limit]
        data = [batch_body(tally, _origin(request)) for tally in found]
        document = {
            "data": data,
            "has_more": more,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
        return json_reply(document, request_id)

    async def _get(self, request: web.BaseRequest, request_id: str) -> web.Response:
        return json_reply(batch_body(await self._found(request), _origin(request)), request_id)

    async def _results(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        tally = await self._found(request)
        name = tally.job.id
        if not ended(tally):
            raise RouterError("not_found", f"{name} has no results yet: they are there once it has ended.")
        headers = {
            "content-type": "application/x-jsonl",
            "content-length": tally.notes.get("output_size", "0"),
            "server": SERVER,
            "request-id": request_id,
        }
        missing = f"The results of {name} are not kept any more."
        return await stored(request, self._files, tally.notes.get("output", ""), headers, missing)

    async def _cancel(self, request: web.BaseRequest, request_id: str) -> web.Response:
        tally = await self._found(request)
        if ended(tally):
            raise RouterError("invalid_request", f"{tally.job.id} has ended; it cannot be canceled.")
        try:
            await self._yard.store.note(tally.job.tenant, tally.job.id, cancelled_at=self._yard.now_ms())
            await cancel(self._yard, tally.job)
            again = await self._yard.store.tally(tally.job.tenant, tally.job.id)
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply(batch_body(again or tally, _origin(request)), request_id)

    async def _delete(self, request: web.BaseRequest, request_id: str) -> web.Response:
        tally = await self._found(request)
        job = tally.job
        if not ended(tally):
            message = f"{job.id} is in progress: cancel it first, and delete it once it has ended."
            raise RouterError("invalid_request", message)
        now_ms = self._yard.now_ms()
        try:
            blobs = [blob for blob in (job.given.get("blob"), tally.notes.get("output")) if blob]
            await self._yard.store.expire(job.tenant, now_ms, *(f"blob:{blob}" for blob in blobs))
            await self._yard.store.forget(job.tenant, f"job:{job.id}")
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply({"id": job.id, "type": "message_batch_deleted"}, request_id)

    async def _found(self, request: web.BaseRequest) -> Tally:
        identity = await self._pipeline.authenticate(request.headers)
        name = request.path.split("/")[4]
        try:
            tally = await self._yard.store.tally(identity.tenant, name)
        except StoreUnavailable:
            raise silent_store() from None
        if tally is None or tally.job.kind != KIND or not may_see(identity, tally):
            raise RouterError("not_found", f"There is no message batch {name[:80]!r}.")
        return tally


def ended(tally: Tally) -> bool:
    """Whether every request has its end, and the results are written."""
    return bool(tally.ended_ms) and "final" in tally.notes


def batch_body(tally: Tally, origin: str) -> dict[str, Any]:
    """A batch as it is shown. Its counts stay zero until all of it has ended."""
    job, over = tally.job, ended(tally)
    total = int(job.given.get("count", "0"))
    counts = {"processing": 0 if over else total, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    if over:
        counts |= {
            "succeeded": tally.succeeded,
            "errored": tally.failed,
            "canceled": tally.cancelled,
            "expired": tally.expired,
        }
    return {
        "id": job.id,
        "type": "message_batch",
        "processing_status": "ended" if over else "canceling" if tally.unwanted else "in_progress",
        "request_counts": counts,
        "created_at": _time(job.created_ms),
        "expires_at": _time(job.deadline_ms),
        "ended_at": _time(int(tally.notes["final"])) if over else None,
        "cancel_initiated_at": _time(int(tally.notes.get("cancelled_at", "0"))) if tally.unwanted else None,
        "archived_at": None,
        "results_url": f"{origin}{PATH}/{job.id}/results" if over else None,
        "cost_usd": usd(tally.cost_nano),
    }


def _origin(request: web.BaseRequest) -> str:
    """Where the caller reached us, as far as they and what stands before us say."""
    scheme = request.headers.get("x-forwarded-proto", request.scheme)
    host = request.headers.get("host", "")
    return f"{scheme if scheme in ('http', 'https') else 'http'}://{host}"


def _time(ms: int) -> str | None:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).isoformat().replace("+00:00", "Z") if ms else None


def _cap(text: str | None) -> int:
    try:
        return 0 if text is None else parse_usd(text) // 1000
    except ValueError as error:
        raise RouterError("invalid_request", f"{BUDGET}: {error}", param=BUDGET) from None


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """The request's body as it arrives."""
    large = RouterError("request_too_large", f"A batch has at most {MOST_BYTES} bytes.")
    if (request.content_length or 0) > MOST_BYTES:
        raise large
    if request.headers.get("expect", "").lower() == "100-continue":
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0
    size = 0
    while True:
        try:
            async with asyncio.timeout(http_connection.BODY_IDLE_S):
                piece = await request.content.readany()
        except TimeoutError:
            raise http_connection.body_stopped() from None
        except (web.HTTPException, web.RequestPayloadError, ValueError) as error:
            raise RouterError("invalid_request", f"The body could not be read: {type(error).__name__}.") from None
        if not piece:
            return
        size += len(piece)
        if size > MOST_BYTES:
            raise large
        yield piece

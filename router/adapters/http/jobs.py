"""``/costrouter/v1/jobs``: what waits, how far it is, its answer, and calling it off.

Belongs here: these endpoints. Does not belong here: how a job comes to be (defer.py) and the batch APIs that SDKs
know (batches.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from router.adapters.broker.ends import cancel
from router.adapters.http.admin import json_reply, silent_store
from router.core.errors import RouterError
from router.core.money import usd
from router.ports import BlobMissing, BlobsUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.broker.yard import Yard
    from router.adapters.http.server import Handler
    from router.adapters.jobs.records import Tally
    from router.core.values import Identity
    from router.pipeline import Pipeline

PREFIX: Final = "/costrouter/v1/jobs"
MOST: Final = 100


class JobsApi:
    """Handlers by (method, path), for the server's table."""

    def __init__(self, pipeline: Pipeline, yard: Yard) -> None:
        self._pipeline = pipeline
        self._yard = yard

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {
            ("GET", PREFIX): self._list,
            ("GET", f"{PREFIX}/*"): self._get,
            ("POST", f"{PREFIX}/*/cancel"): self._cancel,
            ("DELETE", f"{PREFIX}/*"): self._delete,
        }

    async def _list(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        limit = _limit(request.query.get("limit", "20"))
        after = request.query.get("after")
        try:
            ids = await self._yard.store.ids(identity.tenant, limit + 1, after)
            tallies = [await self._yard.store.tally(identity.tenant, job) for job in ids[:limit]]
        except StoreUnavailable:
            raise silent_store() from None
        shown = [job_body(tally) for tally in tallies if tally is not None and may_see(identity, tally)]
        document = {"object": "list", "data": shown, "has_more": len(ids) > limit}
        return json_reply(document, request_id)

    async def _get(self, request: web.BaseRequest, request_id: str) -> web.Response:
        tally = await self._found(request)
        document = job_body(tally)
        if tally.job.kind == "request" and tally.ended_ms:
            document["result"] = await self._result(tally)
        response = json_reply(document, request_id)
        if not tally.ended_ms:
            wait_s = max(1, min(60, (tally.job.promised_ms - self._yard.now_ms()) // 1000))
            response.headers["retry-after"] = str(wait_s)
        return response

    async def _result(self, tally: Tally) -> dict[str, Any]:
        job = tally.job
        try:
            (line,) = await self._yard.store.lines(job.tenant, job.id, [0])
            answer = None if line is None else await self._yard.answer(job, 0, line)
        except (StoreUnavailable, BlobsUnavailable):
            raise silent_store() from None
        except BlobMissing:
            answer = None
        if answer is None:
            raise RouterError("not_found", "The answer is not kept any more.")
        return {
            "status_code": answer.status,
            "model": answer.headers.get("x-costrouter-model"),
            "provider": answer.headers.get("x-costrouter-provider"),
            "tier": answer.headers.get("x-costrouter-tier"),
            "body": msgspec.Raw(answer.body or b"null"),
        }

    async def _cancel(self, request: web.BaseRequest, request_id: str) -> web.Response:
        tally = await self._found(request)
        try:
            if not tally.ended_ms:
                await cancel(self._yard, tally.job)
            again = await self._yard.store.tally(tally.job.tenant, tally.job.id)
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply(job_body(again or tally), request_id)

    async def _delete(self, request: web.BaseRequest, request_id: str) -> web.Response:
        tally = await self._found(request)
        if not tally.ended_ms:
            message = "The job has not ended: cancel it first (POST …/cancel)."
            raise RouterError("invalid_request", message, status=409)
        try:
            await self._yard.store.expire(tally.job.tenant, self._yard.now_ms(), f"job:{tally.job.id}")
            await self._yard.store.forget(tally.job.tenant, f"job:{tally.job.id}")
        except StoreUnavailable:
            raise silent_store() from None
        return json_reply({"id": tally.job.id, "object": "costrouter.job.deleted", "deleted": True}, request_id)

    async def _found(self, request: web.BaseRequest) -> Tally:
        identity = await self._pipeline.authenticate(request.headers)
        name = request.path.split("/")[4]
        try:
            tally = await self._yard.store.tally(identity.tenant, name)
        except StoreUnavailable:
            raise silent_store() from None
        if tally is None or not may_see(identity, tally):
            raise RouterError("not_found", f"There is no job {name[:80]!r}; GET {PREFIX} lists yours.")
        return tally


def may_see(identity: Identity, tally: Tally) -> bool:
    """An application's key sees its own jobs, everybody else all of their tenant's."""
    return identity.role != "app" or identity.key == tally.job.key


def status_of(tally: Tally) -> str:
    """A job's state in a word."""
    if tally.ended_ms:
        if tally.succeeded:
            return "completed"
        return "cancelled" if tally.cancelled else "failed"
    if tally.unwanted:
        return "cancelling"
    return "in_progress" if tally.done else "queued"


def job_body(tally: Tally) -> dict[str, Any]:
    """A job as it is shown."""
    job = tally.job
    late_ms = int(tally.notes.get("late_ms", "0"))
    return {
        "id": job.id,
        "object": "costrouter.job",
        "kind": job.kind,
        "status": status_of(tally),
        "endpoint": job.endpoint,
        "created_at": job.created_ms // 1000,
        "deadline_at": job.deadline_ms // 1000,
        "promised_at": job.promised_ms // 1000,
        "ended_at": tally.ended_ms // 1000 or None,
        "lines": {
            "total": tally.lines,
            "succeeded": tally.succeeded,
            "failed": tally.failed,
            "cancelled": tally.cancelled,
        },
        "cost_usd": usd(tally.cost_nano),
        "late_s": late_ms / 1000 if late_ms else None,
        "late_because": tally.notes.get("late_because"),
        "webhook": tally.notes.get("webhook"),
    }


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST:
        raise RouterError("invalid_request", f"limit must be from 1 to {MOST}, not {text[:20]}.", param="limit")
    return int(text)

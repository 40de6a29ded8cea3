"""``/v1/responses/ID``: responses that are kept, here or at the provider that gave them.

Belongs here: asking for one, for what led to it, calling it off, taking it away. Does not belong here: creating one (the
pipeline), and remembering where it lies (`router.memory`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from router.adapters.http.admin import json_reply
from router.core.errors import RouterError
from router.dialects.openai.errors import provider_error
from router.memory import Memory, Remembered, shown_items, unknown
from router.ports import Timeouts, UpstreamFailure, UpstreamRequest
from router.streaming import early

if TYPE_CHECKING:
    from router.adapters.http.background import Background
    from router.adapters.http.server import Handler
    from router.adapters.jobs.records import Tally
    from router.pipeline import Pipeline
    from router.ports import Upstream

PREFIX: Final = "/v1/responses"
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_QUERY: Final = re.compile(r"[A-Za-z0-9_.,=&\[\]%-]{0,1000}")
_TIMEOUTS: Final = Timeouts(first_byte=30.0, total=60.0)
_MOST_BYTES: Final = 64 << 20


class ResponsesApi:
    """Handlers by (method, path), for the server's table.

    Args:
        pipeline: knows callers.
        memory: knows where responses lie.
        upstream: for those that lie at a provider.
        background: knows those that are made in the background.
    """

    def __init__(self, pipeline: Pipeline, memory: Memory, upstream: Upstream, background: Background) -> None:
        self._background = background
        self._pipeline = pipeline
        self._memory = memory
        self._upstream = upstream

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {
            ("GET", f"{PREFIX}/*"): self._get,
            ("DELETE", f"{PREFIX}/*"): self._delete,
            ("POST", f"{PREFIX}/*/cancel"): self._cancel,
            ("GET", f"{PREFIX}/*/input_items"): self._items,
        }

    async def _get(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        if (tally := await self._later(request)) is not None:
            if request.query.get("stream") == "true":
                return await self._streamed(request, request_id, tally)
            return json_reply(await self._background.response(tally), request_id)
        _, name, found = await self._found(request)
        if found.provider:
            return await self._forwarded(request, request_id, name, found)
        if request.query.get("stream") == "true":
            message = "stream: this response was made at once, and only background responses can be streamed again."
            raise RouterError("invalid_request", message, param="stream")
        return json_reply(msgspec.Raw(found.response), request_id)

    async def _items(self, request: web.BaseRequest, request_id: str) -> web.Response:
        if (tally := await self._later(request)) is not None:
            items = shown_items(await self._background.items(tally))
        else:
            _, name, found = await self._found(request)
            if found.provider:
                return await self._forwarded(request, request_id, name, found)
            items = shown_items(msgspec.json.decode(found.items))
        if request.query.get("order") == "asc":
            items.reverse()
        first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
        listed = {"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": False}
        return json_reply(listed, request_id)

    async def _delete(self, request: web.BaseRequest, request_id: str) -> web.Response:
        if (tally := await self._later(request)) is not None:
            await self._background.delete(tally)
            name = request.path.split("/")[3]
            return json_reply({"id": name, "object": "response", "deleted": True}, request_id)
        tenant, name, found = await self._found(request)
        told = {"id": name, "object": "response", "deleted": True}
        answer = json_reply(told, request_id)
        if found.provider:
            answer = await self._forwarded(request, request_id, name, found)
        await self._memory.forget(tenant, name)
        return answer

    async def _cancel(self, request: web.BaseRequest, request_id: str) -> web.Response:
        if (tally := await self._later(request)) is not None:
            return json_reply(await self._background.cancel(tally), request_id)
        _, name, found = await self._found(request)
        if found.provider:
            return await self._forwarded(request, request_id, name, found)
        raise RouterError("invalid_request", "This response was made at once: there is nothing to cancel.")

    async def _later(self, request: web.BaseRequest) -> Tally | None:
        """The job behind a response that is made in the background; None for others."""
        name = request.path.split("/")[3]
        if _ID.fullmatch(name) is None or not name.startswith("resp_job_"):
            return None
        identity = await self._pipeline.authenticate(request.headers)
        tally = await self._background.find(identity.tenant, name)
        if tally is None:
            raise unknown(name)
        return tally

    async def _streamed(self, request: web.BaseRequest, request_id: str, tally: Tally) -> web.StreamResponse:
        after = request.query.get("starting_after", "-1")
        if not after.lstrip("-").isdecimal() or len(after) > 9:
            message = "starting_after must be the sequence_number of an event."
            raise RouterError("invalid_request", message, param="starting_after")
        stream = self._background.stream(tally.job, int(after))
        part = await stream.first_part()
        headers = {"content-type": "text/event-stream", "cache-control": "no-cache", "x-request-id": request_id}
        reply = web.StreamResponse(headers=headers)
        await reply.prepare(request)
        while part:
            await reply.write(part)
            part = await stream.next_part()
        await reply.write_eof()
        return reply

    async def _found(self, request: web.BaseRequest) -> tuple[str, str, Remembered]:
        """The tenant, the id, and what is remembered of it."""
        identity, own = await self._pipeline.caller(request.headers)
        name = request.path.split("/")[3]
        found = await self._memory.find(identity.tenant, name) if _ID.fullmatch(name) else None
        if found is None or (own is not None and own.key != found.key):
            raise unknown(name)
        return identity.tenant, name, found

    async def _forwarded(self, request: web.BaseRequest, request_id: str, name: str, found: Remembered) -> web.Response:
        """What the provider says that keeps it."""
        _, own = await self._pipeline.caller(request.headers)
        link = own or self._memory.link(found)
        if link is None:
            message = f"The response lies at {found.provider}, under a key that is not in use here any more."
            raise RouterError("upstream_unavailable", message)
        query = request.query_string
        if _QUERY.fullmatch(query) is None or "stream=true" in query:
            message = "The query may hold include and what lists take; only background responses can be streamed again."
            raise RouterError("invalid_request", message)
        path = "/responses/" + "/".join(request.path.split("/")[3:])
        asked = UpstreamRequest(
            origin=link.origin,
            method=request.method,
            path=f"{path}?{query}" if query else path,
            headers=link.headers,
            body=b"",
            timeouts=_TIMEOUTS,
        )
        try:
            response = await self._upstream.send(asked)
            try:
                body = await response.read(_MOST_BYTES)
            finally:
                response.close()
        except UpstreamFailure as failure:
            raise early(failure) from None
        if response.status == 404:
            raise unknown(name)
        if response.status != 200:
            raise provider_error(response.status, body, None, provider=link.name, model=found.entry.partition("@")[0])
        headers = {"content-type": "application/json", "x-request-id": request_id, "x-costrouter-provider": link.name}
        return web.Response(body=body, headers=headers)

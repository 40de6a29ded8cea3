"""Background responses: how far they are, their streams, calling them off.

Belongs here: a job of one response, seen through the Responses API. Does not belong here: how it comes to be one (defer.py), and
responses that were made at once (responses.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.adapters.broker.ends import cancel
from router.adapters.http.admin import silent_store
from router.adapters.http.jobs import status_of
from router.adapters.http.told import told_error
from router.core.errors import RouterError
from router.dialects.json_object import TopLevel
from router.dialects.responses import API
from router.dialects.responses.background import WINDOWS, arrived, begun_events, events_of, standing
from router.dialects.responses.errors import error_event
from router.dialects.responses.memory import input_of
from router.dialects.ways import INBOUND
from router.ports import BlobMissing, BlobsUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.broker.yard import Yard
    from router.adapters.jobs.news import Endings
    from router.adapters.jobs.records import Tally
    from router.considered import Considered
    from router.core.jobs.jobs import Job
    from router.dialects.request import Request

_PREFIX: Final = "resp_"
_STATES: Final = {"queued": "queued", "in_progress": "in_progress", "cancelling": "in_progress"}
QUIET_S: Final = 15.0
"""How long a stream may say nothing."""


def answer_id(job: str) -> str:
    """The id of a job's response."""
    return _PREFIX + job


class Background:
    """Knows the responses that are made in the background.

    Args:
        yard: where jobs lie.
        endings: tells of jobs that have their end.
    """

    def __init__(self, yard: Yard, endings: Endings) -> None:
        self._yard = yard
        self.endings = endings

    async def find(self, tenant: str, response_id: str) -> Tally | None:
        """The job behind a response; None for an id of another kind, or of nobody's.

        Raises:
            RouterError: the store does not answer.
        """
        name = response_id.removeprefix(_PREFIX)
        if not name.startswith("job_"):
            return None
        try:
            tally = await self._yard.store.tally(tenant, name)
        except StoreUnavailable:
            raise silent_store() from None
        return tally if tally is not None and tally.job.endpoint == API and tally.job.kind == "request" else None

    async def response(self, tally: Tally) -> dict[str, Any]:
        """How it stands, or all of it.

        Raises:
            RouterError: the store does not answer, or it is not kept any more.
        """
        job = tally.job
        name, at_s = answer_id(job.id), job.created_ms // 1000
        try:
            (line,) = await self._yard.store.lines(job.tenant, job.id, [0])
            if line is None:
                raise _gone(name)
            request = INBOUND[API].read(await self._yard.body(job, 0, line), job.headers)
            if not tally.ended_ms:
                return standing(request, name, at_s, _STATES[status_of(tally)])
            found = await self._yard.answer(job, 0, line)
        except (StoreUnavailable, BlobsUnavailable):
            raise silent_store() from None
        except BlobMissing:
            raise _gone(name) from None
        if line.state == "succeeded":
            try:
                return arrived(found.body, name, at_s)
            except ValueError:
                raise _gone(name) from None
        if tally.cancelled:
            return standing(request, name, at_s, "cancelled")
        code = "rate_limit_exceeded" if found.status == 429 else "server_error"
        return standing(request, name, at_s, "failed", (code, _words(found.body, line.error)))

    async def whole(self, tenant: str, response_id: str) -> tuple[bytes, dict[str, Any]] | None:
        """The request and the response that others may go on from; None where there is none, or not yet."""
        tally = await self.find(tenant, response_id)
        if tally is None or not tally.succeeded:
            return None
        return await self._body(tally.job), await self.response(tally)

    async def items(self, tally: Tally) -> list[dict[str, Any]]:
        """What was asked, as items."""
        request: Request = INBOUND[API].read(await self._body(tally.job), tally.job.headers)
        return input_of(request.top)

    async def cancel(self, tally: Tally) -> dict[str, Any]:
        """Call it off, and tell how it stands then."""
        job = tally.job
        try:
            if not tally.ended_ms:
                await cancel(self._yard, job)
            again = await self._yard.store.tally(job.tenant, job.id)
        except StoreUnavailable:
            raise silent_store() from None
        found = await self.response(again or tally)
        return found if tally.ended_ms or found["status"] != "in_progress" else found | {"status": "cancelled"}

    async def delete(self, tally: Tally) -> None:
        """Take it away; one that is under way is called off first."""
        job = tally.job
        try:
            if not tally.ended_ms:
                await cancel(self._yard, job)
            await self._yard.store.expire(job.tenant, self._yard.now_ms(), f"job:{job.id}")
            await self._yard.store.forget(job.tenant, f"job:{job.id}")
        except StoreUnavailable:
            raise silent_store() from None

    def stream(self, job: Job, after: int = -1) -> BackgroundStream:
        """Its events, from the number after this on."""
        return BackgroundStream(self, job, after)

    async def _body(self, job: Job) -> bytes:
        try:
            (line,) = await self._yard.store.lines(job.tenant, job.id, [0])
            if line is None:
                raise _gone(answer_id(job.id))
            return await self._yard.body(job, 0, line)
        except (StoreUnavailable, BlobsUnavailable):
            raise silent_store() from None
        except BlobMissing:
            raise _gone(answer_id(job.id)) from None


class BackgroundStream:
    """The events of a response that is made in the background. Who hangs up may come back: it goes on without them.

    Args:
        background: knows it.
        job: what it is made by.
        after: the number of the last event that its caller has seen.
    """

    def __init__(self, background: Background, job: Job, after: int) -> None:
        self._background = background
        self._job = job
        self._after = after
        self._over = False

    @property
    def whole(self) -> bool:
        """Whether all of it has been told."""
        return self._over

    async def first_part(self) -> bytes:
        """What is known at once: how it stands, or all of it."""
        tally = await self._background.find(self._job.tenant, answer_id(self._job.id))
        if tally is None:
            raise _gone(answer_id(self._job.id))
        found = await self._background.response(tally)
        if tally.ended_ms:
            self._over = True
            return events_of(found, self._after)
        first, after = b"" if self._after >= 0 else begun_events(found), self._after
        self._after = max(after, 1)
        return first or b": waiting\n\n"

    async def next_part(self) -> bytes:
        """The next bytes; b"" at the end."""
        if self._over:
            return b""
        found = await self._background.endings.first(self._job.id, self._rest, QUIET_S)
        if found is None:
            return b": waiting\n\n"
        self._over = True
        return found

    async def _rest(self) -> bytes | None:
        """The events that are left, once all can be told."""
        try:
            tally = await self._background.find(self._job.tenant, answer_id(self._job.id))
            if tally is None:
                raise _gone(answer_id(self._job.id))
            return events_of(await self._background.response(tally), self._after) if tally.ended_ms else None
        except RouterError as error:
            return None if error.code == "store_unavailable" else error_event(error)

    async def abandon(self) -> None:
        """The caller has gone; the answer is made all the same."""

    def cut(self, error: RouterError) -> bytes:
        """What stands where the rest would have stood."""
        return b"" if self._over else error_event(error)


def _gone(name: str) -> RouterError:
    return RouterError("not_found", f"The response {name!r} is not kept any more.")


def _words(body: bytes, code: str) -> str:
    return told_error(0, body, code).message


def window(request: Request) -> str:
    """Until when a background response is wanted, as its options say, which were seen to be right when it was read."""
    options = msgspec.json.decode(request.top.get("background_options") or b"null") or {}
    return WINDOWS[options.get("completion_window") or "soonest"]


def kept_without_stream(seen: Considered, body: bytes) -> tuple[Considered, bytes]:
    """A background request as whoever takes it up sends it.

    Raises:
        RouterError: ``invalid_request``: it is not to be stored, so nobody could ask for it.
    """
    if not seen.request.stored:
        message = "background needs store: true (or store left out): the answer is kept until you ask for it."
        raise RouterError("invalid_request", message, param="store")
    request = msgspec.structs.replace(seen.request, stream=False)
    body = TopLevel(body).edited({"stream": None, "stream_options": None})
    return msgspec.structs.replace(seen, request=request), body

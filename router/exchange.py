"""One attempt on the wire: what is sent, and what its answer means: a reply, or an error and a row.

Belongs here: sending, and telling a 200 from a refusal. Part of the pipeline's layer. Does not belong here: whether
another attempt follows (forward.py), and how a stream is passed on (streaming.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from router.attempt import Attempt, Headers
from router.core.deciding.decide import Decision
from router.core.errors import RouterError
from router.core.forwarding.retry_after import retry_after_ms
from router.core.values import Usage
from router.dialects.openai.errors import provider_error
from router.dialects.served import served
from router.ports import (
    Clock,
    JournalUnavailable,
    PartStream,
    Timeouts,
    Upstream,
    UpstreamFailure,
    UpstreamRequest,
    Ways,
)
from router.streaming import AnswerStream, early

if TYPE_CHECKING:
    from router.core.values import Outcome
    from router.ports import UpstreamResponse

Wire = tuple[tuple[bytes, bytes], ...]
CONTENT_TYPE: Final = b"content-type"
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024


def _nothing() -> None:
    pass


class Reply(msgspec.Struct, frozen=True):
    """What to send back: a whole body, or the first part of a stream and the stream it goes on with."""

    headers: Headers
    body: bytes
    stream: PartStream | None = None
    attempt: Attempt | None = None
    """What it answers; None where nothing was attempted."""
    after: Callable[[], None] = _nothing
    """To be called once a whole body is written, or cannot be: what the caller need not wait for."""
    status: int = 200


def to_send(attempt: Attempt, timeouts: Timeouts) -> UpstreamRequest:
    """The request to the provider of an attempt."""
    link, decision = attempt.link, attempt.decision
    if link.names:
        decision = _renamed(decision, link.names)
    order = attempt.way.order(attempt.request, decision, link.quirks)
    request = UpstreamRequest(
        origin=link.origin,
        method="POST",
        path=order.path,
        headers=_headers(link.headers, order.headers) if order.headers else link.headers,
        body=order.body,
        timeouts=timeouts,
    )
    return request if link.finish is None else link.finish(request, decision.option.upstream_model)


def _headers(standing: Wire, order: Wire) -> Wire:
    """A link's headers and an order's; the order says what its body is."""
    if any(name == CONTENT_TYPE for name, _ in order):
        standing = tuple(pair for pair in standing if pair[0] != CONTENT_TYPE)
    return (*standing, *order)


def _renamed(decision: Decision, names: Mapping[str, str]) -> Decision:
    """The decision with the account's own name for its model."""
    option = decision.option
    name = names.get(option.upstream_model, option.upstream_model)
    return msgspec.structs.replace(decision, option=msgspec.structs.replace(option, upstream_model=name))


class Exchange:
    """Performs attempts, each ending in a reply or in an error; rows are booked either way.

    Args:
        upstream: sends.
        clock: for Retry-After dates.
        ways: told the headers of every answer, whatever its status.
    """

    __slots__ = ("_clock", "_upstream", "_ways")

    def __init__(self, upstream: Upstream, clock: Clock, ways: Ways) -> None:
        self._upstream = upstream
        self._clock = clock
        self._ways = ways

    async def run(self, attempt: Attempt, sending: UpstreamRequest, gone: Callable[[], bool]) -> Reply:
        """Send it, and read the answer: whole, or up to its first part.

        Raises:
            RouterError: the attempt failed; its row is queued.
        """
        try:
            response = await self._send(attempt, sending)
            return await self._deliver(attempt, response, gone)
        except BaseException as failure:
            # Whatever it was, it may have been sent: the books must say so. A row that stands already is kept.
            # Nobody cancels a call but a node that must stop.
            stopped = isinstance(failure, asyncio.CancelledError)
            attempt.settle_estimated(
                outcome="node_stopped" if stopped else "upstream_interrupted", status=503 if stopped else 500
            )
            raise

    async def _send(self, attempt: Attempt, sending: UpstreamRequest) -> UpstreamResponse:
        """Returns with a 200 head, or books a row and raises."""
        try:
            attempt.sending()
        except JournalUnavailable:
            message = "What is sent cannot be written down at the moment, so nothing was sent; try again."
            error = RouterError("journal_unavailable", message, retry_after_s=1)
            attempt.release(error)
            raise error from None
        try:
            response = await self._upstream.send(sending)
        except UpstreamFailure as failure:
            raise _failed(attempt, failure) from None
        self._ways.answered(attempt.link, attempt.decision.option.model, response.headers)
        if response.status == 200:
            return response
        try:
            body = await response.read(MAX_ANSWER_BYTES)
        except UpstreamFailure:
            body = b""
        finally:
            response.close()
        wait_ms = retry_after_ms(response.headers, self._clock.now_ms())
        error = provider_error(
            response.status,
            body,
            None if wait_ms is None else f"{wait_ms / 1000:g}",
            provider=attempt.link.name,
            model=attempt.decision.option.model,
        )
        if attempt.link.brought and error.code == "upstream_refused_credentials":
            # Whoever makes keys up leaves nothing behind: no row, and no line in anybody's spend.
            message = f"{attempt.link.name} does not accept this key."
            error = RouterError("invalid_api_key", message, details=error.details)
            attempt.release(error)
            raise error
        # A provider bills no error answer: the meters are known to be zero.
        attempt.settle(Usage(0), outcome="upstream_error", status=response.status, certainty="metered", error=error)
        raise error

    async def _deliver(self, attempt: Attempt, response: UpstreamResponse, gone: Callable[[], bool]) -> Reply:
        sound = attempt.request.sound
        if attempt.request.stream and (
            sound or response.headers.get("content-type", "").startswith(attempt.way.outbound.stream_type)
        ):
            stream = AnswerStream(attempt, response, gone)
            try:
                first = await stream.first_part()
            except BaseException:
                response.close()
                raise
            return Reply(
                headers=[*attempt.headers(), ("content-type", sound or "text/event-stream")],
                body=first,
                stream=stream,
                attempt=attempt,
            )
        try:
            body = await response.read(MAX_ANSWER_BYTES)
        except UpstreamFailure as failure:
            raise _failed(attempt, failure) from None
        finally:
            response.close()
        answers = attempt.way.outbound
        try:
            told = body if attempt.way.hearing is None else attempt.way.answer(body, attempt.asked())
        except ValueError:
            told = b""
        metered = served(answers.usage_of(body), answers, response.headers)
        usage = attempt.believed(metered, lambda: any(answers.answered_text(body)))
        # A plain answer is read to its end whoever waits for it: what it cost is known only then.
        outcome: Outcome = "client_left" if gone() else "ok"
        if usage is not None and told:
            attempt.settle(usage, outcome=outcome, status=200, certainty="metered", later=True)
        elif told and answers.is_answer(body):
            await attempt.settle_counted(answers.answered_text(body), outcome=outcome, status=200)
        else:
            error = RouterError("upstream_bad_response", f"{attempt.link.name} answered 200 with something unreadable.")
            attempt.settle_estimated(outcome="upstream_error", status=200, error=error)
            raise error
        content_type = response.headers.get("content-type", "application/json")
        return Reply(
            headers=[*attempt.headers(), ("content-type", content_type)], body=told, after=attempt.tell, attempt=attempt
        )


def _failed(attempt: Attempt, failure: UpstreamFailure) -> RouterError:
    error = early(failure)
    if failure.sent:
        attempt.settle_estimated(outcome="upstream_interrupted", status=error.status, error=error)
    else:
        attempt.release(error)
    return error

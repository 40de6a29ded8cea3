"""A streamed answer on its way to the caller, and what becomes of it when either side leaves.

Belongs here: passing events on, the honest end of a stream, the bounded drain after a client has gone. Part of the
pipeline's layer. Does not belong here: the wire format (dialects/) and writing to sockets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from router.core.errors import RouterError
from router.core.money import usd
from router.dialects.openai.errors import reported_error
from router.dialects.served import served
from router.growth import Growth
from router.ports import UpstreamFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.attempt import Attempt
    from router.core.values import Outcome, Usage
    from router.ports import UpstreamResponse

DRAIN_S: Final = 60.0
"""Longest time that an upstream is read for its usage after the client has gone."""
END_S: Final = 1.0
"""How long the upstream may take to close its stream properly after its last event."""
KEPT_BYTES: Final = 8 * 1024 * 1024
"""What of a stream is kept so that it can be counted if no usage comes; beyond it, the count is of this much."""
_EARLY: Final = {"connect": "upstream_unreachable", "tls": "upstream_unreachable", "timeout": "upstream_timeout"}
_UNREADABLE: Final = {"too_large": "upstream_bad_response", "protocol": "upstream_bad_response"}


class AnswerStream:
    """Parts of an answer for the caller. Ends with a row, whatever happens.

    Args:
        attempt: the attempt that this stream answers.
        response: the upstream's response, its head read and its status 200.
        gone: whether the caller has hung up meanwhile.
    """

    __slots__ = (
        "_attempt",
        "_ended",
        "_gone",
        "_growth",
        "_kept",
        "_kept_bytes",
        "_raw",
        "_response",
        "_scanner",
        "_stopped",
        "_why",
    )

    def __init__(self, attempt: Attempt, response: UpstreamResponse, gone: Callable[[], bool]) -> None:
        self._attempt = attempt
        self._gone = gone
        self._raw = bool(attempt.request.sound)
        """Whether it is bytes of sound, with no place for words of ours."""
        self._response = response
        self._scanner = attempt.way.scanner(attempt.asked(), self._cost)
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._ended = False
        self._growth = Growth(attempt)
        self._stopped: RouterError | None = None
        self._why: Outcome = "budget_stopped"

    async def first_part(self) -> bytes:
        """The first bytes for the caller, before anything has been promised to them.

        Raises:
            RouterError: the upstream broke before it said anything of use; a row has been booked.
        """
        try:
            part = await self._next()
        except UpstreamFailure as failure:
            error = early(failure)
            await self._settle("upstream_interrupted", error)
            raise error from None
        if self._scanner.failed and not self._scanner.answered:
            error = self._reported()
            await self._settle("upstream_error", error)
            raise error
        if not part:
            error = RouterError("upstream_interrupted", f"{self._attempt.link.name} ended the stream before it began.")
            await self._settle("upstream_interrupted", error)
            raise error
        if self._over():
            return part + await self._end()
        self._response.gather()
        return part

    async def next_part(self) -> bytes:
        """More bytes for the caller, ``b""`` after the last."""
        if self._stopped is not None:
            await self._read_on(self._why, self._stopped)
        if self._ended:
            return b""
        try:
            part = await self._next()
        except UpstreamFailure as failure:
            return await self._break(broken(failure))
        if not part or self._over():
            return part + await self._end()
        if self._kept_bytes >= self._growth.look_at:
            stop = await self._growth.look(self._kept)
            if stop is not None:
                return part + await self._stop(stop)
        return part

    @property
    def whole(self) -> bool:
        """Whether the answer has come to its own end: nothing is missing, and no error stands in it."""
        row, scanner = self._attempt.row, self._scanner
        ended = self._ended and (scanner.done or scanner.finished) and not scanner.failed
        return ended and self._stopped is None and row is not None and row.outcome in ("ok", "client_left")

    async def abandon(self) -> None:
        """The caller has gone. Where the provider bills anyway, read on for its meters, within `DRAIN_S`."""
        await self._read_on("client_left" if self._stopped is None else self._why, self._stopped)

    def cut(self, error: RouterError) -> bytes | None:
        """Last words to the caller, who gets no more of it. `abandon` must follow. Nothing where the end was there; None where
        there is no place for words.
        """
        if self._ended or self._stopped is not None:
            return b""
        self._stopped, self._why = error, "node_stopped"
        return None if self._raw else self._event(error)

    async def _stop(self, error: RouterError) -> bytes:
        """A budget has no room for more of this: say so. Where the provider bills anyway, its meters are still wanted."""
        if self._attempt.link.bills_after_disconnect:
            self._stopped = error
        else:
            await self._settle("budget_stopped", error)
        return self._event(error)

    async def _read_on(self, outcome: Outcome, error: RouterError | None) -> None:
        if self._ended:
            return
        try:
            if self._attempt.link.bills_after_disconnect:
                async with asyncio.timeout(DRAIN_S):
                    while not self._over() and await self._next():
                        pass
        except (TimeoutError, UpstreamFailure, asyncio.CancelledError):
            pass  # what has come by until now is booked below
        finally:
            await self._settle(outcome, error)

    def _over(self) -> bool:
        return self._scanner.done or self._scanner.failed

    async def _next(self) -> bytes:
        while True:
            chunk = await self._response.chunk()
            if not chunk:
                return b""
            if self._kept_bytes < KEPT_BYTES:
                self._kept.append(chunk)
                self._kept_bytes += len(chunk)
            try:
                part = self._scanner.feed(chunk)
            except ValueError as error:
                raise UpstreamFailure("protocol", str(error), sent=True) from None
            if self._scanner.answered:
                self._attempt.answered()
            if part or self._over():
                return part

    async def _end(self) -> bytes:
        scanner = self._scanner
        if self._over():
            await self._close_politely()
        if not (scanner.done or scanner.finished or scanner.failed):
            message = f"{self._attempt.link.name} ended the stream before the answer was whole."
            return await self._break(RouterError("upstream_interrupted", message))
        error = self._reported() if scanner.failed else None
        cost = await self._settle("upstream_error" if error else "client_left" if self._gone() else "ok", error)
        if self._raw:
            if error:
                raise error
            return b""
        last = b": x-costrouter-cost-usd=" + cost.encode() + b"\n\n"
        return scanner.ending() + last + (self._event(error) if error else scanner.last)

    async def _break(self, error: RouterError) -> bytes:
        await self._settle("upstream_interrupted", error)
        if self._raw:
            # A connection that is cut is the only honest end of sound.
            raise error
        return self._event(error)

    def _event(self, error: RouterError) -> bytes:
        return self._attempt.way.inbound.error_event(error)

    def _reported(self) -> RouterError:
        """The error that the upstream put into the stream, in our words: its own may name our account there."""
        return reported_error(self._scanner.error, provider=self._attempt.link.name)

    async def _close_politely(self) -> None:
        """Let the upstream end its stream. Meters may still follow an error; parts of an answer no longer count."""
        try:
            async with asyncio.timeout(END_S):
                while chunk := await self._response.chunk():
                    self._scanner.feed(chunk)
        except (TimeoutError, UpstreamFailure, ValueError):
            pass

    async def _settle(self, outcome: Outcome, error: RouterError | None) -> str:
        self._ended = True
        self._response.close()
        usage = self._believed(self._scanner.usage)
        if usage is not None:
            row = self._attempt.settle(usage, outcome=outcome, status=200, certainty="metered", error=error)
        else:
            texts = self._attempt.way.outbound.streamed_text(b"".join(self._kept))
            try:
                row = await self._attempt.settle_counted(texts, outcome=outcome, status=200, error=error)
            except BaseException:
                # Nobody comes back to this stream: it has ended. Without the end that it waited for, it is not "ok".
                left: Outcome = "client_left" if outcome == "ok" else outcome
                self._attempt.settle_estimated(outcome=left, status=200, error=error)
                raise
        self._kept.clear()
        return usd(row.cost_nano)

    def _believed(self, usage: Usage | None) -> Usage | None:
        found = served(usage, self._attempt.way.outbound, self._response.headers)
        return self._attempt.believed(found, lambda: self._scanner.answered)

    def _cost(self, usage: Usage) -> str | None:
        """None for meters that the row will not go by."""
        believed = self._believed(usage)
        return None if believed is None else usd(self._attempt.price(believed))


def early(failure: UpstreamFailure) -> RouterError:
    """The error of an exchange that broke before the caller got anything of it."""
    code = _EARLY.get(failure.fault)
    return RouterError(code, failure.message) if code else broken(failure)


def broken(failure: UpstreamFailure) -> RouterError:
    """The error of an answer that broke off, or came in a form that no retry will mend."""
    return RouterError(_UNREADABLE.get(failure.fault, "upstream_interrupted"), failure.message)

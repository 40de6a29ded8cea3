"""Waiting for room under a limit, where the policy prefers that to an instant 429.

Belongs here: who is next, and how long anybody waits. Part of the pipeline's layer. Does not belong here: whether there
is room (the ledger says), and who may wait at all (the policy).

One line a limit and worker. The first in it tries; the order is by priority, then by how often a key has been served from
this line lately, then by arrival, so that a key with a thousand waiting requests does not starve one with a single request.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from router.core.errors import RouterError
from router.core.forwarding.forwarding import PRIORITIES

if TYPE_CHECKING:
    from router.core.forwarding.forwarding import Queueing
    from router.ports import Clock

LOOK_S: Final = 0.25
"""How often those who are not first see whether their caller is still there."""
LEAST_S: Final = 0.01
MOST_S: Final = 0.2
"""Between two tries of the first in line."""


class _Waiting:
    __slots__ = ("key", "number", "priority", "turn")

    def __init__(self, priority: int, key: str, number: int) -> None:
        self.priority = priority
        self.key = key
        self.number = number
        self.turn = asyncio.Event()


class _Line:
    def __init__(self) -> None:
        self.waiting: list[_Waiting] = []
        self.served: Counter[str] = Counter()

    def first(self) -> _Waiting:
        return min(self.waiting, key=lambda one: (one.priority, self.served[one.key], one.number))

    def wake(self) -> None:
        """Let the first know that it is."""
        if self.waiting:
            self.first().turn.set()


class Lines:
    """The lines of one worker.

    Args:
        clock: for how long anybody has waited.
        pause: waits so many seconds.
    """

    def __init__(self, clock: Clock, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._clock = clock
        self._pause = pause
        self._lines: dict[str, _Line] = {}
        self._number = 0

    @property
    def waiting(self) -> int:
        """How many requests wait now."""
        return sum(len(line.waiting) for line in self._lines.values())

    def __contains__(self, limit: str) -> bool:
        return limit in self._lines

    async def wait(
        self,
        refused: RouterError,
        bounds: Queueing,
        *,
        key: str,
        tags: tuple[str, ...],
        gone: Callable[[], bool],
        attempt: Callable[[], Awaitable[None]],
    ) -> None:
        """Try ``attempt`` again, in turn, until it is admitted.

        Args:
            refused: what it was refused with; names the limit.
            bounds: the policy's.
            key: whose request it is.
            tags: the request's.
            gone: whether the caller has hung up.
            attempt: reserves; raises ``rate_limited`` while there is no room.

        Raises:
            RouterError: the last refusal, when the wait is over or would be too long; whatever else ``attempt`` raises.
        """
        limit = _limit_of(refused)
        if limit is None or not refused.retryable:
            raise refused
        line = self._lines.setdefault(limit, _Line())
        if _too_long(refused, bounds.wait_ms) or len(line.waiting) >= bounds.depth:
            self._leave(limit, line, None)
            raise _told(refused, len(line.waiting), bounds)
        self._number += 1
        me = _Waiting(priority_of(bounds, tags), key, self._number)
        line.waiting.append(me)
        line.wake()
        try:
            await self._in_turn(line, me, refused, bounds.wait_ms / 1000, gone, attempt)
        finally:
            self._leave(limit, line, me)

    async def _in_turn(  # noqa: PLR0917 - one caller
        self,
        line: _Line,
        me: _Waiting,
        refused: RouterError,
        wait_s: float,
        gone: Callable[[], bool],
        attempt: Callable[[], Awaitable[None]],
    ) -> None:
        end = self._clock.monotonic() + wait_s
        while (left := end - self._clock.monotonic()) > 0 and not gone():
            if line.first() is not me:
                me.turn.clear()
                try:
                    async with asyncio.timeout(min(left, LOOK_S)):
                        await me.turn.wait()
                except TimeoutError:
                    pass
                continue
            try:
                await attempt()
            except RouterError as error:
                if _limit_of(error) is None:
                    raise
                refused = error
            else:
                line.served[me.key] += 1
                return
            hint = LEAST_S if refused.retry_after_s is None else refused.retry_after_s
            await self._pause(min(max(hint, LEAST_S), MOST_S, max(left, LEAST_S)))
        raise refused

    def _leave(self, limit: str, line: _Line, me: _Waiting | None) -> None:
        if me is not None:
            line.waiting.remove(me)
        if line.waiting:
            line.wake()
        else:
            self._lines.pop(limit, None)


def priority_of(bounds: Queueing, tags: tuple[str, ...]) -> int:
    """The place that a request's tag gives it; that of ``normal`` without one, or with one that says nothing known."""
    for tag in tags:
        name, _, value = tag.partition("=")
        if name == bounds.priority:
            return int(value) if value.isascii() and value.isdigit() else PRIORITIES.get(value, PRIORITIES["normal"])
    return PRIORITIES["normal"]


def _limit_of(error: RouterError) -> str | None:
    """The id of our own limit that a refusal speaks of; None for a provider's."""
    said = error.details.get("limit")
    return str(said["id"]) if error.code == "rate_limited" and isinstance(said, dict) else None


def _too_long(refused: RouterError, wait_ms: int) -> bool:
    """Whether it is known that there will be no room in time; of attempts at a time nobody knows."""
    said = refused.details.get("limit")
    known = isinstance(said, dict) and said["kind"] != "concurrency"
    return known and (refused.retry_after_s or 0) * 1000 > wait_ms


def _told(refused: RouterError, waiting: int, bounds: Queueing) -> RouterError:
    why = f"{waiting} requests wait for it already" if waiting >= bounds.depth else "the wait would be longer"
    error = RouterError(
        "rate_limited",
        f"{refused.message} The policy lets requests wait for {bounds.wait_ms / 1000:g} s, but {why}.",
        retry_after_s=refused.retry_after_s,
        details=refused.details,
    )
    error.headers = refused.headers
    return error

"""Attempts of one request that run side by side: the first usable answer wins, and the others end in rows of their own.

Belongs here: starting, winning, losing. Part of the pipeline's layer. Does not belong here: when a second attempt sets out
(core/forwarding/hedging.py), its reservation (forward.py), and one attempt's exchange (exchange.py).

A loser's connection is closed where that ends the bill. Where its provider bills on, it is read to its meters, as that of a
caller who has left: closing would save nothing there, and lose the truth.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from router.core.errors import RouterError
from router.streaming import DRAIN_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.attempt import Attempt
    from router.exchange import Exchange, Reply
    from router.forward import Admitted


class Race:
    """The attempts of one request that are under way.

    Args:
        exchange: performs them.
        admitted: the request, with its first attempt reserved.
        leaving: gets the tasks of those that have lost, until they are over.
    """

    __slots__ = ("_admitted", "_exchange", "_leaving", "_running")

    def __init__(self, exchange: Exchange, admitted: Admitted, leaving: set[asyncio.Task[None]]) -> None:
        self._exchange = exchange
        self._admitted = admitted
        self._leaving = leaving
        self._running: dict[asyncio.Task[Reply], Attempt] = {}

    async def run(self, delay_s: float, second: Callable[[], Awaitable[bool]]) -> Reply:
        """The first usable answer.

        Args:
            delay_s: how long the first attempt runs alone, in seconds.
            second: reserves another attempt as the request's; False where there is to be none.

        Raises:
            RouterError: all have failed; the error of the last.
        """
        self._start()
        try:
            done, _ = await asyncio.wait(self._running, timeout=delay_s)
            hedged = not done and await second()
            if hedged and any(task.done() for task in self._running):
                self._admitted.attempt.release()  # nothing was sent yet, and the first may have answered
            elif hedged:
                self._start()
            reply = await self._winner()
        except asyncio.CancelledError:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            raise
        for task, attempt in self._running.items():
            attempt.outrun = True
            if not attempt.link.bills_after_disconnect:
                task.cancel()
            left = asyncio.get_running_loop().create_task(_ended(task))
            self._leaving.add(left)
            left.add_done_callback(self._leaving.discard)
        return _told(reply, self._admitted.attempt.number) if hedged else reply

    def _start(self) -> None:
        admitted = self._admitted
        run = self._exchange.run(admitted.attempt, admitted.sending, admitted.call.gone)
        self._running[asyncio.get_running_loop().create_task(run)] = admitted.attempt

    async def _winner(self) -> Reply:
        while True:
            done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in self._running if task in done]:
                if task.exception() is None or len(self._running) == 1:
                    del self._running[task]
                    return task.result()
                del self._running[task]


async def _ended(task: asyncio.Task[Reply]) -> None:
    """Let one that has lost come to its end, with its meters where they can be had."""
    try:
        async with asyncio.timeout(DRAIN_S):
            reply = await task
    except (RouterError, TimeoutError, asyncio.CancelledError):
        return
    if reply.stream is not None:
        await reply.stream.abandon()
    reply.after()


def _told(reply: Reply, attempts: int) -> Reply:
    """The answer, saying how many attempts it took."""
    name = "x-costrouter-attempts"
    headers = [(key, str(attempts) if key == name else value) for key, value in reply.headers]
    return msgspec.structs.replace(reply, headers=[*headers, ("x-costrouter-hedged", "true")])

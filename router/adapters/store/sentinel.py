"""The store behind sentinels: one connection that follows the primary.

Belongs here: asking sentinels where the primary is, hearing when it moves. Does not belong here: the calls (resp).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from router.adapters.store.resp import TIMEOUT_S, Arg, RespConnection
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from router.adapters.store.url import SentinelAddress, StoreAddress

ASK_S: Final = 0.5
"""How long the sentinels may take to say where the primary is."""
CHECK_S: Final = 10.0
"""How often a sentinel that has said nothing is asked whether it still lives."""
_PAUSE_S: Final = 1.0
_AGAIN_S: Final = 0.1

Place = tuple[str, int]


class SentinelConnection(RespConnection):
    """As `RespConnection`, but to the primary of a name: each connect asks where it is and accepts no replica; a switch
    that a sentinel tells of, READONLY, or a lost connection leads to the new one.

    Args:
        address: sentinels, the primary's name, and the login to it.
        timeout_s: bound on one call, in seconds.
    """

    def __init__(self, address: SentinelAddress, *, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__(address.node, timeout_s=timeout_s)
        self._sentinels = address
        self._clients: list[redis.asyncio.Redis] = []
        self._listeners: list[asyncio.Task[None]] = []

    @property
    def place(self) -> str:
        """For errors and logs."""
        return str(self._sentinels)

    def keep(self) -> None:
        """Connect in the background, and follow the primary until `close`."""
        if not self._clients:
            self._clients = [
                redis.asyncio.Redis(
                    **sentinel.client_options(),
                    socket_connect_timeout=ASK_S,
                    socket_timeout=ASK_S,
                    decode_responses=True,
                    retry=Retry(NoBackoff(), 0),
                )
                for sentinel in self._sentinels.sentinels
            ]
            loop = asyncio.get_running_loop()
            self._listeners = [loop.create_task(self._listen(client)) for client in self._clients]
        super().keep()

    async def close(self, why: str = "connection closed by us") -> None:
        """Fail what is under way and stay disconnected."""
        listeners, self._listeners = self._listeners, []
        await _end(listeners)
        await super().close(why)
        clients, self._clients = self._clients, []
        for client in clients:
            await client.aclose()

    async def locate(self) -> StoreAddress:
        """The primary's address, as soon as most sentinels agree; else what most of those that answer say.

        Raises:
            StoreUnavailable: none of them knows.
        """
        votes: Counter[Place] = Counter()
        failures: list[str] = []
        asked = [asyncio.ensure_future(self._ask(client)) for client in self._clients]
        try:
            async with asyncio.timeout(ASK_S):
                for answer in asyncio.as_completed(asked):
                    try:
                        votes[await answer] += 1
                    except (RedisError, OSError, LookupError) as failure:
                        failures.append(str(failure))
                    if 2 * max(votes.values(), default=0) > len(asked):
                        break
        except TimeoutError:
            failures.append(f"no answer in {ASK_S:g} s")
        finally:
            await _end(asked)
        if not votes:
            raise StoreUnavailable(f"no sentinel names the primary: {'; '.join(dict.fromkeys(failures))}")
        return self._sentinels.node.at(*votes.most_common(1)[0][0])

    async def accept(self, ask: Callable[[tuple[Arg, ...], None], asyncio.Future[Any]]) -> None:
        """Refuse a node that is no primary (any more, or yet).

        Raises:
            StoreUnavailable: it is a replica.
        """
        told = await ask(("HELLO",), None)
        role = dict(zip(told[::2], told[1::2], strict=True)).get(b"role")
        if role != b"master":
            raise StoreUnavailable(f"{self.address} is no primary yet")

    async def _ask(self, client: redis.asyncio.Redis) -> Place:
        found = await client.sentinel_get_master_addr_by_name(self._sentinels.service)
        if not isinstance(found, tuple):
            raise LookupError(f"they know no primary {self._sentinels.service!r}")  # noqa: TRY004 - an answer, not a bug
        return str(found[0]), int(found[1])

    async def _listen(self, client: redis.asyncio.Redis) -> None:
        """Look again whenever this sentinel tells of a switch, and after it was away, when one may have been missed."""
        while True:
            with contextlib.suppress(RedisError, OSError):
                async with client.pubsub() as subscription:
                    await subscription.subscribe("+switch-master")
                    await self._look_again()
                    await self._hear(subscription)
            await asyncio.sleep(_PAUSE_S)

    async def _hear(self, subscription: redis.asyncio.client.PubSub) -> None:
        """Return once the sentinel has not even answered a ping."""
        pinged = False
        while True:
            message = await subscription.get_message(timeout=CHECK_S)
            if message is None:
                if pinged:
                    return
                await subscription.ping()
            elif message["type"] == "message" and str(message["data"]).startswith(f"{self._sentinels.service} "):
                await self._look_again()
            pinged = message is None

    async def _look_again(self) -> None:
        if not self.up:
            self.hurry()
            return
        with contextlib.suppress(StoreUnavailable):
            found = await self.locate()
            if found != self.address:
                self.leave(f"the sentinels moved the primary from {self.address} to {found}")


async def _end(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancel them and return once they have ended. redis-py may forget a cancelling that meets an answer."""
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_AGAIN_S)

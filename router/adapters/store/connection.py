"""The store as its callers see it, whichever way it is run, and the choice of the connection for a URL.

Belongs here: the contract of calls. Does not belong here: how each is made: one node (resp), Sentinel
(sentinel.py), Cluster (cluster.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from router.adapters.store.cluster import ClusterConnection
from router.adapters.store.resp import TIMEOUT_S, Arg, Reply, RespConnection, Script
from router.adapters.store.url import ClusterAddress, SentinelAddress, StorePlace

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence


class StoreConnection(Protocol):
    """Calls of many tasks; those of one key keep their order while no call fails and no key moves to another node.

    All keys of one call share a hash tag. A call that fails with `StoreUnavailable` may have been carried out, unless
    it failed at once (raised) or the store refused it (`StoreRefused`). Nothing is ever sent twice by a connection,
    except what a node of a cluster refused because another one serves the key.
    """

    on_connect: list[Callable[[], None]]
    """Called after every connect to a node, and after every failover: that node may have lost its last moments. It is
    called before any call reaches the node anew, and every call that was under way there has failed by then. Calls to
    other nodes of a cluster may be under way."""

    @property
    def up(self) -> bool:
        """True while every key has a connection to go to."""

    async def start(self, wait_s: float = 5.0) -> None:
        """Connect, and keep connected until `close`.

        Raises:
            StoreUnavailable: not every key can be reached within ``wait_s`` seconds; it is still being tried.
        """

    async def close(self) -> None:
        """Fail what is under way and stay disconnected."""

    def call(self, *command: Arg) -> asyncio.Future[Any]:
        """Send one command, its name in capitals; the future gives the reply or `StoreUnavailable`.

        Raises:
            StoreUnavailable: the key cannot be reached; nothing was sent.
        """

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> asyncio.Future[Any]:
        """Run a script on keys of one hash tag. Futures and errors as in `call`."""

    def script_now(self, script: Script, keys: Sequence[str], args: Sequence[Arg], reply: Reply) -> None:
        """As `script`, but written at once, and ``reply`` told at once."""


def connection_to(place: StorePlace, *, timeout_s: float = TIMEOUT_S) -> StoreConnection:
    """A connection that is yet to be started; ``timeout_s`` bounds one call, in seconds."""
    if isinstance(place, ClusterAddress):
        return ClusterConnection(place, timeout_s=timeout_s)
    if isinstance(place, SentinelAddress):
        from router.adapters.store.sentinel import SentinelConnection  # noqa: PLC0415 - redis-py takes a while to load

        return SentinelConnection(place, timeout_s=timeout_s)
    return RespConnection(place, timeout_s=timeout_s)

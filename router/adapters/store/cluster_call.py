"""A call to a cluster on its way, and the connection to one node.

Belongs here: telling a redirection from an answer. Does not belong here: where a redirected call goes (cluster.py).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from router.adapters.store.resp import Arg, Reply, RespConnection, StoreRefused

if TYPE_CHECKING:
    from router.adapters.store.url import StoreAddress
    from router.ports import StoreUnavailable

GUEST_S: Final = 60.0
"""How long a node without slots, such as one that slots are just moved to, is kept connected."""
_REDIRECTS: Final = frozenset(("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"))


class Node(RespConnection):
    """A connection to one node."""

    def __init__(self, address: StoreAddress, timeout_s: float) -> None:
        super().__init__(address, timeout_s=timeout_s)
        self.serving = False
        """True while the map gives it slots."""
        self.guest_until = time.monotonic() + GUEST_S


class Redirector(Protocol):
    """Who sends a call elsewhere."""

    def redirected(self, call: Call, refusal: StoreRefused) -> None:
        """The node did not carry it out, because another one may."""


class Call:
    """A call that may be redirected; the `Reply` of each of its turns."""

    __slots__ = ("_redirector", "_reply", "command", "in_full", "node", "slot", "turns", "until")

    def __init__(  # noqa: PLR0917 - made for every call of the hot path, where names cost
        self,
        redirector: Redirector,
        node: Node,
        slot: int,
        command: tuple[Arg, ...],
        in_full: tuple[Arg, ...] | None,
        reply: Reply,
    ) -> None:
        self._redirector = redirector
        self._reply = reply
        self.node = node
        """The one asked last."""
        self.slot = slot
        self.command = command
        self.in_full = in_full
        self.turns = 0
        """How often it was redirected."""
        self.until = 0.0
        """When to give up, in seconds of the monotonic clock; set by the first redirection."""

    def done(self) -> bool:
        """True when an answer is no longer wanted."""
        return self._reply.done()

    def set_result(self, reply: Any) -> None:
        """The node's reply."""
        self._reply.set_result(reply)

    def set_exception(self, failure: Any) -> None:
        """A redirection, or the end of it."""
        if isinstance(failure, StoreRefused) and failure.word in _REDIRECTS:
            self._redirector.redirected(self, failure)
        else:
            self.fail(failure)

    def fail(self, failure: StoreUnavailable) -> None:
        """The end of it."""
        if not self._reply.done():
            self._reply.set_exception(failure)


class Ignored:
    """The `Reply` of ASKING: if it fails, so does what follows it."""

    def done(self) -> bool:
        """Nobody waits."""
        return True

    def set_result(self, reply: Any) -> None:
        """Nothing to tell."""

    def set_exception(self, failure: Any) -> None:
        """Nothing to tell."""

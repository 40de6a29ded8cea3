"""The store as a cluster: one connection to each primary, and every call to the one that serves its key.

Belongs here: the map of slots, following it as keys move and primaries fail. Does not belong here: sockets and
replies (resp), slots as numbers (cluster_slots).

What a node refuses because another one serves the key (MOVED, ASK, TRYAGAIN, CLUSTERDOWN) was not carried out and is
sent again. What was under way on a node that failed is not: its primary's successor may lack the last moments, which
callers must repeat first, in order (`on_connect`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import time
from typing import TYPE_CHECKING, Any, Final

from router.adapters.store.cluster_call import GUEST_S, Call, Ignored, Node
from router.adapters.store.cluster_slots import SLOTS, Place, key_of, read_redirect, read_slots, slot_of
from router.adapters.store.resp import TIMEOUT_S, Arg, Reply, Script, StoreRefused
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.adapters.store.url import ClusterAddress

REFRESH_S: Final = 30.0
"""How often the map is read again though nothing called for it."""
BROKEN_S: Final = 0.25
"""The same while a primary cannot be reached."""
REST_S: Final = 0.02
"""Shortest time between two readings of the map."""
MOST_TURNS: Final = 64
"""Redirections of one call before it fails."""
_TRY_AGAIN_S: Final = 0.01
_LAST_PAUSE_S: Final = 0.05
_EVERYWHERE: Final = frozenset(("PING", "WAIT", "WAITAOF"))
"""Commands without a key that are about the whole store; each primary is asked, and the least of the answers given."""


class ClusterConnection:
    """Implements `StoreConnection` over a cluster.

    Args:
        address: some of its nodes.
        timeout_s: bound on one call to one node, in seconds. A redirected call may take twice as long.
    """

    def __init__(self, address: ClusterAddress, *, timeout_s: float = TIMEOUT_S) -> None:
        self.on_connect: list[Callable[[], None]] = []
        self._address = address
        self._timeout_s = timeout_s
        self._nodes: dict[Place, Node] = {}
        self._slots: list[Node | None] = [None] * SLOTS
        self._whole = False
        self._why = "not started"
        self._held: list[Call] = []
        self._hint: Place | None = None
        self._stale = asyncio.Event()
        self._ready = asyncio.Event()
        self._mapper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop

    @property
    def up(self) -> bool:
        """True while every slot has a primary that is connected."""
        return self._whole and all(node.up for node in self._nodes.values() if node.serving)

    async def start(self, wait_s: float = 5.0) -> None:
        """Find the primaries, connect to all, and keep connected until `close`.

        Raises:
            StoreUnavailable: not every slot can be reached within ``wait_s`` seconds; it is still being tried.
        """
        self._loop = asyncio.get_running_loop()
        if self._mapper is None:
            self._mapper = self._loop.create_task(self._keep_mapped())
        try:
            async with asyncio.timeout(wait_s):
                await self._ready.wait()
        except TimeoutError:
            raise StoreUnavailable(f"no connection to the {self._address} in {wait_s:g} s: {self._trouble()}") from None

    async def close(self) -> None:
        """Fail what is under way and stay disconnected."""
        mapper, self._mapper = self._mapper, None
        if mapper is not None:
            mapper.cancel()
            await asyncio.wait([mapper])
        self._why = "connection closed by us"
        self._slots, self._whole = [None] * SLOTS, False
        held, self._held = self._held, []
        for call in held:
            call.fail(StoreUnavailable(self._why))
        nodes, self._nodes = self._nodes, {}
        await asyncio.gather(*(node.close() for node in nodes.values()))

    def call(self, *command: Arg) -> asyncio.Future[Any]:
        """As `StoreConnection`; goes by the command's first key.

        PING, WAIT and WAITAOF ask every primary, and give the least of the answers; other commands without a key go
        where the fleet's own keys lie.
        """
        if command[0] in _EVERYWHERE:
            return self._loop.create_task(self._everywhere(command))
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._send(slot_of(key_of(command)), command, None, reply)
        return reply

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> asyncio.Future[Any]:
        """As `StoreConnection`."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        tail = (len(keys), *keys, *args)
        self._send(slot_of(keys[0]), ("EVALSHA", script.sha, *tail), ("EVAL", script.source, *tail), reply)
        return reply

    def script_now(self, script: Script, keys: Sequence[str], args: Sequence[Arg], reply: Reply) -> None:
        """As `StoreConnection`."""
        tail = (len(keys), *keys, *args)
        self._send(slot_of(keys[0]), ("EVALSHA", script.sha, *tail), ("EVAL", script.source, *tail), reply, now=True)

    def _send(
        self,
        slot: int,
        command: tuple[Arg, ...],
        in_full: tuple[Arg, ...] | None,
        reply: Reply,
        *,
        now: bool = False,
    ) -> None:
        node = self._server(slot)
        node.send(command, in_full, Call(self, node, slot, command, in_full, reply), now=now)

    def _server(self, slot: int) -> Node:
        node = self._slots[slot]
        if node is None:
            raise StoreUnavailable(f"no node of the {self._address} serves slot {slot}: {self._why}")
        return node

    async def _everywhere(self, command: tuple[Arg, ...]) -> Any:
        if not self.up:
            raise StoreUnavailable(f"the {self._address} is not whole: {self._trouble()}")
        nodes = [node for node in self._nodes.values() if node.serving]
        answers = await asyncio.gather(*(node.call(*command) for node in nodes))
        return [min(column) for column in zip(*answers, strict=True)] if isinstance(answers[0], list) else min(answers)

    def _trouble(self) -> str:
        down = [f"{node.address}: {node.why}" for node in self._nodes.values() if not node.up]
        return "; ".join(down) or self._why

    # Redirections.

    def redirected(self, call: Call, refusal: StoreRefused) -> None:
        """A node did not carry out ``call``, because another one may."""
        now = time.monotonic()
        if not call.turns:
            call.until = now + self._timeout_s
        call.turns += 1
        if call.done():
            return
        if self._mapper is None or now >= call.until or call.turns > MOST_TURNS:
            call.fail(StoreUnavailable(f"the {self._address} does not settle who serves a key: {refusal}"))
            return
        word, owner = refusal.word, self._slots[call.slot]
        if word in {"MOVED", "ASK"}:
            try:
                target = read_redirect(str(refusal), call.node.address.host)
            except ValueError:
                call.fail(refusal)
                return
        if word == "MOVED" and owner is not call.node and owner is not None:
            self._send_again(call)
        elif word == "MOVED":
            # Whether the key was moved or its primary has failed is known only with the new map.
            self._hint = target
            self._held.append(call)
            self._loop.call_later(self._timeout_s, self._expire, call)
            self._stale.set()
        elif word == "ASK" and (node := self._node(target)).up:
            # The key lies there already, though the slot does not.
            node.guest_until = now + GUEST_S
            call.node = node
            node.send(("ASKING",), None, Ignored())
            node.send(call.in_full or call.command, None, call)
        else:
            if word == "CLUSTERDOWN":
                self._stale.set()
            self._loop.call_later(min(_TRY_AGAIN_S * call.turns, _LAST_PAUSE_S), self._send_again, call)

    def _send_again(self, call: Call) -> None:
        try:
            node = self._server(call.slot)
            call.node = node
            node.send(call.command, call.in_full, call)
        except StoreUnavailable as failure:
            call.fail(failure)

    def _expire(self, call: Call) -> None:
        if call in self._held:
            self._held.remove(call)
            call.fail(StoreUnavailable(f"the {self._address} does not settle who serves a key: {self._why}"))

    # The map.

    async def _keep_mapped(self) -> None:
        while True:
            self._stale.clear()
            await self._read_map()
            await asyncio.sleep(REST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S if self.up else BROKEN_S):
                    await self._stale.wait()

    async def _read_map(self) -> None:
        hint, self._hint = self._hint, None
        nodes = [node for node in self._nodes.values() if node.up]
        random.shuffle(nodes)
        # The node that a key is said to have moved to knows of it first.
        nodes.sort(key=lambda node: (node.address.host, node.address.port) != hint)
        for node in nodes:
            try:
                ranges = list(read_slots(await node.call("CLUSTER", "SLOTS"), node.address.host))
            except (StoreUnavailable, ValueError, TypeError) as failure:
                self._why = f"{node.address} does not tell the map of slots: {failure}"
            else:
                await self._take(ranges)
                return
        for seed in self._address.seeds:
            self._node((seed.host, seed.port))

    async def _take(self, ranges: list[tuple[range, Place]]) -> None:
        now = time.monotonic()
        slots: list[Node | None] = [None] * SLOTS
        for numbers, place in ranges:
            slots[numbers.start : numbers.stop] = [self._node(place)] * len(numbers)
        primaries = {node for node in slots if node is not None}
        left = [n for n in self._nodes.values() if n not in primaries and (n.serving or now > n.guest_until)]
        # A primary that serves nothing any more has failed, or gave all away: what it booked last may be missing.
        failed = {node for node in left if node.serving}
        for node in left:
            await node.close("no primary of the cluster any more")
            del self._nodes[node.address.host, node.address.port]
        for call in [call for call in self._held if call.node in failed]:
            self._held.remove(call)
            call.fail(StoreUnavailable(f"{call.node.address} does not serve slot {call.slot} any more"))
        # Whoever waited for those hears of it before being told to repeat.
        await asyncio.sleep(0)
        inherited = any(
            new is not None and new.up and (old is None or old in failed)
            for old, new in zip(self._slots, slots, strict=True)
        )
        for node in self._nodes.values():
            node.serving = node in primaries
        self._slots, self._whole = slots, None not in slots
        self._why = "it has no primary" if self._whole else "the map of slots has gaps"
        if inherited:
            self._tell()
        held, self._held = self._held, []
        for call in held:
            self._send_again(call)

    def _node(self, place: Place) -> Node:
        node = self._nodes.get(place)
        if node is None:
            node = self._nodes[place] = Node(self._address.seeds[0].at(*place), self._timeout_s)
            node.on_connect.append(functools.partial(self._connected, node))
            node.on_loss.append(self._stale.set)
            node.keep()
        return node

    def _connected(self, node: Node) -> None:
        if node.serving:
            self._tell()
        elif not self._whole:
            self._stale.set()

    def _tell(self) -> None:
        if self.up:
            self._ready.set()
        for callback in self.on_connect:
            callback()

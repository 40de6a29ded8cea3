"""One auto-pipelined connection to one node of the store, for the calls of the hot path.

Belongs here: the wire protocol, its timeouts, reconnecting, scripts by hash. Does not belong here: what the calls
mean (ledger/ledger.py, keys/keys.py, spend), and which node to speak to (sentinel.py, cluster.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from collections import deque
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Protocol

import hiredis

from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router.adapters.store.url import StoreAddress

Arg = str | bytes | int


class Reply(Protocol):
    """Who is told what the store answers: a future, or something that need not wait for the loop's next turn."""

    def done(self) -> bool:
        """True when an answer is no longer wanted."""

    def set_result(self, result: Any, /) -> None:
        """The store's reply. Must not raise."""

    def set_exception(self, exception: Any, /) -> None:
        """A `StoreUnavailable`. Must not raise."""


TIMEOUT_S: Final = 0.25
_GRACE_S: Final = 0.005
_FIRST_PAUSE_S: Final = 0.01
_LAST_PAUSE_S: Final = 1.0
_HANDSHAKE_S: Final = 1.0
_MORE: Final = object()


class StoreRefused(StoreUnavailable):
    """The store answered with an error of its own, such as LOADING, READONLY, MISCONF or OOM."""

    @property
    def word(self) -> str:
        """The error's first word, by which Redis and Valkey class it."""
        return str(self).partition(" ")[0]


class Script:
    """A Lua script shipped in ``lua/``, called by its hash.

    Raises:
        FileNotFoundError: the package has no such script.
    """

    __slots__ = ("sha", "source")

    def __init__(self, name: str) -> None:
        self.source = resources.files("router.adapters.store.lua").joinpath(f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()


class RespConnection:
    """Calls of many tasks over one socket: what one loop turn asks for goes out in one write, replies match by order.

    A call that has no reply after ``timeout_s`` ends the connection, because a later reply could no longer be told
    from another's; every call under way then fails, and a new connection is made in the background. While there is
    none, calls fail at once.

    Args:
        address: the node.
        timeout_s: bound on one call, in seconds. Long reads belong on a connection of their own.
    """

    def __init__(self, address: StoreAddress, *, timeout_s: float = TIMEOUT_S) -> None:
        self.address = address
        self.on_connect: list[Callable[[], None]] = []
        """Called after every connect, first or again: the store may have lost its last moments."""
        self.on_loss: list[Callable[[], None]] = []
        """Called after a connection is lost; not after `close`, and not when a connect fails."""
        self._timeout_s = timeout_s
        self._wire: _Wire | None = None
        self._why = "not started"
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._hurry = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def place(self) -> str:
        """Where the store is, for errors and logs."""
        return str(self.address)

    @property
    def up(self) -> bool:
        """True while calls have a connection to go to."""
        wire = self._wire
        return wire is not None and not wire.closed

    @property
    def why(self) -> str:
        """Why there is no connection, where there is none."""
        return self._why

    def keep(self) -> None:
        """Connect in the background, and keep connected until `close`."""
        self._loop = asyncio.get_running_loop()
        if self._keeper is None:
            self._keeper = self._loop.create_task(self._keep_connected())

    async def start(self, wait_s: float = 5.0) -> None:
        """Connect, and keep connected until `close`.

        Raises:
            StoreUnavailable: no connection within ``wait_s`` seconds; it is still being tried.
        """
        self.keep()
        try:
            async with asyncio.timeout(wait_s):
                await self._ready.wait()
        except TimeoutError:
            raise StoreUnavailable(f"no connection to the store at {self.place} in {wait_s:g} s: {self._why}") from None

    async def close(self, why: str = "connection closed by us") -> None:
        """Fail what is under way, for the reason given, and stay disconnected."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        if self._wire is not None:
            self._wire.drop(why)
        self._why = why

    def call(self, *command: Arg) -> asyncio.Future[Any]:
        """Send one command; the future gives the reply (bytes, int, None, list) or `StoreUnavailable`.

        Raises:
            StoreUnavailable: there is no connection; nothing was sent.
        """
        return self._usable().ask(command, None)

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> asyncio.Future[Any]:
        """Run a script; one that the store does not know yet is sent in full. Futures and errors as in `call`.

        Raises:
            StoreUnavailable: there is no connection; nothing was sent.
        """
        tail = (len(keys), *keys, *args)
        return self._usable().ask(("EVALSHA", script.sha, *tail), ("EVAL", script.source, *tail))

    def script_now(self, script: Script, keys: Sequence[str], args: Sequence[Arg], reply: Reply) -> None:
        """As `script`, but written at once, and ``reply`` told at once: each turn of a busy loop that a caller on the
        hot path does not have to wait for is worth more than a shared write.

        Raises:
            StoreUnavailable: there is no connection; nothing was sent.
        """
        wire = self._usable()
        tail = (len(keys), *keys, *args)
        wire.send(("EVALSHA", script.sha, *tail), ("EVAL", script.source, *tail), reply, now=True)

    def send(
        self, command: tuple[Arg, ...], in_full: tuple[Arg, ...] | None, reply: Reply, *, now: bool = False
    ) -> None:
        """What the calls above are made of: a command, what to send instead if its script is unknown, and who hears.

        Raises:
            StoreUnavailable: there is no connection; nothing was sent.
        """
        self._usable().send(command, in_full, reply, now=now)

    def leave(self, why: str) -> None:
        """Fail what is under way and connect anew: the node is no longer the one to speak to."""
        if self._wire is not None:
            self._wire.drop(why)

    def hurry(self) -> None:
        """Do not pause before the next attempt to connect: there is news of where."""
        self._hurry.set()

    async def locate(self) -> StoreAddress:
        """Where to connect; asked before each attempt. Raises `StoreUnavailable` if that is not known now."""
        return self.address

    async def accept(self, ask: Callable[[tuple[Arg, ...], None], asyncio.Future[Any]]) -> None:
        """Look at a new connection before anybody uses it. Raises `StoreUnavailable` if it is not to be used."""

    def _usable(self) -> _Wire:
        wire = self._wire
        if wire is None or wire.closed:
            raise StoreUnavailable(f"no connection to the store at {self.place}: {self._why}")
        return wire

    async def _keep_connected(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                # Not wait_for: until Python 3.12 it forgets a cancelling that meets the failure it waits for.
                async with asyncio.timeout(_HANDSHAKE_S):
                    wire = await self._open()
            except (OSError, StoreUnavailable, ValueError) as failure:  # ValueError: a host that is no name
                self._why = str(failure) or type(failure).__name__
                # Spread over half the pause, so that a fleet does not come back in step.
                spread_s = pause * (0.5 + random.random() / 2)  # noqa: S311  # no secret depends on it
                self._hurry.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(spread_s):
                        await self._hurry.wait()
                pause = min(pause * 2, _LAST_PAUSE_S)
                continue
            self._wire, pause = wire, _FIRST_PAUSE_S
            self._ready.set()
            for callback in self.on_connect:
                callback()
            self._why = await wire.lost
            self._wire = None
            for callback in self.on_loss:
                callback()
            await asyncio.sleep(_FIRST_PAUSE_S)

    async def _open(self) -> _Wire:
        loop = asyncio.get_running_loop()
        self.address = address = await self.locate()
        wire = _Wire(self._timeout_s)
        try:
            if address.path:
                await loop.create_unix_connection(lambda: wire, address.path)
            else:
                await loop.create_connection(lambda: wire, address.host, address.port, ssl=address.ssl_context())
            if address.password:
                user = (address.username,) if address.username else ()
                await wire.ask(("AUTH", *user, address.password), None)
            if address.db:
                await wire.ask(("SELECT", address.db), None)
            # A server that still loads its file takes AUTH and SELECT, but refuses this; and it names no key, which
            # another node of a cluster may serve.
            await wire.ask(("DBSIZE",), None)
            await self.accept(wire.ask)
        except BaseException:
            wire.drop("handshake not finished")
            raise
        return wire


class _Wire(asyncio.Protocol):
    """One socket's life: bytes out, replies in order, one timer for the oldest call."""

    def __init__(self, timeout_s: float) -> None:
        self.closed = False
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = loop.create_future()
        self._loop = loop
        self._timeout_s = timeout_s
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(replyError=StoreRefused, notEnoughData=_MORE)
        self._pending: deque[tuple[Reply, float, tuple[Arg, ...] | None]] = deque()
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, command: tuple[Arg, ...], in_full: tuple[Arg, ...] | None) -> asyncio.Future[Any]:
        """As `send`, with a future to wait for."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        self.send(command, in_full, reply)
        return reply

    def send(
        self, command: tuple[Arg, ...], in_full: tuple[Arg, ...] | None, reply: Reply, *, now: bool = False
    ) -> None:
        """Queue a command for this turn's write, or write it now with whatever is queued.

        ``in_full`` is what to send instead if the command's script is unknown.
        """
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub says a tuple of one
        # time.monotonic, not loop.time: uvloop's is that of the turn's start, which a busy turn leaves far behind.
        self._pending.append((reply, time.monotonic() + self._timeout_s, in_full))
        self._out.append(packed)
        if now:
            self._write()
        elif len(self._out) == 1:
            self._loop.call_soon(self._write)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._check, None)

    def _write(self) -> None:
        out = self._out
        if out and self._transport is not None and not self.closed:
            self._out = []
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def drop(self, why: str) -> None:
        """End the connection; calls under way fail with ``why``. Safe to call twice."""
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        pending, self._pending = self._pending, deque()
        for future, _, _ in pending:
            if not future.done():
                future.set_exception(StoreUnavailable(why))
        if not self.lost.done():
            self.lost.set_result(why)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's transport, by asyncio's contract
        if self.closed:
            transport.abort()  # type: ignore[attr-defined]  # as above
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop(f"connection lost: {exc or 'closed by the store'}")

    def data_received(self, data: bytes) -> None:
        reader, pending = self._reader, self._pending
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _MORE:
                future, _, in_full = pending.popleft()
                if future.done():
                    continue
                if isinstance(reply, StoreRefused):
                    self._refused(future, reply, in_full)
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.drop("the store broke the protocol")

    def _refused(self, future: Reply, refusal: StoreRefused, in_full: tuple[Arg, ...] | None) -> None:
        if refusal.word == "NOSCRIPT" and in_full is not None:
            self.send(in_full, None, future)
            return
        future.set_exception(refusal)
        if refusal.word == "READONLY":
            # A demoted primary: only a new connection finds the one that took over.
            self.drop("the store has become a replica (READONLY)")

    def _check(self, suspect: Reply | None) -> None:
        self._timer = None
        if not self._pending:
            return
        future, deadline, _ = self._pending[0]
        left = deadline - time.monotonic()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check, None)
        elif future is suspect:
            self.drop(f"the store did not answer in {self._timeout_s * 1000:.0f} ms")
        else:
            # The reply may lie unread because this loop was the slow one: read once more before judging.
            self._timer = self._loop.call_later(_GRACE_S, self._check, future)

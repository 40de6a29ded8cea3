"""Processes and listening sockets, as the supervisor handles them.

Belongs here: forking, waiting, signalling, signs of life, and places on the port. Does not belong here: which processes there
are and when (supervisor.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from router.settings import SettingsError

BACKLOG: Final = 4096
"""Connections that may wait to be accepted."""
_log = structlog.get_logger("router.supervisor")


def fork(child: Callable[[], None], unblocked: Iterable[signal.Signals]) -> int:
    """A child process, and its number. It ends with its parent, and does not hear Ctrl-C.

    Args:
        child: what it does.
        unblocked: signals that the parent blocks and the child does not.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # What is there by now stays: a child that looked through it for garbage would copy every page of it.
    gc.freeze()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        gc.enable()
        die_with_parent()
        # Ctrl-C goes to the whole terminal group; the supervisor alone decides the order of stopping.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # So does the end of a terminal, and a plain kill -HUP of the group.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, unblocked)
        child()
        status = 0
    except BaseException as error:  # noqa: BLE001 - a child must never return into the parent's code
        _log.error("child_failed", kind=type(error).__name__, reason=str(error))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def die_with_parent() -> None:
    """Ask Linux for SIGTERM when the process that forked this one is gone."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def reserve_port(host: str, port: int) -> socket.socket:
    """A bound socket that never listens: it keeps the port ours while places on it come and go.

    Raises:
        SettingsError: the port cannot be had.
    """
    probe = socket.socket(_family(host), socket.SOCK_STREAM)
    try:
        # Without SO_REUSEPORT first: a stranger on the port must be an error, not a silent half of the traffic.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        found = probe.getsockname()[1]
    except OSError as error:
        raise SettingsError(
            f"{host}:{port} cannot be listened on: {error.strerror}. Set COSTROUTER_PORT or COSTROUTER_HOST."
        ) from None
    finally:
        probe.close()
    return _bound(host, found)


def open_door(host: str, port: int) -> socket.socket:
    """A listening place on a shared port. Workers accept from it, one after the other: what waits to be accepted
    survives the end of a worker.
    """
    place = _bound(host, port)
    place.listen(BACKLOG)
    place.setblocking(False)
    return place


def _bound(host: str, port: int) -> socket.socket:
    place = socket.socket(_family(host), socket.SOCK_STREAM)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    place.bind((host, port))
    return place


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


BEAT_S: Final = 0.5
"""How often a worker gives a sign of life."""
LOOK_S: Final = 1.0
"""The most that one look for it counts: where supervisor and workers have stood still together, as on a machine that was suspended,
nobody is taken to hang."""


async def beat_on(writer: int) -> None:
    """Give signs of life through a descriptor, as long as this event loop turns; until cancelled."""
    os.set_blocking(writer, False)
    while True:
        await asyncio.sleep(BEAT_S)
        # Full, when nobody has looked for a day; broken, when the supervisor is gone and this process ends as well.
        with contextlib.suppress(OSError):
            os.write(writer, b"1")


class Pulse:
    """A worker's signs of life, as its supervisor looks at them.

    Args:
        reader: where they come; closed by `close`.
        now: seconds; differences only.
        begun: whether there was one already.
    """

    def __init__(self, reader: int, now: float, *, begun: bool = False) -> None:
        self._reader = reader
        self._looked = now
        self._silent_s = 0.0
        self.begun = begun
        """Whether there has ever been a sign."""

    def silent_s(self, now: float) -> float:
        """How long there has been none while somebody looked, in seconds."""
        looked, self._looked = self._looked, now
        try:
            alive = bool(os.read(self._reader, 4096))
        except BlockingIOError:
            alive = False
        self.begun = self.begun or alive
        self._silent_s = 0.0 if alive else self._silent_s + min(now - looked, LOOK_S)
        return self._silent_s

    def close(self) -> None:
        """Look no more."""
        os.close(self._reader)


def await_ready(reader: int, number: int, bound_s: float, meanwhile: Callable[[], None]) -> None:
    """Return when a worker says that it serves; call ``meanwhile`` again and again until then.

    Raises:
        SettingsError: it ended, or said nothing for ``bound_s`` seconds.
    """
    os.set_blocking(reader, False)
    now = looks = time.monotonic()
    bound = now + bound_s
    while now < bound:
        try:
            if os.read(reader, 1):
                return
            break
        except BlockingIOError:
            time.sleep(0.002)
        now = time.monotonic()
        if now > looks:
            looks = now + 0.1
            meanwhile()
    raise SettingsError(f"worker {number} did not start; its log line above says why")


def await_end(pids: Iterable[int], bound_s: float) -> None:
    """Return when these children have ended; those that have not after ``bound_s`` seconds are killed."""
    bound = time.monotonic() + bound_s
    left = list(pids)
    while left and time.monotonic() < bound:
        left = [pid for pid in left if ended(pid) is None]
        time.sleep(0.01)
    for pid in left:
        send(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def ended(pid: int) -> int | None:
    """A child's exit status, None while it runs."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return status if found else None


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal, if there is anybody."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)

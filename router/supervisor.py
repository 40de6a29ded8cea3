"""The parent process: starts the store, the simulators and the workers, restarts what dies, stops all in order.

Belongs here: processes and signals. Synchronous and without threads, so that workers can be forked from it with the
encoders already in memory. Does not belong here: anything that serves a request (app.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from router.adapters.embedded_store import EmbeddedStore, EmbeddedStoreError
from router.app import AFTER_DRAIN_S, run_worker
from router.plan import Plan, prepare
from router.settings import Settings, SettingsError

STOPPING: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
WATCHED: Final = STOPPING | {signal.SIGCHLD}
READY_S: Final = 20.0
SPARE_S: Final = 3.0
"""What a worker is given beyond its own bounds on stopping, before it is taken to hang."""
RESTART_PAUSES_S: Final = (0.0, 0.2, 1.0, 5.0)
GOOD_RUN_S: Final = 60.0
"""A worker that served for this long is restarted without a pause."""
_log = structlog.get_logger("router.supervisor")


class Supervisor:
    """Runs one node until SIGTERM or SIGINT.

    Args:
        settings: the node's settings.
        announce: called once with the plan when every worker serves.
    """

    def __init__(self, settings: Settings, announce: Callable[[Plan], None]) -> None:
        self._settings = settings
        self._announce = announce
        self._workers: dict[int, int] = {}
        self._began: dict[int, float] = {}
        self._crashes: dict[int, int] = {}
        self._due: dict[int, float] = {}
        self._sim_pid = 0
        self._store: EmbeddedStore | None = None
        self._owns_store = False
        self._store_due = 0.0

    def run(self) -> int:
        """Serve; returns the exit status.

        Raises:
            SettingsError: a setting, a policy file or the port cannot work; nothing is left running.
        """
        settings = self._settings
        try:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = f"{settings.data_dir} cannot be used: {error.strerror}"
            raise SettingsError(f"{reason}. Set COSTROUTER_DATA_DIR to a folder that can be written.") from None
        place = _reserve_port(settings.host, settings.port)
        try:
            if settings.redis_url is None:
                self._store = EmbeddedStore(settings.data_dir, _path(settings.store_binary))
                store_url = f"unix://{self._store.start()}"
                self._owns_store = self._store.owner
            else:
                store_url = settings.redis_url
            plan = prepare(settings, store_url, place.getsockname()[1])
            signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
            if plan.sim_socket is not None:
                self._sim_pid = _fork(lambda: _run_sim(plan))
            for number in range(settings.worker_count):
                self._start_worker(plan, number)
            self._announce(plan)
            self._watch(plan)
        finally:
            self._stop()
            place.close()
        return 0

    def _start_worker(self, plan: Plan, number: int) -> None:
        reader, writer = os.pipe()
        # Forked, not executed: the encoders and the code are shared memory, and a worker is up in milliseconds.
        pid = _fork(lambda: _run_worker(plan, number, writer))
        os.close(writer)
        self._workers[pid] = number
        self._began[number] = time.monotonic()
        try:
            _await_ready(reader, number)
        finally:
            os.close(reader)

    def _watch(self, plan: Plan) -> None:
        while True:
            received = signal.sigtimedwait(WATCHED, 0.5)
            if received is not None and received.si_signo != signal.SIGCHLD:
                return
            self._reap()
            now = time.monotonic()
            for number in [n for n, due in self._due.items() if due <= now]:
                del self._due[number]
                with contextlib.suppress(SettingsError):
                    self._start_worker(plan, number)
            if self._store is not None and self._store_due <= now and self._is_storeless(self._store):
                self._revive_store(self._store)
            if plan.sim_socket is not None and not self._sim_pid:
                self._sim_pid = _fork(lambda: _run_sim(plan))

    def _is_storeless(self, store: EmbeddedStore) -> bool:
        return store.pid is None if self._owns_store else store.abandoned()

    def _revive_store(self, store: EmbeddedStore) -> None:
        # Ours has died, or the node that shared its own with us has stopped: either way somebody must run it.
        _log.error("store_died", action="restart" if self._owns_store else "take over")
        try:
            # A signal to stop stays pending meanwhile, for `_watch` to find.
            store.start(unwanted=lambda: bool(signal.sigpending() & STOPPING))
            self._owns_store = store.owner
        except (OSError, EmbeddedStoreError) as error:
            self._store_due = time.monotonic() + RESTART_PAUSES_S[-1]
            _log.error("store_restart_failed", reason=str(error), again_in_s=RESTART_PAUSES_S[-1])

    def _reap(self) -> None:
        for pid, number in list(self._workers.items()):
            status = _ended(pid)
            if status is None:
                continue
            del self._workers[pid]
            ran_well = time.monotonic() - self._began[number] > GOOD_RUN_S
            count = self._crashes[number] = 1 if ran_well else self._crashes.get(number, 0) + 1
            pause = RESTART_PAUSES_S[min(count, len(RESTART_PAUSES_S)) - 1]
            self._due[number] = time.monotonic() + pause
            _log.error("worker_died", worker=number, status=status, restart_in_s=pause)
        if self._sim_pid and _ended(self._sim_pid) is not None:
            self._sim_pid = 0

    def _stop(self) -> None:
        """Workers first, so that what they have under way can still be settled; the store last."""
        for pid in self._workers:
            _signal(pid, signal.SIGTERM)
        _await_end(list(self._workers), self._settings.drain_s + AFTER_DRAIN_S + SPARE_S)
        if self._sim_pid:
            _signal(self._sim_pid, signal.SIGTERM)
            _await_end([self._sim_pid], 5.0)
        if self._store is not None:
            self._store.stop()
        # A second Ctrl-C meanwhile asked for what has been done now; it must not spoil the exit status.
        while signal.sigtimedwait(WATCHED, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)


def die_with_parent() -> None:
    """Ask Linux for SIGTERM when the process that forked this one is gone."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _fork(child: Callable[[], None]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        die_with_parent()
        # Ctrl-C goes to the whole terminal group; the supervisor alone decides the order of stopping.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        child()
        status = 0
    except BaseException as error:  # noqa: BLE001 - a child must never return into the parent's code
        _log.error("child_failed", kind=type(error).__name__, reason=str(error))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run_worker(plan: Plan, number: int, ready: int) -> None:
    if plan.sim_socket is not None:
        # Where the simulator has ended, connecting must fail: a socket that listens for nobody lets callers hang.
        plan.sim_socket.close()
    run_worker(plan, number, ready)


def _run_sim(plan: Plan) -> None:
    from router.sim.server import run  # noqa: PLC0415 - only this child needs it

    if plan.sim_socket is not None:
        run(
            "127.0.0.1",
            0,
            plan.catalog_dir,
            socket=plan.sim_socket.fileno(),
            seed=1,
            speed=plan.settings.sim_speed,
            batch_speed=plan.settings.sim_batch_speed,
        )


def _reserve_port(host: str, port: int) -> socket.socket:
    """A bound socket that never listens: it keeps the port ours while workers come and go."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
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
    place = socket.socket(family, socket.SOCK_STREAM)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    place.bind((host, found))
    return place


def _await_ready(reader: int, number: int) -> None:
    os.set_blocking(reader, False)
    bound = time.monotonic() + READY_S
    while time.monotonic() < bound:
        try:
            if os.read(reader, 1):
                return
            break
        except BlockingIOError:
            time.sleep(0.002)
    raise SettingsError(f"worker {number} did not start; its log line above says why")


def _await_end(pids: list[int], bound_s: float) -> None:
    bound = time.monotonic() + bound_s
    left = list(pids)
    while left and time.monotonic() < bound:
        left = [pid for pid in left if _ended(pid) is None]
        time.sleep(0.01)
    for pid in left:
        _signal(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _ended(pid: int) -> int | None:
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return status if found else None


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None

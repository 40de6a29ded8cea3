"""The parent process: starts the store, the simulators and the workers, restarts what dies, stops all in order.

Belongs here: which processes there are, and what signals mean. Synchronous and without threads, so that workers can be
forked from it with the encoders already in memory. Does not belong here: forking itself (processes.py), and anything that
serves a request (app.py).

    SIGTERM, SIGINT   stop
    SIGHUP            with a terminal, which then has closed: stop; without one: restart
    SIGUSR2           restart: read policies and provider keys anew, and let new workers take over one by one
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from router.adapters.fleet.node_file import NodeFacts, NodeFile
from router.adapters.http.doors import IDLE_S
from router.adapters.store.embedded import EmbeddedStore, EmbeddedStoreError
from router.app import AFTER_DRAIN_S, REPLACED, run_worker
from router.plan import Plan, prepare, renewed
from router.processes import Pulse, await_end, await_ready, ended, fork, open_door, reserve_port, send
from router.settings import Settings, SettingsError

if TYPE_CHECKING:
    import socket

RESTART: Final = signal.SIGUSR2
ENDING: Final = {signal.SIGTERM, signal.SIGINT}
WATCHED: Final = ENDING | {signal.SIGHUP, RESTART, signal.SIGCHLD}
READY_S: Final = 20.0
SPARE_S: Final = 3.0
"""What a worker is given beyond its own bounds on stopping, before it is taken to hang."""
RESTART_PAUSES_S: Final = (0.0, 0.2, 1.0, 5.0)
PATIENCE_S: Final = 0.5
"""Callers wait at the door of a worker that died for this long; longer pauses send them to the others."""
GOOD_RUN_S: Final = 5.0
"""A worker that served for this long is restarted without a pause: as seldom as that, a restart costs nothing, and whoever
waits at its door is served."""
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
        """Process to its place, of those that accept."""
        self._replaced: dict[int, float] = {}
        """Those whose place another has taken, and until when they may finish."""
        self._doors: dict[int, socket.socket] = {}
        """By place."""
        self._stopping = ENDING | ({signal.SIGHUP} if sys.stdin is not None and sys.stdin.isatty() else set())
        self._node: NodeFile | None = None
        self._began: dict[int, float] = {}
        self._crashes: dict[int, int] = {}
        self._due: dict[int, float] = {}
        self._pulses: dict[int, Pulse] = {}
        """By process, of those that accept."""
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
        place = reserve_port(settings.host, settings.port)
        try:
            if settings.redis_url is None:
                self._store = EmbeddedStore(settings.data_dir, _path(settings.store_binary))
                self._store.begin()
            plan = prepare(settings, place.getsockname()[1])
            signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
            if plan.sim_socket is not None:
                self._start_sim(plan)
            # The longest step by far; the store and the simulators come up meanwhile.
            plan.encoders.preload()
            if self._store is not None:
                plan.store_url = f"unix://{self._store.start(self._unwanted)}"
                self._owns_store = self._store.owner
            for number in range(settings.worker_count):
                self._start_worker(plan, number)
            with contextlib.ExitStack() as stack:
                if settings.serves:
                    # By this file the command line finds the node; one that only looks after jobs may stand beside it.
                    facts = NodeFacts(os.getpid(), plan.port, plan.sim_url)
                    self._node = stack.enter_context(NodeFile(settings.data_dir, facts))
                self._announce(plan)
                gc.enable()
                self._watch(plan)
        finally:
            self._stop()
            place.close()
        return 0

    def _start_sim(self, plan: Plan) -> None:
        self._sim_pid = fork(lambda: self._run_sim(plan), WATCHED)

    def _start_worker(self, plan: Plan, number: int) -> None:
        """A worker for a place, which then has two where it has one already. Returns when it serves.

        Raises:
            SettingsError: it did not start.
        """
        pid, reader = self._fork_worker(plan, number)
        try:
            # Without a store it cannot start, and nobody else would bring that back.
            await_ready(reader, number, READY_S, self._tend_store)
        except SettingsError:
            os.close(reader)
            # It may only be slow; whoever tries again must not find it in its place then.
            send(pid, signal.SIGKILL)
            raise
        self._pulses[pid] = Pulse(reader, time.monotonic(), begun=True)

    def _fork_worker(self, plan: Plan, number: int) -> tuple[int, int]:
        """Its process, and where its signs of life come."""
        if number not in self._doors:
            self._doors[number] = open_door(plan.settings.host, plan.port)
        reader, writer = os.pipe()
        # Forked, not executed: the encoders and the code are shared memory, and a worker is up in milliseconds.
        pid = fork(lambda: self._run_worker(plan, number, writer), WATCHED)
        os.close(writer)
        self._workers[pid] = number
        self._began[number] = time.monotonic()
        return pid, reader

    def _watch(self, plan: Plan) -> None:
        while True:
            received = signal.sigtimedwait(WATCHED, 0.5)
            what = signal.SIGCHLD if received is None else received.si_signo
            if what in self._stopping:
                return
            if what in (RESTART, signal.SIGHUP):
                plan = self._restart(plan)
            # First of all, because workers that start need it.
            self._tend_store()
            self._reap()
            now = time.monotonic()
            self._look(now)
            for number in [n for n, due in self._due.items() if due <= now]:
                del self._due[number]
                # Not waited for: meanwhile others may die, and the store.
                pid, reader = self._fork_worker(plan, number)
                os.set_blocking(reader, False)
                self._pulses[pid] = Pulse(reader, now)
            if plan.sim_socket is not None and not self._sim_pid:
                self._start_sim(plan)

    def _restart(self, plan: Plan) -> Plan:
        """New workers for what policies and keys say now; each place is taken over while the old worker still accepts.

        Where that cannot work, the old ones go on.
        """
        fault = ""
        try:
            fresh = renewed(plan)
            for pid, number in list(self._workers.items()):
                self._start_worker(fresh, number)
                del self._workers[pid]
                self._pulses.pop(pid).close()
                self._replaced[pid] = time.monotonic() + IDLE_S + self._settings.drain_s + AFTER_DRAIN_S + SPARE_S
                send(pid, REPLACED)
            plan = fresh
            _log.info("restarted", workers=len(self._workers))
        except SettingsError as error:
            fault = str(error)
            _log.error("restart_failed", reason=fault)
        if self._node is not None:
            self._node.facts.restarts += 1
            self._node.facts.fault = fault
            self._node.tell()
        return plan

    def _tend_store(self) -> None:
        if self._store is not None and self._store_due <= time.monotonic() and self._is_storeless(self._store):
            self._revive_store(self._store)

    def _unwanted(self) -> bool:
        """Whether a signal to stop is pending, for `_watch` to find."""
        return bool(signal.sigpending() & self._stopping)

    def _is_storeless(self, store: EmbeddedStore) -> bool:
        return store.pid is None if self._owns_store else store.abandoned()

    def _revive_store(self, store: EmbeddedStore) -> None:
        # Ours has died, or the node that shared its own with us has stopped: either way somebody must run it.
        _log.error("store_died", action="restart" if self._owns_store else "take over")
        try:
            store.start(self._unwanted)
            self._owns_store = store.owner
        except (OSError, EmbeddedStoreError) as error:
            self._store_due = time.monotonic() + RESTART_PAUSES_S[-1]
            _log.error("store_restart_failed", reason=str(error), again_in_s=RESTART_PAUSES_S[-1])

    def _look(self, now: float) -> None:
        """End workers whose event loop has stood still, or that never came to serve: whoever waits at their doors is served by
        their successors.
        """
        for pid, pulse in self._pulses.items():
            silent_s = pulse.silent_s(now)
            bound_s = self._settings.hung_s if pulse.begun else READY_S
            if 0 < bound_s < silent_s:
                _log.error("worker_hangs", worker=self._workers[pid], silent_s=round(silent_s, 1))
                send(pid, signal.SIGKILL)

    def _reap(self) -> None:
        for pid, number in list(self._workers.items()):
            status = ended(pid)
            if status is None:
                continue
            del self._workers[pid]
            if pid in self._pulses:
                self._pulses.pop(pid).close()
            if number in self._workers.values():
                continue  # its successor did not start, or it died as it was replaced
            ran_well = time.monotonic() - self._began[number] > GOOD_RUN_S
            count = self._crashes[number] = 1 if ran_well else self._crashes.get(number, 0) + 1
            pause = RESTART_PAUSES_S[min(count, len(RESTART_PAUSES_S)) - 1]
            self._due[number] = time.monotonic() + pause
            if pause > PATIENCE_S:
                self._doors.pop(number).close()
            _log.error("worker_died", worker=number, status=status, restart_in_s=pause)
        for pid, bound in list(self._replaced.items()):
            if ended(pid) is not None:
                del self._replaced[pid]
            elif bound <= time.monotonic():
                send(pid, signal.SIGKILL)
        if self._sim_pid and ended(self._sim_pid) is not None:
            self._sim_pid = 0

    def _stop(self) -> None:
        """Workers first, so that what they have under way can still be settled; the store last."""
        # Whoever connects from now on is refused by the workers that linger no more, not left waiting at a door.
        for door in self._doors.values():
            door.close()
        serving = [*self._workers, *self._replaced]
        for pid in serving:
            send(pid, signal.SIGTERM)
        bounds = self._settings.linger_s + self._settings.drain_s + AFTER_DRAIN_S
        await_end(serving, bounds + SPARE_S)
        if self._sim_pid:
            send(self._sim_pid, signal.SIGTERM)
            await_end([self._sim_pid], 5.0)
        if self._store is not None:
            self._store.stop()
        # A second Ctrl-C asked for what has been done now, and must not spoil the exit status: signals stay blocked for the
        # moment that this process has left.

    def _run_worker(self, plan: Plan, number: int, ready: int) -> None:
        if plan.sim_socket is not None:
            # Where the simulator has ended, connecting must fail: a socket that listens for nobody lets callers hang.
            plan.sim_socket.close()
        for other, door in self._doors.items():
            if other != number:
                door.close()
        run_worker(plan, number, ready, self._doors[number])

    def _run_sim(self, plan: Plan) -> None:
        from router.sim.server import run  # noqa: PLC0415 - only this child needs it

        for door in self._doors.values():
            door.close()
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


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None

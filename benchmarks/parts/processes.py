"""Processes on chosen cores: starting, moving, measuring and ending them, from /proc.

Belongs here: what every benchmark does with a process. Does not belong here: what a process serves (proxies.py).
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
START_S = 60.0
STOP_S = 40.0


class BenchError(Exception):
    """The run cannot go on; the message is for the person who started it."""


def two_cores() -> tuple[int, int]:
    """(the proxy's core, the core of everything else), of those that this process may use.

    Raises:
        BenchError: there is only one.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("The benchmark needs two cores: one for the proxy, one for load, upstream and store.")
    return cores[-1], cores[0]


def python_program(name: str, *arguments: object) -> list[str]:
    """The command line of a program in this folder."""
    return [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)]


def start(stack: ExitStack, command: list[str], cores: int | set[int], *, log: Path, env=None, **pipes):
    """A process with all its threads and children on these cores; ended when the stack closes."""
    allowed = {cores} if isinstance(cores, int) else cores
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command,
            env=env,
            stdin=pipes.get("stdin", subprocess.DEVNULL),
            stdout=pipes.get("stdout", sink),
            stderr=sink,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, allowed),  # noqa: PLW1509 - no threads run here yet
        )
    stack.callback(stop, process)
    return process


def stop(process: subprocess.Popen) -> None:
    """End a process, politely first."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def move(pid: int, core: int) -> None:
    """Put every thread of a running process on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_port(port: int, process: subprocess.Popen, log: Path) -> None:
    """Return once somebody listens.

    Raises:
        BenchError: the process ended, or nobody listens in a minute; with the end of its log.
    """
    bound = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < bound:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise BenchError(f"{Path(process.args[0]).name} does not serve; the end of its log:\n{tail(log)}")


def tail(log: Path, size: int = 1500) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-size:] if log.exists() else "(no log)"


def children(pid: int) -> list[int]:
    """Every descendant of a process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    found = [pid]
    for known in found:
        found.extend(child for child, parent in parents.items() if parent == known)
    return found[1:]


def name_of(pid: int) -> str:
    """The name of a process's program, at most 15 characters."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def cpu_ms(pids: list[int]) -> float:
    """Processor time that processes have used so far, in milliseconds; 10 ms fine."""
    fields = [_stat(pid) for pid in pids]
    return sum(int(found[11]) + int(found[12]) for found in fields) * 1000 / TICKS


def core_busy_ms(core: int) -> float:
    """Time that a core has spent on anything, in milliseconds, what the hypervisor took from it included."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, ticks[:8])
            return (user + nice + system + irq + softirq + steal) * 1000 / TICKS
    raise BenchError(f"/proc/stat does not know core {core}.")


def memory_mb(pid: int) -> dict[str, float]:
    """``pss`` (shared pages divided by their users), ``private`` and ``rss`` of a process, in MB of 10^6 bytes."""
    kilobytes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, amount, *_ = line.split()
        kilobytes[name.rstrip(":")] = int(amount) * 1.024 / 1000
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"pss": kilobytes["Pss"], "private": private, "rss": kilobytes["Rss"]}


def machine() -> str:
    """What the figures were measured on, in one line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    uname = os.uname()
    python = sys.version.split()[0]
    return f"{model}, {os.cpu_count()} cores, {uname.sysname} {uname.release.split('-')[0]}, Python {python}"


def _stat(pid: int) -> list[str]:
    # The program's name is in parentheses and may hold spaces: what follows the last one is regular, state first.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()

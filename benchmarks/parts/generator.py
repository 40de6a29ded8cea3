"""The load generator as the benchmarks hold it: a process that is told what to do and gives figures back.

Belongs here: talking to load.py and the processor time around a window. Does not belong here: sending requests.
"""

import json
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from parts.processes import BenchError, core_busy_ms, cpu_ms, python_program, start, tail


class Generator:
    """One process of load.py on a core of its own choice."""

    def __init__(self, stack: ExitStack, core: int, directory: Path, name: str = "load") -> None:
        self._log = directory / f"{name}.log"
        self._process = start(
            stack,
            python_program("load.py"),
            core,
            log=self._log,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def begin(self, **plan: object) -> None:
        """Start a run (fields of `load.Plan`); `finish` gives its figures."""
        self._process.stdin.write(json.dumps(plan) + "\n")
        self._process.stdin.flush()

    def finish(self, watched: Mapping[str, list[int]], core: int) -> dict:
        """Wait for the run and give its figures and two more.

        ``cpu``: ms an answer, for each group of watched processes and ``load``;
        ``foreign``: the share of the window in which the core worked for others than the group ``proxy``.

        Raises:
            BenchError: an answer was wrong or missing.
        """
        groups = {**watched, "load": [self._process.pid]}
        self._expect("start")
        before, busy = {name: cpu_ms(pids) for name, pids in groups.items()}, core_busy_ms(core)
        self._expect("stop")
        spent = {name: cpu_ms(pids) - before[name] for name, pids in groups.items()}
        busy = core_busy_ms(core) - busy
        figures = json.loads(self._line())
        if figures["failure"]:
            raise BenchError(f"A request failed: {figures['failure']}")
        if not figures["answered"]:
            raise BenchError("Nothing was answered in the window.")
        figures["cpu"] = {name: ms / figures["answered"] for name, ms in spent.items()}
        figures["foreign"] = max(0.0, busy - spent.get("proxy", 0.0)) / 1000 / figures["seconds"]
        return figures

    def _expect(self, word: str) -> None:
        line = self._line()
        if line != word:
            raise BenchError(f"The load generator said {line[:200]!r} instead of {word!r}.")

    def _line(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"The load generator ended; the end of its log:\n{tail(self._log)}")
        return line.strip()

"""`costrouter ...` in tests, without waiting each time until it is loaded.

Belongs here: a process that has loaded the command line once (this file, run), and forks one for each call, with arguments,
environment and ends of its own. Does not belong here: what serves (tests/node.py starts it as its users do), and what a
test expects of a command.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import sys
import tempfile
import threading
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent
_one = threading.Lock()


def costrouter(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, stdin: str | None = None
) -> CompletedProcess[str]:
    """A command from the project's root, with all that it says; in a clean environment unless another is given."""
    settings = clean_environment() if environment is None else dict(environment)
    with tempfile.TemporaryDirectory() as folder, _one:
        ends = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        ends[0].write_text(stdin or "")
        asking, told = _loaded()
        asking.write(json.dumps([[str(each) for each in arguments], settings, [str(end) for end in ends]]) + "\n")
        asking.flush()
        status = int(told.readline())
        return CompletedProcess(arguments, status, ends[1].read_text(), ends[2].read_text())


def clean_environment(**settings: str) -> dict[str, str]:
    """The environment without what a developer may have set for a node of their own."""
    foreign = re.compile(
        r"COSTROUTER_.*|REDIS_URL|PYTHONPATH|.*_API_KEY|.*_BASE_URL|.*_proxy|(AWS|AZURE|BEDROCK|VERTEX)_.*",
        re.IGNORECASE,
    )
    return {name: value for name, value in os.environ.items() if not foreign.fullmatch(name)} | settings


@functools.cache
def _loaded() -> tuple[IO[str], IO[str]]:
    process = Popen([sys.executable, __file__], stdin=PIPE, stdout=PIPE, text=True)
    atexit.register(process.communicate)  # its input ends, and so it does
    assert process.stdin
    assert process.stdout
    return process.stdin, process.stdout


def _serve() -> None:
    import click

    from router.cli import main

    for name in main.list_commands(click.Context(main)):
        main.get_command(click.Context(main), name)
    for line in sys.stdin:
        arguments, environment, ends = json.loads(line)
        child = os.fork()
        if not child:
            for number, path in enumerate(ends):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY)
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(ROOT)
            sys.argv = ["costrouter", *arguments]
            main(prog_name="costrouter")
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()

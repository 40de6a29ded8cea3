"""What a running node says of itself to commands on the same machine: ``node-PORT.json`` in its data directory.

Belongs here: writing, reading and believing it. Does not belong here: what commands do with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Self

import msgspec

if TYPE_CHECKING:
    from pathlib import Path


class NodeFacts(msgspec.Struct):
    """One node."""

    pid: int
    """Of its supervisor."""
    port: int
    sim_url: str = ""
    """Where its simulated providers answer; empty for none."""
    restarts: int = 0
    """Rolling restarts that have come to an end."""
    fault: str = ""
    """Why the last of them did not succeed."""


class NodeFile:
    """The file as its node keeps it: locked while the node runs, so that nobody believes a dead one.

    Args:
        directory: the data directory.
        facts: what stands in it at first.
    """

    def __init__(self, directory: Path, facts: NodeFacts) -> None:
        self.facts = facts
        self._path = directory / f"node-{facts.port}.json"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Self:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.tell()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._descriptor)

    def tell(self) -> None:
        """Write the facts as they are now. They are shorter than a page, so nobody reads half of them."""
        text = msgspec.json.encode(self.facts)
        os.pwrite(self._descriptor, text, 0)
        os.ftruncate(self._descriptor, len(text))


def running_node(directory: Path, port: int) -> NodeFacts | None:
    """The node that serves on a port from a data directory, None if none does."""
    try:
        with (directory / f"node-{port}.json").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return msgspec.json.decode(file.read(), type=NodeFacts)
    except (OSError, msgspec.DecodeError):
        pass
    return None

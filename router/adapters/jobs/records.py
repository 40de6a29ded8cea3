"""What the store tells of jobs, and is told: plain records of the job store's calls.

Belongs here: values that travel between the store and those who work on jobs. Does not belong here: keys and calls
(store.py).
"""

from __future__ import annotations

from typing import Final

import msgspec

from router.core.jobs.jobs import Job, Line, Parcel

_pack: Final = msgspec.msgpack.Encoder().encode


class Tally(msgspec.Struct, frozen=True):
    """How far a job is."""

    job: Job
    lines: int
    done: int
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    cost_nano: int = 0
    sealed: bool = False
    ended_ms: int = 0
    unwanted: bool = False
    at: str = ""
    """How far its lines have been read."""
    notes: dict[str, str] = {}
    """What else was written down of it."""


class Taken(msgspec.Struct, frozen=True):
    """A line off the queue."""

    job: str
    number: int
    entry: str
    """Of the queue."""
    line: Line


class Leased(msgspec.Struct):
    """A parcel or job that this broker is at."""

    member: str
    until: str
    record: Parcel | None


class Looked(msgspec.Struct, frozen=True):
    """What a look at a tenant's jobs has shown."""

    now_ms: int
    """The store's time."""
    leased: list[Leased]
    next_ms: int | None
    """When something else is due, or somebody's lease ends."""
    queued: int
    """Lines on the queue, those that somebody is at among them."""


class Move(msgspec.Struct, frozen=True):
    """A line's next state. It is taken only if the line is still as it was seen."""

    job: str
    number: int
    seen: Line
    then: Line
    queue: bool = False
    result: bytes = b""
    """Sealed answer to be kept in the store."""
    cost_nano: int = 0
    entry: str = ""
    """Of the queue; it goes in the same step."""


def guard(line: Line) -> bytes:
    """What tells whether a line is where it was seen."""
    return f"{line.state}:{line.tries}:{line.bound}".encode()


def packed(line: Line) -> bytes:
    """A line as stored."""
    return guard(line) + b"\n" + _pack(line)

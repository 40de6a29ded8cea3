"""The write-ahead log of one worker's life: what was sent and what came of it, before the store knows.

Belongs here: writing, rolling and deleting segments, and who owns a journal. Does not belong here: the records' bytes
(frames.py), settling (ledger/ledger.py), and what becomes of a dead worker's journal (adoption).

    DATA/journal/<journal>/            mode 0700
        lock                           held by its worker; free once that is dead, then held by who adopts it
        00000001.wal                   a segment

A record is in the page cache once `os.pwrite` returns, so it outlives the process by whatever signal it dies. Segments
are allocated in advance, and what is `sent` sets room aside for its end: a full disk is met before anything is sent.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from router.adapters.journal.frames import ENDED, RELEASED, SENT, Record, frame, read_frames
from router.ports import JournalUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SEGMENT_BYTES: Final = 4 << 20
_GROWTH: Final = 128
"""How much longer an attempt's end may be than its beginning: numbers of more digits, a longer outcome."""
KEPT_S: Final = 60.0
"""How long a segment stays once the store has all of it, where a replica may take over that lacks the last of it."""
_MOST_KEPT: Final = 16
"""Segments, with the one that is written, beyond which none is kept for its time."""
_CARRIED: Final = 2
"""Full segments that may lie on disk before attempts that still run are carried over from the oldest."""

_log: Final = structlog.get_logger(__name__)


class Segment(msgspec.Struct, eq=False):
    """One file, allocated to its ``bytes``."""

    path: Path
    descriptor: int
    bytes: int
    size: int = 0
    pending: int = 0
    """Records that are still needed: attempts under way, and rows that the store may yet lose."""
    done_at: float = 0.0
    """When the store had the last of its rows."""


class _Open(msgspec.Struct):
    """An attempt under way: its record, and the segment that holds it."""

    frame: bytes
    segment: Segment


class Numbers:
    """A journal that keeps nothing, for rows that need not outlive the process.

    Args:
        name: names the sequence of batches in the store; never used by another process or life.
    """

    fault = ""
    """Why records cannot be written, for people; the empty text while they can."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._number = 0

    def next(self) -> int:
        """A number without a record."""
        self._number += 1
        return self._number

    def reach(self, number: int) -> None:
        """Give no number up to this one any more."""
        self._number = max(self._number, number)

    def sent(self, attempt: str, payload: bytes) -> None:
        """An attempt is about to be sent; ``payload`` is the row to book if nothing more is heard of it."""

    def ended(self, attempt: str, payload: bytes, *, released: bool) -> tuple[int, Segment | None]:  # noqa: ARG002 - `Journal` needs them
        """An attempt's row; gives its number, and what `forget` wants to hear of once the store has it for good."""
        return self.next(), None

    def forget(self, segments: Iterable[Segment | None]) -> None:
        """The store has these rows for good, one entry a row."""

    def syncing(self) -> Callable[[], None]:
        """What has everything on the disk itself, not in its cache only; for a thread, as it blocks."""
        return _nothing

    def close(self, *, remove: bool) -> None:
        """Let go of it; ``remove`` it where nothing in it is needed any more."""


class Journal(Numbers):
    """On disk, for one worker. Made by the worker itself: a lock is inherited over a fork.

    Args:
        root: the folder of all journals.
        name: as for `Numbers`; names the journal's folder.
        segment_bytes: how large a file grows.
        kept_s: how long a segment stays once the store has all of it, in seconds; `ends` finds its rows meanwhile.
        monotonic: seconds; differences only.

    Raises:
        OSError: the folder cannot be made. A full disk is no obstacle: `sent` tells.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        kept_s: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name)
        self._bytes = segment_bytes
        self._kept_s = kept_s
        self._monotonic = monotonic
        self._open: dict[str, _Open] = {}
        self._reserved = 0
        self._unwritten: list[bytes] = []
        self._rolled = 0
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Locked before it can be found under its name: whoever sees it must not take it for an orphan.
        making = root / f".{name}"
        making.mkdir(mode=0o700)
        self._lock = lock(making)
        self.folder = root / name
        making.rename(self.folder)
        self._segments = [Segment(self.folder / "none", -1, 0)]

    def sent(self, attempt: str, payload: bytes) -> None:
        """Raises `JournalUnavailable`: nothing may be sent."""
        number = self._number + 1
        record = frame(number, SENT, payload)
        try:
            if self._unwritten:
                self._write_late()
            segment = self._write(record, spare=len(record) + _GROWTH)
        except OSError as failure:
            self._failed(failure)
            raise JournalUnavailable(f"{self.folder.parent} cannot be written: {failure.strerror}") from None
        self._number = number
        self._reserved += len(record) + _GROWTH
        self._open[attempt] = _Open(record, segment)
        segment.pending += 1
        if self.fault:
            self.fault = ""
            _log.info("journal_recovered", journal=self.name)

    def ended(self, attempt: str, payload: bytes, *, released: bool) -> tuple[int, Segment | None]:
        """Does not raise: a row that cannot be written is settled from memory, and written once that is possible."""
        number = self._number = self._number + 1
        opened = self._open.pop(attempt, None)
        if opened is None and released:
            return number, None  # never announced, so nobody will ask for its end
        record = frame(number, RELEASED if released else ENDED, payload)
        if opened is not None:
            self._reserved -= len(opened.frame) + _GROWTH
            opened.segment.pending -= 1
        try:
            segment = self._write(record)
        except OSError as failure:
            self._failed(failure)
            segment = self._segments[-1]
            self._unwritten.append(record)
        segment.pending += 1
        return number, segment

    def forget(self, segments: Iterable[Segment | None]) -> None:
        """Deletes what is needed no more, oldest first: an end must not go before the beginning that it answers."""
        now = self._monotonic()
        for segment in segments:
            if segment is not None:
                segment.pending -= 1
                segment.done_at = now
        self._carry()
        while self._goes_first(now - self._kept_s):
            self._drop_first()

    def _goes_first(self, bound: float) -> bool:
        """Whether nothing needs the oldest segment, and its time was over at ``bound``."""
        oldest, count = self._segments[0], len(self._segments)
        return count > 1 and not oldest.pending and (oldest.done_at <= bound or count > _MOST_KEPT)

    def _drop_first(self) -> None:
        with contextlib.suppress(OSError):
            self._segments.pop(0).path.unlink()

    def ends(self) -> Callable[[], list[tuple[Segment, list[Record]]]]:
        """What reads the end of every attempt that is still on the disk, by segment; for a thread, as it blocks. Who
        needs such a record again adds it to the segment's ``pending``.
        """
        segments = list(self._segments)

        def read() -> list[tuple[Segment, list[Record]]]:
            found = []
            for segment in segments:
                with contextlib.suppress(OSError):  # its time was over meanwhile
                    records, _ = read_frames(segment.path.read_bytes())
                    found.append((segment, [record for record in records if record.kind != SENT]))
            return found

        return read

    def syncing(self) -> Callable[[], None]:
        """As `Numbers.syncing`, for the segment that is written now; the kernel has begun with full ones by itself."""
        if self._segments[-1].descriptor < 0:
            return _nothing
        # A descriptor of its own: this one may be closed while the thread is at it.
        descriptor = os.dup(self._segments[-1].descriptor)

        def sync() -> None:
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

        return sync

    def close(self, *, remove: bool) -> None:
        """Let go of it. What stays is adopted by whoever runs next on this disk."""
        if self._segments[-1].descriptor >= 0:
            os.close(self._segments[-1].descriptor)
        if remove and not self._open:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _write(self, record: bytes, spare: int = 0) -> Segment:
        segment = self._segments[-1]
        if segment.size + len(record) + spare + self._reserved > segment.bytes:
            segment = self._roll(len(record) + spare)
        if os.pwrite(segment.descriptor, record, segment.size) != len(record):
            # The next record is written over the torn one.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        segment.size += len(record)
        return segment

    def _roll(self, needed: int) -> Segment:
        size = max(self._bytes, 2 * (self._reserved + needed))
        self._rolled += 1
        path = self.folder / f"{self._rolled:08}.wal"
        while True:
            try:
                descriptor = _allocated(path, size)
            except OSError:
                # What is only kept makes room for what is needed.
                if not self._goes_first(math.inf):
                    raise
                self._drop_first()
            else:
                break
        if self._segments[-1].descriptor >= 0:
            os.close(self._segments[-1].descriptor)
        segment = Segment(path, descriptor, size)
        self._segments.append(segment)
        return segment

    def _carry(self) -> None:
        """Write again what keeps the oldest segment, if that is only attempts that still run."""
        oldest = self._segments[0]
        if len(self._segments) <= _CARRIED + 1 or not oldest.pending:
            return
        running = [opened for opened in self._open.values() if opened.segment is oldest]
        if len(running) < oldest.pending:
            return
        with contextlib.suppress(OSError):  # tried again when there is room
            for opened in running:
                opened.segment = self._write(opened.frame)
                opened.segment.pending += 1
                oldest.pending -= 1

    def _write_late(self) -> None:
        # Its row counts for the segment that `ended` gave; no newer one, such as this, goes before that.
        while self._unwritten:
            self._write(self._unwritten[0])
            self._unwritten.pop(0)

    def _failed(self, failure: OSError) -> None:
        if not self.fault:
            _log.error("journal_failed", journal=self.name, reason=failure.strerror)
        self.fault = f"the journal cannot be written ({failure.strerror}), so nothing new is sent"


def _allocated(path: Path, size: int) -> int:
    """A descriptor of a new file of this size. Raises OSError, and then there is none."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
    except OSError:
        os.close(descriptor)
        path.unlink()
        raise
    return descriptor


def _nothing() -> None:
    pass


def lock(folder: Path) -> int:
    """A descriptor that holds the folder's lock until it is closed.

    Raises:
        BlockingIOError: another process holds it.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_journal(folder: Path) -> tuple[list[Record], int]:
    """Every whole record of a journal, by number, and how many bytes of it are damaged. Blocks.

    Raises:
        OSError: a segment cannot be read.
    """
    records: list[Record] = []
    damaged = 0
    for path in sorted(folder.glob("*.wal")):
        try:
            found, lost = read_frames(path.read_bytes())
        except FileNotFoundError:
            continue  # its worker lives, and needs it no more
        records += found
        damaged += lost
    records.sort(key=lambda record: record.number)
    return records, damaged

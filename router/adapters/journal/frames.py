"""How the journal's records lie in a file: framed, checked, readable up to and beyond whatever is damaged.

Belongs here: bytes to records and back. Does not belong here: files, and who may write them (journal.py).

A frame is a head of 16 bytes and a payload (msgpack of a Row): the payload's length (4 bytes), CRC-32 of number, kind
and payload (4), number and kind (8: ``number << 2 | kind``), little-endian. A segment is filled with zeros in advance.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final
from zlib import crc32

import msgspec

from router.adapters.store.layout import decode_row
from router.core.values import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

SENT: Final = 1
"""Written before an attempt's first byte goes upstream: the row to book if nothing more is ever heard of it."""
ENDED: Final = 2
"""The attempt's row. One with the outcome ``released`` says that nothing was sent after all."""
RELEASED: Final = 3
HEAD_BYTES: Final = 16
_HEAD: Final = Struct("<IIQ")
_MARK: Final = Struct("<Q")
_MOST_BYTES: Final = 1 << 20
"""No row comes near it; a longer length is damage."""


class Record(msgspec.Struct, frozen=True):
    """One record as read back. Numbers are unique to a kind and grow, but need not be in order."""

    number: int
    kind: int
    row: Row


def frame(number: int, kind: int, payload: bytes) -> bytes:
    """A record's bytes. ``number`` is below 2^62."""
    mark = number << 2 | kind
    return _HEAD.pack(len(payload), crc32(payload, crc32(_MARK.pack(mark))), mark) + payload


def read_frames(data: bytes) -> tuple[list[Record], int]:
    """Every record that is whole, and how many bytes are damaged: a torn tail, or a hole with records behind it."""
    records: list[Record] = []
    damaged = at = 0
    # Behind the last record there are zeros only, which are not worth looking at one by one.
    end = len(data.rstrip(b"\0"))
    while at < end:
        record = _record(data, at)
        if record is not None:
            records.append(record[0])
            at = record[1]
            continue
        following = next(_offsets(data, at + 1, end), end)
        damaged += following - at
        at = following
    return records, damaged


def _offsets(data: bytes, start: int, end: int) -> Iterator[int]:
    return (at for at in range(start, end) if _record(data, at) is not None)


def _record(data: bytes, at: int) -> tuple[Record, int] | None:
    """The record at an offset and where it ends, or None if no whole record begins there."""
    if at + HEAD_BYTES > len(data):
        return None
    length, check, mark = _HEAD.unpack_from(data, at)
    end = at + HEAD_BYTES + length
    if not 0 < length <= _MOST_BYTES or end > len(data) or not mark & 3:
        return None
    payload = data[at + HEAD_BYTES : end]
    if crc32(payload, crc32(_MARK.pack(mark))) != check:
        return None
    try:
        return Record(mark >> 2, mark & 3, decode_row(payload)), end
    except msgspec.DecodeError:
        return None

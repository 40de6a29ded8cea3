"""Amazon's event stream encoding: binary messages with headers and two checksums.

Belongs here: cutting bytes into messages, and putting them together. Does not belong here: what any of them says.
Source: docs.aws.amazon.com, "Event stream encoding"; held against botocore's parser in tests.

    total length (4) · headers' length (4) · CRC-32 of these (4) · headers · payload · CRC-32 of all before (4)
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

from router.dialects.sse import MAX_EVENT_BYTES

_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of header values of fixed size, by their type."""
_COUNTED: Final = frozenset({6, 7})
"""Types whose value has its length in two bytes before it: bytes and text."""
_TEXT: Final = 7
_LEAST: Final = _PRELUDE.size + _CRC.size


class Frame(NamedTuple):
    """One message: its headers that are text, and its payload."""

    headers: dict[str, str]
    payload: bytes


class Frames:
    """Gathers chunks into whole messages."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """The messages that are whole by now; what begins after them is kept.

        Raises:
            ValueError: a checksum is wrong, a header cannot be read, or a message is larger than `MAX_EVENT_BYTES`.
        """
        tail = self._tail
        tail += chunk
        found: list[Frame] = []
        start = 0
        while len(tail) - start >= _PRELUDE.size:
            total, headers, crc = _PRELUDE.unpack_from(tail, start)
            if zlib.crc32(memoryview(tail)[start : start + 8]) != crc:
                raise ValueError("a message's prelude has another checksum than it says")
            if not _LEAST + headers <= total <= MAX_EVENT_BYTES:
                raise ValueError(f"a message of {total} bytes with headers of {headers} cannot be")
            if len(tail) - start < total:
                break
            found.append(_frame(bytes(memoryview(tail)[start : start + total]), headers))
            start += total
        del tail[:start]
        return found


def _frame(message: bytes, headers: int) -> Frame:
    (crc,) = _CRC.unpack_from(message, len(message) - _CRC.size)
    if zlib.crc32(message[: -_CRC.size]) != crc:
        raise ValueError("a message has another checksum than it says")
    payload = _PRELUDE.size + headers
    return Frame(_headers(message[_PRELUDE.size : payload]), message[payload : -_CRC.size])


def _headers(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name = data[at + 1 : at + 1 + data[at]].decode()
            at += 1 + data[at]
            kind = data[at]
            at += 1
            if kind in _COUNTED:
                size = int.from_bytes(data[at : at + 2])
                at += 2
            else:
                size = _SIZES[kind]
            if at + size > len(data):
                raise ValueError("a header is longer than the headers")
            if kind == _TEXT:
                found[name] = data[at : at + size].decode()
            at += size
    except (IndexError, KeyError):
        raise ValueError("a header cannot be read") from None
    return found


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message."""
    packed = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value.encode()).to_bytes(2) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack(">II", _LEAST + len(packed) + len(payload), len(packed))
    message = lengths + _CRC.pack(zlib.crc32(lengths)) + packed + payload
    return message + _CRC.pack(zlib.crc32(message))

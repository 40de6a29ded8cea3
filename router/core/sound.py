"""How long a recording is: from the head of its file, or guessed by its size.

Belongs here: reading lengths out of WAV, FLAC, Ogg, MP3 and MP4 files. Does not belong here: decoding sound, and what a
minute of it costs (the catalog says).

A head that lies does little harm: providers read the same bytes, and what is booked is what they say. For the most that
there can be, and so for holds, a length that was read counts twice.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

LIKELY_BYTES_A_SECOND: Final = 8_000
"""64 kbit/s, what speech is usually recorded with."""
LEAST_BYTES_A_SECOND: Final = 1_000
"""8 kbit/s: the thinnest that speech is recorded with (Opus begins at 6, and is not used so)."""
MARGIN_MS: Final = 10_000
_MOST_BOXES: Final = 64
_MP3_LOOK: Final = 64 * 1024
_OGG_LOOK: Final = 128 * 1024
_MP3_KBITS: Final = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Layer III, MPEG 1 and later versions (ISO/IEC 11172-3, 13818-3)."""
_MP3_RATES: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


class Length(msgspec.Struct, frozen=True):
    """Milliseconds of sound."""

    likely_ms: int
    most_ms: int
    """What money is held for."""
    read: bool
    """Whether it stands in the file; otherwise it is guessed."""


def length_of(data: bytes) -> Length:
    """The length of a recording; at least a millisecond."""
    ms = _wav(data) or _flac(data) or _ogg(data) or _mp4(data) or _mp3(data)
    if ms is None:
        likely, most = (max(-(-len(data) * 1000 // rate), 1) for rate in (LIKELY_BYTES_A_SECOND, LEAST_BYTES_A_SECOND))
        return Length(likely, most, read=False)
    return Length(ms, 2 * ms + MARGIN_MS, read=True)


def _wav(data: bytes) -> int | None:
    """RIFF: bytes of the data chunk over bytes a second. A stream's chunk that claims more than there is ends with the file."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    at, rate = 12, 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(data):
            return None
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8
        if name == b"fmt " and size >= 12:
            rate = int.from_bytes(data[at + 8 : at + 12], "little")
        elif name == b"data":
            return _over(min(size, len(data) - at), rate)
        at += size + size % 2
    return None


def _flac(data: bytes) -> int | None:
    """STREAMINFO: 20 bits of rate, 36 of samples (RFC 9639, 8.2)."""
    if data[:4] != b"fLaC" or len(data) < 26:
        return None
    packed = int.from_bytes(data[18:26], "big")
    return _over(packed & (1 << 36) - 1, packed >> 44)


def _ogg(data: bytes) -> int | None:
    """The last page's position over the rate: that of Vorbis, or Opus' 48 kHz (RFC 3533, RFC 7845)."""
    if data[:4] != b"OggS":
        return None
    head, last = data[:256], data.rfind(b"OggS", max(len(data) - _OGG_LOOK, 0))
    vorbis = head.find(b"\x01vorbis")
    rate = int.from_bytes(head[vorbis + 12 : vorbis + 16], "little") if vorbis >= 0 else 48_000
    position = int.from_bytes(data[last + 6 : last + 14], "little")
    return _over(position, rate) if b"OpusHead" in head or vorbis >= 0 else None


def _mp4(data: bytes) -> int | None:
    """``mvhd`` in ``moov``: duration over timescale (ISO/IEC 14496-12)."""
    if data[4:8] != b"ftyp":
        return None
    moov = _box(data, 0, len(data), b"moov")
    mvhd = None if moov is None else _box(data, *moov, b"mvhd")
    if mvhd is None:
        return None
    at, end = mvhd
    wide = data[at : at + 1] == b"\x01"
    layout, skip = (">IQ", 20) if wide else (">II", 12)
    if at + skip + struct.calcsize(layout) > end:
        return None
    scale, duration = struct.unpack_from(layout, data, at + skip)
    return _over(duration, scale)


def _box(data: bytes, at: int, end: int, wanted: bytes) -> tuple[int, int] | None:
    """Where a box's content lies among those between two places."""
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return None
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        stop = end if size == 0 else min(at + size, end)
        if name == wanted:
            return at + head, stop
        if stop < at + head:
            return None
        at = stop
    return None


def _mp3(data: bytes) -> int | None:
    """By the count of frames that an encoder wrote down (Xing, Info), else by the first frame's bit rate."""
    start = 0
    if data[:3] == b"ID3" and len(data) > 10:
        size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
        start = 10 + size
    at = data.find(b"\xff", start, start + _MP3_LOOK)
    if at < 0 or at + 4 > len(data):
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    rates, index = _MP3_RATES.get(version), data[at + 2] >> 4
    rate_index = data[at + 2] >> 2 & 3
    if data[at + 1] & 0xE0 != 0xE0 or layer != 1 or rates is None or not 0 < index < 15 or rate_index == 3:
        return None
    rate, kbits = rates[rate_index], _MP3_KBITS[version == 3][index]
    samples = 1152 if version == 3 else 576
    for mark in (b"Xing", b"Info"):
        found = data.find(mark, at, at + 64)
        if found >= 0 and data[found + 7 : found + 8] and data[found + 7] & 1:
            return _over(int.from_bytes(data[found + 8 : found + 12], "big") * samples, rate)
    return _over((len(data) - at) * 8, kbits * 1000)


def _over(amount: int, a_second: int) -> int | None:
    """Milliseconds, rounded up; None where there is nothing to go by."""
    return -(-amount * 1000 // a_second) if amount > 0 and a_second > 0 else None

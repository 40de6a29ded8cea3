import struct

import pytest

from router.core.sound import MARGIN_MS, Length, length_of


def wav(seconds, rate=8000, claimed=None, junk=b""):
    data = bytes(2 * rate * seconds)
    size = len(data) if claimed is None else claimed
    return (
        b"RIFF\0\0\0\0WAVE"
        + junk
        + struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size)
        + data
    )


def flac(samples, rate):
    return b"fLaC\x80\0\0\x22" + bytes(10) + (rate << 44 | samples).to_bytes(8, "big") + bytes(20)


def ogg(head, position):
    page = b"OggS\0\2" + bytes(20)
    return page + head + bytes(500) + b"OggS\0\4" + position.to_bytes(8, "little") + bytes(12)


def box(name, content, *, wide=False):
    size = len(content) + (16 if wide else 8)
    return (struct.pack(">I4sQ", 1, name, size) if wide else struct.pack(">I4s", size, name)) + content


def mp4(mvhd, *, wide=False, before=b""):
    return box(b"ftyp", b"M4A \0\0\0\0") + before + box(b"moov", box(b"mvhd", mvhd), wide=wide)


def mp3(*, bits=0xFB, index=9, rate=0, start=b"", tag=b"", size=16_000):
    return start + bytes([0xFF, bits, index << 4 | rate << 2, 0xC4]) + bytes(32) + tag + bytes(size)


READ = [
    (wav(3), 3_000),
    (wav(2, claimed=0xFFFFFFFF), 2_000),
    (wav(1, junk=b"LIST\x03\0\0\0abc\0"), 1_000),
    (flac(44_100 * 5, 44_100), 5_000),
    (ogg(b"OpusHead", 48_000 * 4), 4_000),
    (ogg(b"\x01vorbis" + bytes(5) + (16_000).to_bytes(4, "little"), 32_000), 2_000),
    (mp4(bytes(12) + struct.pack(">II", 1000, 7_250)), 7_250),
    (mp4(b"\x01" + bytes(19) + struct.pack(">IQ", 90_000, 180_000), wide=True, before=box(b"free", b"x")), 2_000),
    (mp3(size=16_000 - 36), 1_000),
    (mp3(start=b"ID3\4\0\0\0\0\0\x05hello", size=32_000 - 36), 2_000),
    (mp3(tag=b"Xing\0\0\0\1" + (100).to_bytes(4, "big")), 2_613),
    (mp3(bits=0xF3, tag=b"Info\0\0\0\1" + (1000).to_bytes(4, "big")), 26_123),
    (mp3(tag=b"Xing\0\0\0\0", size=16_000 - 44), 1_000),
]  # fmt: skip


@pytest.mark.parametrize(("data", "ms"), READ)
def test_a_length_is_read_out_of_a_file(data, ms):
    assert length_of(data) == Length(ms, 2 * ms + MARGIN_MS, read=True)


GUESSED = [
    b"x" * 8_000,
    b"RIFF\0\0\0\0WAVEdata",
    b"RIFF\0\0\0\0WAVE" + b"abcd\0\0\0\0" * 70,
    b"RIFF\0\0\0\0WAVEfmt \2\0\0\0ab" + b"data\4\0\0\0abcd",
    b"fLaC",
    flac(0, 44_100),
    ogg(b"theora", 5),
    box(b"ftyp", b"x"),
    mp4(b"short"),
    box(b"ftyp", b"x") + struct.pack(">I4s", 3, b"free") + bytes(40),
    box(b"ftyp", b"x") + box(b"free", b"") * 70,
    box(b"ftyp", b"x") + struct.pack(">I4s", 0, b"moov") + bytes(8),
    mp3(index=15),
    mp3(rate=3),
    mp3(bits=0xFD),
    mp3(bits=0x0B),
    mp3(bits=0xEB),
    b"\xff",
    b"ID3\4",
]


@pytest.mark.parametrize("data", GUESSED)
def test_what_cannot_be_read_is_guessed_by_its_size(data):
    likely, most = -(-len(data) // 8), len(data)
    assert length_of(data) == Length(likely, most, read=False)


def test_nothing_is_a_millisecond():
    assert length_of(b"") == Length(1, 1, read=False)

"""Amazon's binary framing, held against botocore's parser."""

import random
import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer

from router.dialects.bedrock.frames import Frame, Frames, frame
from router.dialects.sse import MAX_EVENT_BYTES

HEADERS = {":event-type": "metadata", ":content-type": "application/json", ":message-type": "event", "x": "é"}
ONE = frame(HEADERS, b'{"a":1}')


def test_what_is_written_is_what_botocore_reads():
    buffer = EventStreamBuffer()
    buffer.add_data(ONE + frame({}, b""))
    first, second = buffer
    assert (first.headers, first.payload) == (HEADERS, b'{"a":1}')
    assert (second.headers, second.payload) == ({}, b"")


@pytest.mark.parametrize("seed", range(5))
def test_messages_are_the_same_wherever_the_bytes_are_cut(seed):
    draw = random.Random(seed)
    said = [Frame({"n": str(n)}, draw.randbytes(draw.randint(0, 300))) for n in range(20)]
    stream = b"".join(frame(one.headers, one.payload) for one in said)
    cuts = sorted(draw.sample(range(len(stream)), 30))
    frames = Frames()
    found = [one for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) for one in frames.feed(stream[a:b])]
    assert found == said


def raw(headers, payload=b""):
    """A message around header bytes as they are."""
    bare = frame({}, payload)

    lengths = struct.pack(">II", len(bare) + len(headers), len(headers))
    message = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def test_headers_of_other_types_are_passed_over():
    values = [b"\x00", b"\x01", b"\x02\x07", b"\x03\x00\x07", b"\x04" + b"\0" * 4, b"\x05" + b"\0" * 8, b"\x06\x00\x01z", b"\x08" + b"\0" * 8, b"\x09" + b"\0" * 16, b"\x07\x00\x02ok"]  # fmt: skip
    headers = b"".join(b"\x01" + bytes([97 + n]) + value for n, value in enumerate(values))
    buffer = EventStreamBuffer()
    buffer.add_data(raw(headers))
    assert next(buffer).headers["j"] == "ok"
    assert Frames().feed(raw(headers)) == [Frame({"j": "ok"}, b"")]


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (flipped(ONE, 9), "prelude has another checksum"),
        (flipped(ONE, 0), "prelude has another checksum"),
        (flipped(ONE, len(ONE) - 6), "a message has another checksum"),
        (raw(b"\x05ab"), "header cannot be read"),
        (raw(b"\x01a\x63"), "header cannot be read"),
        (raw(b"\x01a\x07\x00\x09x"), "longer than the headers"),
        (raw(b"\x01a\x07\x00\x01\xff"), "utf-8"),
    ],
)
def test_what_is_no_message_is_refused(data, words):
    with pytest.raises(ValueError, match=words):
        Frames().feed(data)


@pytest.mark.parametrize(("total", "headers"), [(15, 0), (16, 1), (MAX_EVENT_BYTES + 1, 0)])
def test_a_message_has_a_size_that_can_be(total, headers):

    lengths = struct.pack(">II", total, headers)
    with pytest.raises(ValueError, match=f"a message of {total} bytes"):
        Frames().feed(lengths + struct.pack(">I", zlib.crc32(lengths)))

"""Bodies, answers and streams of endpoints beside chat that chance has spoilt: each is read, or refused in words."""

import contextlib
import json
import random

import pytest

from router.core.errors import RouterError
from router.core.sound import length_of
from router.core.values import Usage
from router.dialects.endpoints import ENDPOINTS
from router.dialects.request import Request

KIND = "multipart/form-data; boundary=xyz"
FORM = (
    b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\0\0\0\0WAVEfmt \r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nPNG\r\n--xyz--\r\n'
)
BODY = json.dumps(
    {
        "model": "m", "input": ["a", {"type": "text", "text": "b"}], "prompt": "a", "n": 2, "size": "64x64", "quality": "low",
        "query": "a", "documents": ["a", {"text": "b"}], "metadata": {"costrouter.policy": "p"}, "user": "u",
    }
).encode()  # fmt: skip
SPEECH = BODY.replace(b'["a", {"type": "text", "text": "b"}]', b'"a"')
USAGE = {"type": "tokens", "input_tokens": 5, "input_tokens_details": {"image_tokens": 2, "cached_tokens": 1, "cached_tokens_details": {"image_tokens": 1}}, "output_tokens": 3, "output_tokens_details": {"image_tokens": 3}, "seconds": 3.5, "total_tokens": 8, "prompt_tokens": 5}  # fmt: skip
ANSWER = json.dumps({"data": [{}], "text": "a", "duration": "3.2", "results": [], "usage": USAGE, "meta": {"billed_units": {"search_units": 1}}}).encode()  # fmt: skip
STREAM = b"".join(
    b"data: " + json.dumps(event).encode() + b"\n\n"
    for event in (
        {"type": "speech.audio.delta", "audio": "AAAA"},
        {"type": "transcript.text.delta", "delta": "a"},
        {"type": "image_generation.completed", "b64_json": "a", "usage": USAGE},
        {"type": "speech.audio.done", "usage": USAGE},
    )
)
PIECES = (
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b'"',
    b"{",
    b"]",
    b"\r\n",
    b"--xyz",
    b"\xff",
    b"\0",
    b"18446744073709551616",
    b"[[",
    b'"usage"',
)


def spoilt(good, draw):
    """The bytes with some cut out, doubled or put in."""
    bad = bytearray(good)
    for _ in range(draw.randint(1, 3)):
        at, length = draw.randrange(len(bad) + 1), draw.randint(0, 12)
        bad[at : at + length] = draw.choice((b"", bytes(bad[at : at + length]) * 2, draw.choice(PIECES)))
    return bytes(bad)


@pytest.mark.parametrize("inbound", ENDPOINTS, ids=lambda inbound: inbound.api)
def test_whatever_comes_is_read_or_refused(inbound):
    draw = random.Random(inbound.api)
    good = next(body for body in (SPEECH if inbound.api == "speech" else BODY, FORM) if reads(inbound, body))
    for _ in range(150):
        reads(inbound, spoilt(good, draw))
        answers = inbound.outbound
        assert isinstance(answers.usage_of(spoilt(ANSWER, draw)), Usage | None)
        assert answers.is_answer(spoilt(ANSWER, draw)) in (True, False)
        scanner, stream = answers.scanner(reading(inbound, good), lambda _: None), spoilt(STREAM, draw)
        with contextlib.suppress(ValueError):
            for at in range(0, len(stream), 50):
                scanner.feed(stream[at : at + 50])
        assert isinstance(scanner.usage, Usage | None)


def reading(inbound, body):
    return inbound.read(body, {"content-type": KIND})


def reads(inbound, body):
    """Whether it is read; refused in words otherwise."""
    try:
        return isinstance(reading(inbound, body), Request)
    except RouterError as refused:
        if refused.code != "invalid_request":
            raise
        return False


def test_a_length_is_found_in_whatever_comes():
    draw = random.Random(7)
    heads = (
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0",
        b"fLaC",
        b"OggS\0\2OpusHead",
        b"\0\0\0\x08ftyp\0\0\0\x20moov\0\0\0\x18mvhd",
        b"ID3\4\0\0\0\0\0\0\xff\xfb\x90Xing",
    )
    for _ in range(500):
        data = spoilt(draw.choice(heads) + draw.randbytes(draw.randrange(80)), draw)
        found = length_of(data)
        assert 0 < found.likely_ms <= found.most_ms

"""``POST /v1/audio/speech``: text to sound.

Models that are paid by the character tell no meters, and need not: the characters stand in the request. Those that are paid
in tokens tell them in a stream of events only, so they are always asked for one; who wants sound gets the sound out of it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from router.core.deciding.choices import Work
from router.core.deciding.decide import Decision
from router.core.errors import RouterError
from router.core.meters import CHARACTERS, units_of
from router.core.tokens import PromptShape
from router.core.values import SERVED, Usage
from router.dialects.contract import Cost, Scanner
from router.dialects.endpoints.passing import EventScanner, inbound, loaded, model_of, outbound, replaced
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Order
from router.dialects.openai.usage import a_count
from router.dialects.request import Request, decode
from router.dialects.sse import datas

TYPES: Final = {
    "mp3": "audio/mpeg", "opus": "audio/opus", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav",
    "pcm": "audio/pcm",
}  # fmt: skip  # pairs, side by side
"""What an answer is by its ``response_format``; mp3 where none is ordered."""
_TELLING: Final = len(b"event:")
"""Bytes that show whether a stream is one of events."""
MOST_CHARACTERS: Final = 100_000
"""More than any provider speaks at once."""


class _Speech(msgspec.Struct):
    input: str
    model: str | None = None
    instructions: str | None = None
    response_format: str | None = None
    stream_format: str | None = None


_BODY: Final = msgspec.json.Decoder(_Speech)


def read(body: bytes, headers: Mapping[str, str]) -> Request:  # noqa: ARG001 - one shape for all
    """A text to be spoken.

    Raises:
        RouterError: ``invalid_request`` naming the field.
    """
    top, asked = TopLevel(body), decode(_BODY, body)
    if not 0 < len(asked.input) <= MOST_CHARACTERS:
        raise RouterError("invalid_request", f"input must have 1 to {MOST_CHARACTERS} characters.", param="input")
    if asked.stream_format not in (None, "audio", "sse"):
        raise RouterError("invalid_request", "stream_format must be audio or sse.", param="stream_format")
    kind = TYPES.get(asked.response_format or "mp3", "application/octet-stream")
    return Request(
        top=top,
        model=model_of(asked.model),
        needs=SERVED["speech"],
        shape=PromptShape(texts=(asked.input, asked.instructions or ""), messages=0),
        stream=True,
        text_bytes=len(body),
        sound="" if asked.stream_format == "sse" else kind,
        work=Work(characters=len(asked.input)),
    )


def passed(request: Request, decision: Decision, quirks: frozenset[str]) -> Order:  # noqa: ARG001 - one shape for all
    """A text on its way: where tokens are paid for, their meters are asked for."""
    tells = CHARACTERS not in decision.option.price.bands[0].units
    more = {"stream_format": b'"sse"'} if tells and request.sound else {}
    return Order("/audio/speech", replaced(request, decision.option.upstream_model, **more))


def meters(body: bytes) -> Usage | None:
    """The meters of a stream's last event."""
    document = loaded(body)
    told = None if document is None else document.get("usage")
    if not isinstance(told, dict):
        return None
    prompt, output = a_count(told.get("input_tokens")), a_count(told.get("output_tokens"))
    if prompt is None or output is None:
        return None
    return Usage(prompt, output, units=units_of({"audio.output": output}))


class _Events(EventScanner):
    __slots__ = ()
    meters = meters


class SoundScanner(_Events):
    """Gives the sound that comes in events; or bytes as they come, where they are no events."""

    __slots__ = ("_head", "_plain")
    telling = re.compile(rb"data")

    def __init__(self) -> None:
        super().__init__()
        self._head = b""
        self._plain: bool | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Bytes as they came, to sound.

        Raises:
            ValueError: an event is too large, or holds no sound.
        """
        if self._plain is None:
            chunk = self._head + chunk
            if len(chunk) < _TELLING:
                self._head = chunk
                return b""
            # Sound begins with a signature or samples of its own, never with a field of an event.
            self._plain = not chunk.startswith((b"data:", b"event:"))
        if self._plain:
            self.answered = self.finished = True
            return chunk
        return self._heard(super().feed(chunk))

    def _heard(self, events: bytes) -> bytes:
        sound = []
        for data in datas(events):
            document = loaded(data)
            if document is not None and document.get("type") == "speech.audio.delta":
                try:
                    sound.append(base64.b64decode(str(document.get("audio", "")), validate=True))
                except binascii.Error:
                    raise ValueError("an event of the stream holds no sound") from None
        return b"".join(sound)


def _scanner(request: Request, cost: Cost) -> Scanner:  # noqa: ARG001 - the shape of a scanner's maker
    return SoundScanner() if request.sound else _Events()


_ANSWERS: Final = msgspec.structs.replace(
    outbound(meters, is_answer=lambda _: False, scanner=_Events), scanner=_scanner
)
SPEECH: Final = inbound("speech", "speech", "/audio/speech", read, passed, _ANSWERS)

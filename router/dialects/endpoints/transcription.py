"""``POST /v1/audio/transcriptions`` and ``/translations``: sound to text.

Whisper's meters are seconds, those of later models tokens (OpenAI API reference, transcription object). Answers that are
plain text, subtitles among them, tell none: then the length is what stands in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

import msgspec

from router.core.deciding.choices import Work
from router.core.errors import RouterError
from router.core.meters import SOUND_IN, units_of
from router.core.sound import length_of
from router.core.tokens import PromptShape
from router.core.values import SERVED, Endpoint, Usage
from router.dialects.endpoints.passing import (
    NO_BODY,
    EventScanner,
    as_form,
    inbound,
    loaded,
    model_of,
    outbound,
    part,
)
from router.dialects.form import Form
from router.dialects.openai.usage import a_count
from router.dialects.request import Request

MOST_SECONDS: Final = 10**6


class _Told(msgspec.Struct):
    """A number, or a text with one, as it was written: a float would not be exact."""

    duration: msgspec.Raw = msgspec.Raw(b"")


class _Duration(msgspec.Struct):
    seconds: Decimal


class _InUsage(msgspec.Struct):
    usage: _Duration


_TOLD: Final = msgspec.json.Decoder(_Told)
_SECONDS: Final = msgspec.json.Decoder(_InUsage)


def _reader(endpoint: Endpoint) -> Any:
    def read(body: bytes, headers: Mapping[str, str]) -> Request:
        """A recording to be written down.

        Raises:
            RouterError: ``invalid_request`` naming the field.
        """
        form = Form(body, headers.get("content-type", ""))
        files = form.files("file")
        if len(files) != 1:
            raise RouterError("invalid_request", "file must be one recording, as a file of the form.", param="file")
        prompt = form.text("prompt") or ""
        length = length_of(form.content(files[0]))
        return Request(
            top=NO_BODY,
            form=form,
            model=model_of(form.text("model")),
            needs=SERVED[endpoint],
            shape=PromptShape(texts=(prompt,), messages=0),
            stream=form.text("stream") == "true",
            text_bytes=len(prompt.encode()),
            work=Work(sound_ms=length.likely_ms, sound_most_ms=length.most_ms, sound_read=length.read),
        )

    return read


def meters(body: bytes) -> Usage | None:
    """The meters of an answer, or of a stream's last event; None where it tells none."""
    document = loaded(body)
    if document is None:
        return None
    told = document.get("usage")
    if isinstance(told, dict) and told.get("type") != "duration":
        prompt, output = a_count(told.get("input_tokens")), a_count(told.get("output_tokens"))
        if prompt is None or output is None:
            return None
        heard = min(part(told.get("input_token_details"), "audio_tokens"), prompt)
        return Usage(prompt, output, units=units_of({"audio.input": heard}))
    seconds = _seconds(body, told)
    return None if seconds is None else Usage(0, units=units_of({SOUND_IN: seconds}))


def is_answer(body: bytes) -> bool:
    """Whether it is text: JSON with a text, plain words or subtitles; silence has none."""
    document = loaded(body)
    if document is not None:
        return "text" in document
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return not body.lstrip().startswith((b"{", b"<"))


def _seconds(body: bytes, told: object) -> int | None:
    """Milliseconds that are billed: what the usage says, else the recording's length, up to the second."""
    try:
        if told is not None:
            seconds, step = _SECONDS.decode(body).usage.seconds, Decimal("0.001")
        else:
            seconds, step = Decimal(bytes(_TOLD.decode(body).duration).decode().strip('"')), Decimal(1)
        if not 0 <= seconds <= MOST_SECONDS:
            return None
        return int(seconds.quantize(step, ROUND_CEILING) * 1000)
    except (msgspec.DecodeError, ArithmeticError):
        return None


class _Events(EventScanner):
    __slots__ = ()
    meters = meters


_ANSWERS: Final = outbound(meters, is_answer=is_answer, scanner=_Events)
TRANSCRIPTIONS: Final = inbound(
    "transcriptions", "transcription", "/audio/transcriptions", _reader("transcription"),
    as_form("/audio/transcriptions"), _ANSWERS,
)  # fmt: skip  # a row of a table
TRANSLATIONS: Final = inbound(
    "translations",
    "translation",
    "/audio/translations",
    _reader("translation"),
    as_form("/audio/translations"),
    _ANSWERS,
)

"""Sound: ``POST /{provider}/v1/audio/transcriptions``, ``/translations`` and ``/speech``.

Recordings are WAV files, read with the standard library; of anything else eight thousand bytes are a second.
"""

from __future__ import annotations

import base64
import hashlib
import io
import wave
from fractions import Fraction
from typing import Any, Final

from router.sim.bill import Meters
from router.sim.endpoints.served import Answer, Asked, as_events, as_json
from router.sim.refusal import Refusal

_HEARD: Final = 10
"""Tokens a second."""
_FORMATS: Final = ("json", "text", "srt", "verbose_json", "vtt")
_TYPES: Final = {
    "mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm",
}  # fmt: skip
_VOICED: Final = Fraction(3, 2)
"""Tokens of sound for a character."""
_PIECE: Final = 600
_MOST_CHARACTERS: Final = 4096


def transcribed(asked: Asked) -> Answer:
    """What is said in a recording."""
    files = asked.files.get("file", [])
    if len(files) != 1:
        raise Refusal.missing("file")
    seconds = _seconds(files[0])
    form = asked.fields.get("response_format", "json")
    if form not in _FORMATS:
        raise Refusal.of_value("response_format", form, _FORMATS)
    text = " ".join(f"word{number}" for number in range(1 + 2 * int(seconds)))
    if "second" in asked.model.prices[0].units:
        return _by_the_second(asked, text, form, -(-seconds.numerator // seconds.denominator))
    if form not in ("json", "text"):
        message = f"response_format '{form}' is not compatible with model '{asked.model.upstream}'. Use 'json' or 'text' instead."
        raise Refusal(400, message, param="response_format", code="unsupported_value")
    heard = -(-seconds * _HEARD // 1)
    asked_tokens, written = asked.tokens(asked.fields.get("prompt", "")), asked.tokens(text)
    usage = {
        "type": "tokens",
        "input_tokens": heard + asked_tokens,
        "input_token_details": {"text_tokens": asked_tokens, "audio_tokens": heard},
        "output_tokens": written,
        "total_tokens": heard + asked_tokens + written,
    }
    told = {"usage": usage} if asked.tells_usage else {}
    answer = Answer([], meters=Meters(prompt=heard + asked_tokens, completion=written), units={"sound": heard})
    if asked.fields.get("stream") == "true":
        deltas: list[dict[str, Any]] = [{"type": "transcript.text.delta", "delta": f"{word} "} for word in text.split()]
        answer.parts = as_events([*deltas, {"type": "transcript.text.done", "text": text, **told}])
        answer.content_type = "text/event-stream"
    elif form == "text":
        answer.parts, answer.content_type = [text.encode() + b"\n"], "text/plain; charset=utf-8"
    else:
        answer.parts = as_json({"text": text, **told})
    return answer


def spoken(asked: Asked) -> Answer:
    """A text as sound: bytes, or events with sound in them."""
    fields = asked.fields
    text, kind = fields.get("input"), fields.get("response_format") or "mp3"
    if not isinstance(text, str) or not text:
        raise Refusal.missing("input")
    if not isinstance(fields.get("voice"), str | dict):
        raise Refusal.missing("voice")
    if kind not in _TYPES:
        raise Refusal.of_value("response_format", kind, _TYPES)
    if len(text) > _MOST_CHARACTERS:
        message = f"Invalid 'input': string too long. Expected a string with maximum length {_MOST_CHARACTERS}."
        raise Refusal(400, message, param="input", code="string_above_max_length")
    sound = hashlib.shake_128(text.encode()).digest(24 * len(text))
    cut = [sound[at : at + _PIECE] for at in range(0, len(sound), _PIECE)]
    by_character, events = "character" in asked.model.prices[0].units, fields.get("stream_format") == "sse"
    if by_character:
        if events:
            message = f"stream_format 'sse' is not supported with model '{asked.model.upstream}'."
            raise Refusal(400, message, param="stream_format", code="unsupported_value")
        return Answer(cut, _TYPES[kind], units={"character": len(text)})
    prompt = asked.tokens(text) + asked.tokens(fields.get("instructions") or "")
    voiced = int(-(-len(text) * _VOICED // 1))
    answer = Answer(cut, _TYPES[kind], meters=Meters(prompt=prompt, completion=voiced), units={"spoken": voiced})
    if events:
        deltas = [{"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()} for part in cut]
        usage = {"input_tokens": prompt, "output_tokens": voiced, "total_tokens": prompt + voiced}
        last: dict[str, Any] = {"type": "speech.audio.done"} | ({"usage": usage} if asked.tells_usage else {})
        answer.parts, answer.content_type = as_events([*deltas, last]), "text/event-stream"
    return answer


def _by_the_second(asked: Asked, text: str, form: str, seconds: int) -> Answer:
    answer = Answer([], units={"second": seconds})
    usage = {"usage": {"type": "duration", "seconds": seconds}} if asked.tells_usage else {}
    if form == "json":
        answer.parts = as_json({"text": text, **usage})
    elif form == "verbose_json":
        document = {
            "task": "transcribe",
            "language": "english",
            "duration": float(seconds),
            "text": text,
            "segments": [],
        }
        answer.parts = as_json({**document, **usage})
    else:
        heads = {"text": "", "srt": "1\n00:00:00,000 --> 00:00:01,000\n", "vtt": "WEBVTT\n\n00:00.000 --> 00:01.000\n"}
        answer.parts, answer.content_type = [f"{heads[form]}{text}\n".encode()], "text/plain; charset=utf-8"
    return answer


def _seconds(recording: bytes) -> Fraction:
    if len(recording) < 16:
        raise Refusal(400, "Audio file might be corrupted or unsupported", param="file", code="invalid_value")
    try:
        with wave.open(io.BytesIO(recording)) as file:
            return Fraction(file.getnframes(), file.getframerate())
    except (wave.Error, EOFError):
        return Fraction(len(recording), 8000)

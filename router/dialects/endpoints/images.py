"""``POST /v1/images/generations``, ``/edits`` and ``/variations``: images from words and from images.

Models of one kind tell tokens, text and images apart, others nothing: then the images that came are counted, each of the
quality and size that were ordered (OpenAI API reference, images).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import msgspec

from router.core.deciding.choices import Work
from router.core.errors import RouterError
from router.core.meters import IMAGES as MADE
from router.core.meters import units_of
from router.core.tokens import PromptShape
from router.core.values import SERVED, Usage
from router.dialects.endpoints.passing import (
    NO_BODY,
    EventScanner,
    as_form,
    as_json,
    has,
    inbound,
    loaded,
    model_of,
    outbound,
    part,
)
from router.dialects.form import Form
from router.dialects.json_object import TopLevel
from router.dialects.openai.usage import a_count
from router.dialects.request import USER_CHARS, Request, decode, own_metadata

MOST_IMAGES: Final = 10
"""Of one request (OpenAI API reference)."""
_SIZE: Final = re.compile(r"[1-9]\d{1,4}x[1-9]\d{1,4}")
_QUALITY: Final = re.compile(r"[a-z]{1,16}")


class _Generation(msgspec.Struct):
    prompt: str
    model: str | None = None
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    stream: bool | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None


_BODY: Final = msgspec.json.Decoder(_Generation)


def read(body: bytes, headers: Mapping[str, str]) -> Request:  # noqa: ARG001 - one shape for all
    """A request for images.

    Raises:
        RouterError: ``invalid_request`` naming the field.
    """
    top, asked = TopLevel(body), decode(_BODY, body)
    if not asked.prompt:
        _wrong("prompt", "a text that is not empty")
    count = _count(asked.n)
    return Request(
        top=top,
        model=model_of(asked.model),
        needs=SERVED["images"],
        shape=PromptShape(texts=(asked.prompt,), messages=0),
        stream=bool(asked.stream),
        choices=count,
        user=(asked.user or "")[:USER_CHARS],
        text_bytes=len(body),
        own=own_metadata(asked.metadata) if asked.metadata else {},
        work=Work(images=count, quality=_quality(asked.quality), size=_size(asked.size)),
    )


def read_form(body: bytes, headers: Mapping[str, str]) -> Request:
    """A request for images from images.

    Raises:
        RouterError: ``invalid_request`` naming the field.
    """
    form = Form(body, headers.get("content-type", ""))
    pictures = form.files("image", "image[]")
    if not pictures:
        raise RouterError("invalid_request", "image is missing: send one or more as files of the form.", param="image")
    said = form.text("n")
    if said is not None and not (said.isascii() and said.isdigit() and len(said) < 4):
        _wrong("n", f"a number from 1 to {MOST_IMAGES}")
    count = _count(None if said is None else int(said))
    prompt = form.text("prompt") or ""
    return Request(
        top=NO_BODY,
        form=form,
        model=model_of(form.text("model")),
        needs=SERVED["image_edits"],
        shape=PromptShape(texts=(prompt,), messages=0),
        stream=form.text("stream") == "true",
        choices=count,
        user=(form.text("user") or "")[:USER_CHARS],
        text_bytes=len(prompt.encode()),
        work=Work(
            images=count,
            quality=_quality(form.text("quality")),
            size=_size(form.text("size")),
            pictures=len(pictures) + len(form.files("mask")),
        ),
    )


def meters(body: bytes) -> Usage | None:
    """The meters of an answer, or of a stream's last event for an image."""
    document = loaded(body)
    if document is None:
        return None
    data = document.get("data")
    made = len(data) if isinstance(data, list) else 1 if "b64_json" in document or "url" in document else 0
    told = document.get("usage")
    if not isinstance(told, dict):
        return Usage(0, units=((MADE, made),)) if made and isinstance(data, list) else None
    prompt, output = a_count(told.get("input_tokens")), a_count(told.get("output_tokens"))
    if prompt is None or output is None:
        return None
    given, drawn = told.get("input_tokens_details"), told.get("output_tokens_details")
    cached = min(part(given, "cached_tokens"), prompt)
    apart = given.get("cached_tokens_details") if isinstance(given, dict) else None
    cached_pictures = min(part(apart, "image_tokens"), cached)
    pictures = min(max(part(given, "image_tokens") - cached_pictures, 0), prompt - cached)
    painted = min(part(drawn, "image_tokens"), output) if isinstance(drawn, dict) else output
    units = {"image.input": pictures, "image.cached_input": cached_pictures, "image.output": painted, MADE: made}
    return Usage(prompt, output, cached_tokens=cached, units=units_of(units))


class _Events(EventScanner):
    __slots__ = ()
    meters = meters


def _count(given: int | None) -> int:
    count = 1 if given is None else given
    if not 1 <= count <= MOST_IMAGES:
        _wrong("n", f"a number from 1 to {MOST_IMAGES}")
    return count


def _size(given: str | None) -> str:
    if given in (None, "", "auto"):
        return ""
    return given if _SIZE.fullmatch(given) else _wrong("size", "widthxheight, such as 1024x1024, or auto")


def _quality(given: str | None) -> str:
    if given in (None, "", "auto"):
        return ""
    return given if _QUALITY.fullmatch(given) else _wrong("quality", "a word such as high, or auto")


def _wrong(field: str, wanted: str) -> NoReturn:
    raise RouterError("invalid_request", f"{field} must be {wanted}.", param=field)


_ANSWERS: Final = outbound(meters, is_answer=has("data"), scanner=_Events)
IMAGES: Final = inbound("images", "images", "/images/generations", read, as_json("/images/generations"), _ANSWERS)
EDITS: Final = inbound("image-edits", "image_edits", "/images/edits", read_form, as_form("/images/edits"), _ANSWERS)
VARIATIONS: Final = inbound(
    "image-variations", "image_edits", "/images/variations", read_form, as_form("/images/variations"), _ANSWERS
)

"""``POST /v1/moderations``: texts and pictures are judged. OpenAI's is free, and its answers tell no meters; Mistral's do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from router.core.deciding.choices import Work
from router.core.errors import RouterError
from router.core.tokens import PromptShape
from router.core.values import SERVED, Usage
from router.dialects.endpoints.passing import EventScanner, as_json, has, inbound, model_of, outbound
from router.dialects.json_object import TopLevel
from router.dialects.openai.usage import usage_of
from router.dialects.request import Request, decode


class _Input(msgspec.Struct):
    type: str
    text: str = ""


class _Moderation(msgspec.Struct):
    input: str | list[str | _Input]
    model: str | None = None


_BODY: Final = msgspec.json.Decoder(_Moderation)


def read(body: bytes, headers: Mapping[str, str]) -> Request:  # noqa: ARG001 - one shape for all
    """A moderation request.

    Raises:
        RouterError: ``invalid_request`` naming the field.
    """
    top, asked = TopLevel(body), decode(_BODY, body)
    if not asked.input:
        raise RouterError("invalid_request", "input must not be empty.", param="input")
    given: list[Any] = [asked.input] if isinstance(asked.input, str) else list(asked.input)
    texts = tuple(entry if isinstance(entry, str) else entry.text for entry in given)
    pictures = sum(not isinstance(entry, str) and entry.type == "image_url" for entry in given)
    return Request(
        top=top,
        model=model_of(asked.model),
        needs=SERVED["moderation"],
        shape=PromptShape(texts=texts, messages=0),
        inputs=max(len(texts), 1),
        text_bytes=len(body),
        work=Work(pictures=pictures),
    )


def meters(body: bytes) -> Usage | None:
    """What an answer tells of its meters; of a classifier, tokens of an answer are none."""
    return usage_of(body)


class _Events(EventScanner):
    __slots__ = ()
    meters = meters


MODERATIONS: Final = inbound(
    "moderations", "moderation", "/moderations", read, as_json("/moderations"),
    outbound(meters, is_answer=has("results"), scanner=_Events),
)  # fmt: skip  # a row of a table

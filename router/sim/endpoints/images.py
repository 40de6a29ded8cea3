"""Images: ``POST /{provider}/v1/images/generations``, ``/edits`` and ``/variations``.

Models with a price for painted tokens tell tokens, by OpenAI's table of quality and size; others sell images by the piece.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, Final

from router.sim.bill import Meters
from router.sim.endpoints.served import Answer, Asked, as_events, as_json
from router.sim.refusal import Refusal

if TYPE_CHECKING:
    from fractions import Fraction

_PAINTED: Final = {
    "low": {"1024x1024": 272, "1024x1536": 408, "1536x1024": 400},
    "medium": {"1024x1024": 1056, "1024x1536": 1584, "1536x1024": 1568},
    "high": {"1024x1024": 4160, "1024x1536": 6240, "1536x1024": 6208},
}
_SEEN: Final = 323
"""Tokens of an image that comes in: 65 and two tiles."""
_MOST: Final = 10


def painted(asked: Asked) -> Answer:
    """Images by a prompt, or from images."""
    fields, pictures = asked.fields, asked.files.get("image", [])
    prompt = fields.get("prompt")
    if not pictures and (not isinstance(prompt, str) or not prompt):
        raise Refusal.missing("prompt")
    count = int(fields.get("n") or 1)
    if not 1 <= count <= _MOST:
        raise Refusal(400, f"Invalid 'n': integer above maximum value. Expected a value <= {_MOST}.", param="n")
    prices = asked.model.prices[0].units
    streamed = str(fields.get("stream", "")).lower() == "true"
    if "painted" not in prices:
        return _sold(asked, count, prices)
    quality, size = fields.get("quality") or "auto", fields.get("size") or "auto"
    quality, size = ("medium" if quality == "auto" else quality), ("1024x1024" if size == "auto" else size)
    if quality not in _PAINTED:
        raise Refusal.of_value("quality", quality, (*_PAINTED, "auto"))
    if size not in _PAINTED[quality]:
        raise Refusal.of_value("size", size, (*_PAINTED[quality], "auto"))
    text, seen = asked.tokens(prompt or ""), _SEEN * (len(pictures) + len(asked.files.get("mask", [])))
    made = count * _PAINTED[quality][size]
    usage = {
        "input_tokens": text + seen,
        "input_tokens_details": {"text_tokens": text, "image_tokens": seen},
        "output_tokens": made,
        "output_tokens_details": {"image_tokens": made, "text_tokens": 0},
        "total_tokens": text + seen + made,
    }
    answer = Answer([], meters=Meters(prompt=text + seen, completion=made), units={"picture": seen, "painted": made})
    told = {"usage": usage} if asked.tells_usage else {}
    about = {
        "created": int(asked.world.now()),
        "background": "opaque",
        "output_format": "png",
        "quality": quality,
        "size": size,
    }
    if streamed:
        kind = "image_edit" if pictures else "image_generation"
        last = {
            "type": f"{kind}.completed",
            "b64_json": _png(prompt, 0),
            "created_at": about.pop("created"),
            **about,
            **told,
        }
        first = {**last, "type": f"{kind}.partial_image", "partial_image_index": 0}
        first.pop("usage", None)
        answer.parts, answer.content_type = as_events([first, last]), "text/event-stream"
        return answer
    answer.parts = as_json({**about, "data": [{"b64_json": _png(prompt, number)} for number in range(count)], **told})
    return answer


def _sold(asked: Asked, count: int, prices: dict[str, Fraction]) -> Answer:
    """By the piece."""
    unit = "image"
    if "image" not in prices:
        quality, size = asked.fields.get("quality") or "standard", asked.fields.get("size") or "1024x1024"
        unit = f"image {quality}/{size}"
        if unit not in prices:
            raise Refusal.of_value("size", size, [name.partition("/")[2] for name in prices])
    data: list[dict[str, Any]] = [{"b64_json": _png(asked.fields.get("prompt"), number)} for number in range(count)]
    return Answer(as_json({"created": int(asked.world.now()), "data": data}), units={unit: count})


def _png(prompt: Any, number: int) -> str:
    head = b"\x89PNG\r\n\x1a\n" + hashlib.shake_128(f"{prompt}/{number}".encode()).digest(96)
    return base64.b64encode(head).decode()

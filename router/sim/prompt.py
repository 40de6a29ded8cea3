"""What a provider makes of a prompt: its tokens, its images, and how much of it the prefix cache knows.

Belongs here: metering the input side. Does not belong here: refusing a prompt (validate.py) or the output side.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.sim.text import SLICE, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.sim.catalog import Image, Model

STEP: Final = 128
"""Tokens between two points at which a prefix can match (OpenAI's published step)."""
MINIMUM: Final = 1024
"""Prompts under this many tokens are never cached (OpenAI's published minimum)."""
_PRIMING: Final = 3
"""Tokens that prime the reply, once a request (OpenAI's counting guide)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A metered prompt. ``prefixes`` has one digest for each full step of tokens; ``digest`` is of the whole."""

    tokens: int
    digest: bytes
    prefixes: tuple[bytes, ...]


async def read(body: dict[str, Any], model: Model) -> Prompt:
    """Meter a validated chat body; long texts give the loop a turn every slice."""
    hasher = hashlib.blake2b(digest_size=16)
    prefixes: list[bytes] = []
    carry: list[str] = []
    count = 0
    for counted, text in _texts(body):
        for start in range(0, len(text), SLICE):
            cut = pieces(text[start : start + SLICE])
            count += len(cut) if counted else 0
            carry += cut
            full = len(carry) - len(carry) % STEP
            for step in range(0, full, STEP):
                hasher.update("".join(carry[step : step + STEP]).encode("utf-8", "surrogatepass"))
                prefixes.append(hasher.digest())
            del carry[:full]
            if len(text) > SLICE:
                await asyncio.sleep(0)
    hasher.update("".join(carry).encode("utf-8", "surrogatepass"))
    messages = len(body["messages"])
    overhead = model.message_overhead * messages + _PRIMING
    tokens = metered(count, model) + overhead + _images(body["messages"], model.image)
    return Prompt(tokens=tokens, digest=hasher.digest(), prefixes=tuple(prefixes))


async def kept(body: dict[str, Any], prompt: Prompt, model: Model) -> Prompt | None:
    """What of a prompt may be kept: all, or where the request says `explicit` what stands before its last breakpoint; None
    where it has none (OpenAI's SDK, ``PromptCacheOptions``).
    """
    if (body.get("prompt_cache_options") or {}).get("mode") != "explicit":
        return prompt
    messages = body["messages"]
    for index in reversed(range(len(messages))):
        content = messages[index].get("content")
        parts = content if isinstance(content, list) else []
        for number in reversed(range(len(parts))):
            if "prompt_cache_breakpoint" in parts[number]:
                cut = {**messages[index], "content": parts[: number + 1]}
                return await read(body | {"messages": [*messages[:index], cut]}, model)
    return None


def metered(count: int, model: Model) -> int:
    """Our pieces as this provider meters them."""
    return -(-count * model.ratio.numerator // model.ratio.denominator)


def image_tokens(url: str, detail: str, image: Image) -> int:
    """Tokens of one image by the provider's published formula; an image of unknown size counts as 1024 x 1024."""
    width, height = _png_size(url) or (1024, 1024)
    if image.formula == "flat":
        return image.tokens
    if image.formula == "area":
        return min(image.max, -(-width * height // image.per_token))
    if detail == "low":
        return image.base
    shrink = min(1.0, 2048 / max(width, height))
    width, height = int(width * shrink), int(height * shrink)
    shrink = min(1.0, 768 / max(1, min(width, height)))
    width, height = max(1, int(width * shrink)), max(1, int(height * shrink))
    return image.base + image.tile * (-(-width // 512)) * (-(-height // 512))


class PrefixCache:
    """Prefix digests of one model, with a time to live that each use renews and a bound on their number."""

    def __init__(self, ttl_s: float = 300.0, size: int = 32_768) -> None:
        self._ttl_s = ttl_s
        self._size = size
        self._expiry: OrderedDict[bytes, float] = OrderedDict()

    def use(self, prompt: Prompt, model: Model, now: float) -> int:
        """Tokens served from the cache, in steps of 128 from 1024 up; remembers the prompt's own prefixes."""
        if prompt.tokens < MINIMUM:
            return 0
        known = self._expiry
        hit = 0
        for index in range(len(prompt.prefixes), 0, -1):
            if known.get(prompt.prefixes[index - 1], 0.0) > now:
                hit = index
                break
        for digest in prompt.prefixes[-self._size :]:
            known[digest] = now + self._ttl_s
            known.move_to_end(digest)
        while len(known) > self._size:
            known.popitem(last=False)
        cached = min(metered(hit * STEP, model), prompt.tokens) // STEP * STEP
        return cached if cached >= MINIMUM else 0


def _texts(body: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """Every text of the prompt in its rendered order; the flag says whether its tokens count."""
    for field in ("tools", "response_format"):
        if body.get(field):
            yield True, orjson.dumps(body[field]).decode()
    for message in body["messages"]:
        yield False, f"\n{message['role']}\n"  # its tokens are the overhead
        content = message.get("content")
        if isinstance(content, str):
            yield True, content
        for part in content if isinstance(content, list) else ():
            kind = part["type"]
            if kind in ("text", "refusal"):
                yield True, part[kind]
            else:
                yield False, hashlib.sha256(orjson.dumps(part)).hexdigest()  # a different image, a different prefix
        for call in message.get("tool_calls") or ():
            yield True, orjson.dumps(call.get("function") or call.get("custom")).decode()


def _images(messages: list[dict[str, Any]], image: Image | None) -> int:
    if image is None:
        return 0
    return sum(
        image_tokens(part["image_url"]["url"], part["image_url"].get("detail", "auto"), image)
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
        if part["type"] == "image_url"
    )


def _png_size(url: str) -> tuple[int, int] | None:
    prefix = "data:image/png;base64,"
    if not url.startswith(prefix):
        return None
    try:
        head = base64.b64decode(url[len(prefix) : len(prefix) + 32])
        width, height = struct.unpack(">II", head[16:24])
    except (binascii.Error, struct.error):
        return None
    return (width, height) if 0 < width <= 65_535 and 0 < height <= 65_535 else None

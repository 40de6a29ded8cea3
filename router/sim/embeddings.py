"""The embeddings endpoint: vectors that depend on the text alone, as floats or base64.

Belongs here: everything about embeddings. Does not belong here: what they share with chat (provider.py).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
from array import array
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.sim.bill import Meters
from router.sim.deliver import Exchange
from router.sim.plan import Answer, draw_pace
from router.sim.prompt import metered
from router.sim.provider import body_of, check_key, fault_of, model_of, price_row, provider_of, refused
from router.sim.refusal import Refusal
from router.sim.text import SLICE, pieces
from router.sim.wire import Envelope
from router.sim.world import WORLD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from router.sim.catalog import Model

FIELDS: Final = frozenset({"input", "model", "dimensions", "encoding_format", "user"})
_NATIVE: Final = {"large": 3072, "small": 1536, "ada": 1536}
"""Dimensions of OpenAI's models by a part of their name; others give 1024."""
_MOST_INPUTS: Final = 2048
_MOST_TOKENS: Final = 300_000
"""OpenAI's bound on the tokens of one request, all inputs together."""
_BREATH: Final = 32
"""Vectors made before the loop gets a turn."""


async def embeddings(request: web.Request) -> web.StreamResponse:
    """``POST /{provider}/v1/embeddings``."""
    world = request.app[WORLD]
    request_id = world.new_id()
    try:
        provider = provider_of(request, world)
        check_key(request, provider)
        body = await body_of(request)
        model = model_of(provider, body.get("model"), world)
        fault = fault_of(world, provider, model)
        who = world.personalities[provider.name]
        inputs, tokens, size, encoded = await checked_inputs(body, model, strict=who.strict)
        price_row(world, model, tokens)
    except Refusal as refusal:
        return refused(refusal, request_id)
    exchange = Exchange(
        request=request,
        world=world,
        provider=provider,
        model=model,
        request_id=request_id,
        envelope=Envelope("", 0, model.upstream, who, include_usage=False, obfuscate=False, top_logprobs=None),
        answer=Answer([]),
        render=partial(render, model.upstream, await vectors(inputs, size, encoded=encoded)),
        prompt=Meters(prompt=tokens),
        at=world.now(),
        pace=draw_pace(model.latency, world.rng, world.speed),
        fault=fault,
        caches=False,
    )
    return await exchange.plain()


async def checked_inputs(
    body: dict[str, Any], model: Model, *, strict: bool
) -> tuple[list[str | list[int]], int, int, bool]:
    """The inputs, their tokens, the dimensions, and whether base64 was asked for.

    Raises:
        Refusal: 400 or 403.
    """
    size, encoded = _check(body, model, strict=strict)
    inputs = _inputs(body.get("input"))
    return inputs, await _count(inputs, model), size, encoded


async def vectors(inputs: list[str | list[int]], size: int, *, encoded: bool) -> list[dict[str, Any]]:
    """The answer's ``data``."""
    data = []
    for index, entry in enumerate(inputs):
        made = vector(entry, size)
        value: Any = base64.b64encode(made.tobytes()).decode() if encoded else made.tolist()
        data.append({"object": "embedding", "index": index, "embedding": value})
        if index % _BREATH == _BREATH - 1:
            await asyncio.sleep(0)
    return data


def render(model: str, data: list[dict[str, Any]], usage: Mapping[str, object] | None) -> bytes:
    """The answer's body."""
    answer = {"object": "list", "data": data, "model": model}
    return orjson.dumps(answer if usage is None else answer | {"usage": usage})


def vector(entry: str | list[int], size: int) -> array[float]:
    """A unit vector of single-precision floats, the same for the same input."""
    text = entry.encode("utf-8", "surrogatepass") if isinstance(entry, str) else orjson.dumps(entry)
    raw = array("h", hashlib.shake_128(text).digest(2 * size))
    norm = math.sqrt(sum(value * value for value in raw)) or 1.0
    return array("f", [value / norm for value in raw])


def _check(body: dict[str, Any], model: Model, *, strict: bool) -> tuple[int, bool]:
    """Dimensions, and whether base64 was asked for."""
    if "embeddings" not in model.capabilities:
        raise Refusal(403, "You are not allowed to generate embeddings from this model.", type_="invalid_request_error")
    unknown = sorted(set(body) - FIELDS) if strict else []
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        raise Refusal(400, f"Unrecognized request argument{plural} supplied: {', '.join(unknown)}")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise Refusal.of_value("encoding_format", encoding, ("float", "base64"))
    native = next((size for part, size in _NATIVE.items() if part in model.upstream), 1024)
    size = body.get("dimensions")
    if size is None:
        return native, encoding == "base64"
    if isinstance(size, bool) or not isinstance(size, int):
        raise Refusal.of_type("dimensions", "an integer", size)
    if not 1 <= size <= native:
        message = f"Invalid value for 'dimensions' = {size}. Must be between 1 and {native}."
        raise Refusal(400, message, param="dimensions")
    return size, encoding == "base64"


def _inputs(raw: Any) -> list[str | list[int]]:
    """Every input of a request as a list of its own."""
    if raw is None:
        raise Refusal.missing("input")
    if isinstance(raw, str):
        inputs: list[Any] = [raw]
    elif isinstance(raw, list) and raw:
        inputs = [raw] if all(_is_token(entry) for entry in raw) else raw
    else:
        raise Refusal(400, "'$.input' is invalid. Please check the API reference.", param="input")
    for entry in inputs:
        text = isinstance(entry, str)
        if not text and not (isinstance(entry, list) and all(_is_token(token) for token in entry)):
            raise Refusal(400, "'$.input' is invalid. Please check the API reference.", param="input")
        if not entry:
            message = "'input' cannot be an empty string." if text else "'input' cannot be an empty array."
            raise Refusal(400, message, param="input")
    if len(inputs) > _MOST_INPUTS:
        message = f"'input' has {len(inputs)} entries; an array may have at most {_MOST_INPUTS}."
        raise Refusal(400, message, param="input", code="array_above_max_length")
    return inputs


async def _count(inputs: list[str | list[int]], model: Model) -> int:
    total = 0
    for entry in inputs:
        if isinstance(entry, list):
            count = len(entry)
        else:
            count = 0
            for start in range(0, len(entry), SLICE):
                count += len(pieces(entry[start : start + SLICE]))
                if len(entry) > SLICE:
                    await asyncio.sleep(0)
            count = metered(count, model)
        if count > model.context_window:
            message = (
                f"This model's maximum context length is {model.context_window} tokens, however you requested {count} "
                f"tokens ({count} in your prompt; 0 for the completion). Please reduce your prompt."
            )
            raise Refusal(400, message, param="input", code="context_length_exceeded")
        total += count
    if total > _MOST_TOKENS:
        message = f"Requested {total} tokens, max {_MOST_TOKENS} tokens per request."
        raise Refusal(400, message, param="input", code="max_tokens_per_request")
    return total


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

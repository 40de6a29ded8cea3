"""``POST …/model/{model}/converse`` and ``/converse-stream``: admission of a call in Bedrock's order.

Belongs here: from an HTTP request to a plan. Does not belong here: sending it (`router.sim.deliver`).
"""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from router.sim import prompt as metering
from router.sim import wire as openai_wire
from router.sim.anthropic.prompt import Caches, as_chat
from router.sim.anthropic.provider import CACHES
from router.sim.bedrock import wire
from router.sim.bedrock.check import check
from router.sim.bedrock.prompt import as_messages
from router.sim.bill import REALTIME, Meters
from router.sim.deliver import Exchange, Form
from router.sim.plan import draw_answer, draw_pace
from router.sim.provider import WRONG_KEY, body_of, fault_of, model_of, price_row, provider_of
from router.sim.refusal import Refusal
from router.sim.validate import check_window
from router.sim.world import WORLD, World

if TYPE_CHECKING:
    from router.sim.catalog import Provider

_TYPES: Final = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_SIGNED: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/,\s]+/\d{8}/[a-z0-9-]+/bedrock/aws4_request, SignedHeaders=[a-z0-9;-]+, "
    r"Signature=[0-9a-f]{64}"
)
_WORDS: Final = {REALTIME: "default"}


async def converse(request: web.Request) -> web.StreamResponse:
    """One answer, whole or streamed."""
    world = request.app[WORLD]
    request_id = world.new_id()
    try:
        exchange, streamed = await _admit(request, world, request_id)
        return await (exchange.stream() if streamed else exchange.plain())
    except Refusal as refusal:
        return _refused(refusal, request_id)


def _refused(refusal: Refusal, request_id: str) -> web.Response:
    status = {401: 403}.get(refusal.status, refusal.status)
    return web.Response(
        status=status,
        body=orjson.dumps({"message": refusal.body["error"]["message"]}),
        content_type="application/json",
        headers={"x-amzn-requestid": request_id, "x-amzn-errortype": _TYPES.get(status, "InternalServerException")},
    )


def _check_key(request: web.Request) -> None:
    given = request.headers.get("Authorization", "")
    if _SIGNED.fullmatch(given):
        if "x-amz-date" not in request.headers:
            raise Refusal(403, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
        return
    scheme, _, key = given.partition(" ")
    if scheme != "Bearer" or not key:
        raise Refusal(403, "Missing Authentication Token")
    if key == WRONG_KEY:
        raise Refusal(403, "Authentication failed: Please make sure your API Key is valid.")


async def _admit(request: web.Request, world: World, request_id: str) -> tuple[Exchange, bool]:
    provider = provider_of(request, world)
    if provider.dialect != "bedrock":
        raise Refusal(404, f"Not Found: {request.path[:200]}")
    _check_key(request)
    body = await body_of(request)
    model = model_of(provider, request.match_info["model"], world)
    fault = fault_of(world, provider, model)
    check(body, model)
    said = as_messages(body, model.upstream, model.max_output)
    chat = as_chat(said)
    prompt = await metering.read(chat, model)
    check_window(chat, prompt.tokens, model)
    row = price_row(world, model, prompt.tokens)
    thinks = chat["reasoning_effort"] != "none"
    answer = draw_answer(
        chat, dataclasses.replace(model, reasoning=thinks), prompt, world.prose, seed=world.seed, shows_reasoning=thinks
    )
    hit = (
        request.app[CACHES]
        .setdefault((provider.name, model.upstream), Caches())
        .use(said, model, prompt.tokens, world.now())
    )
    meters = Meters(prompt.tokens, cached=hit.read, cache_write=hit.written, cache_write_1h=hit.written_1h)
    asked = (body.get("serviceTier") or {}).get("type", "default")
    tier = asked if asked in row.tiers else REALTIME
    stops = tuple(said.get("stop_sequences") or ())
    envelope = wire.Envelope("anthropic." in model.upstream, stops, _WORDS.get(tier, tier))
    exchange = Exchange(
        request=request,
        world=world,
        provider=provider,
        model=model,
        request_id=request_id,
        envelope=_unused(model.upstream, world, provider),
        answer=answer,
        render=partial(wire.whole, envelope, answer),
        at=world.now(),
        prompt=meters,
        pace=draw_pace(model.latency, world.rng, world.speed),
        fault=fault,
        caches=row.caches,
        tier=tier,
        form=Form(
            last=b"",
            error=wire.ERROR,
            error_body=wire.ERROR_BODY,
            events=lambda drawn, told: wire.stream(envelope, drawn, told, world.rng),
            report=wire.usage,
            lie=wire.lie,
            stream_type="application/vnd.amazon.eventstream",
        ),
    )
    return exchange, request.path.endswith("/converse-stream")


def _unused(model: str, world: World, provider: Provider) -> openai_wire.Envelope:
    """What an exchange has for OpenAI's format."""
    who: Any = world.personalities[provider.name]
    return openai_wire.Envelope("", 0, model, who, include_usage=False, obfuscate=False, top_logprobs=None)

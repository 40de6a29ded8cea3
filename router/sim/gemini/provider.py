"""``POST …/models/{model}:generateContent`` and ``:streamGenerateContent``: admission of a call in Google's order.

Belongs here: from an HTTP request to a plan. Does not belong here: sending it (`router.sim.deliver`).
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from router.sim import prompt as metering
from router.sim import wire as openai_wire
from router.sim.bill import REALTIME, Meters
from router.sim.deliver import Exchange, Form
from router.sim.faults import wrong_key
from router.sim.gemini import wire
from router.sim.gemini.check import check
from router.sim.gemini.prompt import as_chat, in_camel_case
from router.sim.gemini.refusal import refused
from router.sim.plan import draw_answer, draw_pace
from router.sim.provider import WRONG_KEY, body_of, fault_of, model_of, price_row, provider_of
from router.sim.refusal import Refusal
from router.sim.validate import check_window
from router.sim.world import WORLD, World

if TYPE_CHECKING:
    from router.sim.catalog import Provider

_WORDS: Final = {REALTIME: "standard"}
_TRAFFIC: Final = {REALTIME: "ON_DEMAND", "flex": "ON_DEMAND_FLEX", "priority": "ON_DEMAND_PRIORITY"}
_VERBS: Final = ("generateContent", "streamGenerateContent")


async def generate(request: web.Request) -> web.StreamResponse:
    """One answer, whole or streamed."""
    world = request.app[WORLD]
    request_id = world.new_id()
    try:
        exchange, streamed = await _admit(request, world, request_id)
        return await (exchange.stream() if streamed else exchange.plain())
    except Refusal as refusal:
        return refused(refusal)


def check_key(request: web.Request, provider: Provider) -> None:
    """Refuse who has no key, or the wrong one.

    Raises:
        Refusal: 400, 401 or 403, as Google does it.
    """
    if provider.dialect == "vertex":
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        key = key if scheme == "Bearer" else ""
    else:
        key = request.headers.get("x-goog-api-key", "")
        if "Authorization" in request.headers:
            raise Refusal(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.")
    if key == WRONG_KEY:
        raise (
            wrong_key()
            if provider.dialect == "vertex"
            else Refusal(400, "API key not valid. Please pass a valid API key.")
        )
    if not key and provider.needs_key:
        raise Refusal(403, "Method doesn't allow unregistered callers (callers without established identity).")


async def _admit(request: web.Request, world: World, request_id: str) -> tuple[Exchange, bool]:
    provider = provider_of(request, world)
    name, _, verb = request.match_info["call"].rpartition(":")
    place = "models" if provider.dialect == "gemini" else "publishers/google/models"
    if verb not in _VERBS or not request.path.endswith(f"/v1/{place}/{name}:{verb}"):
        raise Refusal(404, f"Not Found: {request.path[:200]}")
    streamed = verb == "streamGenerateContent"
    if streamed and request.query.get("alt") != "sse":
        raise Refusal(400, "streams without alt=sse are not simulated")
    check_key(request, provider)
    body = in_camel_case(await body_of(request))
    model = model_of(provider, name, world)
    fault = fault_of(world, provider, model)
    if "chat" not in model.capabilities:
        raise Refusal(404, f"models/{name} is not supported for generateContent.")
    check(body, model)
    chat = as_chat(body, model.upstream)
    prompt = await metering.read(chat, model)
    check_window(chat, prompt.tokens, model)
    row = price_row(world, model, prompt.tokens)
    thinking = (body.get("generationConfig") or {}).get("thinkingConfig") or {}
    able = bool({"reasoning_effort", "thinking_budget"} & model.capabilities)
    # By itself a small model does not think.
    thinks = able and chat["reasoning_effort"] != "none" and (model.reasoning or bool(thinking))
    mind = dataclasses.replace(model, reasoning=thinks)
    shows = thinks and bool(thinking.get("includeThoughts"))
    answer = draw_answer(chat, mind, prompt, world.prose, seed=world.seed, shows_reasoning=shows)
    cached = world.caches[provider.name, model.upstream].use(prompt, model, world.now()) if row.caches else 0
    meters = Meters(prompt.tokens, cached=cached)
    asked = body.get("serviceTier", "standard")
    # Where a tier is not sold for a model, Google serves the standard one.
    tier = asked if asked in row.tiers else REALTIME
    traffic = {"trafficType": _TRAFFIC[tier]} if provider.dialect == "vertex" else {}
    by_budget = model.upstream.startswith(("gemini-1", "gemini-2"))
    ids = provider.dialect == "gemini" and not by_budget
    envelope = wire.Envelope(id=request_id[4:], model=model.upstream, ids=ids, signs=not by_budget)
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
        told={} if provider.dialect == "vertex" else {"x-gemini-service-tier": _WORDS.get(tier, tier)},
        form=Form(
            last=b"",
            error=wire.ERROR,
            error_body=wire.ERROR_BODY,
            events=lambda drawn, told: wire.stream(envelope, drawn, told, world.rng),
            report=lambda meters: wire.usage(meters) | traffic,
            lie=wire.lie,
        ),
    )
    return exchange, streamed


def _unused(model: str, world: World, provider: Provider) -> openai_wire.Envelope:
    """What an exchange has for OpenAI's format."""
    who: Any = world.personalities[provider.name]
    return openai_wire.Envelope("", 0, model, who, include_usage=False, obfuscate=False, top_logprobs=None)

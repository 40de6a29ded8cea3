"""``POST /{provider}/v1/messages``: admission of a call in Anthropic's order (key, version, body, model, fault, shape). On Vertex
the same by Google's path: ``…/publishers/anthropic/models/{model}:rawPredict``.

Belongs here: from an HTTP request to a plan. Does not belong here: sending it (`router.sim.deliver`).
"""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from router.sim import prompt as metering
from router.sim import wire as openai_wire
from router.sim.anthropic import wire
from router.sim.anthropic.check import check
from router.sim.anthropic.prompt import Caches, as_chat
from router.sim.anthropic.refusal import refused, wrong
from router.sim.bill import Meters
from router.sim.called import billed, called
from router.sim.deliver import Exchange, Form
from router.sim.faults import wrong_key
from router.sim.gemini.refusal import refused as google_refused
from router.sim.plan import draw_answer, draw_pace
from router.sim.provider import WRONG_KEY, body_of, fault_of, model_of, price_row, provider_of
from router.sim.refusal import Refusal
from router.sim.validate import check_window
from router.sim.world import WORLD, World

if TYPE_CHECKING:
    from router.sim.catalog import Provider

_VERSION: Final = re.compile(r"\d{4}-\d\d-\d\d")
_VERTEX: Final = "vertex"
"""The quirk of a provider that is Claude on Vertex."""
_VERTEX_VERSION: Final = "vertex-2023-10-16"
_VERBS: Final = (":rawPredict", ":streamRawPredict")
CACHES: Final = web.AppKey("anthropic_caches", dict[tuple[str, str], Caches])


async def messages(request: web.Request) -> web.StreamResponse:
    """One message, whole or streamed."""
    world = request.app[WORLD]
    request_id = world.new_id()
    try:
        provider = speaker_of(request, world)
        version = check_version(request, provider)
        body = await body_of(request)
        exchange = await _admit(request, world, request_id, (provider, version), body)
        return await (exchange.stream() if body.get("stream") else exchange.plain())
    except Refusal as refusal:
        return refused(refusal, request_id)


async def predicted(request: web.Request) -> web.StreamResponse:
    """The same on Vertex. Who may not, or must wait, hears so in Google's words."""
    world = request.app[WORLD]
    request_id = world.new_id()
    try:
        provider = provider_of(request, world)
        if provider.dialect == "vertex":
            # One address has Google's models and those of its partners.
            provider = next((other for other in world.providers.values() if _VERTEX in other.quirks), provider)
        _check_token(request, provider)
        body, version = _as_messages(request, await body_of(request))
        exchange = await _admit(request, world, request_id, (provider, version), body)
        return await (exchange.stream() if body.get("stream") else exchange.plain())
    except Refusal as refusal:
        return refused(refusal, request_id) if refusal.status == 400 else google_refused(refusal)


def _check_token(request: web.Request, provider: Provider) -> None:
    if _VERTEX not in provider.quirks or not request.path.endswith(_VERBS):
        raise Refusal(404, f"Not Found: {request.path[:200]}")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not token or token == WRONG_KEY:
        raise Refusal(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.")


def _as_messages(request: web.Request, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The body as Anthropic's own API takes it, and the version."""
    name, _, verb = request.match_info["call"].rpartition(":")
    if bool(body.get("stream")) is not (verb == "streamRawPredict"):
        raise wrong("stream", f"does not agree with {verb}")
    if "model" in body:
        raise wrong("model", "Extra inputs are not permitted")
    version = body.get("anthropic_version")
    if version != _VERTEX_VERSION and (not isinstance(version, str) or _VERSION.fullmatch(version) is None):
        raise wrong("anthropic_version", "Field required" if version is None else "Input should be a valid version")
    said = {field: value for field, value in body.items() if field != "anthropic_version"}
    return said | {"model": name}, "2023-06-01" if version == _VERTEX_VERSION else version


def speaker_of(request: web.Request, world: World) -> Provider:
    """The provider that the path names.

    Raises:
        Refusal: 404 where there is none, or it speaks otherwise.
    """
    provider = provider_of(request, world)
    if provider.dialect != "anthropic" or _VERTEX in provider.quirks:
        raise Refusal(404, f"Not Found: {request.path[:200]}")
    return provider


def check_version(request: web.Request, provider: Provider) -> str:
    """The version that is asked for, once the key is seen to be one."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    key = request.headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
    if provider.needs_key and not key.strip():
        raise Refusal(401, "x-api-key header is required")
    if key.strip() == WRONG_KEY:
        raise wrong_key()
    version = request.headers.get("anthropic-version", "")
    if _VERSION.fullmatch(version) is None:
        raise wrong("anthropic-version", "header is required")
    return version


async def _admit(
    request: web.Request, world: World, request_id: str, spoken_to: tuple[Provider, str], body: dict[str, Any]
) -> Exchange:
    provider, version = spoken_to
    model = model_of(provider, body.get("model"), world)
    fault = fault_of(world, provider, model)
    check(body, model, version)
    chat = as_chat(body)
    prompt = await metering.read(chat, model)
    check_window(chat, prompt.tokens, model)
    row = price_row(world, model, prompt.tokens)
    thinks = chat["reasoning_effort"] != "none"
    shows = thinks and body["thinking"].get("display") != "omitted"
    mind = dataclasses.replace(model, reasoning=thinks)
    answer = draw_answer(chat, mind, prompt, world.prose, seed=world.seed, shows_reasoning=shows)
    known = request.app[CACHES].setdefault((provider.name, model.upstream), Caches())
    hit = known.use(body, model, prompt.tokens, world.now())
    meters = Meters(prompt.tokens, cached=hit.read, cache_write=hit.written, cache_write_1h=hit.written_1h)
    calls = called(body.get("tools") or (), prompt.digest, None)
    envelope = wire.Envelope(
        id=f"msg_{request_id[4:]}",
        model=model.upstream,
        prompt=meters,
        stops=tuple(body.get("stop_sequences") or ()),
        shows_thinking=shows,
        searches=calls.get("web_search", 0),
    )
    return Exchange(
        request=request,
        world=world,
        provider=provider,
        model=model,
        request_id=request_id,
        envelope=_unused(model.upstream, world, provider),
        answer=answer,
        render=partial(wire.message, envelope, answer),
        at=world.now(),
        prompt=meters,
        pace=draw_pace(model.latency, world.rng, world.speed),
        fault=fault,
        caches=row.caches,
        units=billed(calls),
        form=Form(
            last=wire.STOP,
            error=wire.ERROR,
            error_body=wire.ERROR_BODY,
            events=lambda drawn, told: wire.stream(envelope, drawn, told, world.rng),
            report=wire.usage,
            lie=wire.lie,
        ),
    )


def _unused(model: str, world: World, provider: Provider) -> openai_wire.Envelope:
    """What an exchange has for OpenAI's format."""
    who: Any = world.personalities[provider.name]
    return openai_wire.Envelope("", 0, model, who, include_usage=False, obfuscate=False, top_logprobs=None)

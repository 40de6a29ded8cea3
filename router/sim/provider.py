"""One provider's endpoints: admission of a call in the provider's order (key, body, model, fault, shape, window).

Belongs here: from an HTTP request to a plan. Does not belong here: sending it (deliver.py), processes (server.py).
"""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from router.sim import prompt as metering
from router.sim import wire
from router.sim.bill import REALTIME, Meters, row_for
from router.sim.deliver import Exchange, headers
from router.sim.faults import answer_of, wrong_key
from router.sim.plan import draw_answer, draw_pace
from router.sim.refusal import Refusal
from router.sim.validate import check_chat, check_window
from router.sim.world import WORLD, World

if TYPE_CHECKING:
    from router.sim.catalog import Model, PriceRow, Provider
    from router.sim.faults import Rule

WRONG_KEY: Final = "wrong-key"
"""The one key that no provider knows."""


async def chat(request: web.Request) -> web.StreamResponse:
    """``POST /{provider}/v1/chat/completions``."""
    world = request.app[WORLD]
    request_id = world.new_id()
    try:
        exchange, streamed = await _admit_chat(request, world, request_id)
        return await (exchange.stream() if streamed else exchange.plain())
    except Refusal as refusal:
        return refused(refusal, request_id)


async def models(request: web.Request) -> web.Response:
    """``GET /{provider}/v1/models`` and ``/models/{name}``."""
    world = request.app[WORLD]
    request_id = world.new_id()
    try:
        provider = provider_of(request, world)
        check_key(request, provider)
        name = request.match_info.get("name")
        if name is not None:
            return web.json_response(_listed(provider, model_of(provider, name, world)), headers=headers(request_id))
        served = [_listed(provider, model) for model in provider.models.values() if not _retired(model, world)]
    except Refusal as refusal:
        return refused(refusal, request_id)
    return web.json_response({"object": "list", "data": served}, headers=headers(request_id))


async def nowhere(request: web.Request) -> web.Response:
    """Any other path or method, refused as OpenAI refuses it."""
    message = f"Invalid URL ({request.method} {request.path[:200]})"
    return refused(Refusal(404, message), request.app[WORLD].new_id())


def refused(refusal: Refusal, request_id: str) -> web.Response:
    """A refusal as a response."""
    return web.Response(
        status=refusal.status,
        body=orjson.dumps(refusal.body),
        content_type="application/json",
        headers=headers(request_id) | refusal.headers,
    )


def provider_of(request: web.Request, world: World) -> Provider:
    """The provider that the path names.

    Raises:
        Refusal: 404, naming the providers there are.
    """
    name = request.match_info["provider"]
    provider = world.providers.get(name)
    if provider is None:
        raise Refusal(
            404, f"No provider '{name[:60]}' is simulated here; there are {', '.join(sorted(world.providers))}."
        )
    return provider


def check_key(request: web.Request, provider: Provider) -> None:
    """Refuse a missing or wrong key. A provider without ``key_env`` in the catalog asks for none.

    Raises:
        Refusal: 401.
    """
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if "azure" in provider.quirks and "api-key" in request.headers:
        scheme, key = "bearer", request.headers["api-key"]
    if scheme.lower() == "bearer" and key.strip():
        if key.strip() == WRONG_KEY:
            raise wrong_key()
    elif provider.needs_key:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer "
            "auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        raise Refusal(401, message, type_="invalid_request_error")


async def body_of(request: web.Request) -> dict[str, Any]:
    """The request's JSON object.

    Raises:
        Refusal: 400 for anything else.
    """
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        message = "We could not parse the JSON body of your request. The OpenAI API expects a JSON payload."
        raise Refusal(400, message) from error
    if not isinstance(body, dict):
        raise Refusal(400, "The JSON body of your request must be an object.")
    return body


def model_of(provider: Provider, name: Any, world: World) -> Model:
    """The model by its upstream name.

    Raises:
        Refusal: 400 without a name, 404 ``model_not_found`` for an unknown or retired one.
    """
    if name is None or name == "":
        raise Refusal(400, "you must provide a model parameter")
    if not isinstance(name, str):
        raise Refusal.of_type("model", "a string", name)
    model = provider.models.get(name)
    if model is None:
        message = f"The model `{name[:200]}` does not exist or you do not have access to it."
        raise Refusal(404, message, code="model_not_found")
    if _retired(model, world):
        raise Refusal(404, f"The model `{name}` has been deprecated.", code="model_not_found")
    return model


def fault_of(world: World, provider: Provider, model: Model) -> Rule | None:
    """The fault that this call suffers.

    Raises:
        Refusal: the fault is an error answer.
    """
    rule = world.faults.pick(provider.name, (model.upstream, model.id))
    answer = answer_of(rule) if rule else None
    if answer is not None:
        raise answer
    return rule


def price_row(world: World, model: Model, prompt_tokens: int) -> PriceRow:
    """The list price of a call that arrives now.

    Raises:
        Refusal: 404: what has no price is not sold.
    """
    try:
        return row_for(model, dt.datetime.fromtimestamp(world.now(), dt.UTC), prompt_tokens)
    except LookupError as error:
        raise Refusal(404, f"The model `{model.upstream}` is not available.", code="model_not_found") from error


async def _admit_chat(request: web.Request, world: World, request_id: str) -> tuple[Exchange, bool]:
    provider = provider_of(request, world)
    check_key(request, provider)
    body = await body_of(request)
    deployment = request.match_info.get("deployment")
    if deployment is not None:
        if "api-version" not in request.query:
            raise Refusal(404, "Resource not found")
        body["model"] = deployment
    model = model_of(provider, body.get("model"), world)
    if model.dialects and "openai" not in model.dialects:
        message = "This model is only supported in v1/responses and not in v1/chat/completions."
        raise Refusal(404, message, param="model")
    fault = fault_of(world, provider, model)
    who = world.personalities[provider.name]
    check_chat(body, provider, model, strict=who.strict)
    prompt = await metering.read(body, model)
    check_window(body, prompt.tokens, model)
    row = price_row(world, model, prompt.tokens)
    answer = draw_answer(body, model, prompt, world.prose, seed=world.seed, shows_reasoning=who.shows_reasoning)
    caches = who.caches and row.caches
    cached, written = (
        await cache_of(body, prompt, model, row, world.caches[provider.name, model.upstream], world.now())
        if caches
        else (0, 0)
    )
    options = body.get("stream_options") or {}
    # Where a tier is not sold for a model, the standard one is served; what was fast is told as priority.
    asked = "priority" if body.get("service_tier") == "fast" else body.get("service_tier")
    tier = asked if who.service_tier and asked in row.tiers and asked != "batch" else REALTIME
    envelope = wire.Envelope(
        id=f"chatcmpl-{request_id[4:]}",
        created=int(world.now()),
        model=model.upstream,
        who=who,
        include_usage=bool(options.get("include_usage")),
        obfuscate=who.obfuscation and options.get("include_obfuscation") is not False,
        top_logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
        tier="default" if tier == REALTIME else tier,
    )
    exchange = Exchange(
        request=request,
        world=world,
        provider=provider,
        model=model,
        request_id=request_id,
        envelope=envelope,
        answer=answer,
        render=partial(wire.completion, envelope, answer),
        at=world.now(),
        prompt=Meters(prompt=prompt.tokens, cached=cached, cache_write=written),
        pace=draw_pace(model.latency, world.rng, world.speed),
        fault=fault,
        caches=caches,
        tier=tier,
    )
    return exchange, bool(body.get("stream"))


async def cache_of(  # noqa: PLR0917 - all that a cache goes by
    body: dict[str, Any], prompt: metering.Prompt, model: Model, row: PriceRow, cache: metering.PrefixCache, now: float
) -> tuple[int, int]:
    """Tokens that were read from a cache, and written to it where that is billed.

    Raises:
        Refusal: 400: the model cannot be told what to keep.
    """
    billed = row.cache_write != row.input
    if body.get("prompt_cache_options") and not billed:
        message = "Unsupported parameter: 'prompt_cache_options' is not supported with this model."
        raise Refusal(400, message, param="prompt_cache_options", code="unsupported_parameter")
    kept = await metering.kept(body, prompt, model)
    if kept is None:
        return 0, 0
    cached = cache.use(kept, model, now)
    if not billed or kept.tokens < metering.MINIMUM:
        return cached, 0
    return cached, max(0, kept.tokens // metering.STEP * metering.STEP - cached)


def _retired(model: Model, world: World) -> bool:
    return model.retired is not None and model.retired.timestamp() <= world.now()


def _listed(provider: Provider, model: Model) -> dict[str, Any]:
    created = int(model.prices[0].valid_from.timestamp()) if model.prices else 0
    return {"id": model.upstream, "object": "model", "created": created, "owned_by": provider.name}

"""``/{provider}/v1/responses``: admission of a call, and what a provider keeps of it for others to go on from.

Belongs here: from an HTTP request to a plan, and the requests that ask for what is kept. Does not belong here: sending an
answer (`router.sim.deliver`), and its shape (wire.py).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from router.sim import prompt as metering
from router.sim import wire as openai_wire
from router.sim.bill import Meters
from router.sim.called import billed, called
from router.sim.deliver import Exchange, Form, headers
from router.sim.plan import draw_answer, draw_pace
from router.sim.provider import body_of, cache_of, check_key, fault_of, model_of, price_row, provider_of, refused
from router.sim.refusal import Refusal
from router.sim.responses import background, wire
from router.sim.responses.check import check
from router.sim.validate import check_window
from router.sim.world import WORLD, World

if TYPE_CHECKING:
    from router.sim.batch.shelf import Batch, Shelf
    from router.sim.catalog import Provider

_MOST_KEPT: Final = 4_096


@dataclass(frozen=True, slots=True)
class Kept:
    """One response, and all items that led to it, its own included."""

    response: dict[str, Any]
    input: list[dict[str, Any]]
    items: list[dict[str, Any]]


KEPT: Final = web.AppKey("responses", OrderedDict[tuple[str, str], Kept])


async def responses(request: web.Request) -> web.StreamResponse:
    """One response, whole or streamed."""
    world = request.app[WORLD]
    request_id = world.new_id()
    try:
        provider = _speaking(request, world)
        check_key(request, provider)
        body = await body_of(request)
        if body.get("background"):
            model = model_of(provider, body.get("model"), world)
            fault_of(world, provider, model)
            told = await background.begun(request, world, provider, model, body)
            return web.Response(body=orjson.dumps(told), content_type="application/json", headers=headers(request_id))
        exchange, streamed = await _admit(request, world, request_id, provider, body)
        return await (exchange.stream() if streamed else exchange.plain())
    except Refusal as refusal:
        return refused(refusal, request_id)


async def retrieved(request: web.Request) -> web.Response:
    """``GET /responses/{id}``."""
    return await _about(request, lambda kept, _: kept.response, background.looked_at)


async def input_items(request: web.Request) -> web.Response:
    """``GET /responses/{id}/input_items``."""

    def listed(kept: Kept, _: tuple[str, str]) -> dict[str, Any]:
        data = [
            {"id": f"msg_{at}", "type": "message", "status": "completed", **item} for at, item in enumerate(kept.input)
        ]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {"object": "list", "data": data[::-1], "first_id": last, "last_id": first, "has_more": False}

    return await _about(request, listed)


async def deleted(request: web.Request) -> web.Response:
    """``DELETE /responses/{id}``."""

    def gone(_: Kept, name: tuple[str, str]) -> dict[str, Any]:
        del request.app[KEPT][name]
        return {"id": name[1], "object": "response", "deleted": True}

    async def hidden(_: Shelf, batch: Batch) -> dict[str, Any]:
        batch.hidden = True
        return {"id": batch.id, "object": "response", "deleted": True}

    return await _about(request, gone, hidden)


async def cancelled(request: web.Request) -> web.Response:
    """``POST /responses/{id}/cancel``."""

    def no(_: Kept, __: tuple[str, str]) -> dict[str, Any]:
        raise Refusal(400, "Cannot cancel a synchronous response.")

    return await _about(request, no, background.called_off)


async def _about(request: web.Request, answer: Any, later: Any = None) -> web.Response:
    """What is said of a response: of one that was made at once, or of one that is made in the background."""
    world = request.app[WORLD]
    request_id = world.new_id()
    try:
        provider = _speaking(request, world)
        check_key(request, provider)
        name = (provider.name, request.match_info["response"])
        found = background.found(request, provider, name[1])
        told = answer(_kept(request, name), name) if found is None or later is None else await later(*found)
    except Refusal as refusal:
        return refused(refusal, request_id)
    return web.Response(body=orjson.dumps(told), content_type="application/json", headers=headers(request_id))


def _kept(request: web.Request, name: tuple[str, str]) -> Kept:
    found = request.app[KEPT].get(name)
    if found is None:
        raise Refusal(404, f"Response with id '{name[1][:80]}' not found.")
    return found


def _speaking(request: web.Request, world: World) -> Provider:
    provider = provider_of(request, world)
    if "responses" not in provider.dialects:
        raise Refusal(404, f"Invalid URL ({request.method} {request.path[:200]})")
    return provider


async def _admit(
    request: web.Request, world: World, request_id: str, provider: Provider, body: dict[str, Any]
) -> tuple[Exchange, bool]:
    model = model_of(provider, body.get("model"), world)
    fault = fault_of(world, provider, model)
    who = world.personalities[provider.name]
    given = body.get("input")
    own: list[dict[str, Any]] = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    before = _before(body, provider, request.app[KEPT])
    whole = body | {"input": [*before, *own]} if before else body
    chat = check(whole, provider, model, strict=who.strict)
    prompt = await metering.read(chat, model)
    check_window(chat, prompt.tokens, model)
    row = price_row(world, model, prompt.tokens)
    answer = draw_answer(chat, model, prompt, world.prose, seed=world.seed, shows_reasoning=False)
    caches = who.caches and row.caches
    cached, written = (
        await cache_of(chat, prompt, model, row, world.caches[provider.name, model.upstream], world.now())
        if caches
        else (0, 0)
    )
    options = body.get("stream_options") or {}
    meters = Meters(prompt=prompt.tokens, cached=cached, cache_write=written)
    calls = called(body.get("tools") or (), prompt.digest, body.get("max_tool_calls"))
    envelope = wire.Envelope(
        id=f"resp_{request_id[4:]}",
        created=int(world.now()),
        model=model.upstream,
        body=body,
        reasons=model.reasoning,
        obfuscate=who.obfuscation and options.get("include_obfuscation") is not False,
        called=calls,
    )
    if body.get("store") is not False:
        told = wire.usage(meters._replace(completion=answer.completion, reasoning=answer.reasoning))
        response = wire.response(envelope, answer, told)
        shelf = request.app[KEPT]
        shelf[provider.name, envelope.id] = Kept(response, own, [*before, *own, *response["output"]])
        while len(shelf) > _MOST_KEPT:
            shelf.popitem(last=False)

    def render(told: dict[str, object] | None) -> bytes:
        return orjson.dumps(wire.response(envelope, answer, told))

    unused = openai_wire.Envelope("", 0, model.upstream, who, include_usage=False, obfuscate=False, top_logprobs=None)
    exchange = Exchange(
        request=request,
        world=world,
        provider=provider,
        model=model,
        request_id=request_id,
        envelope=unused,
        answer=answer,
        render=render,
        at=world.now(),
        prompt=meters,
        pace=draw_pace(model.latency, world.rng, world.speed),
        fault=fault,
        caches=caches,
        units=billed(calls),
        form=Form(
            last=b"",
            error=wire.ERROR,
            error_body=wire.ERROR_BODY,
            events=partial(_events, envelope, world),
            report=wire.usage,
            lie=wire.lie,
        ),
    )
    return exchange, bool(body.get("stream"))


def _events(envelope: wire.Envelope, world: World, answer: Any, told: Any) -> Any:
    return wire.stream(envelope, answer, told, world.rng)


def _before(
    body: dict[str, Any], provider: Provider, shelf: OrderedDict[tuple[str, str], Kept]
) -> list[dict[str, Any]]:
    """The items that a request goes on from."""
    name = body.get("previous_response_id")
    if name is None:
        return []
    kept = shelf.get((provider.name, str(name)))
    if kept is None:
        message = f"Previous response with id '{str(name)[:80]}' not found."
        raise Refusal(400, message, param="previous_response_id", code="previous_response_not_found")
    return kept.items

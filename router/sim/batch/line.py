"""One line of a batch, answered: the same checks, contents and meters as a call of its own, without its waiting.

Belongs here: from a line's body to status, body and meters. Does not belong here: the line's wrapping, which differs
between batch APIs, and when it is its turn.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from router.sim import prompt as metering
from router.sim import wire
from router.sim.anthropic import wire as anthropic_wire
from router.sim.anthropic.check import check
from router.sim.anthropic.prompt import as_chat
from router.sim.anthropic.refusal import body as anthropic_error
from router.sim.bill import REALTIME, Meters
from router.sim.embeddings import checked_inputs, render, vectors
from router.sim.gemini import wire as gemini_wire
from router.sim.gemini.check import check as gemini_check
from router.sim.gemini.prompt import as_chat as gemini_chat
from router.sim.gemini.prompt import in_camel_case
from router.sim.gemini.refusal import body as gemini_error
from router.sim.personality import usage
from router.sim.plan import draw_answer
from router.sim.provider import model_of, price_row
from router.sim.refusal import Refusal
from router.sim.responses import wire as responses_wire
from router.sim.responses.check import check as responses_check
from router.sim.validate import check_chat, check_window

if TYPE_CHECKING:
    from router.sim.catalog import Model, PriceRow, Provider
    from router.sim.world import World

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
GEMINI = "generateContent"
VERSION = "2023-06-01"
"""Of Anthropic's API, as every line of a batch is read."""


@dataclass(slots=True)
class Answered:
    """What became of a line. ``meters`` is None where nothing is billed."""

    status: int
    body: bytes
    request_id: str
    model: Model | None = None
    meters: Meters | None = None


async def answer(world: World, provider: Provider, url: str, body: Any, tier: str = "batch") -> Answered:
    """Answer one line; a refusal is an answer as well."""
    request_id = world.new_id()
    try:
        _check(body)
        model = model_of(provider, body.get("model"), world)
        if url == GEMINI:
            return await _gemini(world, model, body, request_id)
        if url == RESPONSES:
            return await _response(world, provider, model, body, tier)
        if url == MESSAGES:
            return await _messages(world, model, body, request_id)
        if url == EMBEDDINGS:
            return await _embeddings(world, provider, model, body, request_id)
        return await _chat(world, provider, model, body, request_id)
    except Refusal as refusal:
        if url == GEMINI:
            said = orjson.loads(gemini_error(refusal.status, str(refusal.body["error"]["message"])))["error"]
            code = {400: 3, 404: 5, 429: 8}.get(refusal.status, 13)
            return Answered(refusal.status, orjson.dumps({"code": code, "message": said["message"]}), request_id)
        if url == MESSAGES:
            said = str(refusal.body["error"]["message"])
            return Answered(refusal.status, anthropic_error(refusal.status, said, request_id), request_id)
        return Answered(refusal.status, orjson.dumps(refusal.body), request_id)


def _check(body: Any) -> None:
    if not isinstance(body, dict):
        raise Refusal(400, "The body of the request must be an object.")
    if body.get("stream"):
        raise Refusal(400, "Streaming is not supported in a batch.", param="stream")


async def _chat(world: World, provider: Provider, model: Model, body: dict[str, Any], request_id: str) -> Answered:
    who = world.personalities[provider.name]
    check_chat(body, provider, model, strict=who.strict)
    prompt = await metering.read(body, model)
    check_window(body, prompt.tokens, model)
    row = _sold(world, model, prompt.tokens)
    drawn = draw_answer(body, model, prompt, world.prose, seed=world.seed, shows_reasoning=who.shows_reasoning)
    caches = who.caches and row.caches
    cached = world.caches[provider.name, model.upstream].use(prompt, model, world.now()) if caches else 0
    meters = Meters(prompt=prompt.tokens, cached=cached, completion=drawn.completion, reasoning=drawn.reasoning)
    envelope = wire.Envelope(
        id=f"chatcmpl-{request_id[4:]}",
        created=int(world.now()),
        model=model.upstream,
        who=who,
        include_usage=False,
        obfuscate=False,
        top_logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
    )
    report = usage(who, meters, caches=caches, reasons=model.reasoning, seconds=(0.0, 0.0))
    return Answered(200, wire.completion(envelope, drawn, report), request_id, model, meters)


async def _response(world: World, provider: Provider, model: Model, body: dict[str, Any], tier: str) -> Answered:
    """A background response, without caches."""
    who = world.personalities[provider.name]
    chat = responses_check(body, provider, model, strict=who.strict)
    prompt = await metering.read(chat, model)
    check_window(chat, prompt.tokens, model)
    if tier != REALTIME:
        _sold(world, model, prompt.tokens, tier)
    drawn = draw_answer(chat, model, prompt, world.prose, seed=world.seed, shows_reasoning=False)
    meters = Meters(prompt=prompt.tokens, completion=drawn.completion, reasoning=drawn.reasoning)
    envelope = responses_wire.Envelope(
        id=world.new_id(),
        created=int(world.now()),
        model=model.upstream,
        body=body,
        reasons=model.reasoning,
        obfuscate=False,
    )
    whole = responses_wire.response(envelope, drawn, responses_wire.usage(meters))
    return Answered(200, orjson.dumps(whole), envelope.id, model, meters)


async def _messages(world: World, model: Model, body: dict[str, Any], request_id: str) -> Answered:
    """Priced without caches: what a batch reads from them is not promised."""
    check(body, model, VERSION)
    chat = as_chat(body)
    prompt = await metering.read(chat, model)
    check_window(chat, prompt.tokens, model)
    _sold(world, model, prompt.tokens)
    thinks = chat["reasoning_effort"] != "none"
    shows = thinks and body["thinking"].get("display") != "omitted"
    mind = dataclasses.replace(model, reasoning=thinks)
    drawn = draw_answer(chat, mind, prompt, world.prose, seed=world.seed, shows_reasoning=shows)
    meters = Meters(prompt=prompt.tokens, completion=drawn.completion, reasoning=drawn.reasoning)
    envelope = anthropic_wire.Envelope(
        id=f"msg_{request_id[4:]}",
        model=model.upstream,
        prompt=meters,
        stops=tuple(body.get("stop_sequences") or ()),
        shows_thinking=shows,
    )
    told = anthropic_wire.usage(meters) | {"service_tier": "batch"}
    return Answered(200, anthropic_wire.message(envelope, drawn, told), request_id, model, meters)


async def _gemini(world: World, model: Model, body: dict[str, Any], request_id: str) -> Answered:
    """Priced without caches, as above."""
    given = in_camel_case({name: value for name, value in body.items() if name != "model"})
    gemini_check(given, model)
    chat = gemini_chat(given, model.upstream)
    prompt = await metering.read(chat, model)
    check_window(chat, prompt.tokens, model)
    _sold(world, model, prompt.tokens)
    thinking = (given.get("generationConfig") or {}).get("thinkingConfig") or {}
    able = bool({"reasoning_effort", "thinking_budget"} & model.capabilities)
    thinks = able and chat["reasoning_effort"] != "none" and (model.reasoning or bool(thinking))
    mind = dataclasses.replace(model, reasoning=thinks)
    shows = thinks and bool(thinking.get("includeThoughts"))
    drawn = draw_answer(chat, mind, prompt, world.prose, seed=world.seed, shows_reasoning=shows)
    meters = Meters(prompt=prompt.tokens, completion=drawn.completion, reasoning=drawn.reasoning)
    by_budget = model.upstream.startswith(("gemini-1", "gemini-2"))
    envelope = gemini_wire.Envelope(id=request_id[4:], model=model.upstream, ids=not by_budget, signs=not by_budget)
    whole = gemini_wire.whole(envelope, drawn, gemini_wire.usage(meters))
    return Answered(200, whole, request_id, model, meters)


async def _embeddings(
    world: World, provider: Provider, model: Model, body: dict[str, Any], request_id: str
) -> Answered:
    who = world.personalities[provider.name]
    inputs, tokens, size, encoded = await checked_inputs(body, model, strict=who.strict)
    _sold(world, model, tokens)
    data = await vectors(inputs, size, encoded=encoded)
    report = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Answered(200, render(model.upstream, data, report), request_id, model, Meters(prompt=tokens))


def _sold(world: World, model: Model, tokens: int, tier: str = "batch") -> PriceRow:
    row = price_row(world, model, tokens)
    if tier not in row.tiers:
        what = "by the Batch API" if tier == "batch" else "in this completion window"
        raise Refusal(400, f"The model `{model.upstream}` is not supported {what}.", code="invalid_model")
    return row

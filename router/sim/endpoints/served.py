"""What these endpoints share: admission in the provider's order, an answer in parts with its faults, and its bill.

Belongs here: from a request to a served answer, whatever it is. Does not belong here: what any endpoint checks and says.
An answer exists in full before its first byte goes out, so a fault that spoils it is billed in full.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from router.sim.bill import Call, Meters
from router.sim.deliver import headers
from router.sim.faults import CUTS
from router.sim.plan import draw_pace
from router.sim.prompt import metered
from router.sim.provider import body_of, check_key, fault_of, model_of, price_row, provider_of, refused
from router.sim.refusal import Refusal
from router.sim.text import pieces
from router.sim.world import WORLD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.sim.catalog import Model, Provider
    from router.sim.faults import Rule
    from router.sim.world import World

_NOTHING = Meters(prompt=0)
_HTML = b"<html><body><h1>Something went wrong</h1></body></html>"


@dataclass(slots=True)
class Answer:
    """A whole answer, and what it is billed."""

    parts: list[bytes]
    content_type: str = "application/json"
    meters: Meters = _NOTHING
    units: dict[str, int | Fraction] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """One admitted call."""

    world: World
    provider: Provider
    model: Model
    fields: dict[str, Any]
    """A JSON body's members, or a form's texts."""
    files: dict[str, list[bytes]]
    tells_usage: bool

    def tokens(self, text: str) -> int:
        """A text as this provider meters it."""
        return metered(len(pieces(text)), self.model)


def endpoint(
    capability: str, answering: Callable[[Asked], Answer]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler: admits by key, body and model, then sends what ``answering`` makes of it."""

    async def handler(request: web.Request) -> web.StreamResponse:
        world = request.app[WORLD]
        request_id = world.new_id()
        try:
            provider = provider_of(request, world)
            check_key(request, provider)
            fields, files = await _body(request)
            model = model_of(provider, fields.get("model"), world)
            _check(capability, model)
            fault = fault_of(world, provider, model)
            price_row(world, model, 0)
            tells = fault is None or fault.kind != "no_usage"
            answer = answering(Asked(world, provider, model, fields, files, tells))
        except Refusal as refusal:
            return refused(refusal, request_id)
        return await _send(request, answer, (provider, model, request_id, world.now()), fault)

    return handler


def as_json(document: dict[str, Any]) -> list[bytes]:
    """One part."""
    return [orjson.dumps(document)]


def as_events(documents: list[dict[str, Any]]) -> list[bytes]:
    """Server-sent events, as OpenAI sends those that have types."""
    return [b"data: " + orjson.dumps(document) + b"\n\n" for document in documents]


def _check(capability: str, model: Model) -> None:
    if capability not in model.capabilities:
        message = f"The model `{model.upstream}` does not exist or is not supported at this endpoint."
        raise Refusal(404, message, param="model", code="model_not_found")


async def _body(request: web.Request) -> tuple[dict[str, Any], dict[str, list[bytes]]]:
    if request.content_type != "multipart/form-data":
        return await body_of(request), {}
    fields, files = {}, dict[str, list[bytes]]()
    try:
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                files.setdefault(name.removesuffix("[]"), []).append(value.file.read())
            else:
                fields[name] = str(value)
    except ValueError as error:
        raise Refusal(400, "Could not parse multipart form.") from error
    return fields, files


async def _send(
    request: web.Request, answer: Answer, billed: tuple[Provider, Model, str, float], fault: Rule | None
) -> web.StreamResponse:
    provider, model, request_id, at = billed
    world = request.app[WORLD]
    complete = False
    if fault is not None and fault.kind == "garbage":
        return web.Response(body=_HTML, content_type="text/html")  # whoever answered, it was not the model
    cut = fault if fault is not None and fault.kind in CUTS else None
    response = web.StreamResponse(headers=headers(request_id) | {"Content-Type": answer.content_type})
    try:
        await asyncio.sleep(draw_pace(model.latency, world.rng, world.speed).first)
        await response.prepare(request)
        parts = answer.parts
        if cut is not None:
            whole = b"".join(parts)
            await response.write(whole[: len(whole) // 2])
            if cut.kind == "stall":
                await asyncio.sleep(86_400.0 if cut.delay_ms is None else cut.delay_ms / 1000)
                parts = [whole[len(whole) // 2 :]]
            else:
                if cut.kind == "reset":
                    _abort(request)
                return response
        for part in parts:
            await response.write(part)
        await response.write_eof()
        complete = True
    except ConnectionResetError:
        pass  # it is billed all the same
    finally:
        units = tuple((name, Fraction(amount)) for name, amount in answer.units.items() if amount)
        world.bill.add(Call(provider.name, model, request_id, at, answer.meters, complete, units=units))
    return response


def _abort(request: web.Request) -> None:
    """End the connection with a TCP reset."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

"""Responses that are made in the background: queued, looked at, called off, taken away.

Belongs here: ``background: true``, with or without a completion window, over the shelf that batches lie on as well. Does not
belong here: what time does to them (`router.sim.batch.shelf`), and responses that are made at once (provider.py).

Nobody lists responses: who never heard of an id does not find it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from router.sim import prompt as metering
from router.sim.batch.line import RESPONSES
from router.sim.batch.shelf import SHELVES, Line
from router.sim.bill import REALTIME
from router.sim.provider import price_row
from router.sim.refusal import Refusal
from router.sim.responses import wire
from router.sim.responses.check import check

if TYPE_CHECKING:
    from aiohttp import web

    from router.sim.batch.shelf import Batch, Shelf
    from router.sim.catalog import Model, Provider
    from router.sim.world import World

_WINDOWS: Final = ("soonest", "2h", "8h")
_MONTH_S: Final = 30 * 86_400.0
"""A window is a target: a response that misses it is made all the same."""
_STATES: Final = {
    "validating": "queued",
    "in_progress": "in_progress",
    "finalizing": "in_progress",
    "cancelling": "cancelled",
    "cancelled": "cancelled",
    "failed": "failed",
    "expired": "failed",
}


async def begun(request: web.Request, world: World, provider: Provider, model: Model, body: dict[str, Any]) -> Any:
    """A background response, queued.

    Raises:
        Refusal: 400, as the API words it.
    """
    tier = await _tier_of(world, provider, model, body)
    shelf = request.app[SHELVES].of(provider)
    if shelf.strikes("create_fails"):
        raise Refusal(500, "The server had an error while processing your request.")
    plain = {name: value for name, value in body.items() if name not in ("background", "background_options")}
    found = shelf.open("resp_", RESPONSES, [Line("", plain)], _MONTH_S, body, tier)
    if shelf.strikes("create_lost") and request.transport is not None:
        request.transport.abort()
    return shown(found, model.upstream)


async def _tier_of(world: World, provider: Provider, model: Model, body: dict[str, Any]) -> str:
    options = body.get("background_options") or {}
    window = options.get("completion_window") or "soonest"
    if window not in _WINDOWS:
        raise Refusal.of_value("background_options.completion_window", window, _WINDOWS)
    if body.get("stream") and window != "soonest":
        raise Refusal(400, "Completion windows require `stream: false`.", param="stream")
    if body.get("service_tier") not in (None, "auto", "default") and window != "soonest":
        raise Refusal(400, "Completion windows require Standard processing.", param="service_tier")
    chat = check(body, provider, model, strict=world.personalities[provider.name].strict)
    if window == "soonest":
        return REALTIME
    row = price_row(world, model, (await metering.read(chat, model)).tokens)
    tier = f"window-{window}"
    if tier not in row.tiers:
        message = f"The model `{model.upstream}` does not support discounted completion windows."
        raise Refusal(400, message, param="background_options.completion_window", code="unsupported_value")
    return tier


def found(request: web.Request, provider: Provider, name: str) -> tuple[Shelf, Batch] | None:
    """One that is made in the background, and where it lies; None for others."""
    shelf = request.app[SHELVES].of(provider)
    batch = shelf.batches.get(name)
    return None if batch is None or batch.url != RESPONSES or batch.hidden else (shelf, batch)


async def looked_at(shelf: Shelf, batch: Batch) -> dict[str, Any]:
    """How it stands now."""
    if shelf.strikes("get_fails"):
        raise Refusal(503, "The engine is currently overloaded, please try again later.")
    await shelf.look(batch)
    return shown(batch, str(batch.given.get("model")))


async def called_off(shelf: Shelf, batch: Batch) -> dict[str, Any]:
    """Cancelled at once; one that is over stays as it is."""
    if shelf.strikes("cancel_lost"):
        raise Refusal(500, "The server had an error while processing your request.")
    await shelf.look(batch)
    if not batch.over:
        # What has been generated is billed, so it is given.
        batch.state = "cancelled" if batch.lines[0].answered is None else "completed"
        batch.ended = shelf.world.now()
    return shown(batch, str(batch.given.get("model")))


def shown(batch: Batch, model: str) -> dict[str, Any]:
    """The response object."""
    answered = batch.lines[0].answered
    if batch.state == "completed" and answered is not None and answered.status == 200:
        told: dict[str, Any] = orjson.loads(answered.body)
    else:
        envelope = wire.Envelope(batch.id, int(batch.created), model, batch.given, reasons=False, obfuscate=False)
        told = wire.head(envelope) | {"status": _STATES.get(batch.state, "failed")}
    told |= {"id": batch.id, "created_at": int(batch.created), "background": True, "store": True}
    if told["status"] == "failed":
        error = orjson.loads(answered.body)["error"] if answered is not None else {}
        message = error.get("message") or "The server had an error while processing your request."
        told["error"] = {"code": "server_error", "message": message}
    return told

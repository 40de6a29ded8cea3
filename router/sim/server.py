"""The simulator as a process: routes, the control endpoints under ``/_sim``, start and stop.

Belongs here: wiring. Does not belong here: any behaviour of a provider.
"""

from __future__ import annotations

import asyncio
import signal
import socket as sockets
import sys
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import orjson
import uvloop
from aiohttp import web

from router.sim.anthropic.provider import CACHES, messages, predicted
from router.sim.batch import anthropic, files, gemini, openai
from router.sim.batch.shelf import SHELVES, Shelves
from router.sim.bedrock.provider import converse
from router.sim.catalog import load
from router.sim.embeddings import embeddings
from router.sim.endpoints import images, judging, sound
from router.sim.endpoints.served import endpoint
from router.sim.gemini.provider import generate
from router.sim.provider import chat, models, nowhere, refused
from router.sim.refusal import Refusal
from router.sim.responses import provider as responses
from router.sim.responses.provider import KEPT
from router.sim.world import WORLD, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MOST_BYTES: Final = 256 * 2**20
"""Largest request body: a prompt of a million tokens and images is some tens of megabytes."""
BATCH_SPEED: Final = 60.0
"""How much faster than real time batches live, unless somebody says otherwise."""
_GRACE: Final = 1.0
"""Seconds that open answers get at the end."""


def make_app(
    catalog_dir: Path,
    *,
    seed: int = 1,
    speed: float = 1.0,
    batch_speed: float = BATCH_SPEED,
    now: Callable[[], float] = time.time,
) -> web.Application:
    """The simulator as an aiohttp application.

    Args:
        catalog_dir: folder of catalog files; every provider in it is served under ``/{provider}/v1``.
        seed: contents, latencies and random faults follow from it.
        speed: divides every waiting time; 0 waits for nothing.
        batch_speed: how much faster than real time batches live; 0 ends them as soon as somebody looks.
        now: seconds since the epoch, for prices, retirement and cache lifetimes.

    Raises:
        CatalogError: the folder cannot be played.
    """
    app = web.Application(client_max_size=_MOST_BYTES)
    app[WORLD] = World(load(catalog_dir), seed=seed, speed=speed, now=now)
    app[SHELVES] = Shelves(app[WORLD], batch_speed)
    _add_google_batches(app)
    app.router.add_post("/{provider}/v1/chat/completions", chat)
    app.router.add_post("/{provider}/v1/deployments/{deployment}/chat/completions", chat)
    app.router.add_post("/{provider}/v1/embeddings", embeddings)
    app[CACHES] = {}
    app.router.add_post("/{provider}/v1/messages", messages)
    app.router.add_post("/{provider}/v1/model/{model}/converse", converse)
    app.router.add_post("/{provider}/v1/model/{model}/converse-stream", converse)
    app.router.add_post("/{provider}/v1/models/{call:.+}", generate)
    app.router.add_post("/{provider}/v1/publishers/google/models/{call:.+}", generate)
    for place in ("", "projects/{project}/locations/{location}/"):
        app.router.add_post(f"/{{provider}}/v1/{place}publishers/anthropic/models/{{call:.+}}", predicted)
    app.router.add_get("/{provider}/v1/models", models)
    app.router.add_get("/{provider}/v1/models/{name:.+}", models)
    _add_responses(app)
    _add_batches(app)
    _add_endpoints(app)
    app.router.add_get("/_sim/bill", _bill)
    app.router.add_delete("/_sim/bill", _bill_reset)
    app.router.add_get("/_sim/faults", _faults)
    app.router.add_post("/_sim/faults", _faults_add)
    app.router.add_delete("/_sim/faults", _faults_clear)
    app.router.add_route("*", "/{path:.*}", nowhere)
    return app


def _add_responses(app: web.Application) -> None:
    app[KEPT] = OrderedDict()
    add = app.router.add_route
    add("POST", "/{provider}/v1/responses", responses.responses)
    add("GET", "/{provider}/v1/responses/{response}", responses.retrieved)
    add("DELETE", "/{provider}/v1/responses/{response}", responses.deleted)
    add("GET", "/{provider}/v1/responses/{response}/input_items", responses.input_items)
    add("POST", "/{provider}/v1/responses/{response}/cancel", responses.cancelled)


def _add_google_batches(app: web.Application) -> None:
    """Before the others: some of its paths are those of other providers, who mean something else."""
    add = app.router.add_route
    add("POST", "/{provider:google}/v1/models/{model}:batchGenerateContent", gemini.created)
    add("GET", "/{provider:google}/v1/batches", gemini.listed)
    add("GET", "/{provider:google}/v1/batches/{batch}", gemini.retrieved)
    add("DELETE", "/{provider:google}/v1/batches/{batch}", gemini.deleted)
    add("POST", "/{provider:google}/v1/batches/{batch}:cancel", gemini.cancelled)


def _add_batches(app: web.Application) -> None:
    add = app.router.add_route
    add("POST", "/{provider}/v1/files", files.upload)
    add("POST", "/{provider}/v1/files/upload", files.upload)
    add("GET", "/{provider}/v1/files", files.listed)
    add("GET", "/{provider}/v1/files/{file}", files.retrieved)
    add("GET", "/{provider}/v1/files/{file}/content", files.content)
    add("DELETE", "/{provider}/v1/files/{file}", files.deleted)
    add("POST", "/{provider}/v1/batches", openai.created)
    add("GET", "/{provider}/v1/batches", openai.listed)
    add("GET", "/{provider}/v1/batches/{batch}", openai.retrieved)
    add("POST", "/{provider}/v1/batches/{batch}/cancel", openai.cancelled)
    add("POST", "/{provider}/v1/batch/jobs", openai.mistral_created)
    add("GET", "/{provider}/v1/batch/jobs", openai.listed)
    add("GET", "/{provider}/v1/batch/jobs/{batch}", openai.retrieved)
    add("POST", "/{provider}/v1/batch/jobs/{batch}/cancel", openai.cancelled)
    add("POST", "/{provider}/v1/messages/batches", anthropic.created)
    add("GET", "/{provider}/v1/messages/batches", anthropic.listed)
    add("GET", "/{provider}/v1/messages/batches/{batch}", anthropic.retrieved)
    add("DELETE", "/{provider}/v1/messages/batches/{batch}", anthropic.deleted)
    add("POST", "/{provider}/v1/messages/batches/{batch}/cancel", anthropic.cancelled)
    add("GET", "/{provider}/v1/messages/batches/{batch}/results", anthropic.results)
    add("GET", "/_sim/batches", _batches)
    add("POST", "/_sim/batches", _batches_set)
    add("DELETE", "/_sim/batches", _batches_clear)


def _add_endpoints(app: web.Application) -> None:
    for path, capability, answering in (
        ("moderations", "moderation", judging.moderated),
        ("images/generations", "images", images.painted),
        ("images/edits", "image_edits", images.painted),
        ("images/variations", "image_edits", images.painted),
        ("audio/transcriptions", "transcription", sound.transcribed),
        ("audio/translations", "translation", sound.transcribed),
        ("audio/speech", "speech", sound.spoken),
        ("rerank", "rerank", judging.ranked),
        ("v1/rerank", "rerank", judging.ranked),
        ("v2/rerank", "rerank", judging.ranked),
    ):
        app.router.add_post(f"/{{provider}}/v1/{path}", endpoint(capability, answering))


def run(
    host: str,
    port: int,
    catalog: Path,
    *,
    socket: int | None = None,
    seed: int = 1,
    speed: float = 1.0,
    batch_speed: float = BATCH_SPEED,
) -> None:
    """Serve until SIGTERM or SIGINT, then return. Prints ``sim listening on http://HOST:PORT`` when ready.

    Args:
        host: address to listen on.
        port: 0 takes a free one.
        catalog: folder of catalog files.
        socket: descriptor of a listening socket to serve on instead of host and port.
        seed: see `make_app`.
        speed: see `make_app`.
        batch_speed: see `make_app`.

    Raises:
        CatalogError: the folder cannot be played.
        OSError: the address is taken.
    """
    app = make_app(catalog, seed=seed, speed=speed, batch_speed=batch_speed)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, host, port, socket))


async def _serve(app: web.Application, host: str, port: int, descriptor: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_GRACE)
    await runner.setup()
    try:
        site: web.BaseSite
        if descriptor is None:
            site = web.TCPSite(runner, host, port, backlog=1024)
        else:
            site = web.SockSite(runner, sockets.socket(fileno=descriptor), backlog=1024)
        await site.start()
        bound_host, bound_port = runner.addresses[0][:2]
        sys.stdout.write(f"sim listening on http://{bound_host}:{bound_port}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await runner.cleanup()


async def _bill(request: web.Request) -> web.Response:
    await request.app[SHELVES].settle()
    bill = request.app[WORLD].bill
    answer = {"lines": bill.lines()} if request.query.get("lines") == "1" else await bill.totals()
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def _bill_reset(request: web.Request) -> web.Response:
    request.app[WORLD].bill.reset()
    return web.Response(status=204)


async def _faults(request: web.Request) -> web.Response:
    return web.json_response(request.app[WORLD].faults.report())


async def _faults_add(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    try:
        world.faults.add(orjson.loads(await request.read()))
    except Refusal as refusal:
        return refused(refusal, world.new_id())
    except orjson.JSONDecodeError as error:
        return refused(Refusal(400, f"Fault rules are a JSON list: {error}"), world.new_id())
    return web.json_response(world.faults.report())


async def _faults_clear(request: web.Request) -> web.Response:
    request.app[WORLD].faults.clear()
    return web.Response(status=204)


async def _batches(request: web.Request) -> web.Response:
    shelves = request.app[SHELVES]
    await shelves.settle()
    document = {"batches": shelves.report(), "faults": shelves.mischief.report()}
    return web.Response(body=orjson.dumps(document), content_type="application/json")


async def _batches_set(request: web.Request) -> web.Response:
    """``{"settings": {…}, "faults": […]}``; both may be left out."""
    world, shelves = request.app[WORLD], request.app[SHELVES]
    try:
        asked = orjson.loads(await request.read())
        shelves.waits.change(asked.get("settings") or {})
        shelves.mischief.add(asked.get("faults") or [])
    except Refusal as refusal:
        return refused(refusal, world.new_id())
    except (orjson.JSONDecodeError, AttributeError) as error:
        return refused(Refusal(400, f"Send an object with settings and faults: {error}"), world.new_id())
    return web.json_response(shelves.mischief.report())


async def _batches_clear(request: web.Request) -> web.Response:
    request.app[SHELVES].clear()
    return web.Response(status=204)

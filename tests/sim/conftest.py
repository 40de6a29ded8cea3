"""A running simulator on a real socket, and the small things that every test says to it."""

import json
from pathlib import Path

import aiohttp
import openai
import pytest
from aiohttp import web

from router.sim.batch.shelf import SHELVES
from router.sim.server import make_app
from router.sim.world import WORLD

CATALOG = Path(__file__).parent / "catalog"
NOON = 1_795_435_200.0  # Monday 2026-11-23T12:00:00Z


class Sim:
    """One simulator, and a client of it."""

    def __init__(self, url, app, session):
        self.url = url
        self.app = app
        self.session = session
        self.world = app[WORLD]
        self.clients = []

    def openai(self, provider="openai", **options):
        """The official SDK, pointed at one provider."""
        client = openai.AsyncOpenAI(base_url=f"{self.url}/{provider}/v1", api_key="k", max_retries=0, **options)
        self.clients.append(client)
        return client

    async def post(self, path, body, key="k"):
        """Status, headers and JSON (or text) of one POST."""
        sent = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.session.post(self.url + path, json=body, headers=sent) as response:
            text = await response.text()
            kind = response.content_type
            return response.status, response.headers, json.loads(text) if kind == "application/json" else text

    async def chat(self, provider, model, content="Tell me about plans.", **fields):
        """One chat call with a single user message, or with ``messages``."""
        body = {"model": model, "messages": [{"role": "user", "content": content}]} | fields
        return await self.post(f"/{provider}/v1/chat/completions", body)

    async def stream(self, provider, model, content="Tell me about plans.", **fields):
        """The payloads of one streamed chat call, ``[DONE]`` included."""
        _, _, text = await self.chat(provider, model, content, stream=True, **fields)
        events = text.split("\n\n")
        return [json.loads(e[6:]) if e[6:] != "[DONE]" else "[DONE]" for e in events if e]

    async def faults(self, *rules):
        """Set rules."""
        status, _, answer = await self.post("/_sim/faults", list(rules))
        assert status == 200, answer

    async def bill(self):
        """The lines of the bill."""
        async with self.session.get(f"{self.url}/_sim/bill?lines=1") as response:
            return (await response.json())["lines"]

    def app_batch(self, batch_id):
        """A batch as the simulator has it."""
        return next(
            shelf.batches[batch_id] for shelf in self.app[SHELVES]._shelves.values() if batch_id in shelf.batches
        )

    async def totals(self):
        """The sums of the bill."""
        async with self.session.get(f"{self.url}/_sim/bill") as response:
            return await response.json()


@pytest.fixture
async def start():
    """Starts simulators: ``await start(speed=0, now=…)``."""
    runners, sims = [], []
    async with aiohttp.ClientSession() as session:

        async def started(**options):
            options = {"seed": 1, "speed": 0, "now": lambda: NOON} | options
            app = make_app(options.pop("catalog", CATALOG), **options)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            sims.append(Sim(f"http://127.0.0.1:{runner.addresses[0][1]}", app, session))
            return sims[-1]

        yield started
        for client in (client for sim in sims for client in sim.clients):
            await client.close()
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def sim(start):
    """A simulator that waits for nothing, at noon of a Monday."""
    return await start()


class Hours:
    """A clock that a test turns by hand; seconds since the epoch."""

    def __init__(self):
        self.at = NOON

    def __call__(self):
        return self.at

    def pass_by(self, seconds):
        self.at += seconds


@pytest.fixture
def clock():
    return Hours()

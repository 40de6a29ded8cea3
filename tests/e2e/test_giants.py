"""Bodies made to hurt: clear answers, a node that stays responsive, memory that stays flat."""

from __future__ import annotations

import asyncio
import io
import json
import random
import string
import time
from pathlib import Path

import pytest
from node import Node, Tenant

MB = 2**20
SMALL = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 5}


async def post(web, tenant, text, **fields):
    body = json.dumps(
        {"model": "auto", "messages": [{"role": "user", "content": text}], "max_completion_tokens": 5} | fields
    )
    url = f"{tenant.node.base_url}/chat/completions"
    async with web.post(url, data=io.BytesIO(body.encode()), headers=tenant.headers) as response:
        return response.status, await response.json()


def resident(node):
    """Megabytes of the workers, what they share counted by share."""
    total = 0
    for pid in node.worker_pids():
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(rollup.partition("\nPss:")[2].split()[0])
    return total / 1024


@pytest.mark.parametrize(
    "text",
    [" " * 1_000_000, "a" * 1_000_000, "\u00e9\u4e2d" * 300_000, "\n\t" * 300_000, "🙂" * 200_000, "a b " * 1_000_000],
    ids=["spaces", "letters", "wide", "breaks", "faces", "words"],
)
async def test_a_giant_prompt_is_answered_or_refused_in_words(node, tenant, web, text):
    async with asyncio.timeout(40):
        status, answer = await post(web, tenant, text)
    assert status in (200, 422), answer
    if status == 200:
        assert (await tenant.row()).cost_nano == node.bill()[0]["nano"]
    else:
        assert "No candidate of default@" in answer["error"]["message"]


async def test_small_requests_go_on_while_giants_are_counted(node, tenant, web, sdk):
    giants = [asyncio.create_task(post(web, tenant, f"{number} " + "word " * 400_000)) for number in range(3)]
    slowest = 0.0
    while not all(giant.done() for giant in giants):
        began = time.monotonic()
        await sdk.chat.completions.create(**SMALL)
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 3  # alone it takes milliseconds; a blocked loop would take as long as the giants
    for giant in giants:
        assert (await giant)[0] in (200, 422)


async def test_junk_names_and_bodies_leave_memory_flat(tmp_path, web):
    draw = random.Random(1)

    def junk():
        name = "".join(draw.choices(string.printable, k=draw.randint(1, 300)))
        return json.dumps({"model": name, "messages": [], "user": name}).encode()

    with Node(tmp_path) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)

        async def send(body, key):
            url = f"{node.base_url}/chat/completions"
            async with web.post(url, data=body, headers={"Authorization": f"Bearer {key}"}) as response:
                await response.read()
                return response.status

        async def flood(count):
            gate = asyncio.Semaphore(16)

            async def one(number):
                async with gate:
                    if number % 3 == 0:
                        return await send(junk(), f"cr-junk-{draw.random()}")
                    if number % 30 == 1:
                        return await send(b'{"a":' * 100_000, tenant.key)
                    return await send(junk(), tenant.key)

            return set(await asyncio.gather(*(one(number) for number in range(count))))

        await flood(300)
        before = resident(node)
        assert await flood(2400) == {400, 401, 404}
        assert resident(node) - before < 12
        assert "cr-junk" not in node.log
        assert await send(json.dumps(SMALL).encode(), tenant.key) == 200


async def test_a_giant_prompt_leaves_no_memory_behind(tmp_path, web):
    with Node(tmp_path) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
        await post(web, tenant, "word " * 800_000, model="openai/gpt-4o-mini")
        before = resident(node)
        for number in range(5):
            await post(web, tenant, f"{number}" + "word " * 800_000, model="openai/gpt-4o-mini")
            await post(web, tenant, f"{number}" + " " * 1_000_000, model="openai/gpt-4o-mini")
        assert resident(node) - before < 40


@pytest.mark.soak
async def test_a_million_junk_model_names_leave_memory_flat(tmp_path, web):
    with Node(tmp_path, workers=2) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
        url = f"{node.base_url}/chat/completions"

        async def flood(start, count):
            for number in range(start, start + count):
                body = b'{"model":"junk-%d","messages":[]}' % number
                async with web.post(url, data=body, headers=tenant.headers) as response:
                    assert response.status == 404
                    await response.read()

        async def floods(start, count):
            await asyncio.gather(*(flood(start + part * count, count) for part in range(32)))

        await floods(0, 500)
        before = resident(node)
        await floods(10**6, 31_250)
        assert resident(node) - before < 30

"""Requests that wait in line for room under a limit: in what order they are served, how many wait, and who leaves."""

from __future__ import annotations

import asyncio
import threading

import httpx2
import pytest
from node import bearer
from recorder import completion
from store import until

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def provider(upstream):
    """Answers nobody until it is told to."""
    upstream.open = threading.Event()

    def answer(received):
        upstream.open.wait(30)
        return completion(received)

    upstream.answer = answer
    yield upstream
    upstream.open.set()


@pytest.fixture
def one_at_a_time(caller):
    answer = caller.node.http.post(
        f"{caller.node.url}/costrouter/v1/limits",
        json={"scope": {"tenant": caller.name}, "kind": "concurrency", "limit": 1},
        headers=bearer(caller.node.admin_key),
    )
    assert answer.status_code == 201
    return caller


def queued(node):
    text = node.http.get(f"{node.url}/metrics").text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("costrouter_requests_queued "))


@pytest.fixture
async def client():
    async with httpx2.AsyncClient(timeout=30) as found:
        yield found


async def ask(client, tenant, tier, done=None):
    body = {"model": "patient", "messages": HI}
    headers = tenant.headers | {"x-costrouter-tags": f"tier={tier}"}
    answer = await client.post(f"{tenant.node.base_url}/chat/completions", json=body, headers=headers)
    if done is not None and answer.status_code == 200:
        done.append(tier)
    return answer


async def standing(client, tenant, provider, *tiers, done=None):
    """One that its provider keeps waiting, and these in line behind it, in this order."""
    tasks = [asyncio.ensure_future(ask(client, tenant, "first", done))]
    await until(lambda: len(provider.received) == 1)
    for number, tier in enumerate(tiers, 1):
        tasks.append(asyncio.ensure_future(ask(client, tenant, tier, done)))
        await until(lambda number=number: queued(tenant.node) == number)
    return tasks


async def test_the_line_goes_by_priority_then_by_arrival(client, one_at_a_time, provider):
    done = []
    tasks = await standing(client, one_at_a_time, provider, "low", "normal", "high", done=done)
    provider.open.set()
    await asyncio.gather(*tasks)
    assert done == ["first", "high", "normal", "low"]
    assert {row.outcome for row in await one_at_a_time.rows(4)} == {"ok"}
    assert queued(one_at_a_time.node) == 0


async def test_whoever_comes_when_the_line_is_full_is_refused_at_once(client, one_at_a_time, provider):
    tasks = await standing(client, one_at_a_time, provider, "low", "low", "low")
    answer = await ask(client, one_at_a_time, "high")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limited")
    assert not any(task.done() for task in tasks)
    provider.open.set()
    await asyncio.gather(*tasks)
    await one_at_a_time.rows(4)


async def test_who_hangs_up_leaves_the_line(client, one_at_a_time, provider):
    done = []
    tasks = await standing(client, one_at_a_time, provider, "high", done=done)
    tasks.pop().cancel()
    await until(lambda: queued(one_at_a_time.node) == 0)
    tasks.append(asyncio.ensure_future(ask(client, one_at_a_time, "low", done)))
    await until(lambda: queued(one_at_a_time.node) == 1)
    provider.open.set()
    await asyncio.gather(*tasks)
    assert done == ["first", "low"]
    await one_at_a_time.rows(2)

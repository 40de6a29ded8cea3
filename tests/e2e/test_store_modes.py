"""A whole node over each kind of store of its owner's, asked by an SDK; and while such a store fails over."""

from __future__ import annotations

import asyncio
import signal

import httpx2
import openai
import pytest
from node import Node, Tenant, bearer
from store import stored_rows, until
from store_modes import connected
from store_servers import Cluster, SentinelSet

HI = [{"role": "user", "content": "Tell me about the weather."}]


async def chat(tenant, *, stream=False):
    """One prompt through the SDK."""
    async with tenant.sdk(timeout=10) as sdk:
        asked = {"model": "openai/gpt-4o-mini", "messages": HI, "max_completion_tokens": 30}
        if not stream:
            answer = await sdk.chat.completions.create(**asked)
            return answer.choices[0].message.content
        parts = [part async for part in await sdk.chat.completions.create(**asked, stream=True)]
        return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)


async def billed(node, tenants):
    """Rows and spend of all, once there are as many as the bill has lines: equal to the nano-dollar, and nothing held."""
    lines = node.bill()
    rows = []

    async def booked():
        rows[:] = [row for tenant in tenants for row in await stored_rows(tenant.store, tenant.name)]
        return len(rows) >= len(lines) and not any([await tenant.holds() for tenant in tenants])

    await until(booked, 20)
    assert sorted(row.cost_nano for row in rows) == sorted(line["nano"] for line in lines)
    totals = [node.spend(tenant=tenant.name)["total"] for tenant in tenants]
    assert sum(total["cost_nano"] for total in totals) == sum(line["nano"] for line in lines)
    return len(rows)


SOAK = pytest.mark.soak


@pytest.mark.parametrize(
    "mode", [pytest.param("tcp", marks=SOAK), pytest.param("tls", marks=SOAK), "sentinel", "cluster"]
)
async def test_a_node_serves_over_a_store_of_its_owners(tmp_path, store_of, mode):
    store = store_of(mode)
    store.flush()
    with Node(tmp_path, workers=2, REDIS_URL=store.url) as node:
        async with connected(store) as connection:
            tenants = [Tenant(node, connection) for _ in range(4)]
            answers = await asyncio.gather(*[chat(each, stream=again > 0) for each in tenants for again in range(3)])
            assert all(answers)
            assert await billed(node, tenants) == 12
        assert node.http.get(f"{node.url}/readyz").status_code == 200
        assert "costrouter_attempts_total" in node.http.get(f"{node.url}/metrics").text


def test_an_url_that_means_nothing_is_refused_with_the_forms_that_do(tmp_path):
    node = Node(tmp_path, REDIS_URL="redis-sentinel://:secret@somewhere/books")
    assert node.launch().wait(20) == 2
    assert "redis+sentinel://" in node.log + node.banner
    assert "redis+cluster://" in node.log + node.banner
    assert "secret" not in node.log + node.banner


def reads_spend(node, tenant):
    """A connection a time, so that the kernel deals the asking to all workers."""
    with httpx2.Client() as http:
        asked = {"params": {"tenant": tenant.name}, "headers": bearer(node.admin_key)}
        return http.get(f"{node.url}/costrouter/v1/spend", **asked).status_code == 200


@pytest.mark.soak
@pytest.mark.parametrize("kind", [SentinelSet, Cluster])
async def test_a_node_outlives_the_primary_of_its_store(tmp_path, kind):
    with kind(tmp_path / "store", replicas=1 if kind is SentinelSet else 3) as store:
        if kind is SentinelSet:
            store.settled()
        with Node(tmp_path, workers=2, REDIS_URL=store.url) as node:
            async with connected(store) as connection:
                tenants = [Tenant(node, connection) for _ in range(4)]
                await asyncio.gather(*map(chat, tenants))
                store.nodes[0].end(signal.SIGKILL)

                async def served():
                    told = await asyncio.gather(*map(chat, tenants), return_exceptions=True)
                    assert all(isinstance(each, str) or each.status_code == 503 for each in told), told
                    return not any(isinstance(each, openai.APIStatusError) for each in told)

                await until(served, 30)
                await until(lambda: connection.up)
                # Each worker has two connections, and each of them finds the new primary by itself.
                await until(lambda: all(reads_spend(node, tenants[0]) for _ in range(20)))
                assert await billed(node, tenants) >= 8

"""Processes and disks that fail while attempts are at every point of their way: each sent one has one net row."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import time
from collections import Counter
from pathlib import Path

import openai
import pytest
from books import budgeted, nano, proven, worst_nano
from node import Node, Tenant
from store import until

HI = [{"role": "user", "content": "Tell me about plans."}]
SLOW, STREAMED, ANSWERED = "openai/gpt-4o-mini", "openai/gpt-5-nano", "deepseek/deepseek-flash"
POINTS = ("before send", "before first byte", "mid-stream", "after usage", "settled")


def asked(model):
    return {"model": model, "messages": HI, "max_completion_tokens": 20}


async def answered(sdk, model=ANSWERED):
    """The answer's request id and cost in dollars, or the error's code."""
    try:
        raw = await sdk.chat.completions.with_raw_response.create(**asked(model))
    except openai.APIStatusError as error:
        return error.code, None
    except openai.APIError:
        return "broken", None
    return raw.headers["x-costrouter-request-id"], raw.headers["x-costrouter-cost-usd"]


def journals(node):
    return [path.name for path in (node.data_dir / "journal").iterdir()]


async def at_point(node, tenant, sdk, point, running):
    """Bring one attempt to that point and leave it there, with the store frozen where that takes it."""
    if point == "before first byte":
        node.faults({"kind": "slow_first_byte", "model": SLOW, "delay_ms": 60_000})
        running.append(asyncio.ensure_future(answered(sdk, SLOW)))
        await until(lambda: sum(node.fault_hits()) > 0)
    elif point == "mid-stream":
        node.faults({"kind": "stall", "model": STREAMED, "after_chunks": 3})
        stream = await sdk.chat.completions.create(**asked(STREAMED), stream=True)
        await anext(aiter(stream))
    elif point == "after usage":
        node.faults({"kind": "slow_first_byte", "model": ANSWERED, "delay_ms": 700})
        asking = asyncio.ensure_future(answered(sdk))
        await until(lambda: any(rule["hits"] for rule in rules(node) if rule["model"] == ANSWERED))
        os.kill(node.store_pid(), signal.SIGSTOP)
        assert (await asking)[1], "it was answered while the store was frozen"
    elif point == "before send":
        if not is_frozen(node):
            os.kill(node.store_pid(), signal.SIGSTOP)
        running.append(asyncio.ensure_future(answered(sdk, "mistral/mistral-small-4")))
        await asyncio.sleep(0.05)
    else:
        assert (await answered(sdk))[1]


def rules(node):
    return node.http.get(f"{node.sim_url}/_sim/faults").json()


def is_frozen(node):
    return Path(f"/proc/{node.store_pid()}/stat").read_text().rpartition(") ")[2][0] == "T"


async def killed_at(node, points):
    """Kill the worker with one attempt at each point, and look at what is left once it was adopted."""
    node.reset()
    async with node.store() as store:
        tenant = Tenant(node, store)
        await budgeted(node, tenant)
        worst = worst_nano(node, tenant, map(asked, (SLOW, STREAMED, ANSWERED)))
        (victim,) = node.worker_pids()
        running = []
        async with tenant.sdk() as sdk:
            assert (await answered(sdk))[1]
            for point in sorted(points, key=("settled", *POINTS[1:4], "before send").index):
                await at_point(node, tenant, sdk, point, running)
            os.kill(victim, signal.SIGKILL)
            if is_frozen(node):
                os.kill(node.store_pid(), signal.SIGCONT)
            await asyncio.gather(*running)
        await until(lambda: node.worker_pids() not in ([], [victim]), 20)
        rows = await proven(node, tenant, worst=worst)
        found = Counter((row.model, row.certainty, row.outcome) for row in rows)
        lost = {"before first byte": SLOW, "mid-stream": STREAMED}
        ok = 1 + len({"after usage", "settled"} & {*points})
        assert found == {(ANSWERED, "metered", "ok"): ok} | {
            (lost[point], "estimated", "upstream_interrupted"): 1 for point in points if point in lost
        }


async def test_a_killed_worker_leaves_one_row_for_each_attempt_that_was_sent_and_holds_nothing(node):
    await killed_at(node, POINTS)


@pytest.mark.soak
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("seed", range(3))
async def test_a_worker_killed_at(tmp_path, point, seed):
    with Node(tmp_path) as node:
        await killed_at(node, [point])


async def under_load(node, tenant, break_it, seconds=1.0, callers=8):
    """Every answer, while something breaks in the middle: request id to dollars."""
    draw, end, found = random.Random(seconds), time.monotonic() + seconds, {}

    async def caller(sdk):
        while time.monotonic() < end:
            name, dollars = await answered(sdk, draw.choice((SLOW, STREAMED, ANSWERED)))
            if dollars:
                found[name] = nano(dollars)
            else:
                await asyncio.sleep(0.02)

    async with tenant.sdk() as sdk:
        calling = [asyncio.ensure_future(caller(sdk)) for _ in range(callers)]
        await asyncio.sleep(seconds / 2)
        await break_it()
        await asyncio.gather(*calling)
    return found


async def all_in(node, tenant, answers, worst, **bill):
    """Every answer has its row at the cost that its caller was told, and the books are right besides."""
    async with node.store() as tenant.store:
        rows = await proven(node, tenant, worst=worst, **bill)
    booked = {row.attempt.partition("/")[0]: row.cost_nano for row in rows if row.certainty == "metered"}
    assert {name: booked.get(name) for name in answers} == answers


async def a_tenant(node):
    """With budgets; and the most that its attempts may cost, by model."""
    async with node.store() as store:
        tenant = Tenant(node, store)
        await budgeted(node, tenant)
    return tenant, worst_nano(node, tenant, map(asked, (SLOW, STREAMED, ANSWERED)))


async def test_a_supervisor_killed_under_load_leaves_a_row_for_every_answer_and_the_next_no_journal(tmp_path):
    with Node(tmp_path, workers=2, drain_s=1) as node:
        tenant, worst = await a_tenant(node)

        async def break_it():
            node.process.send_signal(signal.SIGKILL)

        answers = await under_load(node, tenant, break_it, seconds=0.6)
        assert len(answers) > 10
        await asyncio.to_thread(node.process.wait)
        node.start()
        await all_in(node, tenant, answers, worst, bill=[])
        assert await asyncio.to_thread(node.stop) == 0
        assert journals(node) == []


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["worker", "store", "store frozen for 10 s", "sigterm"])
@pytest.mark.parametrize("seed", range(3))
async def test_under_load(tmp_path, fault, seed):
    with Node(tmp_path, workers=2) as node:
        tenant, worst = await a_tenant(node)

        async def break_it():
            await asyncio.sleep(random.Random(seed).random() / 2)
            if fault == "worker":
                os.kill(node.worker_pids()[0], signal.SIGKILL)
            elif fault == "store":
                os.kill(node.store_pid(), signal.SIGKILL)
            elif fault == "sigterm":
                node.process.send_signal(signal.SIGTERM)
            else:
                os.kill(node.store_pid(), signal.SIGSTOP)
                await asyncio.sleep(10)
                os.kill(node.store_pid(), signal.SIGCONT)
                await asyncio.sleep(2)  # every worker's connections are back within a second or so

        answers = await under_load(node, tenant, break_it, seconds=14 if "frozen" in fault else 4)
        if fault == "sigterm":
            assert await asyncio.to_thread(node.stop) == 0
            assert journals(node) == []
            node.start()
        await all_in(node, tenant, answers, worst, **({"bill": []} if fault == "sigterm" else {}))


async def test_a_full_disk_refuses_before_sending_says_so_and_recovers(node):
    node.reset()
    async with node.store() as store:
        tenant = Tenant(node, store)
        await budgeted(node, tenant)
        (worker,) = node.worker_pids()
        old = resource.prlimit(worker, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        async with tenant.sdk() as sdk:
            with pytest.raises(openai.InternalServerError) as caught:
                await sdk.chat.completions.create(**asked(ANSWERED))
            assert (caught.value.status_code, caught.value.code) == (503, "journal_unavailable")
            assert caught.value.response.headers["retry-after"] == "1"

            def ready():
                return node.http.get(f"{node.url}/readyz").json()

            await until(lambda: ready()["status"] == "degraded")
            assert "the journal cannot be written (File too large)" in ready()["reasons"][0]
            assert "costrouter_journal_failing 1.0" in node.http.get(f"{node.url}/metrics").text
            assert node.bill() == []
            resource.prlimit(worker, resource.RLIMIT_FSIZE, old)
            assert (await answered(sdk))[1]
            await until(lambda: ready()["status"] == "ok")
        assert len(await proven(node, tenant)) == len(node.bill()) == 1

"""How a node stops, restarts and says so: nobody is refused, hung up on without a word, or left unbooked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal

import openai
import pytest
from node import Node, Tenant, policies_copy
from store import stored_holds, until

HI = [{"role": "user", "content": "Tell me about plans."}]
ASKED = {"model": "openai/gpt-4o-mini", "messages": HI, "max_completion_tokens": 20}
OTHER = """
version: 1
policy: other
candidates: {include: [openai/gpt-4o-mini]}
rules: [{name: any}]
when_nothing_fits: [refuse]
"""


@contextlib.asynccontextmanager
async def load(sdk, callers=12):
    """Callers without a pause and without a retry, half of them for streams; gives their faults, and how many were served."""
    faults, served, enough = [], [0], asyncio.Event()

    async def call(number):
        while not enough.is_set():
            try:
                if number % 2:
                    await sdk.chat.completions.create(**ASKED)
                else:
                    stream = await sdk.chat.completions.create(**ASKED, stream=True)
                    assert [chunk.choices[0].finish_reason async for chunk in stream if chunk.choices][-1]
                served[0] += 1
            except Exception as error:  # noqa: BLE001 - each is one that a caller would have seen
                faults.append(repr(error))

    tasks = [asyncio.create_task(call(number)) for number in range(callers)]
    try:
        yield faults, served
    finally:
        enough.set()
        await asyncio.gather(*tasks)


async def test_a_rolling_restart_under_load_refuses_nobody_and_reads_policies_anew(tmp_path):
    policies = policies_copy(tmp_path / "policies")
    with Node(tmp_path / "node", workers=2, policies=policies) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
        before = set(node.worker_pids())
        async with tenant.sdk() as sdk:
            async with load(sdk) as (faults, served):
                await until(lambda: served[0] > 50)
                (policies / "other.yaml").write_text(OTHER)
                told = await asyncio.to_thread(node.run, "restart")
                assert (told.returncode, told.stdout) == (0, "restarted\n"), told.stderr
                reached = served[0]
                await until(lambda: served[0] > reached + 100)
                await until(lambda: before.isdisjoint(node.children()), 20)
            assert faults == []
            answer = await sdk.chat.completions.with_raw_response.create(**ASKED | {"model": "other"})
            assert answer.headers["x-costrouter-policy"].startswith("other@")
        assert len(node.worker_pids()) == 2
        assert '"event":"worker_died"' not in node.log
        (entry,) = node.spend(tenant=tenant.name, group_by="outcome")["data"]
        assert (entry["outcome"], entry["requests"]) == ("ok", served[0] + 1)


def test_a_restart_that_cannot_work_leaves_the_node_as_it_is(tmp_path):
    with Node(tmp_path / "node") as node:
        before = node.worker_pids()
        (node.data_dir / "dev.key").write_bytes(b"\xff\xfe")
        told = node.run("restart")
        assert told.returncode == 1
        assert "goes on as it was" in told.stderr
        assert "dev.key" in told.stderr
        assert node.worker_pids() == before
        assert node.http.get(f"{node.url}/healthz").status_code == 200


def test_a_restart_without_a_node_says_so(node):
    told = node.run("restart")
    assert told.returncode == 0, told.stderr
    node.environment["COSTROUTER_DATA_DIR"], kept = str(node.folder), node.environment["COSTROUTER_DATA_DIR"]
    told = node.run("restart")
    node.environment["COSTROUTER_DATA_DIR"] = kept
    assert told.returncode == 1
    assert "no node serves on port" in told.stderr


async def test_hang_up_restarts_a_node_without_a_terminal_and_stops_one_that_has_lost_its_own(tmp_path):
    with Node(tmp_path / "node") as node:
        before = node.worker_pids()
        node.process.send_signal(signal.SIGHUP)
        await until(lambda: len(node.worker_pids()) == 1 and node.worker_pids() != before)
        assert await asyncio.to_thread(node.stop) == 0
    ours, theirs = pty.openpty()
    with Node(tmp_path / "node", stdin=theirs) as node:
        assert await asyncio.to_thread(node.stop, signal.SIGHUP) == 0
    os.close(ours)
    os.close(theirs)


async def test_what_is_not_done_when_a_node_must_stop_ends_in_words_and_is_booked(tmp_path):
    with Node(tmp_path, sim_speed=0.2, drain_s=0.2) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
        async with tenant.sdk() as sdk:
            stream = await sdk.chat.completions.create(model="openai/gpt-4o-mini", messages=HI, stream=True)
            await anext(aiter(stream))
            whole = asyncio.create_task(sdk.chat.completions.create(model="openai/gpt-4o-mini", messages=HI))
            async with node.store() as store:

                async def both_held():
                    return len(await stored_holds(store, tenant.name)) == 2

                await until(both_held)
            stopped = asyncio.create_task(asyncio.to_thread(node.stop))
            with pytest.raises(openai.APIError) as caught:
                async for _ in stream:
                    pass
            assert caught.value.code == "node_stopping"
            with pytest.raises(openai.InternalServerError) as caught:
                await whole
            assert (caught.value.status_code, caught.value.code) == (503, "node_stopping")
            assert caught.value.response.headers["retry-after"] == "1"
        assert await stopped == 0
        node.start()
        (entry,) = node.spend(tenant=tenant.name, group_by="outcome")["data"]
        assert (entry["outcome"], entry["requests"]) == ("node_stopped", 2)
        assert entry["cost_nano"] > 0
        async with node.store() as store:
            assert await stored_holds(store, tenant.name) == {}
        assert '"event":"worker_died"' not in node.log


async def test_a_node_that_lingers_serves_on_and_says_that_it_is_leaving(tmp_path):
    with Node(tmp_path, linger_s=2) as node:
        async with openai.AsyncOpenAI(base_url=node.base_url, api_key=node.key, max_retries=0) as sdk:
            await sdk.chat.completions.create(**ASKED)
            node.process.send_signal(signal.SIGTERM)

            def ready():
                return node.http.get(f"{node.url}/readyz", headers={"connection": "close"})

            await until(lambda: ready().status_code == 503)
            assert ready().json() == {"status": "down", "reasons": ["the node is stopping"]}
            answer = await sdk.chat.completions.with_raw_response.create(**ASKED)
            assert answer.headers["connection"] == "close"
        assert await asyncio.to_thread(node.stop) == 0


async def test_callers_wait_at_the_door_of_a_worker_that_died(tmp_path):
    """What waits to be accepted belongs to the place, not to the process: nobody is reset."""
    with Node(tmp_path) as node:
        async with openai.AsyncOpenAI(base_url=node.base_url, api_key=node.key, max_retries=0) as sdk:
            (worker,) = node.worker_pids()
            os.kill(worker, signal.SIGSTOP)
            waiting = [asyncio.create_task(sdk.chat.completions.create(**ASKED)) for _ in range(5)]
            await asyncio.sleep(0.2)
            os.kill(worker, signal.SIGKILL)
            for answer in await asyncio.gather(*waiting):
                assert answer.choices


async def test_a_worker_that_hangs_is_replaced_and_its_callers_are_served(tmp_path):
    with Node(tmp_path, hung_s=2) as node:
        async with openai.AsyncOpenAI(base_url=node.base_url, api_key=node.key, max_retries=0) as sdk:
            (worker,) = node.worker_pids()
            os.kill(worker, signal.SIGSTOP)
            answers = await asyncio.gather(*(sdk.chat.completions.create(**ASKED) for _ in range(5)))
            assert all(answer.choices for answer in answers)
        assert worker not in node.worker_pids()
        assert '"event":"worker_hangs"' in node.log

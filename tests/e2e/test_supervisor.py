"""The node's processes: what dies comes back, what is told to stop stops, and no row is lost on the way."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from pathlib import Path

import openai
import pytest
from node import Node, Tenant, alive, command_line
from store import until

HI = [{"role": "user", "content": "Tell me about plans."}]
ASKED = {"model": "openai/gpt-4o-mini", "messages": HI, "max_completion_tokens": 20}


def blocked_signals(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("SigBlk")).split()[1], 16)


async def served(sdk):
    """True when a request is answered."""
    try:
        await sdk.chat.completions.create(**ASKED)
    except openai.APIError:
        return False
    return True


async def test_a_killed_worker_is_replaced_and_requests_go_on(tmp_path):
    with Node(tmp_path, workers=2) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
            before = node.worker_pids()
            assert len(before) == 2
            os.kill(before[0], signal.SIGKILL)
            await until(lambda: len(node.worker_pids()) == 2 and before[0] not in node.worker_pids())
            async with tenant.sdk(max_retries=0) as sdk:
                assert all(await asyncio.gather(*(served(sdk) for _ in range(40))))
            await tenant.rows(40)
        assert '"event":"worker_died"' in node.log
        assert node.stop() == 0


async def test_a_killed_supervisor_takes_everything_with_it(tmp_path):
    with Node(tmp_path, workers=2) as node:
        family = node.children()
        assert len(family) == 4  # store, simulator, two workers
        node.stop(signal.SIGKILL)
        await until(lambda: not any(alive(pid) for pid in family), 10)


@pytest.mark.parametrize("folder", ["short", "x" * 100], ids=["short path", "path too long for a socket"])
async def test_a_killed_store_is_restarted_nobody_is_refused_and_the_ledger_is_complete(tmp_path, folder):
    with Node(tmp_path / folder, workers=2, store_wait_s=20) as node:
        async with node.store() as store:
            name = Tenant(node, store).name
            key = node.new_key(tenant=name)
        done, asked = 0, 8
        victim = node.store_pid()
        async with openai.AsyncOpenAI(base_url=node.base_url, api_key=key, max_retries=0) as sdk:
            for number in range(6):
                if number == 3:
                    os.kill(victim, signal.SIGKILL)
                answers = await asyncio.gather(*(served(sdk) for _ in range(asked)))
                assert all(answers), node.log
                done += asked
        assert node.store_pid() != victim
        async with node.store() as store:
            again = Tenant(node, store)
            again.name = name
            await again.rows(done)
        assert '"event":"store_died"' in node.log


async def test_a_worker_that_dies_with_the_store_is_replaced_once_the_store_is_back(tmp_path):
    with Node(tmp_path, store_wait_s=20) as node:
        (worker,) = node.worker_pids()
        async with openai.AsyncOpenAI(base_url=node.base_url, api_key=node.key, max_retries=0) as sdk:
            os.kill(worker, signal.SIGKILL)
            os.kill(node.store_pid(), signal.SIGKILL)
            again = sdk.with_options(default_headers={"Idempotency-Key": "once"})
            assert all(await asyncio.gather(*(served(one) for one in (sdk, sdk, again, again)))), node.log
        assert '"event":"store_died"' in node.log
        assert '"event":"child_failed"' not in node.log, "its start waited for a store that nobody was bringing back"


async def test_sigterm_under_load_ends_the_streams_and_keeps_every_row(tmp_path):
    with Node(tmp_path, workers=2, sim_speed=4) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
        started = asyncio.Queue()

        async def stream(sdk):
            said, finish = 0, None
            async for chunk in await sdk.chat.completions.create(model="openai/gpt-4o-mini", messages=HI, stream=True):
                if not said:
                    started.put_nowait(1)
                said += 1
                finish = chunk.choices[0].finish_reason
            return finish

        async with tenant.sdk() as sdk:
            running = [asyncio.create_task(stream(sdk)) for _ in range(20)]
            async with asyncio.timeout(20):
                for _ in running:
                    await started.get()
            family = node.children()
            node.process.send_signal(signal.SIGTERM)
            assert await asyncio.gather(*running) == ["stop"] * 20
        assert await asyncio.to_thread(node.stop) == 0
        assert not any(alive(pid) for pid in family)
        node.start()
        found = node.spend(tenant=tenant.name, group_by="outcome,certainty")
        (entry,) = found["data"]
        assert (entry["outcome"], entry["certainty"], entry["requests"]) == ("ok", "metered", 20)


async def test_a_frozen_store_is_503_within_a_second_and_recovers(tmp_path):
    with Node(tmp_path) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
            async with tenant.sdk() as sdk:
                assert await served(sdk)
                os.kill(node.store_pid(), signal.SIGSTOP)
                try:
                    began = time.monotonic()
                    with pytest.raises(openai.InternalServerError) as caught:
                        await sdk.chat.completions.create(**ASKED)
                    assert time.monotonic() - began < 1.5
                    assert (caught.value.status_code, caught.value.code) == (503, "store_unavailable")
                    assert caught.value.response.headers["retry-after"] == "1"
                    ready = await asyncio.to_thread(node.http.get, f"{node.url}/readyz")
                    assert (ready.status_code, ready.json()["status"]) == (503, "down")
                    assert (await asyncio.to_thread(node.http.get, f"{node.url}/healthz")).status_code == 200
                finally:
                    os.kill(node.store_pid(), signal.SIGCONT)
                await until(lambda: served(sdk))
            rows = len(node.bill())
            await tenant.rows(rows)
            assert node.http.get(f"{node.url}/readyz").json() == {"status": "ok", "reasons": []}


async def test_metrics_of_any_worker_are_the_fleets(shared_node, tenant, sdk):
    node = shared_node
    pattern = re.compile(r'^costrouter_attempts_total\{.*model="anthropic/claude-opus-5.5".*\} (\S+)$', re.MULTILINE)

    def counted():
        found = []
        for _ in range(6):  # each on a connection of its own, so that both workers answer
            answer = node.http.get(f"{node.url}/metrics", headers={"connection": "close"})
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            found += [sum(float(value) for value in pattern.findall(answer.text))]
        return found

    before = max(counted())
    asked = ASKED | {"model": "anthropic/claude-opus-5.5"}
    await asyncio.gather(*(sdk.chat.completions.create(**asked) for _ in range(30)))
    await tenant.rows(30)
    await until(lambda: set(counted()) == {before + 30})


async def test_a_log_that_nobody_reads_holds_up_no_request(tmp_path):
    reader, writer = os.pipe()
    node = Node(tmp_path)
    try:
        node.launch(stderr=writer)
        await until(lambda: "Say hello" in node.banner and "sim listening" in node.banner, 30)
        node.told()
        async with openai.AsyncOpenAI(base_url=node.base_url, api_key=node.key, max_retries=0, timeout=5) as sdk:
            for _ in range(8):
                assert all(await asyncio.gather(*(served(sdk) for _ in range(32))))
            await asyncio.sleep(1.2)  # lines are written once a second, and these are more than a pipe holds
            assert await served(sdk)
        assert await asyncio.to_thread(node.stop) == 0
    finally:
        if node.process.poll() is None:
            node.stop(signal.SIGKILL)
        os.close(reader)
        os.close(writer)
        node.http.close()


async def test_a_restarted_store_hears_sigterm_and_ends_with_its_node(tmp_path):
    with Node(tmp_path) as node:
        victim = node.store_pid()
        os.kill(victim, signal.SIGKILL)
        await until(
            lambda: [pid for pid in node.children() if b"unixsocket" in command_line(pid)] not in ([], [victim])
        )
        await until(lambda: node.http.get(f"{node.url}/readyz").status_code == 200)
        store = node.store_pid()
        assert not blocked_signals(store) & 1 << signal.SIGTERM - 1
        assert await asyncio.to_thread(node.stop) == 0
        assert not alive(store)


async def test_a_node_takes_over_the_store_that_another_shared_with_it(tmp_path):
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "data").symlink_to(tmp_path / "first" / "data")
    with Node(tmp_path / "first") as first, Node(tmp_path / "second") as second:
        async with openai.AsyncOpenAI(base_url=second.base_url, api_key=second.key, max_retries=0) as sdk:
            assert await served(sdk)
            first.stop()
            for _ in range(50):
                if await served(sdk):
                    return
                await asyncio.sleep(0.1)
    pytest.fail(second.log)

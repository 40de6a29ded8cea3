"""A batch of 50,000 lines and 150 MB over three providers: finished, merged and settled in little memory; and a smaller one
while the store or workers are killed.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import random
import signal

import openai
import pytest
from node import Node, Tenant, pss_kb
from store import stored_rows, until

MODELS = ("openai/gpt-4.1-mini", "openai/gpt-4o-mini", "deepseek/deepseek-flash", "mistral/mistral-small-4", "auto")
MOST_PSS_KB = 300 * 1024


def written(path, lines, size):
    filler = "All work and no play makes a dull day. " * (size // 39)
    with path.open("w") as file:
        for number in range(lines):
            body = {
                "model": MODELS[number % len(MODELS)],
                "messages": [{"role": "user", "content": f"{number} {filler}"}],
                "max_completion_tokens": 16,
            }
            entry = {"custom_id": f"q{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(entry) + "\n")


@pytest.mark.soak
@pytest.mark.timeout(1500)
async def test_fifty_thousand_lines_are_finished_merged_and_settled_in_little_memory(tmp_path):
    lines = 50_000
    source = tmp_path / "in.jsonl"
    written(source, lines, 2_800)
    with Node(tmp_path / "node", workers=2, sim_batch_speed=600) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
            most = 0
            async with tenant.sdk(timeout=600) as sdk:
                with source.open("rb") as data:
                    file = await sdk.files.create(file=("in.jsonl", data), purpose="batch")
                batch = await sdk.batches.create(
                    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="30m"
                )
                found = [batch]

                async def over():
                    nonlocal most
                    most = max(most, *(pss_kb(pid) for pid in node.worker_pids()))
                    try:
                        found[0] = await sdk.batches.retrieve(batch.id)
                    except openai.APIStatusError:
                        return False
                    return found[0].status == "completed"

                await until(over, 1_400)
                output = tmp_path / "out.jsonl"
                async with sdk.files.with_streaming_response.content(found[0].output_file_id) as told:
                    await told.stream_to_file(output)
            names = [json.loads(row)["custom_id"] for row in output.read_text().splitlines()]
            assert sorted(names) == sorted(f"q{number}" for number in range(lines))
            assert found[0].error_file_id is None
            rows = await stored_rows(store, tenant.name)
            net = sum(row.cost_nano for row in rows)
            assert net == sum(line["nano"] for line in node.bill())
            assert most < MOST_PSS_KB


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("victim", ["nobody", "store", "worker"])
async def test_whoever_is_killed_meanwhile_every_line_is_answered_once(tmp_path, victim):
    lines, draw = 5_000, random.Random(victim)
    source = tmp_path / "in.jsonl"
    written(source, lines, 400)
    with Node(tmp_path / "node", workers=2, sim_batch_speed=600) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
        kills = 0
        async with tenant.sdk(timeout=60, max_retries=5) as sdk:
            with source.open("rb") as data:
                file = await sdk.files.create(file=("in.jsonl", data), purpose="batch")
            batch = await sdk.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="20m"
            )
            found = [batch]

            async def over():
                nonlocal kills
                try:
                    found[0] = await sdk.batches.retrieve(batch.id)
                except openai.APIError:
                    return False
                done = found[0].request_counts.completed
                if victim != "nobody" and done > lines * (kills + 1) / 5 and kills < 4:
                    kills += 1
                    os.kill(node.store_pid() if victim == "store" else draw.choice(node.worker_pids()), signal.SIGKILL)
                    await asyncio.sleep(1)
                return found[0].status == "completed"

            await until(over, 1_200)
            output = (await sdk.files.content(found[0].output_file_id)).text
        assert kills == (0 if victim == "nobody" else 4)
        names = [json.loads(row)["custom_id"] for row in output.splitlines()]
        assert sorted(names) == sorted(f"q{number}" for number in range(lines))
        async with node.store() as store:
            tenant.store = store

            async def nothing_held():
                return not await tenant.holds()

            await until(nothing_held, 90)
            rows = await stored_rows(store, tenant.name)
        answered = collections.Counter("/".join(row.attempt.split("/")[:2]) for row in rows if row.outcome == "ok")
        bill = node.bill()
        twice = [name for name, times in answered.items() if times > 1]
        metered = {
            tier: sum(row.cost_nano for row in rows if row.tier == tier and row.certainty == "metered")
            for tier in ("batch", "realtime")
        }
        billed = {tier: sum(line["nano"] for line in bill if line["tier"] == tier) for tier in ("batch", "realtime")}
        assert metered["batch"] == billed["batch"]
        if victim == "worker":
            # What a worker was at when it was killed had been asked, and is asked again.
            assert metered["realtime"] <= billed["realtime"]
            assert len(bill) - lines <= 4 * 2 * 20
        else:
            assert not twice
            assert metered == billed
            assert len(bill) == lines

"""A large Message Batch, by Anthropic's SDK: taken in as it arrives, finished, merged and settled in little memory, malformed
requests and all.
"""

from __future__ import annotations

import anthropic
import pytest
from node import Node, Tenant, pss_kb
from store import stored_rows, until

REQUESTS = 4_000
MOST_PSS_KB = 300 * 1024
BAD = {
    "r3": ({"model": "no-such-model"}, "not known here"),
    "r5": ({"max_tokens": -4}, "at least 1"),
    "r7": ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages.0.role"),
    "r9": ({"stream": True}, "leave out stream"),
    "r11": ({"messages": [{"role": "user", "content": "x" * (9 << 20)}]}, "at most 8388608"),
}


def requests():
    filler = "The committee met on Tuesday and put the vote off for another week. "
    for number in range(REQUESTS):
        name = f"r{number}"
        content = f"Document {number}. {filler * 75}"
        params = {
            "model": "auto" if number % 3 else "claude-haiku-4-5",
            "max_tokens": 20,
            "messages": [{"role": "user", "content": content}],
        }
        yield {"custom_id": name, "params": params | BAD.get(name, ({}, ""))[0]}


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_thirty_megabytes_of_requests_come_back_once_each(tmp_path):
    with Node(tmp_path / "node", workers=2, sim_batch_speed=3600) as node:
        async with (
            node.store() as store,
            anthropic.AsyncAnthropic(base_url=node.url, api_key=node.new_key(), timeout=300) as sdk,
        ):
            tenant = Tenant(node, store)
            sdk.api_key = tenant.key
            batch = await sdk.messages.batches.create(requests=list(requests()))
            assert batch.request_counts.processing == REQUESTS
            most, found = 0, [batch]

            async def over():
                nonlocal most
                most = max(most, *(pss_kb(pid) for pid in node.worker_pids()))
                found[0] = await sdk.messages.batches.retrieve(batch.id)
                return found[0].processing_status == "ended"

            await until(over, 800)
            told = {}
            async for row in await sdk.messages.batches.results(batch.id):
                assert row.custom_id not in told
                told[row.custom_id] = row.result
            assert told.keys() == {f"r{number}" for number in range(REQUESTS)}
            errored = {name: result.error.error.message for name, result in told.items() if result.type == "errored"}
            assert errored.keys() == BAD.keys()
            for name, message in errored.items():
                assert BAD[name][1] in message
            rows = await stored_rows(store, tenant.name)
            assert sum(row.cost_nano for row in rows) == sum(line["nano"] for line in node.bill())
            assert most < MOST_PSS_KB

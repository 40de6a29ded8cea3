"""Idempotency keys, as the official SDK sends them, on a whole node."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading

import openai
import pytest
from node import Node, Tenant, bearer
from recorder import EVENTS, Given, completion
from store import until

ASKED = {"model": "rec/model", "messages": [{"role": "user", "content": "Say hello."}]}
KEY = {"Idempotency-Key": "order-17"}
PARTS = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}]},
    {"choices": [{"index": 0, "delta": {"content": "lo."}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}},
]


def events(_):
    lines = [f"data: {json.dumps({'id': 'c', 'object': 'chat.completion.chunk', **part})}\n\n" for part in PARTS]
    return Given(200, EVENTS, [line.encode() for line in (*lines, "data: [DONE]\n\n")])


def post(caller, headers=KEY, **fields):
    return caller.node.http.post(
        f"{caller.node.base_url}/chat/completions", json=ASKED | fields, headers=caller.headers | headers
    )


async def test_the_same_request_is_served_once_and_answered_again(caller, upstream):
    first, second = post(caller), post(caller)
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.content == first.content
    assert len(upstream.received) == 1
    assert "idempotent-replayed" not in first.headers
    told = second.headers
    assert (told["idempotent-replayed"], told["x-costrouter-replayed"]) == ("true", "key")
    assert told["x-costrouter-cost-usd"] == "0.000000000"
    assert told["x-costrouter-original-request-id"] == first.headers["x-request-id"] != told["x-request-id"]
    assert told["x-costrouter-model"] == "rec/model"
    assert (await caller.row()).cost_nano > 0


async def test_the_order_of_keys_and_white_space_make_no_other_request(caller, upstream):
    post(caller)
    again = caller.node.http.post(
        f"{caller.node.base_url}/chat/completions",
        content=json.dumps(dict(reversed(ASKED.items())), indent=2),
        headers=caller.headers | KEY | {"content-type": "application/json"},
    )
    assert again.headers["idempotent-replayed"] == "true"
    assert len(upstream.received) == 1


async def test_a_stream_is_answered_again_to_the_byte(caller, upstream):
    upstream.answer = events
    async with caller.sdk() as sdk:
        texts = []
        for _ in range(2):
            stream = await sdk.chat.completions.create(**ASKED, stream=True, extra_headers=KEY)
            texts.append("".join([c.choices[0].delta.content or "" async for c in stream if c.choices]))
    assert texts == ["Hello.", "Hello."]
    first, second = (
        post(caller, {"Idempotency-Key": "s"}, stream=True),
        post(caller, {"Idempotency-Key": "s"}, stream=True),
    )
    assert first.content == second.content
    assert second.headers["content-type"] == "text/event-stream"
    assert second.headers["idempotent-replayed"] == "true"
    assert len(upstream.received) == 2
    await caller.rows(2)


async def test_another_request_with_the_key_is_a_conflict_in_the_callers_dialect(caller, upstream):
    async with caller.sdk() as sdk:
        await sdk.chat.completions.create(**ASKED, extra_headers=KEY)
        for changes in ({"temperature": 0.5}, {"stream": True}):
            with pytest.raises(openai.ConflictError) as caught:
                await sdk.chat.completions.create(**ASKED, **changes, extra_headers=KEY)
            assert (caught.value.status_code, caught.value.code) == (409, "idempotency_conflict")
            assert "use a new key for a new request" in caught.value.message
            assert caught.value.response.headers["x-should-retry"] == "false"
        with pytest.raises(openai.ConflictError):
            await sdk.chat.completions.create(**ASKED, extra_headers=KEY | {"x-costrouter-quality": "0.9"})
    assert len(upstream.received) == 1


async def test_a_key_belongs_to_its_tenant_and_api_key(caller, upstream):
    post(caller)
    other = bearer(caller.node.new_key(tenant=caller.name))
    assert "idempotent-replayed" not in post(caller, other | KEY).headers
    assert "idempotent-replayed" not in post(Tenant(caller.node, caller.store)).headers
    assert len(upstream.received) == 3


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
async def test_a_key_that_is_none_is_refused(caller, key):
    answer = post(caller, {"Idempotency-Key": key})
    assert answer.status_code == 400
    assert "1 to 255 printable ASCII characters" in answer.json()["error"]["message"]


async def test_a_request_that_failed_gives_its_key_up(caller, upstream):
    upstream.answer = lambda _: Given(400, {}, [b'{"error": {"message": "no"}}'])
    assert post(caller).status_code == 400
    upstream.answer = completion
    assert "idempotent-replayed" not in post(caller).headers
    assert post(caller).headers["idempotent-replayed"] == "true"


class Slow:
    """Answers when it is let go."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self, received):
        assert self.go.wait(20)
        return completion(received) if not received.json.get("stream") else events(received)


async def test_two_at_once_run_once_and_the_second_waits_for_the_first(caller, upstream):
    slow = upstream.answer = Slow()
    async with caller.sdk() as sdk:
        asked = [asyncio.create_task(sdk.chat.completions.create(**ASKED, extra_headers=KEY)) for _ in range(5)]
        await until(lambda: upstream.received)
        await asyncio.sleep(0.2)
        slow.go.set()
        answers = await asyncio.gather(*asked)
    assert {answer.choices[0].message.content for answer in answers} == {"Hello."}
    assert len(upstream.received) == 1
    await caller.row()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_caller_who_gave_up_waiting_is_given_the_answer_when_it_asks_again(caller, upstream, streamed):
    slow = upstream.answer = Slow()
    async with caller.sdk(timeout=0.3) as sdk:
        with pytest.raises(openai.APITimeoutError):
            await sdk.chat.completions.create(**ASKED, stream=streamed, extra_headers=KEY)
    slow.go.set()
    answer = await asyncio.to_thread(post, caller, stream=streamed)
    assert answer.headers["idempotent-replayed"] == "true"
    assert (b"[DONE]" in answer.content) == streamed
    assert len(upstream.received) == 1
    assert (await caller.row()).certainty == "metered"


async def test_what_is_kept_tells_nothing_to_who_reads_the_store(caller):
    answer = post(caller)
    (key,) = await caller.store.call("KEYS", f"cr:{{{caller.name}}}:answer:*")
    entry = b"".join(await caller.store.call("HGETALL", key))
    for told in (b"Hello", b"order-17", b"Say hello", b"assistant", answer.headers["x-request-id"].encode()):
        assert told not in key + entry
    left_ms = await caller.store.call("PTTL", key)
    assert 23 * 3_600_000 < left_ms <= 24 * 3_600_000


@pytest.mark.soak
async def test_answers_outlive_a_killed_worker_and_a_key_does_not_die_with_one(tmp_path):
    with Node(tmp_path, workers=1, sim_speed=1) as node:
        async with node.store() as store:
            caller = Tenant(node, store)
            body = {"model": "openai/gpt-4o-mini"}
            first = post(caller, **body)
            assert first.status_code == 200
            async with caller.sdk() as sdk:
                lost = asyncio.create_task(
                    sdk.chat.completions.create(**ASKED | body, extra_headers={"Idempotency-Key": "2"})
                )
                await asyncio.sleep(0.15)
                (pid,) = node.worker_pids()
                os.kill(pid, signal.SIGKILL)
                with pytest.raises(openai.APIConnectionError):
                    await lost
            await until(lambda: node.worker_pids() and node.worker_pids() != [pid], 20)
            again = await asyncio.to_thread(post, caller, **body)
            assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
            anew = await asyncio.to_thread(post, caller, {"Idempotency-Key": "2"}, **body)
            assert anew.status_code == 200
            assert "idempotent-replayed" not in anew.headers
            assert len(await caller.rows(3)) == 3

"""The cache of answers, by policy, on a whole node: what is given again, to whom, and how it is booked."""

from __future__ import annotations

import json

import pytest
from catalog_files import CATALOG, EVERYTHING
from node import Node, Tenant, bearer
from recorder import EVENTS, JSON, Given, Recorder
from store import until

ASKED = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}
POLICIES = {
    "default": EVERYTHING + "cache: {ttl: 1h}\n",
    "by-user": EVERYTHING.replace("policy: default", "policy: by-user")
    + "cache: {ttl: 2s, share: user, sampled: true}\n",
    "none": EVERYTHING.replace("policy: default", "policy: none"),
}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def spoken(received):
    """Says how many requests came so far."""
    text, asked = f"Hello {len(spoken.received)}.", received.json
    if not asked.get("stream"):
        message = {"role": "assistant", "content": text} | asked.get("metadata", {}).get("says", {})
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}
        return Given(200, JSON, [json.dumps(body).encode()])
    parts = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": USAGE},
    ]
    if asked.get("seed") == 13:  # one that breaks off
        return Given(200, EVENTS, [f"data: {json.dumps(parts[0])}\n\n".encode()])
    lines = [f"data: {json.dumps({'id': 'c', 'object': 'chat.completion.chunk', **part})}\n\n" for part in parts]
    return Given(200, EVENTS, [line.encode() for line in (*lines, "data: [DONE]\n\n")])


@pytest.fixture(scope="module")
def recorder():
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def cached_node(tmp_path_factory, recorder):
    folder = tmp_path_factory.mktemp("cached")
    (folder / "policies" / "catalog").mkdir(parents=True)
    for name, text in POLICIES.items():
        (folder / "policies" / f"{name}.yaml").write_text(text)
    text = CATALOG.format(name="rec", name_upper="REC", url=f"{recorder.url}/v1", bills="true")
    (folder / "policies" / "catalog" / "rec.yaml").write_text(text)
    with Node(folder, policies=folder / "policies", REC_KEY="sk-provider-secret") as node:
        yield node


@pytest.fixture
async def caller(cached_node, recorder):
    recorder.reset()
    spoken.received = recorder.received
    recorder.answer = spoken
    async with cached_node.store() as store:
        yield Tenant(cached_node, store)


def post(caller, *, headers=(), **fields):
    answer = caller.node.http.post(
        f"{caller.node.base_url}/chat/completions", json=ASKED | fields, headers=caller.headers | dict(headers)
    )
    assert answer.status_code == 200, answer.text
    return answer


async def kept(caller, count=1):
    """Until so many answers are kept: nobody waits for that."""

    async def there():
        return await caller.store.call("ZCARD", f"cr:{{{caller.name}}}:answers") >= count

    await until(there)


async def test_the_same_question_is_answered_for_nothing_and_booked_as_saved(caller, recorder):
    first = post(caller)
    assert first.headers["x-costrouter-cache"] == "miss"
    await kept(caller)
    second = post(caller, user="somebody else")
    assert second.content == first.content
    told = second.headers
    assert (told["x-costrouter-cache"], told["x-costrouter-tier"]) == ("hit", "cache")
    assert told["x-costrouter-cost-usd"] == "0.000000000"
    assert told["x-costrouter-saved-usd"] == first.headers["x-costrouter-baseline-cost-usd"] != "0.000000000"
    assert told["x-costrouter-original-request-id"] == first.headers["x-request-id"]
    assert len(recorder.received) == 1
    rows = {row.tier: row for row in await caller.rows(2)}
    paid, free = rows["realtime"], rows["cache"]
    assert (free.cost_nano, free.prompt_tokens, free.completion_tokens, free.certainty) == (0, 0, 0, "metered")
    assert (free.model, free.provider, free.baseline_nano) == (paid.model, paid.provider, paid.baseline_nano)
    found = caller.node.spend(tenant=caller.name, group_by="tier")
    by_tier = {line["tier"]: line for line in found["data"]}
    assert by_tier["cache"]["modelled_saving_usd"] == by_tier["realtime"]["baseline_cost_usd"]
    assert found["total"]["cost_nano"] == paid.cost_nano
    assert (found["total"]["requests"], found["total"]["prompt_tokens"]) == (2, paid.prompt_tokens)


async def test_a_stream_is_given_again_with_its_cost_at_nought(caller, recorder):
    first = post(caller, stream=True, stream_options={"include_usage": True})
    await kept(caller)
    second = post(caller, stream=True, stream_options={"include_usage": True})
    assert second.headers["content-type"] == "text/event-stream"
    assert b": x-costrouter-cost-usd=0.000000000" in second.content
    assert b": x-costrouter-cost-usd=0.000000000" not in first.content
    events = [json.loads(line[6:]) for line in second.text.splitlines() if line.startswith("data: {")]
    assert [event["usage"]["cost_usd"] for event in events if event.get("usage")] == ["0.000000000"]
    assert second.text.rstrip().endswith("data: [DONE]")
    assert len(recorder.received) == 1
    assert "x-costrouter-cache" in post(caller).headers  # plain is another question than streamed
    assert len(recorder.received) == 2


async def test_an_answer_stays_with_its_tenant_and_its_policy(caller, recorder):
    post(caller)
    await kept(caller)
    assert post(Tenant(caller.node, caller.store)).headers["x-costrouter-cache"] == "miss"
    assert post(caller, headers={"x-costrouter-policy": "by-user"}).headers["x-costrouter-cache"] == "miss"
    assert "x-costrouter-cache" not in post(caller, headers={"x-costrouter-policy": "none"}).headers
    assert len(recorder.received) == 4
    colleague = bearer(caller.node.new_key(tenant=caller.name))
    assert post(caller, headers=colleague).headers["x-costrouter-cache"] == "hit"


async def test_a_policy_may_have_answers_shared_less_and_sampled_ones_kept_for_so_long_as_it_says(caller):
    ours = {"x-costrouter-policy": "by-user"}
    post(caller, headers=ours, user="u1", temperature=0.7)
    await kept(caller)
    assert post(caller, headers=ours, user="u1", temperature=0.7).headers["x-costrouter-cache"] == "hit"
    assert post(caller, headers=ours, user="u2", temperature=0.7).headers["x-costrouter-cache"] == "miss"

    def anew():
        return post(caller, headers=ours, user="u1", temperature=0.7).headers["x-costrouter-cache"] == "miss"

    await until(anew)


async def test_the_caller_may_want_a_new_answer_or_none_kept(caller):
    first = post(caller)
    await kept(caller)
    assert "x-costrouter-cache" not in post(caller, headers={"cache-control": "no-store"}).headers
    refreshed = post(caller, headers={"cache-control": "no-cache"})
    assert refreshed.headers["x-costrouter-cache"] == "miss"

    def given():
        return post(caller).content

    await until(lambda: given() == refreshed.content)
    assert refreshed.content != first.content


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.9},
        {
            "metadata": {
                "says": {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
            }
        },
        {"stream": True, "seed": 13},
    ],
)
async def test_what_is_sampled_acts_or_breaks_off_is_not_kept(caller, recorder, fields):
    for _ in range(2):
        post(caller, **fields)
    post(caller, seed=1)
    await kept(caller)
    assert len(recorder.received) == 3
    assert await caller.store.call("ZCARD", f"cr:{{{caller.name}}}:answers") == 1


async def test_a_hit_needs_no_room_in_a_budget(caller):
    post(caller)
    await kept(caller)
    body = {"scope": {"tenant": caller.name}, "limit_usd": "0", "period": "total"}
    url = f"{caller.node.url}/costrouter/v1/budgets"
    assert caller.node.http.post(url, json=body, headers=bearer(caller.node.admin_key)).status_code == 201

    def refused():
        answer = caller.node.http.post(
            f"{caller.node.base_url}/chat/completions", json=ASKED | {"seed": 5}, headers=caller.headers
        )
        return answer.status_code == 402

    await until(refused)
    assert post(caller).headers["x-costrouter-cache"] == "hit"

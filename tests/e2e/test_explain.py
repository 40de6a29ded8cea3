"""Why a request went where it went, asked of a running node."""

from __future__ import annotations

import json

import openai
import pytest
from node import bearer
from store import until

HI = [{"role": "user", "content": "Tell me about plans."}]


def asked(tenant, request_id, secret=None):
    url = f"{tenant.node.url}/costrouter/v1/decisions/{request_id}"
    return tenant.node.http.get(url, headers=bearer(secret or tenant.key))


async def explained(tenant, request_id, secret=None):
    """By any worker, once the one that decided has written it down."""
    await until(lambda: asked(tenant, request_id, secret).status_code == 200)
    return asked(tenant, request_id, secret).json()


async def test_a_decision_is_explained_by_its_requests_id(sdk, tenant):
    raw = await sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=HI)
    request_id = raw.headers["x-costrouter-request-id"]
    told = await explained(tenant, request_id)
    row = await tenant.row()
    chosen = told["chosen"]
    assert (told["id"], told["snapshot"], told["policy"]) == (request_id, row.snapshot, row.policy)
    assert (chosen["model"], chosen["provider"], chosen["tier"]) == (row.model, row.provider, row.tier)
    assert chosen["estimated_cost_usd"] == raw.headers["x-costrouter-estimated-cost-usd"]
    assert told["baseline"]["model"] == "openai/gpt-4o"
    assert sum(candidate["chosen"] for candidate in told["candidates"]) == 1
    assert "Tell me" not in str(told)


async def test_a_refusal_is_explained_too(sdk, tenant):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        await sdk.chat.completions.create(model="narrow", messages=HI)
    told = await explained(tenant, caught.value.response.headers["x-costrouter-request-id"])
    assert told["chosen"] is None
    assert told["refusal"] == caught.value.body["message"]


async def test_nobody_else_sees_a_decision(sdk, tenant):
    raw = await sdk.chat.completions.with_raw_response.create(model="auto", messages=HI)
    request_id = raw.headers["x-costrouter-request-id"]
    await explained(tenant, request_id)
    other = tenant.node.http.post(
        f"{tenant.node.url}/costrouter/v1/keys",
        headers=bearer(tenant.node.admin_key),
        json={"name": "o", "tenant": "x"},
    ).json()["key"]
    answer = asked(tenant, request_id, other)
    told = answer.json()
    assert (answer.status_code, told["error"]["code"]) == (404, "not_found")
    assert "COSTROUTER_DECISIONS_MB" in told["error"]["message"]
    assert (await explained(tenant, request_id, tenant.node.admin_key))["tenant"] == tenant.name


async def test_the_command_explains_what_was_decided(sdk, tenant):
    raw = await sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=HI)
    request_id = raw.headers["x-costrouter-request-id"]
    # At once, and by whichever worker answers: it waits for the one that decided.
    told = tenant.node.run("explain", request_id, "--sources")
    assert told.returncode == 0, told.stderr
    assert raw.headers["x-costrouter-policy"] in told.stdout
    assert "CHOSEN" in told.stdout
    assert "= openai/gpt-4o" in told.stdout.replace("  ", " ")
    assert "Would flip if:" in told.stdout
    assert "whatmodel.sh" in told.stdout
    line = tenant.node.run("explain", request_id, "--json").stdout
    assert json.loads(line)["id"] == request_id


def test_the_command_explains_a_file_of_several(node, tmp_path):
    body = {"model": "auto", "messages": HI}
    path = tmp_path / "several.jsonl"
    path.write_text("\n".join(map(json.dumps, (body, {"custom_id": "1", "body": {**body, "model": "gpt-4o"}}))))
    told = node.run("explain", str(path), "--json")
    assert told.returncode == 0, told.stderr
    assert [json.loads(line)["asked_model"] for line in told.stdout.splitlines()] == ["auto", "gpt-4o"]
    assert node.bill() == []


def test_the_command_shows_what_each_tier_bids_under_a_deadline(node):
    body = json.dumps({"model": "gpt-4.1-mini", "messages": HI})
    told = node.run("explain", "-", "--deadline", "4h", stdin=body).stdout
    bids = told.partition("Bids, for an answer within 4 h 0 min:")[2].partition("Would flip")[0].splitlines()
    shown = [line for line in bids if "@" in line]
    assert shown[0].startswith("✓"), "the least expected cost first"
    assert " batch " in shown[0]
    assert any(" batch " not in line for line in shown), "real time bids, too"
    assert "Bids" not in node.run("explain", "-", stdin=body).stdout
    refused = node.run("explain", "req_0123456789ab00000001", "--deadline", "4h")
    assert (refused.returncode, "--deadline are for files" in refused.stderr) == (1, True)


def test_the_command_says_what_it_cannot_explain(node, tmp_path):
    for what, why in (("req_0123456789ab", "No decision"), ("req_1", "20 hexadecimal"), (str(tmp_path), "directory")):
        told = node.run("explain", what)
        assert told.returncode == 1
        assert why in told.stderr
    told = node.run("explain", "req_0123456789ab00000001", "--policy", "default")
    assert "are for files" in told.stderr


async def test_an_answer_carries_its_explanation_where_that_is_asked_for(sdk):
    asked_for = {"x-costrouter-explain": "true"}
    raw = await sdk.chat.completions.with_raw_response.create(model="auto", messages=HI, extra_headers=asked_for)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.costrouter["chosen"]["model"] == raw.headers["x-costrouter-model"]
    assert answer.costrouter["would_flip"]
    plain = await sdk.chat.completions.create(model="auto", messages=HI)
    assert not hasattr(plain, "costrouter")


async def test_a_stream_carries_its_explanation_in_a_comment(tenant, web):
    body = {"model": "auto", "messages": HI, "stream": True}
    headers = {**tenant.headers, "x-costrouter-explain": "true"}
    async with web.post(f"{tenant.node.base_url}/chat/completions", json=body, headers=headers) as response:
        text = await response.text()
    comment, _, rest = text.partition("\n\n")
    told = json.loads(comment.removeprefix(": x-costrouter-explanation="))
    assert told["chosen"]["model"] == response.headers["x-costrouter-model"]
    assert rest.startswith("data: {")
    assert rest.endswith("data: [DONE]\n\n")


def test_administrators_explain_as_for_any_team_and_app(node):
    body = json.dumps({"model": "auto", "messages": HI})
    assert node.run("explain", "-", "--team", "search", "--app", "faq", stdin=body).returncode == 0


async def test_an_answer_says_what_would_have_been_cheaper(sdk):
    raw = await sdk.chat.completions.with_raw_response.create(model="openai/gpt-5-mini", messages=HI)
    hint = raw.headers["x-costrouter-could-be-cheaper"]
    assert "-50" in hint
    assert "openai/gpt-5-mini" in hint

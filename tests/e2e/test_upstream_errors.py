"""What becomes of a provider's errors: the SDK's exceptions, honest statuses, nothing of the provider's secrets."""

from __future__ import annotations

import asyncio
import time

import openai
import pytest
from books import costs_one_try
from recorder import JSON, Given, says

HI = [{"role": "user", "content": "hi"}]


async def failed(tenant, error, model="openai/gpt-4o-mini", **options):
    async with tenant.sdk(**options) as sdk:
        with pytest.raises(error) as caught:
            await sdk.chat.completions.create(model=model, messages=HI)
    return caught.value


async def test_a_rate_limit_passes_its_retry_after_and_the_sdk_obeys(node, tenant):
    node.faults({"kind": "rate_limit", "retry_after": 1, "times": 1})
    began = time.monotonic()
    async with tenant.sdk(max_retries=1) as sdk:
        answer = await sdk.chat.completions.create(model="openai/gpt-4o-mini", messages=HI)
    assert answer.choices
    assert time.monotonic() - began >= 0.9
    limited, served = await tenant.rows(2)
    assert (limited.outcome, limited.status, limited.cost_nano, limited.certainty) == (
        "upstream_error",
        429,
        0,
        "metered",
    )
    assert served.outcome == "ok"


async def test_a_rate_limit_is_the_sdks_rate_limit_error(node, tenant):
    node.faults({"kind": "rate_limit", "retry_after": 7})
    error = await failed(tenant, openai.RateLimitError)
    assert (error.code, error.response.headers["retry-after"]) == ("rate_limited", "7")
    assert "openai limits the rate" in str(error)


@pytest.mark.parametrize(
    ("rule", "said", "again"),
    [
        ({"kind": "status", "status": 500}, (502, "upstream_error"), True),
        ({"kind": "status", "status": 502}, (502, "upstream_error"), True),
        ({"kind": "status", "status": 503}, (503, "upstream_unavailable"), True),
        ({"kind": "unauthorized"}, (502, "upstream_refused_credentials"), False),
        ({"kind": "status", "status": 403}, (502, "upstream_refused_credentials"), False),
        ({"kind": "quota"}, (502, "upstream_billing"), False),
        ({"kind": "garbage"}, (502, "upstream_bad_response"), False),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
async def test_a_providers_failure_is_a_server_error_tried_again_only_where_it_helps(node, tenant, rule, said, again):
    node.faults(rule)
    error = await failed(tenant, openai.InternalServerError, max_retries=1)
    assert (error.status_code, error.code) == said
    assert node.fault_hits() == [2 if again else 1]
    rows = await tenant.rows(2 if again else 1)
    free = rule["kind"] != "garbage"
    assert all((row.cost_nano == 0) is free for row in rows)
    assert "Incorrect API key" not in str(error)
    assert "do not have access" not in str(error)


async def test_the_providers_400_reaches_the_caller_with_its_own_words(node, tenant, sdk):
    with pytest.raises(openai.BadRequestError, match="stop") as caught:
        await sdk.chat.completions.create(model="openai/gpt-4o-mini", messages=HI, stop=["a", "b", "c", "d", "e"])
    assert caught.value.param == "stop"
    row = await tenant.row()
    assert (row.status, row.cost_nano) == (400, 0)
    assert node.bill() == []


async def test_a_refused_connection_is_told_and_costs_nothing(caller):
    error = await failed(caller, openai.InternalServerError, "dead/model")
    assert (error.status_code, error.code) == (502, "upstream_unreachable")
    await caller.rows(0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_silent_provider_is_a_gateway_timeout_and_its_cost_estimated(node, tenant, stream):
    node.faults({"kind": "slow_first_byte", "delay_ms": 60_000})
    async with tenant.sdk() as sdk:
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.chat.completions.create(model="openai/gpt-oss-20b@groq", messages=HI, stream=stream)
    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")
    row = await tenant.row()
    assert (row.outcome, row.certainty) == ("upstream_interrupted", "estimated")
    assert costs_one_try(row)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 50_000, b"<html>"],
)
async def test_a_200_without_an_answer_is_a_bad_response(caller, upstream, body):
    upstream.answer = says(200, body)
    error = await failed(caller, openai.InternalServerError, "rec/model")
    assert error.code == "upstream_bad_response"
    row = await caller.row()
    assert (row.outcome, row.certainty) == ("upstream_error", "estimated")


@pytest.mark.parametrize("body", [b'{"choices":[]}', b'{"choices":[{"message":null}]}'])
async def test_an_empty_answer_is_passed_on_and_its_prompt_counted(caller, upstream, body):
    upstream.answer = says(200, body)
    async with caller.sdk() as sdk:
        answer = await sdk.chat.completions.with_raw_response.create(model="rec/model", messages=HI)
    assert answer.content == body
    row = await caller.row()
    assert (row.outcome, row.certainty, row.completion_tokens) == ("ok", "counted", 0)
    assert row.prompt_tokens > 0


@pytest.mark.parametrize("pieces", [[], [b""], [b"data: [DONE]\n\n"], [b": hello\n\n"], [b"data: {}\n\n", b"x" * 100]])
async def test_an_event_stream_without_an_answer_hangs_nobody_and_is_booked(caller, upstream, pieces):
    upstream.answer = lambda _: Given(200, {"content-type": "text/event-stream"}, pieces)
    async with caller.sdk() as sdk, asyncio.timeout(5):
        try:
            stream = await sdk.chat.completions.create(model="rec/model", messages=HI, stream=True)
            assert [chunk async for chunk in stream if chunk.choices] == []
        except openai.APIError as error:
            assert error.code == "upstream_interrupted"  # noqa: PT017 - both ends are right, depending on the pieces
    await caller.rows(1)


async def test_secrets_in_a_providers_error_stay_here(caller, upstream):
    upstream.answer = says(401, {"error": {"message": "sk-provider-secret is wrong", "code": "invalid_api_key"}})
    error = await failed(caller, openai.InternalServerError, "rec/model")
    assert "sk-provider" not in error.response.text
    assert "sk-provider" not in caller.node.log


async def test_a_redirect_is_not_followed(caller, upstream):
    upstream.answer = lambda _: Given(302, JSON | {"location": "http://127.0.0.1:1/"}, [b""])
    error = await failed(caller, openai.InternalServerError, "rec/model")
    assert error.code == "upstream_error"
    assert len(upstream.received) == 1

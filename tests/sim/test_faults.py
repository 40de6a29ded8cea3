import asyncio
import json

import aiohttp
import openai
import pytest

BODY = {"model": "gpt-small", "messages": [{"role": "user", "content": "hi"}]}
FLASH = {"model": "deepseek-flash", "messages": [{"role": "user", "content": "hi"}], "stream": True}
KEY = {"Authorization": "Bearer k"}


async def received(sim, path, body):
    """What of an answer arrived, and the exception that ended it."""
    text = b""
    try:
        async with sim.session.post(sim.url + path, json=body, headers=KEY) as response:
            async for data in response.content.iter_any():
                text += data
    except aiohttp.ClientError as error:
        return text.decode(), type(error)
    return text.decode(), None


def chat(sim, body):
    path = "/deepseek/v1/chat/completions" if body is FLASH else "/openai/v1/chat/completions"
    return received(sim, path, body)


async def settled(sim, count=1):
    """The bill, once it has so many lines."""
    for _ in range(100):
        lines = await sim.bill()
        if len(lines) >= count:
            return lines
        await asyncio.sleep(0.02)
    raise AssertionError("the call was not billed")


@pytest.mark.parametrize(
    ("rule", "error", "status", "code"),
    [
        ({"kind": "status"}, openai.InternalServerError, 500, None),
        ({"kind": "status", "status": 503}, openai.InternalServerError, 503, None),
        ({"kind": "status", "status": 400}, openai.BadRequestError, 400, None),
        ({"kind": "rate_limit", "retry_after": 7}, openai.RateLimitError, 429, "rate_limit_exceeded"),
        ({"kind": "quota"}, openai.RateLimitError, 429, "insufficient_quota"),
        ({"kind": "unauthorized"}, openai.AuthenticationError, 401, "invalid_api_key"),
    ],
)
async def test_error_answers_are_the_sdks_exceptions_and_cost_nothing(sim, rule, error, status, code):
    await sim.faults(rule)
    async with sim.openai() as client:
        with pytest.raises(error) as caught:
            await client.chat.completions.create(**BODY)
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert caught.value.response.headers.get("retry-after") == ("7" if rule["kind"] == "rate_limit" else None)
    assert await sim.bill() == []


async def test_a_rule_wears_out_after_its_times(sim):
    await sim.faults({"kind": "status", "times": 2})
    assert [(await sim.chat("openai", "gpt-small"))[0] for _ in range(3)] == [500, 500, 200]


async def test_a_rule_hits_only_its_provider_and_model(sim):
    await sim.faults({"kind": "status", "provider": "openai", "model": "openai/small"})
    assert (await sim.chat("openai", "gpt-small"))[0] == 500
    assert (await sim.chat("openai", "gpt-thinker"))[0] == 200
    assert (await sim.chat("groq", "llama-groq"))[0] == 200


async def test_a_rule_hits_with_its_probability(sim):
    await sim.faults({"kind": "status", "probability": 0.3})
    failed = sum([(await sim.chat("groq", "llama-groq", max_tokens=1))[0] == 500 for _ in range(200)])
    assert 30 < failed < 90


async def test_rules_are_listed_with_hits_and_cleared(sim):
    await sim.faults({"kind": "status"}, {"kind": "quota", "provider": "groq"})
    await sim.chat("openai", "gpt-small")
    async with sim.session.get(f"{sim.url}/_sim/faults") as response:
        rules = await response.json()
    assert [(rule["kind"], rule["hits"]) for rule in rules] == [("status", 1), ("quota", 0)]
    async with sim.session.delete(f"{sim.url}/_sim/faults") as response:
        assert response.status == 204
    assert (await sim.chat("openai", "gpt-small"))[0] == 200


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"kind": "explode"}, "'garbage'"),
        ({}, "Supported values"),
        ({"kind": "status", "often": 3}, "no often; it may have kind"),
        ({"kind": "status", "times": "twice"}, "times cannot be a string"),
        ({"kind": "status", "status": 200}, "from 400 to 599"),
        ("reset", "expected an object"),
    ],
)
async def test_a_malformed_rule_is_refused_and_none_is_kept(sim, rule, words):
    status, _, answer = await sim.post("/_sim/faults", [{"kind": "quota"}, rule])
    assert status == 400
    assert words in answer["error"]["message"]
    assert (await sim.chat("openai", "gpt-small"))[0] == 200


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_reset_before_the_first_byte(sim, streamed):
    await sim.faults({"kind": "reset"})
    text, error = await chat(sim, BODY | {"stream": streamed})
    assert text == ""
    assert issubclass(error, (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError))


@pytest.mark.parametrize("kind", ["reset", "truncate", "error_event"])
async def test_a_stream_is_cut_after_so_many_chunks(sim, kind):
    await sim.faults({"kind": kind, "after_chunks": 3})
    text, error = await chat(sim, BODY | {"stream": True})
    events = [event for event in text.split("\n\n") if event]
    assert (error is not None) is (kind == "reset")
    assert "[DONE]" not in text
    assert '"finish_reason":"' not in text
    assert len(events) == (4 if kind == "error_event" else 3)
    if kind == "error_event":
        assert json.loads(events[-1][6:])["error"]["type"] == "server_error"


async def test_a_cut_later_than_the_answer_still_takes_its_end(sim):
    await sim.faults({"kind": "truncate", "after_chunks": 10_000})
    text, _ = await chat(sim, BODY | {"stream": True})
    assert '"finish_reason":"' not in text


@pytest.mark.parametrize("kind", ["reset", "truncate"])
async def test_a_plain_answer_is_cut_in_half(sim, kind):
    await sim.faults({"kind": kind, "after_chunks": 1})
    text, error = await chat(sim, BODY)
    assert (error is not None) is (kind == "reset")
    assert text.startswith('{"id"')
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


async def test_a_cut_stream_is_billed_in_full_where_the_provider_goes_on(sim):
    await sim.chat("openai", "gpt-small", "hi")
    await sim.faults({"kind": "reset", "after_chunks": 2})
    await chat(sim, BODY | {"stream": True})
    whole, cut = await settled(sim, 2)
    assert cut["completion"] == whole["completion"]
    assert (whole["complete"], cut["complete"]) == (True, False)


async def test_a_cut_stream_is_billed_as_far_as_it_came_elsewhere(sim):
    await sim.chat("deepseek", "deepseek-flash", "hi")
    for chunks in (0, 2, 5):
        await sim.faults({"kind": "reset", "after_chunks": chunks, "times": 1})
        await chat(sim, FLASH)
    whole, *cuts = await settled(sim, 4)
    assert cuts[0]["completion"] == 0 < cuts[1]["completion"] < cuts[2]["completion"] < whole["completion"]
    assert all(cut["prompt"] == whole["prompt"] and not cut["complete"] for cut in cuts)


async def test_a_stream_that_is_cut_after_its_meters_is_billed_by_them(sim):
    _, _, whole = await sim.chat("openai", "gpt-small", "hi")
    await sim.faults({"kind": "reset", "after_chunks": -1})
    text, error = await chat(sim, BODY | {"stream": True, "stream_options": {"include_usage": True}})
    assert error is not None
    assert '"usage":{' in text
    assert "[DONE]" not in text
    _, line = await settled(sim, 2)
    assert line["completion"] == whole["usage"]["completion_tokens"]


async def test_a_caller_who_leaves_is_billed_for_what_was_sent(start):
    sim = await start(speed=2)
    async with sim.session.post(f"{sim.url}/deepseek/v1/chat/completions", json=FLASH, headers=KEY) as response:
        await response.content.readany()
        response.close()
    (line,) = await settled(sim)
    assert not line["complete"]
    later = await start(speed=0)
    _, _, whole = await later.chat("deepseek", "deepseek-flash", "hi")
    assert line["completion"] < whole["usage"]["completion_tokens"]


async def test_a_caller_who_leaves_a_plain_call_pays_its_prompt(start):
    sim = await start(speed=0.1)
    body = {key: value for key, value in FLASH.items() if key != "stream"}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await sim.post("/deepseek/v1/chat/completions", body)
    (line,) = await settled(sim)
    assert line["prompt"] > 0
    assert line["completion"] == 0


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_stall_keeps_the_connection_open(sim, streamed):
    await sim.faults({"kind": "stall", "after_chunks": 2})
    url = f"{sim.url}/openai/v1/chat/completions"
    async with sim.session.post(url, json=BODY | {"stream": streamed}, headers=KEY) as response:
        assert await response.content.readany()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await response.content.read()
        response.close()
    (line,) = await settled(sim)
    assert not line["complete"]


async def test_a_stall_of_some_milliseconds_goes_on(sim):
    await sim.faults({"kind": "stall", "after_chunks": 2, "delay_ms": 50})
    text, error = await chat(sim, BODY | {"stream": True})
    assert error is None
    assert text.endswith("data: [DONE]\n\n")


async def test_a_slow_first_byte_is_late_by_its_delay(sim):
    await sim.faults({"kind": "slow_first_byte", "delay_ms": 150})
    loop = asyncio.get_running_loop()
    began = loop.time()
    status, _, _ = await sim.chat("openai", "gpt-small")
    assert status == 200
    # The loop tells whole milliseconds.
    assert loop.time() - began >= 0.149


async def test_garbage_is_200_and_no_json(sim):
    await sim.faults({"kind": "garbage"})
    for streamed in (False, True):
        status, headers, text = await sim.chat("openai", "gpt-small", stream=streamed)
        assert status == 200
        assert headers["content-type"].startswith("text/html")
        assert text.startswith("<html>")
    assert await sim.bill() == []


async def test_missing_usage_is_billed_all_the_same(sim):
    await sim.faults({"kind": "no_usage"})
    _, _, answer = await sim.chat("openai", "gpt-small")
    events = await sim.stream("openai", "gpt-small", stream_options={"include_usage": True})
    assert "usage" not in answer
    assert all(event["usage"] is None for event in events[:-1])
    assert [line["complete"] for line in await sim.bill()] == [True, True]


async def test_lies_vary_and_the_bill_is_true(sim):
    _, _, honest = await sim.chat("openai", "gpt-small")
    await sim.faults({"kind": "lying_usage"})
    lies = [(await sim.chat("openai", "gpt-small"))[2]["usage"] for _ in range(5)]
    assert len({json.dumps(lie) for lie in lies}) == 5
    assert all(lie != honest["usage"] for lie in lies)
    assert {line["completion"] for line in await sim.bill()} == {honest["usage"]["completion_tokens"]}


@pytest.mark.parametrize("kind", ["status", "reset", "garbage", "lying_usage", "no_usage"])
async def test_embeddings_suffer_too(sim, kind):
    await sim.faults({"kind": kind})
    text, error = await received(sim, "/openai/v1/embeddings", {"model": "text-embedding-3-small", "input": "a b"})
    if kind == "reset":
        assert error is not None
    else:
        assert '"usage":{"prompt_tokens":2,"total_tokens":2}' not in text


async def test_the_bill_can_be_reset(sim):
    await sim.chat("openai", "gpt-small")
    assert (await sim.totals())["total"]["calls"] == 1
    async with sim.session.delete(f"{sim.url}/_sim/bill") as response:
        assert response.status == 204
    assert (await sim.totals())["total"] == {
        "calls": 0, "incomplete": 0, "prompt": 0, "cached": 0, "cache_write": 0, "completion": 0, "reasoning": 0,
        "cache_write_1h": 0, "dollars": "0.000000000000", "nano": 0,
    }  # fmt: skip

"""Bedrock's Converse as the simulator speaks it: Amazon's own SDK is the judge, of signatures and framing too."""

import asyncio
import contextlib

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

CLAUDE = "global.anthropic.claude-v1:0"
PLANS = [{"role": "user", "content": [{"text": "Tell me about plans."}]}]
TOOLS = {
    "tools": [
        {
            "toolSpec": {
                "name": name,
                "inputSchema": {"json": {"type": "object", "properties": {"place": {"type": "string"}}}},
            }
        }
        for name in ("get_weather", "get_time")
    ]
}


class Bedrock:
    """Botocore's client, which blocks, beside the loop that serves it."""

    def __init__(self, url):
        self.client = botocore.session.get_session().create_client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=f"{url}/bedrock/v1",
            aws_access_key_id="AKID",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )

    async def converse(self, **asked):
        return await asyncio.to_thread(self.client.converse, **{"modelId": CLAUDE, "messages": PLANS, **asked})

    async def stream(self, **asked):
        def run():
            answer = self.client.converse_stream(**{"modelId": CLAUDE, "messages": PLANS, **asked})
            with contextlib.closing(answer["stream"]) as stream:
                return list(stream)

        return await asyncio.to_thread(run)


@pytest.fixture
def bedrock(sim):
    found = Bedrock(sim.url)
    yield found
    found.client.close()


async def test_an_answer_its_meters_and_the_bill(sim, bedrock):
    answer, (line,) = await bedrock.converse(), await sim.bill()
    usage = answer["usage"]
    assert answer["output"]["message"]["content"][0]["text"]
    assert answer["stopReason"] == "end_turn"
    assert (usage["inputTokens"], usage["outputTokens"]) == (line["prompt"], line["completion"])
    assert usage["totalTokens"] == line["prompt"] + line["completion"]


async def test_a_stream_says_the_same(sim, bedrock):
    plain, events = await bedrock.converse(), await bedrock.stream()
    said = "".join(event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event)
    assert said == plain["output"]["message"]["content"][0]["text"]
    assert events[-1]["metadata"]["usage"] == plain["usage"]
    assert [line["complete"] for line in await sim.bill()] == [True, True]


async def test_calls_made_at_once_and_their_results(bedrock):
    asks = [{"role": "user", "content": [{"text": "What are the weather and the time in Paris?"}]}]
    answer = await bedrock.converse(messages=asks, toolConfig=TOOLS)
    message = answer["output"]["message"]
    calls = [block["toolUse"] for block in message["content"]]
    assert [call["name"] for call in calls] == ["get_weather", "get_time"]
    results = [{"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "fine"}]}} for call in calls]
    again = [*asks, message, {"role": "user", "content": results}]
    assert (await bedrock.converse(messages=again, toolConfig=TOOLS))["output"]["message"]["content"][0]["text"]
    with pytest.raises(ClientError, match="The number of toolResult blocks"):
        await bedrock.converse(messages=[*asks, message, {"role": "user", "content": results[:1]}], toolConfig=TOOLS)
    with pytest.raises(ClientError, match="toolConfig field must be defined"):
        await bedrock.converse(messages=again)


async def test_what_is_cached_is_told_apart(sim, bedrock):
    system = [
        {"text": "All work and no play makes a dull day. " * 300},
        {"cachePoint": {"type": "default", "ttl": "1h"}},
    ]
    first, second = await bedrock.converse(system=system), await bedrock.converse(system=system)
    written = first["usage"]["cacheWriteInputTokens"]
    assert written == second["usage"]["cacheReadInputTokens"] > 1024
    assert first["usage"]["cacheDetails"] == [{"ttl": "1h", "inputTokens": written}]
    assert [line["cache_write_1h"] for line in await sim.bill()] == [written, 0]


async def test_a_tier_is_served_where_it_is_sold(sim, bedrock):
    for tier, served in (("flex", "flex"), ("priority", "default")):
        assert (await bedrock.converse(serviceTier={"type": tier}))["serviceTier"] == {"type": served}
    assert [line["tier"] for line in await sim.bill()] == ["flex", "realtime"]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"kind": "rate_limit"}, "ThrottlingException"),
        ({"kind": "status", "status": 503}, "ServiceUnavailableException"),
        ({"kind": "unauthorized"}, "AccessDeniedException"),
    ],
)
async def test_errors_are_of_amazon_s_shape(sim, bedrock, rule, code):
    await sim.faults(rule)
    with pytest.raises(ClientError) as refused:
        await bedrock.converse()
    assert refused.value.response["Error"]["Code"] == code


async def test_an_exception_within_a_stream(sim, bedrock):
    await sim.faults({"kind": "error_event", "after_chunks": 3})
    with pytest.raises(EventStreamError, match="overloaded"):
        await bedrock.stream()


async def test_keys(sim):
    path, body = f"/bedrock/v1/model/{CLAUDE.replace(':', '%3A')}/converse", {"messages": PLANS}
    told = [(await sim.post(path, body, key=key))[0] for key in ("k", "wrong-key", "")]
    assert told == [200, 403, 403]
    async with sim.session.post(sim.url + path.replace("/bedrock", "/openai"), json=body) as response:
        assert response.status == 404

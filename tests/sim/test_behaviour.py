import asyncio
import json
import math
import random
import statistics
from pathlib import Path

import pytest
from pydantic import BaseModel

from router.sim.catalog import Latency, load
from router.sim.plan import draw_length, draw_pace

MODELS = load(Path(__file__).parent / "catalog")["openai"].models
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
            "required": ["city", "unit"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


class Step(BaseModel):
    """Part of a structured answer."""

    explanation: str
    minutes: int


class Plan(BaseModel):
    """A structured answer."""

    steps: list[Step]
    done: bool


def said(content):
    return [{"role": "user", "content": content}]


def test_output_lengths_have_the_catalogs_mean_and_ninetieth():
    rng = random.Random(5)
    lengths = sorted(draw_length(MODELS["gpt-small"], rng) for _ in range(20_000))
    assert statistics.mean(lengths) == pytest.approx(60, rel=0.05)
    assert lengths[18_000] == pytest.approx(140, rel=0.08)


def test_first_tokens_take_the_catalogs_quantiles():
    rng = random.Random(5)
    latency = Latency(ttft_p50_ms=300, ttft_p95_ms=700, tpot_ms=10)
    paces = [draw_pace(latency, rng, 2.0) for _ in range(20_000)]
    first = sorted(pace.first for pace in paces)
    assert first[10_000] == pytest.approx(0.15, rel=0.05)
    assert first[19_000] == pytest.approx(0.35, rel=0.05)
    assert math.exp(statistics.mean(math.log(pace.each) for pace in paces)) == pytest.approx(0.005, rel=0.02)


def test_at_speed_zero_nothing_is_waited_for():
    assert draw_pace(Latency(300, 700, 10), random.Random(1), 0).first == 0


async def test_the_same_prompt_has_the_same_answer_in_another_process(start):
    answers = [await (await start()).chat("openai", "gpt-small", "why?") for _ in range(2)]
    assert answers[0][2]["choices"] == answers[1][2]["choices"]


async def test_prompt_seed_and_model_change_the_answer(sim):
    bodies = [
        await sim.chat("openai", "gpt-small", "why?"),
        await sim.chat("openai", "gpt-small", "why not?"),
        await sim.chat("openai", "gpt-small", "why?", seed=7),
        await sim.chat("groq", "llama-groq", "why?"),
    ]
    assert len({body["choices"][0]["message"]["content"] for _, _, body in bodies}) == 4


async def test_max_tokens_cuts_the_answer(sim):
    _, _, answer = await sim.chat("openai", "gpt-small", max_completion_tokens=3)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


async def test_reasoning_counts_against_the_limit(sim):
    _, _, answer = await sim.chat("openai", "gpt-thinker", max_completion_tokens=2)
    assert answer["choices"][0]["message"]["content"] == ""
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2 == answer["usage"]["completion_tokens_details"]["reasoning_tokens"]


async def test_more_effort_is_more_reasoning(sim):
    spent = []
    for effort in ("none", "low", "high"):
        _, _, answer = await sim.chat("openai", "gpt-thinker", reasoning_effort=effort)
        spent.append(answer["usage"]["completion_tokens_details"]["reasoning_tokens"])
    assert spent[0] == 0 < spent[1] < spent[2]


async def test_a_stop_sequence_ends_the_answer_before_it(sim):
    _, _, whole = await sim.chat("openai", "gpt-small")
    text = whole["choices"][0]["message"]["content"]
    _, _, cut = await sim.chat("openai", "gpt-small", stop=["no such text", text[10:14]])
    assert cut["choices"][0]["message"]["content"] == text[: text.index(text[10:14])]
    assert cut["choices"][0]["finish_reason"] == "stop"
    assert cut["usage"]["completion_tokens"] < whole["usage"]["completion_tokens"]


async def test_every_choice_is_billed(sim):
    _, _, answer = await sim.chat("openai", "gpt-small", n=3, logprobs=True)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) == 3
    tokens = sum(len(choice["logprobs"]["content"]) for choice in answer["choices"])
    assert tokens == answer["usage"]["completion_tokens"] == (await sim.bill())[0]["completion"]


async def test_logprobs_spell_the_answer_and_are_sorted(sim):
    _, _, answer = await sim.chat("openai", "gpt-small", logprobs=True, top_logprobs=20)
    entries = answer["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == answer["choices"][0]["message"]["content"]
    for entry in entries:
        assert bytes(entry["bytes"]).decode() == entry["token"] == entry["top_logprobs"][0]["token"]
        assert len({top["token"] for top in entry["top_logprobs"]}) == 20


@pytest.mark.parametrize(
    ("content", "fields", "names"),
    [
        ("what is the weather in Rome?", {}, ["get_weather"]),
        ("the weather and the time in Rome", {}, ["get_weather", "get_time"]),
        ("the weather and the time in Rome", {"parallel_tool_calls": False}, ["get_weather"]),
        ("please call something", {}, ["get_weather"]),
        ("hello", {"tool_choice": "required"}, ["get_weather"]),
        ("weather", {"tool_choice": {"type": "function", "function": {"name": "get_time"}}}, ["get_time"]),
        ("weather", {"tool_choice": "none"}, []),
        ("hello", {}, []),
    ],
)
async def test_tools_are_called_when_asked_for(sim, content, fields, names):
    _, _, answer = await sim.chat("openai", "gpt-small", content, tools=[WEATHER, CLOCK], **fields)
    (choice,) = answer["choices"]
    calls = choice["message"].get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == names
    assert choice["finish_reason"] == ("tool_calls" if names else "stop")
    assert (choice["message"]["content"] is None) is bool(names)
    for call in calls:
        arguments = json.loads(call["function"]["arguments"])
        if call["function"]["name"] == "get_weather":
            assert set(arguments) == {"city", "unit"}
            assert arguments["unit"] in ("c", "f")


async def test_streamed_tool_calls_add_up(sim):
    content = "the weather and the time"
    events = await sim.stream("openai", "gpt-small", content, tools=[WEATHER, CLOCK])
    _, _, plain = await sim.chat("openai", "gpt-small", content, tools=[WEATHER, CLOCK])
    built = {}
    for event in events[:-1]:
        for part in event["choices"][0]["delta"].get("tool_calls", []):
            call = built.setdefault(
                part["index"], {"id": part.get("id"), "name": part["function"].get("name"), "arguments": ""}
            )
            call["arguments"] += part["function"]["arguments"]
    wanted = plain["choices"][0]["message"]["tool_calls"]
    assert list(built.values()) == [{"id": call["id"], **call["function"]} for call in wanted]


async def test_json_mode_is_json(sim):
    _, _, answer = await sim.chat("openai", "gpt-small", "as json", response_format={"type": "json_object"})
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"]), dict)


async def test_a_schema_nobody_can_read_is_refused(sim):
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "array", "minItems": "two"}}}
    status, _, answer = await sim.chat("openai", "gpt-small", response_format=form)
    assert status == 400
    assert answer["error"]["code"] == "invalid_schema"


async def test_the_sdk_parses_structured_output(sim):
    async with sim.openai() as client:
        answer = await client.chat.completions.parse(model="gpt-small", messages=said("plan"), response_format=Plan)
    assert isinstance(answer.choices[0].message.parsed, Plan)


async def test_the_sdk_streams(sim):
    async with sim.openai() as client:
        plain = await client.chat.completions.create(model="gpt-small", messages=said("hi"))
        async with client.chat.completions.stream(
            model="gpt-small", messages=said("hi"), stream_options={"include_usage": True}
        ) as stream:
            events = [event async for event in stream]
            final = await stream.get_final_completion()
    assert final.choices[0].message.content == plain.choices[0].message.content
    assert final.usage.total_tokens == plain.usage.total_tokens
    assert sum(event.type == "content.delta" for event in events) > 1


async def test_the_sdk_reads_reasoning_of_deepseek(sim):
    async with sim.openai("deepseek") as client:
        answer = await client.chat.completions.create(model="deepseek-flash", messages=said("hi"))
    assert answer.choices[0].message.reasoning_content
    assert answer.usage.completion_tokens > answer.usage.completion_tokens_details.reasoning_tokens > 0


async def test_the_sdk_embeds(sim):
    async with sim.openai() as client:
        packed = await client.embeddings.create(model="text-embedding-3-small", input=["a", "b", "a"])
        floats = await client.embeddings.create(model="text-embedding-3-small", input="a", encoding_format="float")
        short = await client.embeddings.create(model="text-embedding-3-small", input=[[1, 2], [3]], dimensions=8)
    assert [entry.index for entry in packed.data] == [0, 1, 2]
    assert packed.data[0].embedding == packed.data[2].embedding != packed.data[1].embedding
    assert packed.data[0].embedding == pytest.approx(floats.data[0].embedding)
    assert math.hypot(*floats.data[0].embedding) == pytest.approx(1)
    assert len(floats.data[0].embedding) == 1536
    assert [len(entry.embedding) for entry in short.data] == [8, 8]
    assert short.usage.prompt_tokens == short.usage.total_tokens == 3
    assert [line["prompt"] for line in await sim.bill()] == [3, 1, 3]


async def test_the_sdk_lists_models_that_are_still_served(sim):
    async with sim.openai() as client:
        names = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("gpt-small")
    assert names == ["gpt-small", "gpt-deep", "gpt-thinker", "text-embedding-3-small"]
    assert one.owned_by == "openai"


async def test_an_image_is_metered(sim):
    parts = [
        {"type": "text", "text": "hi"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    ]
    _, _, plain = await sim.chat("openai", "gpt-small", "hi")
    _, _, seen = await sim.chat("openai", "gpt-small", parts)
    assert seen["usage"]["prompt_tokens"] - plain["usage"]["prompt_tokens"] == 85


async def test_waiting_follows_the_speed(start):
    sim = await start(speed=20.0)
    loop_time = asyncio.get_running_loop().time
    began = loop_time()
    await sim.chat("openai", "gpt-small", max_completion_tokens=20)
    assert 0.005 < loop_time() - began < 5

"""Official SDKs, what people do with them, and every outbound dialect: each pair in the everyday suite, all in soak.

A conversation is had through the SDK as its users have it, and the books must say what the provider's bill says.
"""

from __future__ import annotations

import json

import anthropic
import openai
import pytest
from sdk_speakers import ChatSpeaker, MessagesSpeaker, ResponsesSpeaker

TARGETS = {
    "openai": "openai/gpt-4o-mini@openai",
    "anthropic": "anthropic/claude-haiku-4.5@anthropic",
    "gemini": "google/gemini-3.1-flash-lite@google",
    "gemini-by-budget": "google/gemini-2.5-flash-lite@google",
    "vertex": "google/gemini-3.8-flash@vertex",
    "vertex-claude": "anthropic/claude-sonnet-4.6@vertex-anthropic",
    "bedrock": "anthropic/claude-haiku-4.5@bedrock",
    "azure": "openai/gpt-4o-mini@azure",
}
THINKERS = {"openai": "openai/gpt-5-mini@openai", "azure": "openai/gpt-5-mini@azure"}
"""Where the usual model cannot think."""
SPEAKERS = {
    "chat": (ChatSpeaker, openai.AsyncOpenAI, "/v1"),
    "messages": (MessagesSpeaker, anthropic.AsyncAnthropic, ""),
    "responses": (ResponsesSpeaker, openai.AsyncOpenAI, "/v1"),
}
DEEDS = ("plain", "stream", "tools", "parallel", "structured", "image", "thinking", "long", "error")
LOOK = ["What is the weather in Paris?", ("get_weather",)]
BOTH = ["What are the weather and the time in Paris?", ("get_weather", "get_time")]


def cases():
    """All of them; in the everyday suite, each deed at each target, by the SDKs in turn."""
    for row, deed in enumerate(DEEDS):
        for column, target in enumerate(TARGETS):
            for place, api in enumerate(SPEAKERS):
                marks = [] if (row + column) % len(SPEAKERS) == place else [pytest.mark.soak]
                yield pytest.param((api, deed, target), marks=marks, id=f"{api}-{deed}-{target}")


@pytest.fixture
async def speaker(tenant, case):
    options = {"api_key": tenant.key, "max_retries": 0, "default_headers": {"x-costrouter-policy": "anything"}}
    speaks, client, end = SPEAKERS[case[0]]
    async with client(base_url=tenant.node.url + end, **options) as opened:
        yield speaks(opened)


@pytest.mark.parametrize("case", list(cases()))
async def test_conforms(node, tenant, speaker, case):
    _, deed, target = case
    model = THINKERS.get(target, TARGETS[target]) if deed == "thinking" else TARGETS[target]
    calls = await _DEEDS[deed](speaker, model, node)
    rows = await tenant.rows(calls)
    assert sorted(row.cost_nano for row in rows) == sorted(line["nano"] for line in node.bill()) or deed == "error"
    assert {row.provider for row in rows} == {model.rpartition("@")[2]}
    assert deed == "error" or {row.certainty for row in rows} == {"metered"}


async def _plain(speaker, model, _node):
    said = await speaker.say(model, speaker.begin("Tell me about plans.", "Be brief."))
    assert said.text
    assert said.end == "stop"
    assert said.prompt > 0
    assert said.completion > 0
    return 1


async def _stream(speaker, model, _node):
    asked = speaker.begin("Tell me about plans.", "Be brief.")
    plain, streamed = await speaker.say(model, asked), await speaker.stream(model, asked)
    assert streamed == plain
    return 2


async def _tools(speaker, model, _node):
    return await _calls(speaker, model, *LOOK)


async def _parallel(speaker, model, _node):
    return await _calls(speaker, model, *BOTH)


async def _calls(speaker, model, question, names):
    asked = speaker.begin(question)
    plain, streamed = await speaker.say(model, asked, tools=True), await speaker.stream(model, asked, tools=True)
    for said in (plain, streamed):
        assert tuple(call.name for call in said.calls) == names
        assert all(set(call.arguments) == {"place"} for call in said.calls)
        assert len({call.id for call in said.calls}) == len(names)
        assert said.end == "tools"
        asked_again = speaker.answer(asked, said, [f"18 degrees {call.name}" for call in said.calls])
        assert (await speaker.say(model, asked_again, tools=True)).text
    return 4


async def _structured(speaker, model, _node):
    said = await speaker.say(model, speaker.begin("Count."), schema=True)
    assert isinstance(json.loads(said.text)["n"], int)
    return 1


async def _image(speaker, model, _node):
    without = await speaker.say(model, speaker.begin("What is this?"))
    seen = await speaker.say(model, speaker.show("What is this?"))
    assert seen.text
    assert seen.prompt > without.prompt
    return 2


async def _thinking(speaker, model, _node):
    asked = speaker.begin("Plan a trip.")
    said, streamed = await speaker.say(model, asked, thinks=True), await speaker.stream(model, asked, thinks=True)
    assert said.text
    assert streamed == said
    assert said.reasoning > 0 or said.thoughts
    again = speaker.go_on(asked, said, "And then?")
    assert (await speaker.say(model, again, thinks=True)).text
    return 3


async def _long(speaker, model, _node):
    asked = speaker.begin("Let us begin.", "You are patient.")
    for number in range(20):
        said = speaker.words(f"Answer number {number}: " + "all is well and nothing has changed. " * 20)
        asked = speaker.go_on(asked, said, f"Question number {number}?")
    asked = speaker.go_on(asked, speaker.words("So be it."), LOOK[0])
    call = await speaker.say(model, asked, tools=True)
    asked = speaker.go_on(speaker.answer(asked, call, ["18 degrees"]), speaker.words("It is mild."), "Sum it up.")
    said = await speaker.stream(model, asked, tools=True)
    assert said.text
    assert said.prompt > 3_000
    return 2


async def _error(speaker, model, node):
    for kind, wanted in ((400, "BadRequestError"), (429, "RateLimitError")):
        node.faults(
            {"kind": "status", "status": kind, "times": 1} if kind == 400 else {"kind": "rate_limit", "times": 1}
        )
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as refused:
            await speaker.say(model, speaker.begin("Hi"))
        assert type(refused.value).__name__ == wanted
    node.faults({"kind": "error_event", "times": 1, "after_chunks": 4})
    with pytest.raises((openai.APIError, anthropic.APIError)):
        await speaker.stream(model, speaker.begin("Tell me about plans."))
    return 3


_DEEDS = {
    "plain": _plain,
    "stream": _stream,
    "tools": _tools,
    "parallel": _parallel,
    "structured": _structured,
    "image": _image,
    "thinking": _thinking,
    "long": _long,
    "error": _error,
}

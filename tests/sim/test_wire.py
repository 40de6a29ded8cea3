import json
from pathlib import Path

import pytest
import yaml
from openai.types.chat import ChatCompletion, ChatCompletionChunk

FIXTURES = Path(__file__).parents[1] / "fixtures" / "openai"
INDEX = yaml.safe_load((FIXTURES / "index.yaml").read_text())

LONG = "word " * 1400
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
    },
}
ASKED = {"stream_options": {"include_usage": True}}

LIKE = {
    "openai-text.json": ("gpt-small", {}),
    "openai-choices.json": ("gpt-small", {"n": 2}),
    "openai-tools.json": ("gpt-small", {"tools": [WEATHER], "tool_choice": "required"}),
    "openai-parallel-tools.json": ("gpt-small", {"tools": [WEATHER, CLOCK], "content": "the weather and the time?"}),
    "openai-cached-reasoning.json": ("gpt-small", {"content": LONG, "twice": True}),
    "openai-cache-write.json": ("gpt-thinker", {"content": LONG}),
    "openai-logprobs.json": ("gpt-small", {"logprobs": True, "top_logprobs": 2}),
    "openai-text.sse": ("gpt-small", ASKED),
    "openai-no-usage.sse": ("gpt-small", {}),
    "openai-tools.sse": ("gpt-small", ASKED | {"tools": [WEATHER], "tool_choice": "required"}),
    "openai-parallel-tools.sse": ("gpt-small", ASKED | {"tools": [WEATHER, CLOCK], "content": "the weather and the time?"}),
    "openai-logprobs.sse": ("gpt-small", ASKED | {"logprobs": True, "top_logprobs": 2}),
    "openai-unobfuscated.sse": ("gpt-small", {"stream_options": {"include_usage": True, "include_obfuscation": False}}),
    "deepseek-hits.json": ("deepseek-flash", {}),
    "deepseek-reasoning.sse": ("deepseek-flash", ASKED),
    "groq-text.json": ("llama-groq", {}),
    "groq-text.sse": ("llama-groq", {}),
    "groq-usage-asked.sse": ("llama-groq", ASKED),
    "google-thoughts.json": ("gemini-lite", {}),
    "google-thoughts.sse": ("gemini-lite", ASKED),
    "mistral-text.json": ("mistral-small", {}),
    "mistral-text.sse": ("mistral-small", {}),
    "together-text.json": ("llama-3b", {}),
    "together-text.sse": ("llama-3b", {}),
}  # fmt: skip


def read(name):
    """The objects of a fixture."""
    text = (FIXTURES / name).read_text()
    if name.endswith(".json"):
        return [json.loads(text)]
    payloads = [event[6:] for event in text.split("\n\n") if event]
    return [json.loads(payload) for payload in payloads if payload != "[DONE]"]


def keys(value, path=""):
    """Every path to a leaf; lists are folded, nulls are leaves like any other."""
    if isinstance(value, dict) and value:
        return set().union(*(keys(inner, f"{path}.{name}") for name, inner in value.items()))
    if isinstance(value, list) and value:
        return set().union(*(keys(inner, f"{path}[]") for inner in value))
    return {path}


def test_the_index_names_every_file_once():
    names = [entry["file"] for entry in INDEX]
    assert sorted(names) == sorted(path.name for path in FIXTURES.iterdir() if path.suffix in (".json", ".sse"))


@pytest.mark.parametrize("entry", INDEX, ids=lambda entry: entry["file"])
def test_fixtures_are_what_the_sdk_reads(entry):
    model = ChatCompletionChunk if entry["stream"] else ChatCompletion
    for value in read(entry["file"]):
        if "error" not in value:
            model.model_validate(value, strict=True)
    whole = entry["stream"] is False or (FIXTURES / entry["file"]).read_text().endswith("data: [DONE]\n\n")
    assert whole is entry["complete"]


@pytest.mark.parametrize("name", LIKE)
async def test_the_simulator_writes_the_same_keys(sim, name):
    model, fields = LIKE[name]
    fields = {"content": "Tell me about plans."} | fields
    provider = next(entry["provider"] for entry in INDEX if entry["file"] == name)
    for _ in range(1 + fields.pop("twice", False)):
        if name.endswith(".sse"):
            objects = (await sim.stream(provider, model, **fields))[:-1]
        else:
            status, _, answer = await sim.chat(provider, model, **fields)
            assert status == 200, answer
            objects = [answer]
    assert keys(objects) == keys(read(name))


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-small"),
        ("openai", "gpt-thinker"),
        ("deepseek", "deepseek-flash"),
        ("groq", "llama-groq"),
        ("google", "gemini-lite"),
        ("mistral", "mistral-small"),
        ("together", "llama-3b"),
    ],
)
async def test_plain_and_streamed_are_the_same_answer_and_strictly_typed(sim, provider, model):
    options = {} if provider == "mistral" else {"stream_options": {"include_usage": True}}
    events = await sim.stream(provider, model, **options)
    chunks = [ChatCompletionChunk.model_validate(chunk, strict=True) for chunk in events[:-1]]
    _, _, body = await sim.chat(provider, model)
    plain = ChatCompletion.model_validate(body, strict=True)
    assert events[-1] == "[DONE]"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == plain.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == plain.choices[0].finish_reason
    reported = [chunk.usage for chunk in chunks if chunk.usage]
    assert [(u.prompt_tokens, u.completion_tokens, u.total_tokens) for u in reported] == [
        (plain.usage.prompt_tokens, plain.usage.completion_tokens, plain.usage.total_tokens)
    ]


async def test_a_stream_opens_with_the_role_and_ends_with_usage_alone(sim):
    events = await sim.stream("openai", "gpt-small", stream_options={"include_usage": True})
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert events[-3]["choices"][0]["finish_reason"] == "stop"
    assert events[-2]["choices"] == []
    assert all(event["usage"] is None for event in events[:-2])


async def test_hidden_thoughts_are_in_the_total_only(sim):
    _, _, answer = await sim.chat("google", "gemini-lite")
    usage = answer["usage"]
    (line,) = await sim.bill()
    assert usage["total_tokens"] > usage["prompt_tokens"] + usage["completion_tokens"]
    assert line["completion"] == usage["total_tokens"] - usage["prompt_tokens"]


async def test_a_repeated_long_prompt_is_reported_and_billed_as_cached(sim):
    for _ in range(2):
        _, _, answer = await sim.chat("openai", "gpt-small", LONG)
    first, second = await sim.bill()
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == second["cached"] == 1280
    assert first["cached"] == 0
    assert float(first["dollars"]) - float(second["dollars"]) == pytest.approx(1280 * 0.30e-6)


async def test_deepseek_reports_hits_and_misses(sim):
    for _ in range(2):
        _, _, answer = await sim.chat("deepseek", "deepseek-flash", LONG)
    usage = answer["usage"]
    assert usage["prompt_cache_hit_tokens"] % 128 == 0
    assert usage["prompt_cache_hit_tokens"] > 1000
    assert usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"] == usage["prompt_tokens"]


async def test_the_bill_agrees_with_the_usage(sim):
    for provider, model in (("openai", "gpt-small"), ("openai", "gpt-thinker"), ("deepseek", "deepseek-flash")):
        status, headers, answer = await sim.chat(provider, model)
        line = (await sim.bill())[-1]
        assert status == 200
        assert line["request_id"] == headers["x-request-id"]
        assert (line["prompt"], line["completion"]) == (
            answer["usage"]["prompt_tokens"],
            answer["usage"]["completion_tokens"],
        )
        assert line["reasoning"] == answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
        assert line["complete"]

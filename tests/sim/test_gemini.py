"""Google's generateContent as the simulator speaks it: its own SDK is the judge."""

import base64

import pytest
from google import genai
from google.genai import errors, types

# Google's SDK derives from aiohttp's session, which aiohttp advises against.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
OLD, NEW = "gemini-2.5-lite", "gemini-3.8-flash"
TOOLS = [
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(
                name=name, parameters_json_schema={"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
            )
            for name in ("get_weather", "get_time")
        ]
    )
]  # fmt: skip  # one tool
ASKS = "What are the weather and the time in Paris?"


@pytest.fixture
async def google(sim):
    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=f"{sim.url}/gemini", api_version="v1"))
    yield client.aio.models
    await client.aio.aclose()


@pytest.mark.parametrize("model", [OLD, NEW])
async def test_an_answer_its_meters_and_the_bill(sim, google, model):
    answer = await google.generate_content(model=model, contents="Tell me about plans.")
    meters, (line,) = answer.usage_metadata, await sim.bill()
    assert answer.text
    assert answer.candidates[0].finish_reason == "STOP"
    assert meters.prompt_token_count == line["prompt"]
    assert meters.candidates_token_count + (meters.thoughts_token_count or 0) == line["completion"]
    assert meters.total_token_count == line["prompt"] + line["completion"]
    assert (meters.thoughts_token_count or 0) == line["reasoning"]


async def test_a_stream_says_the_same(sim, google):
    plain = await google.generate_content(model=NEW, contents="Tell me about plans.")
    chunks = [chunk async for chunk in await google.generate_content_stream(model=NEW, contents="Tell me about plans.")]
    assert "".join(chunk.text or "" for chunk in chunks) == plain.text
    assert chunks[-1].usage_metadata == plain.usage_metadata
    assert chunks[0].usage_metadata.total_token_count < chunks[-1].usage_metadata.total_token_count
    assert [line["complete"] for line in await sim.bill()] == [True, True]


async def test_thoughts_are_shown_to_those_who_ask(google):
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level="HIGH"))  # fmt: skip
    answer = await google.generate_content(model=NEW, contents="Plan it.", config=config)
    thought, said = answer.candidates[0].content.parts
    assert thought.thought
    assert thought.text
    assert not said.thought


async def test_calls_made_at_once_are_signed_and_wanted_back(google):
    config = types.GenerateContentConfig(tools=TOOLS, automatic_function_calling={"disable": True})
    answer = await google.generate_content(model=NEW, contents=ASKS, config=config)
    content = answer.candidates[0].content
    weather, time = content.parts
    assert (weather.function_call.name, time.function_call.name) == ("get_weather", "get_time")
    assert weather.thought_signature
    assert not time.thought_signature
    results = types.UserContent(
        parts=[
            types.Part(function_response=types.FunctionResponse(id=part.function_call.id, name=part.function_call.name, response={"output": "sun"}))
            for part in content.parts
        ]
    )  # fmt: skip  # one result a call
    history = [types.UserContent(parts=[types.Part(text=ASKS)]), content, results]
    assert (await google.generate_content(model=NEW, contents=history, config=config)).text
    weather.thought_signature = None
    with pytest.raises(errors.ClientError, match="missing a thought_signature"):
        await google.generate_content(model=NEW, contents=history, config=config)
    weather.thought_signature = base64.b64decode("bm8=")
    with pytest.raises(errors.ClientError, match="not valid"):
        await google.generate_content(model=NEW, contents=history, config=config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"max_output_tokens": 10**6}, "maxOutputTokens"),
        ({"stop_sequences": list("abcdef")}, "Only 5 stop sequences"),
        ({"thinking_config": {"thinking_level": "LOW"}}, "Thinking level is not supported"),
        ({"tool_config": {"function_calling_config": {"mode": "ANY"}}}, "without function_declarations"),
        ({"temperature": 3}, "temperature"),
        ({"response_logprobs": True, "http_options": {"extra_body": {"colour": "red"}}}, 'Unknown name "colour"'),
    ],
)
async def test_what_google_refuses(sim, google, config, words):
    with pytest.raises(errors.ClientError, match=words) as refused:
        await google.generate_content(model=OLD, contents="Hi", config=config)
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    assert await sim.bill() == []


async def test_a_tier_is_served_where_it_is_sold(sim, google):
    for tier, served in (("flex", "flex"), ("priority", "standard")):
        answer = await google.generate_content(model=NEW, contents="Hi", config={"service_tier": tier})
        assert answer.sdk_http_response.headers["x-gemini-service-tier"] == served
    assert [line["tier"] for line in await sim.bill()] == ["flex", "realtime"]


@pytest.mark.parametrize(
    ("rule", "code", "status"),
    [
        ({"kind": "rate_limit", "retry_after": 7}, 429, "RESOURCE_EXHAUSTED"),
        ({"kind": "quota"}, 402, "FAILED_PRECONDITION"),
        ({"kind": "status", "status": 503}, 503, "UNAVAILABLE"),
    ],
)
async def test_errors_are_of_google_s_shape(sim, google, rule, code, status):
    await sim.faults(rule)
    with pytest.raises(errors.APIError) as refused:
        await google.generate_content(model=OLD, contents="Hi")
    assert (refused.value.code, refused.value.status) == (code, status)
    if code == 429:
        assert refused.value.details["error"]["details"][0]["retryDelay"] == "7s"


async def test_keys(sim):
    body = {"contents": [{"parts": [{"text": "Hi"}]}]}
    path = f"/gemini/v1/models/{OLD}:generateContent"
    told = {}
    for headers in ({}, {"x-goog-api-key": "wrong-key"}, {"x-goog-api-key": "k", "authorization": "Bearer k"}, {"x-goog-api-key": "k"}):  # fmt: skip
        async with sim.session.post(sim.url + path, json=body, headers=headers) as response:
            told[len(told)] = (response.status, (await response.json()).get("error", {}).get("message", "")[:17])
    assert list(told.values()) == [(403, "Method doesn't al"), (400, "API key not valid"), (401, "Request had inval"), (200, "")]  # fmt: skip


async def test_vertex_has_another_path_bearer_tokens_and_no_ids(sim):
    body = {"contents": [{"parts": [{"text": "Call get_time."}], "role": "user"}], "tools": [{"functionDeclarations": [{"name": "get_time"}]}]}  # fmt: skip
    path = "/vertex/v1/publishers/google/models/gemini-3.8-flash:generateContent"
    status, headers, told = await sim.post(path, body)
    assert status == 200
    answer = types.GenerateContentResponse.model_validate(told)
    assert answer.candidates[0].content.parts[0].function_call.id is None
    assert answer.usage_metadata.traffic_type == "ON_DEMAND"
    assert "x-gemini-service-tier" not in headers
    status, _, _ = await sim.post("/vertex/v1/models/gemini-3.8-flash:generateContent", body)
    assert status == 404

import openai
import pytest

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}
OPEN = {"name": "s", "strict": True, "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}


def said(text):
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("change", "param", "code", "words"),
    [
        ({"foo": 1}, None, None, "Unrecognized request argument supplied: foo"),
        ({"foo": 1, "bar": 2}, None, None, "Unrecognized request arguments supplied: bar, foo"),
        ({"messages": None}, "messages", "missing_required_parameter", "Missing required parameter: 'messages'."),
        ({"messages": "hi"}, "messages", "invalid_type", "expected an array of objects, but got a string"),
        ({"messages": []}, "messages", "empty_array", "minimum length 1"),
        ({"messages": ["hi"]}, "messages[0]", "invalid_type", "expected an object"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role", "missing_required_parameter", "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role", "invalid_value", "'robot'"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.[0].content", None, "got null"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.[0].content", None, "got an integer"),
        ({"messages": [{"role": "user", "content": [{"type": "poem"}]}]}, "messages[0].content[0].type", "invalid_value", "poem"),
        ({"messages": [{"role": "system", "content": IMAGE["content"]}]}, "messages[0].content[0].type", "invalid_value", "text"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "missing_required_parameter", "text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "cat.png"}}]}]}, "messages[0].content[0].image_url.url", "invalid_image_url", "valid URL"),
        ({"messages": [*HI, {"role": "tool", "tool_call_id": "c1", "content": "x"}]}, "messages.[1].role", None, "preceeding message with 'tool_calls'"),
        ({"messages": [*HI, CALL, *HI]}, "messages", None, "did not have response messages: c1"),
        ({"messages": [*HI, CALL]}, "messages", None, "did not have response messages: c1"),
        ({"n": 0}, "n", "integer_below_min_value", "Expected a value >= 1, but got 0"),
        ({"n": 129}, "n", "integer_above_max_value", "<= 128"),
        ({"n": "2"}, "n", "invalid_type", "expected an integer, but got a string"),
        ({"temperature": 2.1}, "temperature", "decimal_above_max_value", "<= 2"),
        ({"temperature": "hot"}, "temperature", "invalid_type", "a decimal"),
        ({"top_p": -1}, "top_p", "decimal_below_min_value", ">= 0"),
        ({"stream": "yes"}, "stream", "invalid_type", "a boolean"),
        ({"max_tokens": 16_385}, "max_tokens", "invalid_value", "supports at most 16384 completion tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", "invalid_parameter_combination", "at the same time"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None, "only allowed when 'stream' is enabled"),
        ({"top_logprobs": 3}, "top_logprobs", None, "only allowed when 'logprobs'"),
        ({"stop": list("abcde")}, "stop", "array_above_max_length", "maximum length 4"),
        ({"stop": 5}, "stop", "invalid_type", "a string or an array"),
        ({"service_tier": "gold"}, "service_tier", "invalid_value", "'flex'"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter", "tools[0].function"),
        ({"tools": [{"type": "gadget"}]}, "tools[0].type", "invalid_value", "'function', and 'custom'"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "invalid_value", "pattern"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}]}, "tools[0].function.parameters", "invalid_function_parameters", "'f'"),
        ({"tool_choice": "auto"}, "tool_choice", None, "only allowed when 'tools'"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice", "invalid_value", "no function named 'g'"),
        ({"functions": [{"name": "f"}]}, "functions", "unsupported_parameter", "Use 'tools' instead"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value", "'xml'"),
        ({"response_format": {"type": "json_object"}}, "messages", None, "must contain the word 'json'"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter", "json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": OPEN}}, "response_format", None, "'additionalProperties' is required"),
        ({"reasoning_effort": "high"}, None, None, "Unrecognized request argument supplied: reasoning_effort"),
        ({"modalities": ["audio"]}, "modalities", None, "audio"),
        ({"model": None}, None, None, "you must provide a model parameter"),
        ({"messages": said("word " * 128_000)}, "messages", "context_length_exceeded", "maximum context length is 128000 tokens. However, your messages resulted in 1280"),
        ({"messages": said("word " * 120_000), "max_tokens": 10_000}, "messages", "context_length_exceeded", "0 in the completion)"),
    ],
)  # fmt: skip
async def test_openai_refuses(sim, change, param, code, words):
    body = {"model": "gpt-small", "messages": HI} | change
    status, headers, answer = await sim.post(
        "/openai/v1/chat/completions", {k: v for k, v in body.items() if v is not None}
    )
    assert status == 400
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["type"] == "invalid_request_error"
    assert (answer["error"]["param"], answer["error"]["code"]) == (param, code)
    assert words in answer["error"]["message"]
    assert headers["x-request-id"].startswith("req_")
    assert await sim.bill() == []


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"max_tokens": 9}, "Use 'max_completion_tokens' instead"),
        ({"temperature": 0.2}, "Only the default (1) value is supported"),
        ({"logprobs": True}, "'logprobs' is not supported"),
        ({"n": 2}, "'n' is not supported"),
        ({"messages": [IMAGE]}, "image_url is only supported by certain models"),
    ],
)
async def test_a_reasoning_model_refuses(sim, field, words):
    status, _, answer = await sim.chat("openai", "gpt-thinker", **field)
    assert status == 400
    assert words in answer["error"]["message"]


async def test_a_reasoning_model_that_does_not_reason_takes_a_temperature(sim):
    status, _, answer = await sim.chat("openai", "gpt-thinker", temperature=0.2, reasoning_effort="none")
    assert status == 200
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


async def test_compatible_providers_ignore_what_they_do_not_know(sim):
    status, _, _ = await sim.chat("groq", "llama-groq", foo=1, reasoning_effort="low")
    assert status == 200


async def test_a_conversation_with_answered_tool_calls_is_taken(sim):
    messages = [*HI, CALL, {"role": "tool", "tool_call_id": "c1", "content": "sunny"}]
    status, _, answer = await sim.chat("openai", "gpt-small", messages=messages, tools=[TOOL])
    assert status == 200
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("provider", "model", "field", "param"),
    [
        ("deepseek", "deepseek-flash", {"max_completion_tokens": 5}, "max_completion_tokens"),
        ("mistral", "mistral-small", {"stream": True, "stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
async def test_quirks_of_the_catalog_are_honoured(sim, provider, model, field, param):
    status, _, answer = await sim.chat(provider, model, **field)
    assert status == 400
    assert answer["error"]["param"] == param


async def test_an_unknown_model_is_the_sdks_not_found(sim):
    async with sim.openai() as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="gpt-9", messages=HI)
    assert caught.value.code == "model_not_found"
    assert caught.value.body["message"] == "The model `gpt-9` does not exist or you do not have access to it."


async def test_a_retired_model_is_gone(sim):
    status, _, answer = await sim.chat("openai", "gpt-old")
    assert status == 404
    assert "deprecated" in answer["error"]["message"]


async def test_a_model_is_known_by_its_upstream_name_only(sim):
    assert (await sim.chat("openai", "openai/small"))[0] == 404


@pytest.mark.parametrize(("key", "code"), [("wrong-key", "invalid_api_key"), ("", None)])
async def test_a_wrong_or_missing_key_is_401(sim, key, code):
    body = {"model": "gpt-small", "messages": HI}
    status, _, answer = await sim.post("/openai/v1/chat/completions", body, key=key)
    assert status == 401
    assert answer["error"]["code"] == code


async def test_a_provider_without_a_key_asks_for_none(sim):
    body = {"model": "llama-3b", "messages": HI}
    assert (await sim.post("/together/v1/chat/completions", body, key=""))[0] == 200


@pytest.mark.parametrize("raw", [b"{", b"[]", b"", b'{"a":' * 100_000])
async def test_a_body_that_is_no_json_object_is_400(sim, raw):
    url = f"{sim.url}/openai/v1/chat/completions"
    async with sim.session.post(url, data=raw, headers={"Authorization": "Bearer k"}) as response:
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/nobody/v1/chat/completions", "/openai/v1/answers", "/openai"])
async def test_an_unknown_path_is_404(sim, path):
    status, _, answer = await sim.post(path, {})
    assert status == 404
    assert answer["error"]["type"] == "invalid_request_error"


async def test_chat_with_an_embedding_model_and_the_reverse(sim):
    assert (await sim.chat("openai", "text-embedding-3-small"))[0] == 404
    assert (await sim.post("/openai/v1/embeddings", {"model": "gpt-small", "input": "x"}))[0] == 403


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "word " * 9000}, "input"),
        ({"dimensions": 1537}, "dimensions"),
        ({"dimensions": "3"}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"foo": 1}, None),
    ],
)
async def test_embeddings_refuse(sim, field, param):
    body = {"model": "text-embedding-3-small", "input": "x"} | field
    status, _, answer = await sim.post("/openai/v1/embeddings", {k: v for k, v in body.items() if v is not None})
    assert status == 400
    assert answer["error"]["param"] == param

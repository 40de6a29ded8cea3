"""The simulated OpenAI over Responses: as strict as the SDK's types, with a memory and a bill."""

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

EVENTS = TypeAdapter(ResponseStreamEvent)
HI = "Tell me about plans."
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CALL = {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"}
USER = {"role": "user", "content": "Hi"}


async def asked(sim, model="gpt-small", **fields):
    return await sim.post("/openai/v1/responses", {"model": model, "input": HI} | fields)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("gpt-small", {}),
        ("gpt-small", {"tools": [WEATHER], "tool_choice": "required"}),
        ("gpt-small", {"max_output_tokens": 16}),
        (
            "gpt-thinker",
            {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]},
        ),
    ],
)
async def test_answers_are_what_the_types_say_plain_and_streamed(sim, model, fields):
    status, _, body = await asked(sim, model, **fields)
    assert status == 200
    plain = Response.model_validate(body)
    stream = await sim.openai().responses.create(model=model, input=HI, stream=True, **fields)
    events = [EVENTS.validate_python(event.model_dump(by_alias=True, warnings=False)) async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == f"response.{plain.status}"
    assert events[-1].response.output_text == plain.output_text
    (one, two) = await sim.bill()
    assert (one["prompt"], one["completion"]) == (plain.usage.input_tokens, plain.usage.output_tokens)
    assert one["completion"] == two["completion"] == events[-1].response.usage.output_tokens


async def test_what_was_answered_is_kept_and_gone_on_from(sim):
    client = sim.openai().responses
    first = await client.create(model="gpt-small", input=HI)
    second = await client.create(model="gpt-small", input="And then?", previous_response_id=first.id)
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    assert (await client.retrieve(first.id)).output_text == first.output_text
    items = [item async for item in client.input_items.list(first.id)]
    assert items[0].role == "user"
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        await client.cancel(first.id)
    await client.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        await client.retrieve(first.id)
    unkept = await client.create(model="gpt-small", input=HI, store=False)
    with pytest.raises(openai.BadRequestError, match="Previous response"):
        await client.create(model="gpt-small", input=HI, previous_response_id=unkept.id)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": []}, "Unknown parameter: 'messages'."),
        ({"max_output_tokens": 5}, "Expected a value >= 16"),
        ({"input": []}, "Missing required parameter: 'input'."),
        ({"input": {}}, "Invalid type for 'input'"),
        ({"input": ["Hi"]}, "Invalid type for 'input[0]'"),
        ({"input": [{"type": "else"}]}, "Supported values are: 'message'"),
        ({"input": [{**USER, "name": "Ada"}]}, "Unknown parameter: 'input[0].name'."),
        ({"input": [{"role": "tool", "content": "x"}]}, "Supported values are: 'user'"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "Invalid value: 'text'"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].file_data"),
        ({"input": [{"role": "assistant", "content": [{"type": "input_text", "text": ""}]}]}, "'output_text'"),
        ({"input": [USER, CALL]}, "No tool output found for function call c."),
        ({"input": [USER, {**CALL, "call_id": None}]}, "input[1].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": ""}]}, "No tool call found"),
        ({"input": [USER, CALL, {"type": "function_call_output", "call_id": "c", "output": 5}]}, "input[2].output"),
        (
            {"input": [{"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"}]},
            "could not be verified",
        ),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools[0].name"),
        ({"tools": [{"type": "else"}]}, "Supported values are: 'function'"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "no function named 'x'"),
        ({"text": {"format": {"type": "json_schema"}}}, "response_format"),
        ({"reasoning": {"effort": "low"}}, "reasoning_effort"),
        ({"previous_response_id": "resp_x"}, "Previous response with id 'resp_x' not found."),
    ],
)
async def test_what_openai_refuses_is_refused(sim, fields, words):
    status, _, body = await asked(sim, **fields)
    assert (status, words in body["error"]["message"]) == (400, True), body


async def test_items_of_every_kind_are_taken(sim):
    output = [{"type": "input_text", "text": "18 degrees"}]
    said = [{"type": "output_text", "text": "Hm"}, {"type": "refusal", "refusal": "No."}]
    items = [
        {"role": "developer", "content": "Be kind."},
        USER,
        {"role": "assistant", "content": said},
        CALL,
        {**CALL, "call_id": "d"},
        {"type": "function_call_output", "call_id": "c", "output": output},
        {"type": "function_call_output", "call_id": "d", "output": "fine"},
        {"role": "user", "content": [{"type": "input_image", "image_url": "https://example.com/a.png"}]},
    ]
    status, _, body = await asked(sim, input=items, instructions="Be brief.", tools=[WEATHER], tool_choice="none")
    assert status == 200, body


async def test_a_provider_that_does_not_speak_it_answers_404(sim):
    status, _, body = await sim.post("/groq/v1/responses", {"model": "llama-groq", "input": HI})
    assert (status, "Invalid URL" in body["error"]["message"]) == (404, True)
    status, _, _ = await sim.post("/openai/v1/responses", {"model": "gpt-small", "input": HI}, key="")
    assert status == 401


async def test_a_model_may_answer_in_nothing_else(sim):
    status, _, body = await sim.chat("openai", "gpt-deep")
    assert (status, "only supported in v1/responses" in body["error"]["message"]) == (404, True)
    assert (await asked(sim, "gpt-deep"))[0] == 200


async def test_faults_speak_its_shape(sim):
    await sim.faults({"kind": "error_event", "times": 1, "after_chunks": 2})
    with pytest.raises(openai.APIError, match="had an error"):
        async for _ in await sim.openai().responses.create(model="gpt-small", input=HI, stream=True):
            pass
    await sim.faults({"kind": "lying_usage", "times": 1})
    status, _, body = await asked(sim)
    assert status == 200
    assert "input_tokens" in body["usage"]

"""What routing reads of a Responses body, and how it goes on to a provider that speaks the same."""

import json

import msgspec
import pytest
from options import decision

from router.core.deciding.choices import Work
from router.core.errors import RouterError
from router.core.images import Image
from router.core.values import Needs
from router.dialects.responses.request import pass_responses, read_responses

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAT0lEQVRoge3PQQ0AIBDAMMC/50MEj4ZkVbDtmVk/"
    "OzrgVQNaA1oDWgNaA1oDWgNaA1oDWgNaA1oDWgNaA1oDWgNaA1oDWgNaA1oDWgNaA1oDWrUCX9YBfyYV2hEAAAAASUVORK5CYII="
)


def read(**fields):
    return read_responses(json.dumps({"model": "m", "input": "Hi", **fields}).encode(), {})


def needs(**fields):
    return Needs(read(**fields).needs) & ~Needs.CHAT


def sent(request, **changes):
    found = pass_responses(request, decision(**changes), frozenset())
    assert found.path == "/responses"
    return json.loads(found.body)


def test_a_plain_request():
    found = read(instructions="Be kind.", max_output_tokens=50, user="ada", stream=True)
    assert (found.model, found.max_output, found.user, found.stream) == ("m", 50, "ada", True)
    assert (found.shape.texts, found.shape.messages) == (("Be kind.", "Hi"), 2)
    assert found.text_bytes == len(json.dumps({"model": "m", "input": "Hi", "instructions": "Be kind.", "max_output_tokens": 50, "user": "ada", "stream": True}))  # fmt: skip
    assert (found.stored, found.recalls, found.follows) == (True, True, "")


def test_what_is_kept_and_gone_on_from():
    assert not read(store=False).recalls
    found = read(store=False, previous_response_id="resp_1")
    assert (found.stored, found.recalls, found.follows, found.text_bytes) == (False, True, "resp_1", None)
    assert read(input=None, previous_response_id="resp_1").shape.texts == ()


def test_all_items_are_counted():
    found = read(
        input=[
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "x"}],
            },
            {"type": "function_call", "name": "b", "arguments": "c"},
            {"type": "function_call_output", "output": "d"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "e"}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "f"}]},
        ],
        tools=[{"type": "function", "name": "g"}],
        text={"format": {"type": "json_schema", "schema": {}}},
    )
    assert found.shape.texts[:6] == ("a", "b", "c", "d", "e", "f")
    assert len(found.shape.texts) == 8
    assert found.shape.images == (Image(width=0, height=0),)
    assert found.text_bytes is not None


@pytest.mark.parametrize(
    "content",
    [
        {"role": "user", "content": [{"type": "input_file", "file_url": "x"}]},
        {"role": "user", "content": [{"type": "input_image", "file_id": "x"}]},
        {"type": "item_reference", "id": "x"},
    ],
)
def test_what_the_body_only_points_to_is_not_bounded_by_its_size(content):
    assert read(input=[content]).text_bytes is None


def test_pictures_and_sound_are_measured():
    content = [
        {"type": "input_image", "image_url": PNG, "detail": "low"},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
    ]
    shape = read(input=[{"role": "user", "content": content}]).shape
    assert (shape.images, shape.audio_clips) == ((Image(width=64, height=64, detail="low"),), 1)


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({}, 0),
        ({"tools": [{"type": "function"}]}, Needs.TOOLS),
        ({"tools": [{"type": "web_search"}]}, Needs.TOOLS),
        ({"tools": [{"type": "shell", "environment": {"type": "local"}}]}, Needs.TOOLS),
        ({"text": {"format": {"type": "json_object"}}}, Needs.JSON_OBJECT),
        ({"text": {"format": {"type": "json_schema"}}}, Needs.JSON_SCHEMA),
        ({"text": {}}, 0),
        ({"top_logprobs": 1}, Needs.LOGPROBS),
        ({"include": ["message.output_text.logprobs"]}, Needs.LOGPROBS),
        ({"reasoning": {"effort": "low"}}, Needs.REASONING_EFFORT),
        ({"reasoning": {}}, 0),
        ({"temperature": 0.5}, Needs.SAMPLING),
        ({"top_p": 0.5}, Needs.SAMPLING),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "x"}]}]}, Needs.FILES),
    ],
)
def test_what_a_model_must_be_able_to(fields, needed):
    assert needs(**fields) == needed


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"service_tier": "scale"}, "service_tier"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"conversation": "c"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"tools": [{"type": "image_generation"}]}, "tools"),
        ({"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}, "tools"),
        ({"tools": [{"type": "shell"}]}, "tools"),
        ({"input": [{"role": "user", "content": 5}]}, "input.content"),
        ({"model": 5}, "model"),
        ({"metadata": {"costrouter.task": 5}}, "metadata.costrouter.task"),
        ({"background": True, "background_options": "8h"}, "background_options"),
        (
            {"background": True, "background_options": {"completion_window": "9h"}},
            "background_options.completion_window",
        ),
        (
            {"background": True, "background_options": {"completion_window": ["8h"]}},
            "background_options.completion_window",
        ),
        ({"background_options": {"completion_window": "8h"}}, "background_options.completion_window"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields, param):
    with pytest.raises(RouterError) as refused:
        read(**fields)
    assert (refused.value.code, refused.value.param) == ("invalid_request", param)


def test_a_body_goes_on_to_the_letter_but_for_the_model():
    assert sent(read(temperature=0.5, invented=[1])) == {
        "model": "large",
        "input": "Hi",
        "temperature": 0.5,
        "invented": [1],
    }


def test_what_was_decided_is_said():
    request = read(
        metadata={"costrouter.task": "code", "a": "b"},
        reasoning={"summary": "auto"},
        service_tier="fast",
        max_output_tokens=9,
    )
    assert (request.tier, request.own) == ("priority", {"task": "code"})
    clamped = msgspec.structs.replace(request, max_output=5, clamped=True)
    found = sent(clamped, tier_word="flex", effort="low")
    assert found["metadata"] == {"a": "b"}
    assert found["reasoning"] == {"summary": "auto", "effort": "low"}
    assert (found["service_tier"], found["max_output_tokens"]) == ("flex", 5)
    assert sent(read(reasoning=None), effort="low")["reasoning"] == {"effort": "low"}


def test_what_is_queued_here_is_not_queued_there_as_well():
    request = read(background=True, background_options={"completion_window": "2h"})
    assert request.background
    assert sent(request) == {"model": "large", "input": "Hi"}
    assert sent(read(background_options={"completion_window": "soonest"})) == {"model": "large", "input": "Hi"}


@pytest.mark.parametrize(("fields", "key"), [({}, "ours"), ({"prompt_cache_key": "theirs"}, "theirs")])
def test_requests_of_one_prefix_go_to_one_machine_where_the_caller_says_nothing(fields, key):
    made = msgspec.structs.replace(decision(), cache_key="ours")
    assert json.loads(pass_responses(read(**fields), made, frozenset()).body)["prompt_cache_key"] == key


def test_what_others_signed_is_left_out():
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    items = [
        {"role": "user", "content": "Hi"},
        {"type": "reasoning", "summary": [], "encrypted_content": "costrouter.signed:x"},
        {**call, "extra_content": {"google": {"thought_signature": "s"}}},
    ]
    assert sent(read(input=items))["input"] == [items[0], call]


CODE = {"type": "code_interpreter", "container": {"type": "auto"}}


@pytest.mark.parametrize(
    ("fields", "tools"),
    [
        ({"tools": [{"type": "web_search_preview"}]}, (("tool.web_search", 1, 10),)),
        ({"tools": [{"type": "file_search"}, CODE]}, (("tool.code_interpreter", 1, 10), ("tool.file_search", 1, 10))),
        ({"tools": [{"type": "web_search"}], "max_tool_calls": 2}, (("tool.web_search", 1, 2),)),
        ({"tools": [{"type": "web_search"}], "max_tool_calls": 0}, (("tool.web_search", 0, 0),)),
    ],
)
def test_tools_that_the_provider_runs_are_paid_for(fields, tools):
    seen = read(**fields)
    assert (seen.work, seen.text_bytes) == (Work(tools=tools), None)


def test_tools_that_the_caller_runs_are_not():
    assert read(tools=[{"type": "function", "name": "f"}]).work is None


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "image_generation"},
        CODE | {"container": {"type": "auto", "memory_limit": "4g"}},
        CODE | {"container": "c"},
    ],
)
def test_what_has_a_fee_that_is_not_known_is_refused(tool):
    with pytest.raises(RouterError, match="fee that is not known"):
        read(tools=[tool])

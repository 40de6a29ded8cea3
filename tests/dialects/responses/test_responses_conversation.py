"""Responses bodies in neutral form, and what other dialects have no place for."""

import json

import pytest

from router.core.errors import RouterError
from router.core.wire import Wire
from router.dialects.neutral import Conversation, Format, Media, Text, Thought, Tool, ToolResult, ToolUse, Turn
from router.dialects.responses.conversation import understood
from router.dialects.responses.request import read_responses

USER = {"role": "user", "content": "Hi"}
CALL = {"type": "function_call", "call_id": "t", "name": "find", "arguments": '{"q":1}'}
BACK = {"type": "function_call_output", "call_id": "t", "output": "18"}
PDF = "data:application/pdf;base64,JVBERg=="
PNG = "data:image/png;base64,iVBO"
LINK = "https://example.com/a"
ONLY = Wire.RESPONSES_ONLY.value


def heard(**fields):
    return understood(read_responses(json.dumps({"model": "m", "input": "Hi", **fields}).encode(), {}))


def noted(**fields):
    found = heard(**fields)
    assert found.wire == sum(bit for bit, _ in found.notes)
    return dict(found.notes)


def blocks(*items):
    """The last turn's."""
    return heard(input=list(items)).turns[-1].blocks


def part(**fields):
    return {"role": "user", "content": [fields]}


def test_a_text_is_a_users_turn():
    assert heard() == Conversation(turns=(Turn("user", (Text("Hi"),)),))


def test_everything_that_has_a_place_is_read():
    found = heard(
        instructions="Be kind.",
        input=[{"role": "developer", "content": "Be brief."}, USER, {"role": "assistant", "content": "Yes?"}, USER],
        tools=[{"type": "function", "name": "find", "description": "Finds.", "parameters": {"type": "object"}}],
        tool_choice={"type": "function", "name": "find"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}, "verbosity": "low"},
        temperature=0.5,
        reasoning={"effort": "low", "summary": "auto"},
        safety_identifier="u",
        prompt_cache_key="k",
    )
    assert found.system == (Text("Be kind."), Text("Be brief."))
    assert [turn.role for turn in found.turns] == ["user", "assistant", "user"]
    assert found.tools == (Tool("find", "Finds.", '{"type":"object"}'),)
    assert (found.choice, found.tool_name, found.format) == ("tool", "find", Format("{}", "n"))
    assert (found.temperature, found.effort, found.shows_thoughts) == (0.5, "low", True)
    assert (found.verbosity, found.user, found.cache_key) == ("low", "u", "k")
    assert dict(found.notes) == {Wire.VERBOSITY.value: "text.verbosity"}


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({"temperature": 1, "top_p": 1, "truncation": "disabled", "top_logprobs": 0, "store": True}, {}),
        ({"include": ["web_search_call.action.sources"], "metadata": {"a": "b"}, "text": {}, "reasoning": {}}, {}),
        ({"text": {"format": {"type": "text"}}, "tool_choice": "auto", "parallel_tool_calls": False}, {}),
        ({"invented": 1}, {ONLY: "the field invented"}),
        ({"truncation": "auto"}, {ONLY: "truncation"}),
        ({"max_tool_calls": 3}, {ONLY: "max_tool_calls"}),
        ({"top_logprobs": 2}, {ONLY: "top_logprobs"}),
        ({"include": ["message.output_text.logprobs"]}, {ONLY: "include: message.output_text.logprobs"}),
        ({"previous_response_id": "r"}, {ONLY: "previous_response_id"}),
        ({"temperature": 1.5}, {Wire.HOT.value: "a temperature above 1"}),
        ({"temperature": 0.5, "top_p": 0.5}, {Wire.TWO_SAMPLERS.value: "temperature and top_p together"}),
        ({"reasoning": {"effort": "extreme"}}, {ONLY: "this reasoning.effort"}),
        ({"reasoning": {"mode": "x"}}, {ONLY: "the field reasoning.mode"}),
        ({"text": {"format": {"type": "grammar"}}}, {ONLY: "this text.format"}),
        ({"tools": [{"type": "web_search"}]}, {ONLY: "the tool web_search"}),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": []}]},
            {ONLY: "a tool whose parameters are no object"},
        ),
        ({"tools": [{"type": "function", "name": "f", "strict": True}]}, {Wire.STRICT_TOOLS.value: "a strict tool"}),
        (
            {"tools": [{"type": "function", "name": "f", "defer_loading": True}]},
            {ONLY: "the field tools.defer_loading"},
        ),
        (
            {"tools": [{"type": "function", "name": "f", "strict": False}], "parallel_tool_calls": False},
            {Wire.ONE_TOOL.value: "parallel_tool_calls: false"},
        ),
        ({"tool_choice": "none"}, {Wire.NO_TOOL.value: "tool_choice: none"}),
        ({"tool_choice": {"type": "allowed_tools"}}, {ONLY: "this tool_choice"}),
        (
            {"input": [USER, {"role": "developer", "content": "x"}]},
            {ONLY: "a developer message after the conversation has begun"},
        ),
        ({"input": [USER, {"role": "assistant", "content": "x"}]}, {ONLY: "a last item that is the assistant's"}),
        ({"input": [{"role": "user", "content": " "}]}, {ONLY: "a user's turn that says nothing"}),
        ({"input": [{"role": "critic", "content": "x"}, USER]}, {ONLY: "the item critic"}),
        ({"input": [{"type": "item_reference", "id": "x"}, USER]}, {ONLY: "the item item_reference"}),
        ({"input": [{**USER, "name": "Ada"}]}, {ONLY: "the field input.name"}),
        ({"input": [CALL | {"arguments": "["}, BACK]}, {ONLY: "a function call whose arguments are no JSON object"}),
        ({"input": [CALL | {"namespace": "x"}, BACK]}, {ONLY: "the field input.namespace"}),
        ({"input": [CALL | {"caller": {"type": "direct"}}, BACK]}, {}),
        ({"input": [part(type="hologram"), USER]}, {ONLY: "the part hologram"}),
    ],
)
def test_what_not_everybody_can_be_told_is_noted(fields, notes):
    assert noted(**fields) == notes


@pytest.mark.parametrize(("choice", "read"), [("required", "required"), ("none", "none"), ("auto", "auto"), (None, "")])
def test_a_choice_of_tools(choice, read):
    assert heard(tool_choice=choice).choice == read


def test_any_object_may_be_asked_for():
    assert heard(text={"format": {"type": "json_object"}}).format == Format()


@pytest.mark.parametrize(
    ("given", "read", "bit"),
    [
        ({"type": "input_text", "text": "Hi"}, Text("Hi"), None),
        ({"type": "output_text", "text": "Hi", "annotations": []}, Text("Hi"), None),
        ({"type": "refusal", "refusal": "No."}, Text("No."), None),
        ({"type": "input_image", "image_url": PNG, "detail": "auto"}, Media("image", "image/png", "iVBO"), None),
        ({"type": "input_image", "image_url": PNG, "detail": "low"}, Media("image", "image/png", "iVBO", detail="low"), Wire.DETAIL),
        ({"type": "input_image", "image_url": LINK}, Media("image", url=LINK), Wire.LINKED_IMAGE),
        ({"type": "input_image", "file_id": "f"}, None, Wire.RESPONSES_ONLY),
        ({"type": "input_file", "file_data": PDF, "filename": "a"}, Media("file", "application/pdf", "JVBERg==", name="a"), None),
        ({"type": "input_file", "file_url": LINK}, Media("file", url=LINK), Wire.LINKED_FILE),
        ({"type": "input_file", "file_data": "JVBERg=="}, Media("file", url="JVBERg=="), Wire.RESPONSES_ONLY),
        ({"type": "input_file", "file_id": "f"}, None, Wire.RESPONSES_ONLY),
        ({"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}, Media("audio", "audio/wav", "UklG"), None),
    ],
)  # fmt: skip
def test_a_part(given, read, bit):
    found = heard(input=[USER, part(**given)])
    assert found.turns[-1].blocks == (Text("Hi"), *([read] if read else []))
    assert found.wire == (bit or 0)


def test_what_a_tool_gave_back_may_be_a_picture():
    found = heard(input=[CALL, BACK | {"output": [{"type": "input_image", "image_url": PNG}]}])
    assert found.turns == (
        Turn("assistant", (ToolUse("t", "find", '{"q":1}'),)),
        Turn("user", (ToolResult("t", (Media("image", "image/png", "iVBO"),)),)),
    )
    assert found.wire == Wire.TOOL_MEDIA


@pytest.mark.parametrize(
    ("item", "thought", "bit"),
    [
        ({"summary": []}, None, 0),
        ({"summary": [{"type": "summary_text", "text": "a"}], "content": [{"text": "b"}]}, Thought("a\n\nb"), 0),
        ({"summary": [], "encrypted_content": "gAAA"}, None, Wire.RESPONSES_ONLY),
        (
            {"summary": [{"text": "a"}], "encrypted_content": "costrouter.signed:s"},
            Thought("a", "s"),
            Wire.SIGNED_THOUGHT,
        ),
        (
            {"summary": [], "encrypted_content": "costrouter.hidden:s"},
            Thought("", "s", hidden=True),
            Wire.SIGNED_THOUGHT,
        ),
        (
            {"summary": [{"text": "a"}], "encrypted_content": "costrouter.signed:costrouter.gemini.s"},
            Thought("a", "costrouter.gemini.s"),
            0,
        ),
    ],
)
def test_what_a_model_thought(item, thought, bit):
    found = heard(input=[USER, {"type": "reasoning", "id": "rs", **item}, USER])
    assert found.turns[1].blocks == ((thought,) if thought else ())
    assert found.wire == bit


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"tools": [{"type": "function"}]}, "tools.name"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input.call_id"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input.call_id"),
        ({"input": [part(type="input_text")]}, "input.content.text"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
    ],
)
def test_what_cannot_be_read_is_named(fields, param):
    with pytest.raises(RouterError) as refused:
        heard(**fields)
    assert (refused.value.code, refused.value.param) == ("invalid_request", param)

import json

import pytest

from router.core.errors import RouterError
from router.core.wire import Wire
from router.dialects.anthropic.conversation import understood
from router.dialects.anthropic.request import read_messages
from router.dialects.neutral import Format, Media, Text, Thought, Tool, ToolResult, ToolUse, Turn
from router.dialects.signatures import GEMINI, UNSIGNED

SAY_HI = [{"role": "user", "content": "Hi"}]
TOOL = {"name": "find", "input_schema": {"type": "object"}}
BLOCK, SOURCE = "messages.content", "messages.content.source"
PICTURE = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
LINK = {"type": "url", "url": "https://x/y"}


def heard(**fields):
    body = {"model": "auto", "max_tokens": 50, "messages": SAY_HI, **fields}
    return understood(read_messages(json.dumps(body).encode(), {}))


def says(*blocks, role="user"):
    return {"messages": [{"role": role, "content": list(blocks)}]}


def blocks_of(*blocks):
    (turn,) = heard(**says(*blocks)).turns
    return turn.blocks


def notes_of(**fields):
    """What other dialects have no place for: the words, by feature."""
    said = heard(**fields)
    notes = {Wire(bit): words for bit, words in said.notes}
    together = Wire(0)
    for feature in notes:
        together |= feature
    assert said.wire == together
    return notes


def refused(**fields):
    with pytest.raises(RouterError) as caught:
        heard(**fields)
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)
    return caught.value.param, caught.value.message


# -- who says what


def test_turns_of_one_side_that_follow_each_other_are_one():
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": ""},
    ]
    assert heard(messages=messages).turns == (
        Turn("user", (Text("Hi"), Text("there"))),
        Turn("assistant", (Text("Yes?"),)),
        Turn("user", ()),
    )


@pytest.mark.parametrize(
    ("system", "heard_as"),
    [
        (None, ()),
        ("", ()),
        ("Be kind.", (Text("Be kind."),)),
        (
            [{"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "kind"}],
            (Text("Be", "5m"), Text("kind")),
        ),
    ],
)
def test_the_system_is_a_text_or_blocks_of_text(system, heard_as):
    assert heard(system=system).system == heard_as


@pytest.mark.parametrize(
    ("block", "heard_as"),
    [
        ({"type": "text", "text": "Hi", "citations": None}, (Text("Hi"),)),
        ({"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, (Text("Hi", "1h"),)),
        ({"type": "text", "text": "Hi", "cache_control": {"ttl": "5m"}}, (Text("Hi", "5m"),)),
        ({"type": "image", "source": PICTURE}, (Media("image", mime="image/png", data="AAAA"),)),
        ({"type": "image", "source": LINK}, (Media("image", url="https://x/y"),)),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, ()),
        (
            {"type": "document", "source": PDF, "title": "Report", "citations": {"enabled": False}},
            (Media("file", mime="application/pdf", data="AAAA", name="Report"),),
        ),
        ({"type": "document", "source": {"type": "text", "data": "page"}}, (Text("page"),)),
        ({"type": "document", "source": {"type": "text", "data": "page"}, "title": "T"}, (Text("T\n\npage"),)),
        ({"type": "document", "source": LINK, "title": "T"}, (Media("file", url="https://x/y", name="T"),)),
        ({"type": "document", "source": {"type": "content", "content": "page"}}, ()),
        ({"type": "thinking", "thinking": "hm", "signature": "s"}, (Thought("hm", "s"),)),
        ({"type": "thinking", "thinking": "hm", "signature": UNSIGNED}, (Thought("hm"),)),
        ({"type": "thinking", "thinking": "", "signature": GEMINI + "c2ln"}, (Thought("", GEMINI + "c2ln"),)),
        ({"type": "redacted_thinking", "data": "xyz"}, (Thought("", "xyz", hidden=True),)),
        ({"type": "tool_use", "id": "t", "name": "find", "input": {"q": 1}}, (ToolUse("t", "find", '{"q":1}'),)),
        ({"type": "tool_result", "tool_use_id": "t"}, (ToolResult("t", ()),)),
        ({"type": "tool_result", "tool_use_id": "t", "content": ""}, (ToolResult("t", ()),)),
        (
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "is_error": True,
                "content": [{"type": "text", "text": "no"}, {"type": "image", "source": PICTURE}],
                "cache_control": {"type": "ephemeral"},
            },
            (ToolResult("t", (Text("no"), Media("image", mime="image/png", data="AAAA")), failed=True, kept="5m"),),
        ),
        ({"type": "server_tool_use", "id": "t"}, ()),
    ],
)
def test_each_kind_of_block_is_heard(block, heard_as):
    assert blocks_of(block) == heard_as


# -- what is asked for


@pytest.mark.parametrize(
    ("choice", "heard_as"),
    [
        (None, ("", "", False)),
        ({"type": "auto"}, ("auto", "", False)),
        ({"type": "any", "disable_parallel_tool_use": True}, ("required", "", True)),
        ({"type": "tool", "name": "find"}, ("tool", "find", False)),
        ({"type": "none"}, ("none", "", False)),
    ],
)
def test_which_tools_may_be_called(choice, heard_as):
    said = heard(tool_choice=choice, tools=[TOOL])
    assert (said.choice, said.tool_name, said.one_tool) == heard_as


@pytest.mark.parametrize(
    ("tool", "heard_as"),
    [
        (TOOL, (Tool("find", schema='{"type":"object"}'),)),
        (
            {**TOOL, "type": "custom", "description": "d", "strict": True, "cache_control": {"ttl": "1h"}},
            (Tool("find", "d", '{"type":"object"}', strict=True, kept="1h"),),
        ),
        ({"type": "bash_20250124", "name": "bash"}, ()),
    ],
)
def test_tools_are_heard_but_those_that_anthropic_defines(tool, heard_as):
    assert heard(tools=[tool]).tools == heard_as


@pytest.mark.parametrize(
    ("thinking", "heard_as"),
    [
        ({"type": "enabled", "budget_tokens": 1024}, ("low", 1024, True)),
        ({"type": "enabled", "budget_tokens": 4096, "display": "omitted"}, ("medium", 4096, False)),
        ({"type": "enabled", "budget_tokens": 16_384}, ("high", 16_384, True)),
        ({"type": "adaptive"}, ("", None, True)),
        ({"type": "adaptive", "display": "omitted"}, ("", None, False)),
        ({"type": "disabled"}, ("", None, False)),
        ({"type": "dreaming"}, ("", None, False)),
        (None, ("", None, False)),
    ],
)
def test_how_hard_to_think_and_who_sees_it(thinking, heard_as):
    said = heard(thinking=thinking)
    assert (said.effort, said.thinking_budget, said.shows_thoughts) == heard_as


def test_an_effort_in_words_goes_before_that_of_a_budget():
    said = heard(thinking={"type": "enabled", "budget_tokens": 1024}, output_config={"effort": "max"})
    assert (said.effort, said.thinking_budget) == ("max", 1024)


@pytest.mark.parametrize(
    ("form", "heard_as"),
    [
        (None, None),
        ({"type": "json_schema", "schema": {"type": "object"}}, Format('{"type":"object"}')),
        ({"type": "regex"}, None),
    ],
)
def test_the_form_of_the_answer(form, heard_as):
    assert heard(output_config={"format": form}).format == heard_as


@pytest.mark.parametrize(
    ("fields", "heard_as"),
    [
        ({}, (None, None, None)),
        ({"temperature": 1, "top_p": 1.0}, (None, None, None)),
        ({"temperature": 0, "top_p": 0.5, "top_k": 4}, (0, 0.5, 4)),
    ],
)
def test_sampling_is_heard_where_it_is_not_the_usual(fields, heard_as):
    said = heard(**fields)
    assert (said.temperature, said.top_p, said.top_k) == heard_as


def test_stops_and_the_user_are_heard():
    said = heard(stop_sequences=["a", "b"], metadata={"user_id": "u"})
    assert (said.stops, said.user) == (("a", "b"), "u")


# -- what other dialects have no place for


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({}, {}),
        ({"container": "c"}, {Wire.MESSAGES_ONLY: "the field container"}),
        ({"container": None}, {}),
        ({"messages": [{**SAY_HI[0], "name": "x"}]}, {Wire.MESSAGES_ONLY: "the field messages.name"}),
        ({"messages": [{"role": "system", "content": "x"}]}, {Wire.MESSAGES_ONLY: "a message of this role"}),
        (
            says({"type": "text", "text": "Hi"}, role="assistant"),
            {Wire.PREFILL: "a last message that is the assistant's"},
        ),
        ({"output_config": {"effort": "low"}}, {Wire.EFFORT: "output_config.effort"}),
        ({"output_config": {"effort": "wild"}}, {Wire.MESSAGES_ONLY: "output_config.effort"}),
        ({"output_config": {"tone": "wild"}}, {Wire.MESSAGES_ONLY: "the field output_config.tone"}),
        ({"output_config": {"format": {"type": "regex"}}}, {Wire.MESSAGES_ONLY: "this output_config.format"}),
        ({"top_k": 4}, {Wire.TOP_K: "top_k"}),
        ({"stop_sequences": []}, {}),
        ({"stop_sequences": ["a"] * 4}, {Wire.STOP: "stop_sequences"}),
        (
            {"stop_sequences": ["a"] * 5},
            {Wire.STOP: "stop_sequences", Wire.MANY_STOPS: "more than 4 stop sequences"},
        ),
        ({"thinking": {"type": "dreaming"}}, {Wire.MESSAGES_ONLY: "thinking of this type"}),
        ({"tool_choice": {"type": "none"}}, {Wire.NO_TOOL: "tool_choice: none"}),
        (
            {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
            {Wire.ONE_TOOL: "disable_parallel_tool_use"},
        ),
        ({"tools": [{"type": "bash_20250124"}]}, {Wire.MESSAGES_ONLY: "the tool bash_20250124"}),
        ({"tools": [{**TOOL, "name": "n" * 64}]}, {}),
        ({"tools": [{**TOOL, "name": "n" * 65}]}, {Wire.MESSAGES_ONLY: "a tool's name of more than 64 characters"}),
        ({"tools": [{**TOOL, "strict": True}]}, {Wire.STRICT_TOOLS: "a strict tool"}),
        ({"tools": [{**TOOL, "defer_loading": True}]}, {Wire.MESSAGES_ONLY: "the field tools.defer_loading"}),
        ({"tools": [{**TOOL, "defer_loading": False}]}, {}),
        (says({"type": "text", "text": "Hi", "citations": []}), {}),
        (
            says({"type": "text", "text": "Hi", "citations": [{}]}),
            {Wire.MESSAGES_ONLY: "the field messages.content.citations"},
        ),
        (says({"type": "image", "source": LINK}), {Wire.LINKED_IMAGE: "an image by its URL"}),
        (says({"type": "image", "source": {"type": "file"}}), {Wire.MESSAGES_ONLY: "an image by its id"}),
        (says({"type": "document", "source": LINK}), {Wire.LINKED_FILE: "a document by its URL"}),
        (
            says({"type": "document", "source": {"type": "content"}}),
            {Wire.MESSAGES_ONLY: "a document of the kind content"},
        ),
        (
            says({"type": "document", "source": PDF, "citations": {"enabled": True}}),
            {Wire.MESSAGES_ONLY: "citations"},
        ),
        (
            says({"type": "thinking", "thinking": "hm", "signature": "s"}),
            {Wire.SIGNED_THOUGHT: "thinking that its provider signed"},
        ),
        (says({"type": "thinking", "thinking": "hm", "signature": UNSIGNED}), {}),
        (says({"type": "thinking", "thinking": "hm", "signature": GEMINI + "c2ln"}), {}),
        (says({"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}}), {}),
        (
            says({"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "code"}}),
            {Wire.MESSAGES_ONLY: "the field messages.content.caller"},
        ),
        (
            says({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": PICTURE}]}),
            {Wire.TOOL_MEDIA: "an image or file in what a tool gave back"},
        ),
        (says({"type": "x" * 99}), {Wire.MESSAGES_ONLY: "the block " + "x" * 64}),
    ],
)
def test_what_other_dialects_have_no_place_for_is_noted(fields, notes):
    assert notes_of(**fields) == notes


# -- what is refused


@pytest.mark.parametrize(
    ("fields", "param", "wanted"),
    [
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens", "a whole number"),
        ({"stop_sequences": "a"}, "stop_sequences", "a list"),
        ({"stop_sequences": [1]}, "stop_sequences", "a text"),
        ({"output_config": {"format": "json"}}, "output_config.format", "an object"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema", "an object"),
        ({"tool_choice": "auto"}, "tool_choice", "an object"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type", "auto, any, tool or none"),
        ({"tool_choice": {"type": ["auto"]}}, "tool_choice.type", "auto, any, tool or none"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name", "a text"),
        ({"tools": [{"input_schema": {}}]}, "tools.name", "a text"),
        ({"tools": [{"name": "f"}]}, "tools.input_schema", "an object"),
        ({"tools": [{**TOOL, "cache_control": 5}]}, "tools.cache_control", "an object"),
        ({"system": [{"type": "image"}]}, "system.type", "text"),
        ({"system": [{"type": "text"}]}, "system.text", "a text"),
        (
            says({"type": "text", "text": "Hi", "cache_control": {"ttl": "1d"}}),
            f"{BLOCK}.cache_control.ttl",
            "5m or 1h",
        ),
        (says({"type": "text"}), f"{BLOCK}.text", "a text"),
        (says({"type": "image"}), SOURCE, "an object"),
        (says({"type": "image", "source": {"type": "base64", "media_type": "x"}}), f"{SOURCE}.data", "a text"),
        (says({"type": "image", "source": {"type": "url"}}), f"{SOURCE}.url", "a text"),
        (says({"type": "document", "source": PDF, "title": 5}), f"{BLOCK}.title", "a text"),
        (says({"type": "thinking", "thinking": "hm"}), f"{BLOCK}.signature", "a text"),
        (says({"type": "redacted_thinking"}), f"{BLOCK}.signature", "a text"),
        (says({"type": "tool_use", "id": "t", "name": "f"}), f"{BLOCK}.input", "an object"),
        (says({"type": "tool_result"}), f"{BLOCK}.tool_use_id", "a text"),
        (
            says({"type": "tool_result", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}),
            f"{BLOCK}.content",
            "texts, images and documents",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(fields, param, wanted):
    assert refused(**fields) == (param, f"{param} must be {wanted}.")

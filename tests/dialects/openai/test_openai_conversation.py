import json

import pytest

from router.core.errors import RouterError
from router.core.wire import Wire
from router.dialects.neutral import Conversation, Format, Media, Text, Thought, Tool, ToolResult, ToolUse, Turn
from router.dialects.openai.chat import read_chat
from router.dialects.openai.conversation import understood

HI = {"role": "user", "content": "Hi"}
FIND = {"type": "function", "function": {"name": "find"}}
PDF = "data:application/pdf;base64,JVBERg=="
PNG = "data:image/png;base64,iVBO"
LINK = "https://example.com/a.png"
LAST = (Wire.CHAT_ONLY, "a last message that is the assistant's")


def heard(**fields):
    return understood(read_chat(json.dumps({"model": "m", "messages": [HI], **fields}).encode()))


def said(*messages):
    return heard(messages=list(messages))


def shown(*parts):
    """The user's one turn, made of these parts."""
    return said({"role": "user", "content": list(parts)})


def answered(**message):
    """The conversation that goes on after this message of the assistant's."""
    return said({"role": "assistant", **message}, HI)


def called(**call):
    return {"tool_calls": [{"id": "t", "type": "function", "function": {"name": "find", "arguments": "{}"}} | call]}


def noted(conversation):
    assert conversation.wire == sum(bit for bit, _ in conversation.notes)
    return list(conversation.notes)


def test_a_plain_request_says_no_more_than_its_words():
    assert heard() == Conversation(turns=(Turn("user", (Text("Hi"),)),))


# -- fields


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({"n": 1, "store": False, "logprobs": False, "logit_bias": {}, "modalities": ["text"]}, []),
        ({"metadata": {"a": "b"}, "stream_options": {}, "service_tier": "flex", "prompt_cache_retention": "24h"}, []),
        ({"n": 2}, [(Wire.CHAT_ONLY, "n")]),
        ({"store": True}, [(Wire.CHAT_ONLY, "store")]),
        ({"logprobs": True}, [(Wire.CHAT_ONLY, "logprobs")]),
        ({"logit_bias": {"5": 1}}, [(Wire.CHAT_ONLY, "logit_bias")]),
        ({"modalities": ["text", "audio"]}, [(Wire.CHAT_ONLY, "modalities")]),
        ({"invented": 1, "tomorrow": 2}, [(Wire.CHAT_ONLY, "the field invented")]),
        ({"invented": None}, []),
        ({"i" * 90: 1}, [(Wire.CHAT_ONLY, f"the field {'i' * 60}")]),
        ({"reasoning_effort": "extreme"}, [(Wire.CHAT_ONLY, "this reasoning_effort")]),
        ({"verbosity": "low"}, [(Wire.VERBOSITY, "verbosity")]),
        ({"tools": [FIND], "parallel_tool_calls": False}, [(Wire.ONE_TOOL, "parallel_tool_calls: false")]),
        ({"parallel_tool_calls": False}, []),
        ({"tools": [FIND], "parallel_tool_calls": True}, []),
        ({"temperature": 1, "top_p": 1.0, "presence_penalty": 0, "frequency_penalty": 0.0}, []),
        ({"temperature": 0.5}, []),
        ({"temperature": 1.5}, [(Wire.HOT, "a temperature above 1")]),
        ({"temperature": 0.5, "top_p": 0.5}, [(Wire.TWO_SAMPLERS, "temperature and top_p together")]),
        ({"presence_penalty": 1}, [(Wire.PENALTIES, "a presence or frequency penalty")]),
        ({"frequency_penalty": 1}, [(Wire.PENALTIES, "a presence or frequency penalty")]),
        ({"seed": 0}, [(Wire.SEED, "seed")]),
        ({"stop": "END"}, [(Wire.STOP, "stop")]),
        ({"stop": []}, []),
        ({"stop": list("abcd")}, [(Wire.STOP, "stop")]),
        ({"stop": list("abcde")}, [(Wire.STOP, "stop"), (Wire.MANY_STOPS, "more than 4 stop sequences")]),
        ({"stop": "\n"}, [(Wire.CHAT_ONLY, "a stop sequence of white space only"), (Wire.STOP, "stop")]),
        ({"response_format": {"type": "grammar"}}, [(Wire.CHAT_ONLY, "this response_format")]),
        ({"tool_choice": "none"}, [(Wire.NO_TOOL, "tool_choice: none")]),
        ({"tool_choice": {"type": "allowed_tools"}}, [(Wire.CHAT_ONLY, "this tool_choice")]),
    ],
)
def test_what_other_dialects_have_no_place_for_is_noted(fields, notes):
    assert sorted(noted(heard(**fields))) == sorted(notes)


def test_every_setting_is_kept():
    found = heard(
        stop=["a", "b"],
        temperature=0,
        top_p=0.5,
        presence_penalty=0.25,
        frequency_penalty=-1,
        seed=7,
        reasoning_effort="high",
        verbosity="low",
        user="ann",
        prompt_cache_key="k",
        parallel_tool_calls=False,
    )
    assert (found.stops, found.temperature, found.top_p) == (("a", "b"), 0, 0.5)
    assert (found.presence_penalty, found.frequency_penalty, found.seed) == (0.25, -1, 7)
    assert (found.effort, found.shows_thoughts, found.verbosity) == ("high", True, "low")
    assert (found.user, found.cache_key, found.one_tool) == ("ann", "k", True)


def test_a_safety_identifier_is_the_newer_name_of_the_user():
    assert heard(user="ann", safety_identifier="a1").user == "a1"


def test_what_holds_anyway_counts_as_not_set():
    found = heard(temperature=1, top_p=1.0, presence_penalty=0, frequency_penalty=0.0)
    assert found == heard()


@pytest.mark.parametrize(
    ("given", "form"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, Format()),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "description": "An x.", "schema": {"type": "object"}}},
            Format('{"type":"object"}', "x", "An x.", strict=False),
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "strict": True}},
            Format("{}", "x", strict=True),
        ),
    ],
)
def test_an_answers_form(given, form):
    found = heard(response_format=given)
    assert (found.format, noted(found)) == (form, [])


def test_a_form_without_a_schema_stays_here():
    found = heard(response_format={"type": "json_schema", "json_schema": {"name": "x"}})
    assert found.format == Format("{}", "x", strict=False)
    assert noted(found) == [(Wire.CHAT_ONLY, "a response_format without a schema")]


# -- tools


@pytest.mark.parametrize(
    ("function", "tool", "notes"),
    [
        ({}, Tool("find"), []),
        (
            {"description": "Finds.", "parameters": {"type": "object"}},
            Tool("find", "Finds.", '{"type":"object"}'),
            [],
        ),
        ({"parameters": {}}, Tool("find", schema="{}"), []),
        ({"strict": True}, Tool("find", strict=True), [(Wire.STRICT_TOOLS, "a strict tool")]),
        (
            {"parameters": {"type": "string"}},
            Tool("find", schema='{"type":"string"}'),
            [(Wire.CHAT_ONLY, "a tool whose parameters are no object")],
        ),
        (
            {"parameters": []},
            Tool("find", schema="[]"),
            [(Wire.CHAT_ONLY, "a tool whose parameters are no object")],
        ),
        ({"cost": 1}, Tool("find"), [(Wire.CHAT_ONLY, "the field tools.function.cost")]),
    ],
)
def test_a_tool(function, tool, notes):
    found = heard(tools=[{"type": "function", "function": {"name": "find", **function}}])
    assert (found.tools, noted(found)) == ((tool,), notes)


def test_a_tool_that_is_no_function_stays_here():
    assert noted(heard(tools=[{"type": "custom", "custom": {"name": "x"}}])) == [
        (Wire.CHAT_ONLY, "a tool that is no function")
    ]


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        (None, ("", "")),
        ("auto", ("auto", "")),
        ("required", ("required", "")),
        ("none", ("none", "")),
        (FIND, ("tool", "find")),
        ({"type": "allowed_tools"}, ("", "")),
        ("sometimes", ("", "")),
    ],
)
def test_which_tools_may_be_called(given, choice):
    found = heard(tools=[FIND], tool_choice=given)
    assert (found.choice, found.tool_name) == choice


# -- messages


def test_turns_are_what_one_side_says_before_the_other_does():
    found = said(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        HI,
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": "Searching.", **called()},
        {"role": "tool", "tool_call_id": "t", "content": "42"},
        {"role": "user", "content": "And?"},
    )
    assert found == Conversation(
        system=(Text("Be brief."), Text("Be kind.")),
        turns=(
            Turn("user", (Text("Hi"), Text("Look."))),
            Turn("assistant", (Text("Searching."), ToolUse("t", "find", "{}"))),
            Turn("user", (ToolResult("t", (Text("42"),)), Text("And?"))),
        ),
    )


@pytest.mark.parametrize(
    ("messages", "notes"),
    [
        ([], [LAST]),
        ([HI, {"role": "assistant", "content": "Well"}], [LAST]),
        (
            [HI, {"role": "system", "content": "Be brief."}],
            [(Wire.CHAT_ONLY, "a system message after the conversation has begun")],
        ),
        (
            [HI, {"role": "developer", "content": "Be brief."}],
            [(Wire.CHAT_ONLY, "a developer message after the conversation has begun")],
        ),
        ([{"role": "function", "name": "f", "content": "1"}, HI], [(Wire.CHAT_ONLY, "the field messages.name")]),
        ([{"role": "function", "content": "1"}, HI], [(Wire.CHAT_ONLY, "a message of this role")]),
        (
            [{"role": "tool", "tool_call_id": "t", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}],
            [(Wire.TOOL_MEDIA, "an image in what a tool gave back")],
        ),
    ],
)
def test_messages_that_other_dialects_have_no_place_for(messages, notes):
    assert noted(said(*messages)) == notes


def test_a_late_order_of_the_systems_is_still_the_systems():
    found = said(HI, {"role": "system", "content": "Be brief."})
    assert (found.system, found.turns) == ((Text("Be brief."),), (Turn("user", (Text("Hi"),)),))


@pytest.mark.parametrize(
    ("message", "blocks"),
    [
        ({"content": "Hello."}, (Text("Hello."),)),
        ({"content": None}, ()),
        ({"content": ""}, ()),
        ({"content": None, "refusal": "No."}, (Text("No."),)),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, (Text("No."),)),
        ({"content": "Hello.", "reasoning_content": "Hm."}, (Thought("Hm."), Text("Hello."))),
        ({"content": "Hello.", "reasoning": "Hm."}, (Thought("Hm."), Text("Hello."))),
        ({"content": "Hello.", "reasoning": ""}, (Text("Hello."),)),
        ({"content": None, **called()}, (ToolUse("t", "find", "{}"),)),
        (called(function={"name": "find", "arguments": ""}), (ToolUse("t", "find", ""),)),
        (called(function={"name": "find"}), (ToolUse("t", "find", ""),)),
    ],
)
def test_what_the_assistant_said(message, blocks):
    found = answered(**message)
    assert (found.turns[0], noted(found)) == (Turn("assistant", blocks), [])


@pytest.mark.parametrize(
    ("call", "blocks", "notes"),
    [
        ({"type": "custom"}, (), [(Wire.CHAT_ONLY, "a call of a tool that is no function")]),
        *(
            (
                {"function": {"name": "find", "arguments": broken}},
                (ToolUse("t", "find", broken),),
                [(Wire.CHAT_ONLY, "a tool call whose arguments are no JSON object")],
            )
            for broken in ("{", "[]", "7", "[" * 100_000)
        ),
    ],
)
def test_a_call_that_stays_here(call, blocks, notes):
    found = answered(**called(**call))
    assert (found.turns[0].blocks, noted(found)) == (blocks, notes)


# -- parts


@pytest.mark.parametrize(
    ("part", "blocks", "notes"),
    [
        ({"type": "text", "text": "x"}, (Text("x"),), []),
        ({"type": "text", "text": ""}, (), [(Wire.CHAT_ONLY, "a user's turn that says nothing")]),
        ({"type": "text", "text": "x", "hue": 1}, (Text("x"),), [(Wire.CHAT_ONLY, "the field messages.content.hue")]),
        ({"type": "image_url", "image_url": PNG}, (Media("image", "image/png", "iVBO"),), []),
        (
            {"type": "image_url", "image_url": {"url": PNG, "detail": "auto"}},
            (Media("image", "image/png", "iVBO", detail="auto"),),
            [],
        ),
        (
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            (Media("image", "image/png", "iVBO", detail="low"),),
            [(Wire.DETAIL, "an image's detail")],
        ),
        (
            {"type": "image_url", "image_url": {"url": LINK}},
            (Media("image", url=LINK),),
            [(Wire.LINKED_IMAGE, "an image by its URL")],
        ),
        ({"type": "file", "file": {"file_id": "f"}}, (), [(Wire.CHAT_ONLY, "a file by its id")]),
        (
            {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            (Media("file", "application/pdf", "JVBERg==", name="a.pdf"),),
            [],
        ),
        (
            {"type": "file", "file": {"file_data": "JVBERg=="}},
            (Media("file", url="JVBERg=="),),
            [(Wire.CHAT_ONLY, "a file that is no PDF in a data URL")],
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,SGk="}},
            (Media("file", "text/plain", "SGk="),),
            [(Wire.CHAT_ONLY, "a file that is no PDF in a data URL")],
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
            (Media("audio", "audio/wav", "UklG"),),
            [],
        ),
        ({"type": "hologram"}, (), [(Wire.CHAT_ONLY, "a content part of this type")]),
    ],
)
def test_a_part(part, blocks, notes):
    found = shown(part)
    assert (found.turns, noted(found)) == ((Turn("user", blocks),), notes)


# -- what is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"verbosity": 5}, "verbosity must be a text."),
        ({"safety_identifier": 5}, "safety_identifier must be a text."),
        ({"prompt_cache_key": 5}, "prompt_cache_key must be a text."),
        ({"seed": "7"}, "seed must be a whole number."),
        ({"seed": True}, "seed must be a whole number."),
        ({"stop": 5}, "stop must be a list."),
        ({"stop": [5]}, "stop must be a text."),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema must be an object."),
        ({"tools": [{"type": "function"}]}, "tools.function must be an object."),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.function.name must be a text."),
        ({"tools": [5]}, "tools must be an object."),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function must be an object."),
        ({"tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name must be a text."),
        ({"messages": [{"role": "tool", "content": "1"}]}, "messages.tool_call_id must be a text."),
        ({"messages": [{"role": "assistant", "refusal": 5}]}, "messages.refusal must be a text."),
        ({"messages": [{"role": "assistant", "tool_calls": [5]}]}, "messages.tool_calls must be an object."),
        ({"messages": [{"role": "assistant", **called(id=None)}]}, "messages.tool_calls.id must be a text."),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.content.text must be a text."),
    ],
)
def test_a_field_that_cannot_be_read_is_named(fields, message):
    with pytest.raises(RouterError) as caught:
        heard(**fields)
    assert (caught.value.code, caught.value.param) == ("invalid_request", message.partition(" ")[0])
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("messages", "noted"),
    [
        ([{"role": "user", "content": ""}], True),
        ([{"role": "user", "content": [{"type": "text", "text": " \n"}]}], True),
        ([{"role": "user", "content": ""}, HI], False),
        ([HI, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": ""}], True),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}], False),
    ],
)
def test_a_users_turn_that_says_nothing_is_sent_to_nobody_else(messages, noted):
    assert (said(*messages).notes == ((Wire.CHAT_ONLY.value, "a user's turn that says nothing"),)) == noted

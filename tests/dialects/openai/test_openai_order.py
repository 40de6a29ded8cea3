import json

import msgspec
import pytest
from options import option, price

from router.core.deciding.decide import Decision
from router.dialects.neutral import Conversation, Format, Media, Text, Thought, Tool, ToolResult, ToolUse, Turn
from router.dialects.openai.chat import read_chat
from router.dialects.openai.order import order

HI = Turn("user", (Text("Hi"),))
SAID_HI = {"role": "user", "content": "Hi"}
PNG = Media("image", "image/png", "iVBO")
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
FIND = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}


def written(said=None, *quirks, asked=None, chosen=None):
    """The body that a conversation becomes."""
    request = read_chat(b'{"model":"auto","messages":[]}')
    request = msgspec.structs.replace(request, conversation=said, **(asked or {}))
    decision = Decision(
        option=option(price=price(), upstream_model="large-1", **(chosen or {})), policy="p@1", rule="r", relaxed="",
        prompt_tokens=100, output_tokens=10, expected_pico=1, hold_pico=1, baseline=None, baseline_pico=0,
        runner_up_pico=0, certain=True,
    )  # fmt: skip
    found = order(request, decision, frozenset(quirks))
    assert (found.path, found.headers) == ("/chat/completions", ())
    return json.loads(found.body)


def more(said=None, *quirks, **changes):
    """The body's fields beside the model and the messages."""
    return {
        name: value for name, value in written(said, *quirks, **changes).items() if name not in ("model", "messages")
    }


def messages(*turns, quirks=(), **said):
    return written(Conversation(turns=turns, **said), *quirks)["messages"]


# -- fields


@pytest.mark.parametrize(("said", "spoken"), [(None, []), (Conversation(turns=(HI,)), [SAID_HI])])
def test_nothing_is_written_that_nobody_asked_for(said, spoken):
    assert written(said) == {"model": "large-1", "messages": spoken}


def test_every_setting_has_its_field():
    said = Conversation(
        stops=("END",), temperature=0, top_p=0.5, presence_penalty=0.25, frequency_penalty=-1, seed=0, effort="low",
        verbosity="high", user="ann", cache_key="k",
    )  # fmt: skip
    assert more(said) == {
        "stop": ["END"], "temperature": 0, "top_p": 0.5, "presence_penalty": 0.25, "frequency_penalty": -1, "seed": 0,
        "reasoning_effort": "low", "verbosity": "high", "user": "ann", "prompt_cache_key": "k",
    }  # fmt: skip


def test_what_was_chosen_wins():
    assert more(Conversation(effort="low"), chosen={"effort": "high", "tier_word": "flex"}) == {
        "reasoning_effort": "high",
        "service_tier": "flex",
    }


@pytest.mark.parametrize(
    ("asked", "quirks", "fields"),
    [
        ({"max_output": 9}, (), {"max_completion_tokens": 9}),
        ({"max_output": 9}, ("max_tokens_name",), {"max_tokens": 9}),
        ({"stream": True}, (), {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": True}, ("no_stream_options",), {"stream": True}),
    ],
)
def test_a_limit_and_a_stream_are_asked_for_in_words_that_the_provider_knows(asked, quirks, fields):
    assert more(Conversation(), *quirks, asked=asked) == fields


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ({}, {}),
        ({"choice": "auto"}, {"tool_choice": "auto"}),
        ({"choice": "none"}, {"tool_choice": "none"}),
        ({"choice": "required"}, {"tool_choice": "required"}),
        (
            {"choice": "tool", "tool_name": "find"},
            {"tool_choice": {"type": "function", "function": {"name": "find"}}},
        ),
        ({"one_tool": True}, {"parallel_tool_calls": False}),
    ],
)
def test_which_tools_may_be_called_is_said_only_beside_tools(said, fields):
    assert more(Conversation(tools=(Tool("find"),), **said)) == {"tools": [FIND], **fields}
    assert more(Conversation(**said)) == {}


@pytest.mark.parametrize(
    ("tool", "function"),
    [
        (Tool("find", "Finds."), {"description": "Finds.", "parameters": {"type": "object", "properties": {}}}),
        (Tool("find", schema='{"type":"object"}', strict=True), {"parameters": {"type": "object"}, "strict": True}),
    ],
)
def test_a_tool_always_has_parameters(tool, function):
    assert more(Conversation(tools=(tool,)))["tools"] == [
        {"type": "function", "function": {"name": "find", **function}}
    ]


@pytest.mark.parametrize(
    ("form", "field"),
    [
        (Format(), {"type": "json_object"}),
        (Format("{}", strict=False), {"type": "json_schema", "json_schema": {"name": "answer", "schema": {}}}),
        (
            Format('{"type":"object"}', "x", "An x."),
            {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "object"}, "description": "An x.", "strict": True},
            },
        ),
    ],
)
def test_an_answers_form(form, field):
    assert more(Conversation(format=form)) == {"response_format": field}


# -- messages


def test_the_system_speaks_first():
    assert messages(HI, system=(Text("Be brief."),)) == [{"role": "system", "content": "Be brief."}, SAID_HI]
    two = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    assert messages(system=(Text("Be brief."), Text("Be kind."))) == [{"role": "system", "content": two}]


def test_what_tools_gave_back_comes_before_what_the_user_says():
    turn = Turn("user", (Text("And?"), ToolResult("a", (Text("1"),)), PNG, ToolResult("b", ())))
    assert messages(turn) == [
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "And?"}, PNG_PART]},
    ]


def test_a_user_neither_thinks_nor_calls_tools():
    assert messages(Turn("user", (Thought("Hm."), Text("Hi"), ToolUse("t", "find", "{}")))) == [SAID_HI]
    assert messages(Turn("user", (Thought("Hm."),))) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ((), "Error: "),
        ((Text("no disk"),), "Error: no disk"),
        (
            (Text("no"), Text("disk")),
            [{"type": "text", "text": "Error:"}, {"type": "text", "text": "no"}, {"type": "text", "text": "disk"}],
        ),
    ],
)
def test_a_tool_that_failed_says_so_in_words(content, told):
    assert messages(Turn("user", (ToolResult("t", content, failed=True),))) == [
        {"role": "tool", "tool_call_id": "t", "content": told}
    ]


CALL = {"id": "t", "type": "function", "function": {"name": "find", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("blocks", "quirks", "message"),
    [
        ((Text("Well."),), (), {"content": "Well."}),
        ((ToolUse("t", "find", ""),), (), {"content": None, "tool_calls": [CALL]}),
        ((Text("Wait."), ToolUse("t", "find", "{}")), (), {"content": "Wait.", "tool_calls": [CALL]}),
        ((Thought("Hm."), Text("Well.")), (), {"content": "Well."}),
        (
            (Thought("Hm, "), Thought("so."), Text("Well.")),
            ("reasoning_content",),
            {"content": "Well.", "reasoning_content": "Hm, so."},
        ),
        ((Thought("Hm."),), ("reasoning_content",), {"content": "", "reasoning_content": "Hm."}),
        ((Thought("Hm."),), (), {"content": ""}),
        ((), ("reasoning_content",), {"content": ""}),
    ],
)
def test_what_the_assistant_said(blocks, quirks, message):
    assert messages(Turn("assistant", blocks), quirks=quirks) == [{"role": "assistant", **message}]


@pytest.mark.parametrize(
    ("media", "part"),
    [
        (PNG, PNG_PART),
        (
            Media("image", url="https://example.com/a.png", detail="low"),
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        ),
        (
            Media("audio", "audio/wav", "UklG"),
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        ),
        (
            Media("file", "application/pdf", "JVBE"),
            {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        ),
        (
            Media("file", "application/pdf", "JVBE", name="a.pdf"),
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        ),
    ],
)
def test_what_is_no_text_is_a_part(media, part):
    assert messages(Turn("user", (media,))) == [{"role": "user", "content": [part]}]

import json

import msgspec
import pytest
from options import decision

from router.core.values import Needs
from router.dialects.anthropic.order import order
from router.dialects.anthropic.request import read_messages
from router.dialects.neutral import Conversation, Format, Media, Text, Thought, Tool, ToolResult, ToolUse, Turn

BUDGETED = int(Needs.CHAT | Needs.THINKING_BUDGET)
HI = Turn("user", (Text("Hi"),))
CALL = ToolUse("t", "find", "{}")
BACK = Turn("user", (ToolResult("t", (Text("found"),)),))


def the_order(said, *, limit=9000, stream=False, **changes):
    read = read_messages(b'{"model":"auto","max_tokens":1,"messages":[]}', {})
    request = msgspec.structs.replace(read, conversation=said, max_output=limit, stream=stream)
    return order(request, decision(**changes), frozenset())


def sent(said, **changes):
    return json.loads(the_order(said, **changes).body)


def asked(**fields):
    """What a body says beside its model, limit and messages."""
    changes = fields.pop("changes", {})
    body = sent(Conversation(turns=(HI,), **fields), **changes)
    return {name: value for name, value in body.items() if name not in ("model", "max_tokens", "messages")}


def written(*blocks):
    """The content that blocks become; None where nothing is sent of them."""
    turns = sent(Conversation(turns=(Turn("user", blocks),)))["messages"]
    return turns[0]["content"] if turns else None


# -- the whole


def test_a_plain_conversation_is_a_model_a_limit_and_messages():
    found = the_order(Conversation(turns=(HI, Turn("assistant", (Text("Yes?"),)))))
    assert (found.path, found.headers) == ("/messages", ((b"anthropic-version", b"2023-06-01"),))
    assert json.loads(found.body) == {
        "model": "large",
        "max_tokens": 9000,
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}],
    }


def test_everything_else_is_said_where_it_was_asked_for():
    said = {"system": (Text("Be kind."),), "stops": ("a",), "user": "u", "temperature": 0.5, "top_p": 0.4, "top_k": 3}
    assert asked(**said, changes={"stream": True, "tier_word": "standard_only"}) == {
        "system": "Be kind.",
        "stop_sequences": ["a"],
        "metadata": {"user_id": "u"},
        "temperature": 0.5,
        "top_p": 0.4,
        "top_k": 3,
        "stream": True,
        "service_tier": "standard_only",
    }


def test_nothing_understood_is_nothing_said():
    assert sent(None) == {"model": "large", "max_tokens": 9000, "messages": []}


@pytest.mark.parametrize("nothing", [(), (Thought("hm"),), (Text(""),), (Thought("hm"), Text(""))])
def test_an_assistants_turn_of_which_nothing_is_left_is_left_out(nothing):
    said = sent(Conversation(turns=(HI, Turn("assistant", nothing), HI)))
    assert said["messages"] == [{"role": "user", "content": "Hi"}] * 2


@pytest.mark.parametrize(
    ("window", "limit"),
    [
        (100_000, 8000),
        # 100 tokens of the prompt, a tenth more and 1024 of room.
        (5000, 5000 - 100 - 10 - 1024),
        (1000, 1),
    ],
)
def test_a_limit_is_the_models_own_or_what_the_window_has_room_for(window, limit):
    said = Conversation(turns=(HI,))
    assert sent(said, limit=None, context_window=window, max_output=8000)["max_tokens"] == limit


# -- tools


@pytest.mark.parametrize(
    ("tool", "written_as"),
    [
        (Tool("f"), {"name": "f", "input_schema": {"type": "object", "properties": {}}}),
        (Tool("f", schema='{"type":"object","x":1.10}'), {"name": "f", "input_schema": {"type": "object", "x": 1.1}}),
        (Tool("f", schema='{"required":[]}'), {"name": "f", "input_schema": {"type": "object", "required": []}}),
        (
            Tool("f", "finds", "{}", strict=True, kept="1h"),
            {
                "name": "f",
                "description": "finds",
                "input_schema": {"type": "object", "properties": {}},
                "strict": True,
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
            },
        ),
    ],
)
def test_a_tools_schema_is_an_objects(tool, written_as):
    assert asked(tools=(tool,)) == {"tools": [written_as]}


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        ({}, None),
        ({"choice": "auto"}, {"type": "auto"}),
        ({"choice": "required"}, {"type": "any"}),
        ({"choice": "tool", "tool_name": "f"}, {"type": "tool", "name": "f"}),
        ({"choice": "none"}, {"type": "none"}),
        ({"one_tool": True}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"choice": "required", "one_tool": True}, {"type": "any", "disable_parallel_tool_use": True}),
        ({"choice": "none", "one_tool": True}, {"type": "none"}),
    ],
)
def test_which_tools_may_be_called(said, choice):
    assert asked(tools=(Tool("f"),), **said).get("tool_choice") == choice
    assert "tool_choice" not in asked(**said)


# -- thinking, and the form of the answer


@pytest.mark.parametrize(
    ("effort", "said"),
    [
        ("", {}),
        ("none", {"thinking": {"type": "disabled"}}),
        ("minimal", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ("low", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ("max", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
    ],
)
def test_a_model_that_takes_efforts_is_told_one(effort, said):
    assert asked(effort=effort) == said


def test_the_effort_that_was_chosen_goes_before_the_callers():
    assert asked(effort="low", changes={"effort": "high"})["output_config"] == {"effort": "high"}


@pytest.mark.parametrize(
    ("effort", "limit", "budget"),
    [
        ("none", 9000, None),
        ("minimal", 9000, 1024),
        ("medium", 9000, 4096),
        ("high", 9000, 9000 - 1024),
        ("high", 99_000, 16_384),
        ("low", 2048, 1024),
        ("low", 2047, None),
    ],
)
def test_a_model_that_takes_budgets_is_given_one_that_the_limit_has_room_for(effort, limit, budget):
    thinking = asked(effort=effort, changes={"capabilities": BUDGETED, "limit": limit}).get("thinking")
    if effort == "none":
        assert thinking == {"type": "disabled"}
    else:
        assert thinking == (None if budget is None else {"type": "enabled", "budget_tokens": budget})


@pytest.mark.parametrize(
    ("choice", "thinks"), [("", True), ("auto", True), ("none", True), ("required", False), ("tool", False)]
)
def test_with_a_budget_nobody_thinks_who_is_forced_to_call_a_tool(choice, thinks):
    said = asked(effort="low", choice=choice, tools=(Tool("f"),), changes={"capabilities": BUDGETED})
    assert ("thinking" in said) is thinks


@pytest.mark.parametrize(
    ("turns", "thinks"),
    [
        ((), True),
        ((HI,), True),
        ((BACK,), True),
        ((HI, Turn("assistant", (CALL,)), BACK), False),
        ((HI, Turn("assistant", (Thought("hm"), CALL)), BACK), False),
        ((HI, Turn("assistant", (Thought("hm", "s"), CALL)), BACK), True),
        ((HI, Turn("assistant", (Text("Yes?"),)), BACK), True),
        ((HI, Turn("assistant", (CALL,)), BACK, HI), True),
    ],
)
def test_with_a_budget_nobody_thinks_whose_last_calls_come_without_thought(turns, thinks):
    said = sent(Conversation(turns=turns, effort="low"), capabilities=BUDGETED)
    assert said.get("thinking") == ({"type": "enabled", "budget_tokens": 1024} if thinks else None)


def test_the_form_of_the_answer_stands_beside_the_effort():
    form = {"type": "json_schema", "schema": {"type": "object"}}
    said = Format('{"type":"object"}')
    assert asked(format=said) == {"output_config": {"format": form}}
    assert asked(format=said, effort="low")["output_config"] == {"format": form, "effort": "low"}


# -- blocks


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (Text("Hi"), "Hi"),
        (Text(""), None),
        (Text("", "5m"), None),
        (Text("Hi", "5m"), [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]),
        (Text("Hi", "1h"), [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]),
        (
            Media("image", mime="image/png", data="AA==", name="no title"),
            [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}],
        ),
        (Media("image", url="https://x"), [{"type": "image", "source": {"type": "url", "url": "https://x"}}]),
        (
            Media("file", url="https://x", name="Report"),
            [{"type": "document", "source": {"type": "url", "url": "https://x"}, "title": "Report"}],
        ),
        (Thought("hm"), None),
        (Thought("hm", "s"), [{"type": "thinking", "thinking": "hm", "signature": "s"}]),
        (Thought("", "xyz", hidden=True), [{"type": "redacted_thinking", "data": "xyz"}]),
        (ToolUse("t", "f", '{"q":1}'), [{"type": "tool_use", "id": "t", "name": "f", "input": {"q": 1}}]),
        (ToolUse("t", "f", " "), [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]),
        (ToolUse("a.b|c", "f", ""), [{"type": "tool_use", "id": "a_b_c", "name": "f", "input": {}}]),
        (ToolUse("", "f", ""), [{"type": "tool_use", "id": "_", "name": "f", "input": {}}]),
        (ToolResult("a.b", ()), [{"type": "tool_result", "tool_use_id": "a_b"}]),
        (
            ToolResult("t", (Text("no"), Text("")), failed=True, kept="5m"),
            [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "text", "text": "no"}],
                    "is_error": True,
                    "cache_control": {"type": "ephemeral"},
                }
            ],
        ),
    ],
)
def test_each_kind_of_block_is_written(block, content):
    assert written(block) == content


def test_of_several_blocks_empty_texts_are_left_out():
    assert written(Text("a"), Text(""), Text("b")) == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


def test_texts_of_white_space_are_left_out_and_turns_of_nothing_else():
    said = Conversation(
        system=(Text(" "),),
        turns=(
            Turn("user", (Text("Hi"),)),
            Turn("assistant", (Text("\n\n"), ToolUse("t", "f", "{}"))),
            Turn("user", (ToolResult("t", (Text("1"),)),)),
            Turn("assistant", (Text(" "),)),
            Turn("user", (Text(""), Text(" "))),
        ),
    )
    body = sent(said)
    assert "system" not in body
    assert body["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "1"}]}],
        },
    ]

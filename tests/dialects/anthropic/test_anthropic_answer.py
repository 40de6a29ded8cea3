import json

import pytest

from router.core.values import Usage
from router.dialects.anthropic.answer import UNPARSED, answered_text, is_answer, read_answer, reason, write_answer
from router.dialects.neutral import Answer, Text, Thought, ToolUse
from router.dialects.signatures import UNSIGNED

DEEP = b'{"content":' + b"[" * 5000


def a_message(*blocks, **more):
    return json.dumps({"id": "m", "model": "large", "content": list(blocks), **more}).encode()


def written(*blocks, **more):
    return json.loads(write_answer(Answer("m", "large", blocks, **{"finish": "stop", **more}), None))


# -- read


@pytest.mark.parametrize(
    ("block", "blocks"),
    [
        ({"type": "text", "text": "Hi"}, (Text("Hi"),)),
        ({"type": "thinking", "thinking": "hm", "signature": "s"}, (Thought("hm", "s"),)),
        ({"type": "redacted_thinking", "data": "xyz"}, (Thought("", "xyz", hidden=True),)),
        ({"type": "tool_use", "id": "t", "name": "find", "input": {"q": 1}}, (ToolUse("t", "find", '{"q":1}'),)),
        ({"type": "server_tool_use", "id": "t"}, ()),
    ],
)
def test_each_kind_of_block_is_read(block, blocks):
    assert read_answer(a_message(block)) == Answer("m", "large", blocks, "stop")


@pytest.mark.parametrize(
    ("stop", "finish", "sequence"),
    [
        ({"stop_reason": "end_turn"}, "stop", None),
        ({"stop_reason": "stop_sequence", "stop_sequence": "END"}, "stop", "END"),
        ({"stop_reason": "stop_sequence", "stop_sequence": 5}, "stop", None),
        ({"stop_reason": "max_tokens"}, "length", None),
        ({"stop_reason": "model_context_window_exceeded"}, "length", None),
        ({"stop_reason": "tool_use"}, "tools", None),
        ({"stop_reason": "refusal"}, "refusal", None),
        ({"stop_reason": "pause_turn"}, "pause", None),
        ({"stop_reason": "not known yet"}, "stop", None),
        ({}, "stop", None),
    ],
)
def test_an_answer_ended_for_a_reason(stop, finish, sequence):
    assert read_answer(a_message(**stop)) == Answer("m", "large", (), finish, sequence)


def test_an_answer_has_its_meters_and_may_have_no_name():
    usage = {"input_tokens": 5, "output_tokens": 2}
    assert read_answer(a_message(id=None, model=None, usage=usage)) == Answer("", "", (), "stop", usage=Usage(5, 2))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{}", "no message: KeyError"),
        (b"[]", "no message: TypeError"),
        (b'{"content":5}', "no message: TypeError"),
        (b'{"content":[{}]}', "no message: KeyError"),
        (b'{"content":[{"type":"text"}]}', "no message: KeyError"),
        (DEEP, "no message: RecursionError"),
        (b'{"content":"\xff"}', "no message: UnicodeDecodeError"),
        (b"", "Input data was truncated"),
    ],
)
def test_what_is_no_message_cannot_be_read(body, why):
    with pytest.raises(ValueError, match=r".") as caught:
        read_answer(body)
    assert str(caught.value) == why


# -- written


def test_an_answer_is_written_whole():
    assert written(Text("Hi"), usage=Usage(5, 2, 3)) == {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "large",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 2,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"thinking_tokens": 0},
            "service_tier": "standard",
        },
    }


def test_an_answer_without_meters_has_none_counted():
    usage = written()["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (0, 0)


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (Thought("hm", "s"), {"type": "thinking", "thinking": "hm", "signature": "s"}),
        (Thought("hm"), {"type": "thinking", "thinking": "hm", "signature": UNSIGNED}),
        (Thought("", "xyz", hidden=True), {"type": "redacted_thinking", "data": "xyz"}),
        (ToolUse("t", "f", '{"q":1}'), {"type": "tool_use", "id": "t", "name": "f", "input": {"q": 1}}),
        (ToolUse("t", "f", ""), {"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        (ToolUse("t", "f", '{"q":'), {"type": "tool_use", "id": "t", "name": "f", "input": {UNPARSED: '{"q":'}}),
        (ToolUse("t", "f", "[1]"), {"type": "tool_use", "id": "t", "name": "f", "input": {UNPARSED: "[1]"}}),
    ],
)
def test_each_kind_of_block_is_written(block, content):
    assert written(block)["content"] == [content]


@pytest.mark.parametrize(
    ("finish", "sequence", "said"),
    [
        ("stop", None, "end_turn"),
        ("stop", "END", "stop_sequence"),
        ("stop", "", "stop_sequence"),
        ("length", None, "max_tokens"),
        ("length", "END", "max_tokens"),
        ("tools", None, "tool_use"),
        ("refusal", None, "refusal"),
        ("pause", None, "pause_turn"),
    ],
)
def test_an_answer_says_why_it_ended(finish, sequence, said):
    assert reason(finish, sequence) == said
    document = written(finish=finish, stop_sequence=sequence)
    assert (document["stop_reason"], document["stop_sequence"]) == (said, sequence)


# -- what can be told of any document


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (b'{"content": []}', True),
        (b'{"type": "error", "error": {"message": "no"}}', False),
        (b"[1]", False),
        (b"<html>", False),
        (b'{"\xff":0}', False),
        (DEEP, False),
        (b"", False),
    ],
)
def test_an_answer_is_known_by_its_content(document, kind):
    assert is_answer(document) is kind


def test_all_that_an_answer_says_is_counted():
    blocks = (
        {"type": "thinking", "thinking": "hm", "signature": "not said"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Hi"},
        {"type": "text", "text": ""},
        {"type": "text", "text": 5},
        {"type": "tool_use", "id": "t", "name": "find", "input": {"q": 1}},
        {"type": "server_tool_use", "name": "search", "input": {}},
        {"type": "tool_use"},
        {"type": "other", "name": "not said", "input": {"q": 1}},
    )
    assert answered_text(a_message(*blocks)) == ["hm", "xyz", "Hi", "find", '{"q":1}', "search"]


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"content":null}', b'{"content":["?"]}', b'{"content":"\xff"}', DEEP]
)
def test_a_document_without_text_has_none(document):
    assert answered_text(document) == []

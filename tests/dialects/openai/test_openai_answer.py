import json

import pytest

from router.core.values import Usage
from router.dialects.contract import Asked
from router.dialects.neutral import Answer, Text, Thought, ToolUse
from router.dialects.openai.answer import read_answer, write_answer

CALL = {"id": "t", "type": "function", "function": {"name": "find", "arguments": "{}"}}
FIND = ToolUse("t", "find", "{}")


def read(message, finish="stop", **more):
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return read_answer(json.dumps({"id": "c", "model": "large", "choices": [choice], **more}).encode())


def written(*blocks, finish="stop", usage=None):
    return json.loads(write_answer(Answer("c", "large", blocks, finish, usage=usage), Asked(None, 0, 7)))


@pytest.mark.parametrize(
    ("message", "blocks", "finish"),
    [
        ({"content": "Hi"}, (Text("Hi"),), "stop"),
        ({"content": None, "refusal": "No."}, (Text("No."),), "refusal"),
        ({"content": "", "reasoning": "Hm."}, (Thought("Hm."),), "stop"),
        ({"content": "Hi", "reasoning_content": "Hm.", "reasoning": "?"}, (Thought("Hm."), Text("Hi")), "stop"),
        ({"content": None, "tool_calls": [CALL]}, (FIND,), "tools"),
        ({"content": "Hi", "tool_calls": None}, (Text("Hi"),), "stop"),
    ],
)
def test_a_message_becomes_blocks(message, blocks, finish):
    assert read(message) == Answer("c", "large", blocks, finish)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("length", "length"),
        ("tool_calls", "tools"),
        ("function_call", "tools"),
        ("content_filter", "refusal"),
        ("eos", "stop"),
        (None, "stop"),
    ],
)
def test_an_answer_ended_for_a_reason(reason, finish):
    assert read({"content": "Hi"}, reason).finish == finish


def test_an_answers_meters_are_read():
    assert read({}, usage={"prompt_tokens": 5, "completion_tokens": 2}).usage == Usage(
        prompt_tokens=5, completion_tokens=2
    )


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":[{"message":5}]}',
        b'{"choices":[{"message":{"tool_calls":[{}]}}]}',
        b'{"id":"\xff"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_completion_cannot_be_read(body):
    with pytest.raises(ValueError, match=r".+"):
        read_answer(body)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ((), {"content": None}),
        ((Text("Hi"), Text(" there")), {"content": "Hi there"}),
        ((Thought("Hm, "), Thought("so."), Text("Hi")), {"content": "Hi", "reasoning_content": "Hm, so."}),
        ((Thought("", "signed", hidden=True), Text("Hi")), {"content": "Hi"}),
        ((ToolUse("t", "find", ""),), {"content": None, "tool_calls": [CALL]}),
    ],
)
def test_blocks_become_a_message(blocks, message):
    assert written(*blocks) == {
        "id": "c",
        "object": "chat.completion",
        "created": 7,
        "model": "large",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "refusal": None, **message},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
    }


def test_meters_are_told_where_they_are_known():
    usage = Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=3, cache_write_tokens=2, reasoning_tokens=1)
    assert written(usage=usage)["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }

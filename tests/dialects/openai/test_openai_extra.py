"""Thought signatures of Google's in chat completions: out with a call, back with it, and to nobody else."""

import json

import pytest
from options import decision

from router.dialects.contract import Asked
from router.dialects.neutral import Answer, Begun, Opened, Text, ToolUse
from router.dialects.openai.answer import write_answer
from router.dialects.openai.chat import pass_chat, read_chat
from router.dialects.openai.conversation import understood
from router.dialects.openai.events import ChatWriter
from router.dialects.openai.extra import extra, signature_of, without_extra
from router.dialects.signatures import GEMINI, UNSIGNED

SIGNED = ToolUse("call_1", "look", "{}", signature=GEMINI + "c2ln")
CARRIED = {"google": {"thought_signature": "c2ln"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}


def chat(call):
    asked = [{"role": "user", "content": "Look!"}, {"role": "assistant", "tool_calls": [call]}, RESULT]
    return json.dumps({"model": "m", "messages": asked}).encode()


def test_an_answer_carries_the_signature_of_its_call():
    written = json.loads(
        write_answer(Answer("a", "m", (SIGNED, ToolUse("call_2", "look", "{}")), "tools"), Asked(None, 0, 7))
    )
    first, second = written["choices"][0]["message"]["tool_calls"]
    assert first == CALL | {"extra_content": CARRIED}
    assert "extra_content" not in second


def test_so_does_a_stream():
    writer = ChatWriter(7, wants_usage=False)
    told = writer.write([Begun("a", "m"), Opened(0, "tool", "call_1", "look", SIGNED.signature)])
    chunk = json.loads(told.split(b"data: ")[-1])
    assert chunk["choices"][0]["delta"]["tool_calls"][0]["extra_content"] == CARRIED


def test_it_comes_back_with_the_call():
    said = understood(read_chat(chat(CALL | {"extra_content": CARRIED})))
    assert said.turns[1].blocks == (SIGNED,)
    assert not said.wire


@pytest.mark.parametrize(
    "call", [{}, {"extra_content": 1}, {"extra_content": {"google": None}}, {"extra_content": {"google": {"thought_signature": 3}}}]
)  # fmt: skip  # one row
def test_what_is_no_signature_is_none(call):
    assert signature_of(call) == ""


def test_another_provider_s_mark_is_not_written():
    assert extra(UNSIGNED) == extra("") == {}


def test_whoever_else_is_asked_gets_the_call_without_it():
    request = read_chat(chat(CALL | {"extra_content": CARRIED}))
    body = json.loads(pass_chat(request, decision(), frozenset()).body)
    assert body["messages"][1]["tool_calls"] == [CALL]
    assert body["messages"][0::2] == [{"role": "user", "content": "Look!"}, RESULT]


def test_a_body_that_has_none_goes_on_to_the_letter():
    body = chat(CALL)
    request = read_chat(body)
    assert not request.strange
    assert json.loads(pass_chat(request, decision(), frozenset()).body)["messages"] == json.loads(body)["messages"]


def test_what_is_no_list_of_calls_is_left_as_it_is():
    odd = [{"tool_calls": "x"}, {"tool_calls": [1]}, {"content": "y"}]
    assert json.loads(without_extra(json.dumps(odd).encode())) == odd


def test_a_text_is_no_call():
    assert (
        Text("extra_content") in understood(read_chat(chat(CALL).replace(b"Look!", b"extra_content"))).turns[0].blocks
    )

"""Responses as answers: read, written, and what is said in them."""

import json

import pytest

from router.core.tokens import PromptShape
from router.dialects.contract import Asked
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Answer, Conversation, Text, Thought, ToolUse
from router.dialects.request import Request
from router.dialects.responses.answer import answered_text, is_answer, read_answer, write_answer

MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}
CALL = {"type": "function_call", "call_id": "t", "name": "find", "arguments": "{}"}


def body(*output, **more):
    return json.dumps(
        {"id": "resp_1", "model": "large", "status": "completed", "output": list(output), **more}
    ).encode()


@pytest.mark.parametrize(
    ("given", "blocks", "finish"),
    [
        (body(MESSAGE), (Text("Hi"),), "stop"),
        (body({"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}), (Text("No."),), "refusal"),
        (body(CALL), (ToolUse("t", "find", "{}"),), "tools"),
        (body({"type": "reasoning", "summary": [{"text": "Hm"}]}, MESSAGE), (Thought("Hm"), Text("Hi")), "stop"),
        (body({"type": "reasoning", "summary": []}, {"type": "web_search_call"}, MESSAGE), (Text("Hi"),), "stop"),
        (body(MESSAGE, status="incomplete"), (Text("Hi"),), "length"),
        (body(MESSAGE, status="incomplete", incomplete_details={"reason": "content_filter"}), (Text("Hi"),), "refusal"),
    ],
)
def test_an_answer_is_read(given, blocks, finish):
    found = read_answer(given)
    assert (found.id, found.model, found.blocks, found.finish) == ("resp_1", "large", blocks, finish)


@pytest.mark.parametrize(
    "given",
    [
        b"{}",
        b"5",
        b'{"output":[5]}',
        b'{"output":[{"type":"message"}]}',
        body({"type": "reasoning", "summary": [5]}),
        body(status="failed", error={"message": "no"}),
        body(MESSAGE, error={"message": "no"}),
    ],
)
def test_what_is_no_answer_cannot_be_read(given):
    with pytest.raises(ValueError, match=r"no response|the response failed"):
        read_answer(given)


def written(*blocks, finish="stop", shows=True, kept=False, answer_id="", **fields):
    top = TopLevel(json.dumps(fields).encode())
    said = Conversation(shows_thoughts=shows)
    request = Request(top=top, model="m", needs=0, shape=PromptShape(texts=(), messages=1), conversation=said)
    return json.loads(write_answer(Answer("c", "large", blocks, finish), Asked(request, 9, 7, answer_id, kept)))


def test_a_response_repeats_its_request():
    found = written(
        Text("Hi"),
        instructions="Be kind.",
        metadata={"costrouter.task": "code", "a": "b"},
        tools=[{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}],
        temperature=None,
        answer_id="resp_7",
        kept=True,
    )
    assert (found["id"], found["created_at"], found["completed_at"], found["store"]) == ("resp_7", 7, 7, True)
    assert (found["instructions"], found["metadata"], found["temperature"]) == ("Be kind.", {"a": "b"}, 1.0)
    assert found["tools"] == [
        {"type": "function", "name": "f", "description": None, "parameters": None, "strict": True},
        {"type": "custom", "name": "g"},
    ]
    assert found["usage"] is None


def test_an_answer_that_broke_off_says_why():
    found = written(Text("a"), ToolUse("t", "f", ""), finish="length")
    assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [item["status"] for item in found["output"]] == ["completed", "incomplete"]
    assert found["output"][1]["arguments"] == "{}"
    assert written(finish="refusal")["incomplete_details"] == {"reason": "content_filter"}


@pytest.mark.parametrize(
    ("include", "shows", "sealed"),
    [(["reasoning.encrypted_content"], True, "costrouter.signed:s"), ([], True, None), (["reasoning.encrypted_content"], False, None)],
)  # fmt: skip
def test_a_signature_goes_to_those_who_bring_it_back(include, shows, sealed):
    (item,) = written(Thought("Hm", "s"), include=include, shows=shows)["output"]
    assert (item["summary"], item.get("encrypted_content")) == ([{"type": "summary_text", "text": "Hm"}], sealed)


def test_a_hidden_thought_has_no_words():
    (item,) = written(Thought("", "s", hidden=True), include=["reasoning.encrypted_content"])["output"]
    assert (item["summary"], item["encrypted_content"]) == ([], "costrouter.hidden:s")


def test_googles_signature_stands_beside_the_call():
    (item,) = written(ToolUse("t", "f", "{}", signature="costrouter.gemini.s"))["output"]
    assert item["extra_content"] == {"google": {"thought_signature": "s"}}


def test_what_is_said_in_it():
    items = (
        MESSAGE,
        CALL,
        {"type": "reasoning", "summary": [{"text": "Hm"}]},
        {"type": "custom_tool_call", "input": "x"},
    )
    assert answered_text(body(*items)) == ["Hi", "find", "{}", "Hm", "x"]
    assert answered_text(b"[") == answered_text(b"{}") == answered_text(b'{"output":5}') == []
    odd = {"type": "message", "summary": 7, "content": [[], "x", {"type": "output_text", "text": "Hi"}]}
    assert answered_text(body(odd)) == ["Hi"]
    assert is_answer(body())
    assert not is_answer(b'{"choices":[]}')
    assert not is_answer(b"[")

"""Google's plain answers, in neutral form."""

import json

import pytest
from google.genai import types

from router.core.values import Usage
from router.dialects.gemini.answer import answered_text, is_answer, read_answer, said_so_far, streamed_text
from router.dialects.neutral import Answer, Text, Thought, ToolUse
from router.dialects.signatures import GEMINI

METERS = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}


def body(*parts, finish="STOP", **more):
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": finish, "index": 0, **more}
    document = {"candidates": [candidate], "usageMetadata": METERS, "modelVersion": "gemini-x", "responseId": "r1"}
    types.GenerateContentResponse.model_validate(document)
    return json.dumps(document).encode()


def call(name, args=None, **more):
    return {"functionCall": {"name": name, **({"args": args} if args is not None else {}), **more}}


def thought(text, **more):
    return {"text": text, "thought": True, **more}


@pytest.mark.parametrize(
    ("parts", "blocks"),
    [
        ([{"text": "Hi"}, {"text": " you"}], (Text("Hi you"),)),
        ([{"text": ""}], ()),
        ([thought("Hm"), thought(" so"), {"text": "Hi"}], (Thought("Hm so"), Text("Hi"))),
        ([call("look", {"at": "sky"}, id="c1"), call("wait")], (ToolUse("c1", "look", '{"at":"sky"}'), ToolUse("call_r1_1", "wait", "{}"))),
        # A call's signature goes with the call, and where callers keep signatures: with the thought before it, …
        (
            [thought("Hm"), call("look", id="c1") | {"thoughtSignature": "c2ln"}],
            (Thought("Hm", GEMINI + "c2ln"), ToolUse("c1", "look", "{}", signature=GEMINI + "c2ln")),
        ),
        # … or one without words.
        (
            [{"text": "So"}, call("look", id="c1") | {"thoughtSignature": "c2ln"}],
            (Text("So"), Thought("", GEMINI + "c2ln"), ToolUse("c1", "look", "{}", signature=GEMINI + "c2ln")),
        ),
        ([{"text": "Hi"}, {"text": "", "thoughtSignature": "c2ln"}], (Text("Hi"), Thought("", GEMINI + "c2ln"))),
        ([thought("Hm", thoughtSignature="c2ln"), thought("So")], (Thought("Hm", GEMINI + "c2ln"), Thought("So"))),
        ([thought("Hm", thoughtSignature="c2ln"), {"text": "Hi", "thoughtSignature": "Mg=="}], (Thought("Hm", GEMINI + "c2ln"), Text("Hi"), Thought("", GEMINI + "Mg=="))),
        ([{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}], ()),
    ],
)  # fmt: skip  # one row a line
def test_parts_become_blocks(parts, blocks):
    answer = read_answer(body(*parts))
    finish = "tools" if any(isinstance(block, ToolUse) for block in blocks) else "stop"
    assert answer == Answer("r1", "gemini-x", blocks, finish, usage=Usage(10, 5))


@pytest.mark.parametrize(
    ("finish", "ours"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "refusal"), ("RECITATION", "refusal"), ("SPII", "refusal"), ("", "stop")],
)  # fmt: skip  # one row
def test_why_it_ended(finish, ours):
    assert read_answer(body({"text": "Hi"}, **({"finish": finish} if finish else {"finish": None}))).finish == ours


def test_calls_that_a_limit_cut_off_are_told_as_cut_off():
    assert read_answer(body(call("look"), finish="MAX_TOKENS")).finish == "length"


@pytest.mark.parametrize(
    ("finish", "why"), [("MALFORMED_FUNCTION_CALL", "no braces"), ("UNEXPECTED_TOOL_CALL", ""), ("OTHER", "")]
)
def test_a_model_that_failed_has_not_answered(finish, why):
    with pytest.raises(ValueError, match=f"the model failed: {finish}{': ' if why else ''}{why}"):
        read_answer(body(finish=finish, **({"finishMessage": why} if why else {})))


def test_a_prompt_that_was_blocked_is_refused():
    document = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}}  # fmt: skip
    types.GenerateContentResponse.model_validate(document)
    body = json.dumps(document).encode()
    assert read_answer(body) == Answer("", "", (), "refusal", usage=Usage(9))
    assert is_answer(body)


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[]", b"{}", b"\xff", b'{"candidates":[]}', b'{"candidates":[{"index":1}]}', b'{"promptFeedback":{}}',
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"args":[1]}}]}}]}', b'{"error":' + b"[" * 100_000, b'{"candidates":[{"content":{"parts":[{"functionCall":{"args":{"a":' + b"[" * 100_000,
    ],
)  # fmt: skip  # one row a line
def test_what_is_no_answer(document):
    with pytest.raises(ValueError):  # noqa: PT011 - whichever way it cannot be read
        read_answer(document)


def test_an_answer_is_known_by_its_members():
    assert is_answer(body({"text": "Hi"}))
    assert not is_answer(b'{"error":{}}')
    assert not is_answer(b"<html>")


def test_everything_that_was_said_is_counted():
    said = body(thought("Hm"), {"text": "Hi"}, call("look", {"at": "sky"}), {"text": " you"}, call("wait"))
    assert answered_text(said) == ["Hm", "Hi you", 'look{"at":"sky"}wait{}']
    assert answered_text(b"<html>") == []


def test_a_stream_s_text_is_joined():
    pieces = [body({"text": "Hi"}), body({"text": " you"}), b"<html>", b'{"candidates":[{}]}']
    stream = b"".join(b"data: " + piece + b"\r\n\r\n" for piece in pieces)
    assert streamed_text(stream) == ["Hi you"]
    assert said_so_far(stream) == "Hi you"

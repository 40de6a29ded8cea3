"""Google's streams, in neutral form."""

import json

import pytest
from google.genai import types

from router.core.values import Usage
from router.dialects.gemini.answer import read_answer
from router.dialects.gemini.events import GeminiReader
from router.dialects.neutral import Begun, Closed, Ended, Opened, Piece, Signed
from router.dialects.signatures import GEMINI

SIG = GEMINI + "c2ln"
BEGUN = Begun("r1", "gemini-x")


def chunk(*parts, finish=None, meters=None, **more):
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **more}
    if finish:
        candidate["finishReason"] = finish
    document = {"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "r1"}
    if meters:
        prompt, said = meters
        counts = {"promptTokenCount": prompt, "candidatesTokenCount": said, "totalTokenCount": prompt + said}
        document["usageMetadata"] = counts
    types.GenerateContentResponse.model_validate(document)
    return document


def events_of(*documents):
    reader = GeminiReader()
    stream = b"".join(b"data: " + json.dumps(document).encode() + b"\r\n\r\n" for document in documents)
    return reader.feed(stream), reader


def thought(text, **more):
    return {"text": text, "thought": True, **more}


@pytest.mark.parametrize(
    ("documents", "events"),
    [
        (
            [chunk({"text": "Hi"}), chunk({"text": " you"}, {"text": "!"}), chunk({"text": ""}, finish="STOP")],
            [Opened(0, "text"), Piece(0, "Hi"), Piece(0, " you"), Piece(0, "!"), Closed(0), Ended("stop")],
        ),
        (
            [chunk(thought("Hm")), chunk({"text": "Hi"}, finish="MAX_TOKENS")],
            [Opened(0, "thought"), Piece(0, "Hm"), Closed(0), Opened(1, "text"), Piece(1, "Hi"), Closed(1), Ended("length")],
        ),
        (
            [
                chunk(thought("Hm")),
                chunk({"functionCall": {"id": "c1", "name": "look", "args": {"at": "sky"}}, "thoughtSignature": "c2ln"}),
                chunk({"functionCall": {"name": "wait"}}, finish="STOP"),
            ],
            [
                Opened(0, "thought"), Piece(0, "Hm"), Signed(0, SIG), Closed(0),
                Opened(1, "tool", "c1", "look", SIG), Piece(1, '{"at":"sky"}'), Closed(1),
                Opened(2, "tool", "call_r1_1", "wait"), Piece(2, "{}"), Closed(2), Ended("tools"),
            ],
        ),
        (
            [chunk({"text": "Hi"}), chunk({"text": "", "thoughtSignature": "c2ln"}, finish="STOP")],
            [Opened(0, "text"), Piece(0, "Hi"), Closed(0), Opened(1, "thought"), Signed(1, SIG), Closed(1), Ended("stop")],
        ),
        ([chunk({"text": "Hi"}, finish="SAFETY"), chunk({"text": "more"})], [Opened(0, "text"), Piece(0, "Hi"), Closed(0), Ended("refusal")]),
        ([{"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r1", "modelVersion": "gemini-x"}], [Ended("refusal")]),
        ([chunk({"text": "other"}, index=1), chunk(finish="STOP")], [Ended("stop")]),
        ([{"responseId": "r1", "modelVersion": "gemini-x"}, {"candidates": [{"finishReason": "STOP"}]}], [Ended("stop")]),
    ],
)  # fmt: skip  # one row a line
def test_parts_become_events(documents, events):
    found, reader = events_of(*documents)
    assert found == [BEGUN, *events]
    assert not reader.failed
    assert not reader.done, "the connection's end is a stream's"


def test_meters_are_believed_once_the_answer_is_whole():
    found, reader = events_of(chunk({"text": "Hi"}, meters=(10, 1)))
    assert found
    assert reader.usage is None, "an answer that breaks off here is counted"
    events_of()
    reader.feed(b"data: " + json.dumps(chunk(finish="STOP", meters=(10, 5))).encode() + b"\n\n")
    assert reader.usage == Usage(10, 5)


def test_meters_may_follow_the_end():
    _, reader = events_of(chunk({"text": "Hi"}, finish="STOP"), {"usageMetadata": {"promptTokenCount": 7}})
    assert reader.usage == Usage(7)


def test_meters_that_cannot_be_true_leave_those_before():
    lie = {"usageMetadata": {"promptTokenCount": -7}}
    _, reader = events_of(chunk({"text": "Hi"}, finish="STOP", meters=(10, 5)), lie)
    assert reader.usage == Usage(10, 5)


def test_an_error_ends_the_stream():
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    found, reader = events_of(chunk({"text": "Hi"}), error, chunk({"text": "more"}))
    assert found == [BEGUN, Opened(0, "text"), Piece(0, "Hi")]
    assert reader.failed
    assert json.loads(reader.error) == error


@pytest.mark.parametrize(
    ("finish", "more"), [("MALFORMED_FUNCTION_CALL", {"finishMessage": "no braces"}), ("OTHER", {})]
)
def test_so_does_a_model_that_failed(finish, more):
    _, reader = events_of(chunk(finish=finish, meters=(10, 5), **more))
    assert reader.failed
    assert reader.usage == Usage(10, 5), "it is billed"
    assert json.loads(reader.error)["error"]["message"] == f"the model failed: {finish}" + (
        ": no braces" if more else ""
    )


@pytest.mark.parametrize("data", [b"<html>", b'{"candidates":3}', b'{"candidates":' + b"[" * 100_000])
def test_what_is_no_event_is_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011 - whichever way it cannot be read
        GeminiReader().feed(b"data: " + data + b"\n\n")


def test_a_stream_says_what_the_plain_answer_says():
    parts = [thought("Hm"), {"text": "Hi"}, {"functionCall": {"name": "look"}, "thoughtSignature": "c2ln"}, {"functionCall": {"name": "wait"}}]  # fmt: skip
    plain = read_answer(json.dumps(chunk(*parts, finish="STOP")).encode())
    found, _ = events_of(*(chunk(part) for part in parts), chunk(finish="STOP"))
    kinds = [event.kind for event in found if isinstance(event, Opened)]
    assert (
        kinds
        == ["thought", "text", "thought", "tool", "tool"]
        == [{"Thought": "thought", "Text": "text", "ToolUse": "tool"}[type(block).__name__] for block in plain.blocks]
    )
    calls = [(event.id, event.name, event.signature) for event in found if isinstance(event, Opened) and event.name]
    assert calls == [(block.id, block.name, block.signature) for block in plain.blocks[-2:]]

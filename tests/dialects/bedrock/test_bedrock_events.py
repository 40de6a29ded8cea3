"""Converse's streams, in neutral form."""

import json

import pytest

from router.core.values import Usage
from router.dialects.bedrock.events import ConverseReader, said_so_far, streamed_text
from router.dialects.bedrock.frames import frame
from router.dialects.neutral import Begun, Closed, Ended, Opened, Piece, Signed

BEGUN = Begun("", "")


def event(name, **document):
    return frame({":event-type": name, ":message-type": "event"}, json.dumps(document | {"p": "abc"}).encode())


def delta(index, **said):
    return event("contentBlockDelta", contentBlockIndex=index, delta=said)


def stop(index):
    return event("contentBlockStop", contentBlockIndex=index)


def tool(index, name="t1"):
    return event("contentBlockStart", contentBlockIndex=index, start={"toolUse": {"toolUseId": name, "name": "look"}})


START = event("messageStart", role="assistant")
END = event("messageStop", stopReason="end_turn")
METERS = event("metadata", usage={"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}, metrics={"latencyMs": 1})


def read(*events):
    reader = ConverseReader()
    return reader.feed(b"".join(events)), reader


@pytest.mark.parametrize(
    ("events", "ours"),
    [
        (
            [delta(0, text="Hi"), delta(0, text=""), delta(0, text=" you"), stop(0), END],
            [Opened(0, "text"), Piece(0, "Hi"), Piece(0, " you"), Closed(0), Ended("stop")],
        ),
        (
            [
                delta(0, reasoningContent={"text": "Hm"}), delta(0, reasoningContent={"signature": "sig"}), stop(0),
                delta(1, text="Hi"), stop(1), END,
            ],
            [Opened(0, "thought"), Piece(0, "Hm"), Signed(0, "sig"), Closed(0), Opened(1, "text"), Piece(1, "Hi"), Closed(1), Ended("stop")],
        ),
        (
            [delta(0, reasoningContent={"redactedContent": "c2ln"}), delta(0, reasoningContent={"redactedContent": "x"}), delta(0, reasoningContent={}), stop(0)],
            [Opened(0, "hidden", "c2ln"), Closed(0)],
        ),
        ([delta(0, reasoningContent={"signature": "sig"}), stop(0)], [Opened(0, "thought"), Signed(0, "sig"), Closed(0)]),
        (
            [tool(0), delta(0, toolUse={"input": '{"a"'}), delta(0, toolUse={"input": ":1}"}), stop(0), tool(1, "t2"), delta(1, toolUse={"input": ""}), stop(1), event("messageStop", stopReason="tool_use")],
            [
                Opened(0, "tool", "t1", "look"), Piece(0, '{"a"'), Piece(0, ":1}"), Closed(0),
                Opened(1, "tool", "t2", "look"), Piece(1, "{}"), Closed(1), Ended("tools"),
            ],
        ),
        ([event("messageStop", stopReason="stop_sequence", additionalModelResponseFields={"stop_sequence": "END"})], [Ended("stop", "END")]),
        (
            # What no translated request leads to is passed over.
            [event("contentBlockStart", contentBlockIndex=3, start={"image": {}}), delta(3, image={}), delta(4, toolUse={"input": "x"}), stop(3), event("novelty")],
            [],
        ),
    ],
)  # fmt: skip  # one row a line
def test_events(events, ours):
    found, reader = read(START, *events)
    assert found == [BEGUN, *ours]
    assert (reader.done, reader.failed) == (False, False)


def test_meters_come_last_and_end_the_stream():
    found, reader = read(START, delta(0, text="Hi"), stop(0), END, METERS, delta(1, text="more"))
    assert found[-1] == Ended("stop")
    assert (reader.usage, reader.done) == (Usage(10, 5), True)
    _, reader = read(START, event("metadata", usage={"inputTokens": -1}))
    assert reader.usage is None


def test_an_exception_ends_the_stream():
    thrown = frame(
        {":exception-type": "throttlingException", ":message-type": "exception"}, b'{"message":"Slow down."}'
    )
    found, reader = read(START, thrown, END)
    assert (found, reader.failed, reader.error) == ([BEGUN], True, b'{"message":"Slow down."}')
    told = frame({":error-code": "Internal", ":error-message": "It broke.", ":message-type": "error"}, b"")
    _, reader = read(told)
    assert json.loads(reader.error) == {"message": "It broke."}


def test_so_does_a_model_that_failed():
    _, reader = read(START, event("messageStop", stopReason="malformed_model_output"))
    assert json.loads(reader.error) == {"message": "the model failed: malformed_model_output"}


@pytest.mark.parametrize("payload", [b"<html>", b'{"delta":7}', b'{"start":{"a":' + b"[" * 100_000])
def test_what_is_no_event_is_refused(payload):
    with pytest.raises(ValueError):  # noqa: PT011 - whichever way it cannot be read
        read(frame({":event-type": "contentBlockDelta", ":message-type": "event"}, payload))


def test_everything_that_was_said_is_counted():
    stream = b"".join(
        [START, delta(0, reasoningContent={"text": "Hm"}), stop(0), delta(1, reasoningContent={"redactedContent": "c2ln"}), delta(2, text="Hi"), delta(2, text=" you"), stop(2), tool(3), delta(3, toolUse={"input": "{}"})]
    )  # fmt: skip  # one stream
    assert streamed_text(stream) == ["Hm", "c2ln", "Hi you", "look{}"]
    assert said_so_far(stream) == "HmHi you{}"
    assert streamed_text(b"garbage that is long enough") == []
    assert streamed_text(stream[:-3])[:3] == ["Hm", "c2ln", "Hi you"]

"""Streams of Responses to and from the neutral form, event by event."""

import json

import pytest

from router.core.tokens import PromptShape
from router.dialects.contract import Asked
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Begun, Closed, Ended, Opened, Piece, Signed
from router.dialects.request import Request
from router.dialects.responses.events import ResponsesReader, ResponsesWriter

BEGUN = {"type": "response.created", "response": {"id": "r", "model": "large"}}
DONE = {"type": "response.completed", "response": {"status": "completed"}}


def text(delta, at=0, part=0):
    return {"type": "response.output_text.delta", "output_index": at, "content_index": part, "delta": delta}


def item(kind, sort, at=0, **more):
    return {"type": f"response.output_item.{kind}", "output_index": at, "item": {"type": sort, **more}}


def arguments(delta, at=0):
    return {"type": "response.function_call_arguments.delta", "output_index": at, "delta": delta}


def summary(delta, at=0, index=0):
    return {"type": "response.reasoning_summary_text.delta", "output_index": at, "summary_index": index, "delta": delta}


def fed(*documents):
    reader = ResponsesReader()
    stream = "".join(f"event: {d.get('type')}\ndata: {json.dumps(d)}\n\n" for d in documents)
    return reader.feed(stream.encode()), reader


@pytest.mark.parametrize(
    ("documents", "events"),
    [
        ([text("Hi"), text(""), text(" you")], [Opened(0, "text"), Piece(0, "Hi"), Piece(0, " you"), Closed(0)]),
        ([text("a"), text("b", part=1)], [Opened(0, "text"), Piece(0, "a"), Closed(0), Opened(1, "text"), Piece(1, "b"), Closed(1)]),
        (
            [item("added", "reasoning"), summary("a"), {"type": "response.reasoning_summary_part.added", "summary_index": 1},
             summary("b", index=1), item("done", "reasoning"), text("Hi", at=1)],
            [Opened(0, "thought"), Piece(0, "a"), Piece(0, "\n\n"), Piece(0, "b"), Closed(0), Opened(1, "text"), Piece(1, "Hi"),
             Closed(1)],
        ),
        (
            [{"type": "response.reasoning_text.delta", "delta": "Hm"}, {"type": "response.reasoning_summary_part.added"}],
            [Opened(0, "thought"), Piece(0, "Hm"), Closed(0)],
        ),
        (
            [item("added", "function_call", call_id="t", name="f"), arguments('{"a":'), arguments("1}"),
             item("done", "function_call", arguments='{"a":1}')],
            [Opened(0, "tool", "t", "f"), Piece(0, '{"a":'), Piece(0, "1}"), Closed(0)],
        ),
        (
            [item("added", "function_call", call_id="t", name="f"), item("done", "function_call", arguments="")],
            [Opened(0, "tool", "t", "f"), Piece(0, "{}"), Closed(0)],
        ),
        (
            [text("Hi"), item("done", "function_call", at=1, call_id="t", name="f", arguments="{}"), item("done", "message", at=5)],
            [Opened(0, "text"), Piece(0, "Hi"), Closed(0), Opened(1, "tool", "t", "f"), Piece(1, "{}"), Closed(1)],
        ),
        (
            [item("added", "function_call", call_id="t", name="f"), item("added", "function_call", 1, call_id="u", name="g")],
            [Opened(0, "tool", "t", "f"), Closed(0), Opened(1, "tool", "u", "g"), Closed(1)],
        ),
        ([{"type": "response.web_search_call.completed"}, {"type": "keepalive"}], []),
    ],
)  # fmt: skip
def test_events_become_blocks(documents, events):
    found, reader = fed(BEGUN, *documents, DONE)
    assert found[0] == Begun("r", "large")
    assert found[1:-1] == events
    assert reader.done


@pytest.mark.parametrize(
    ("documents", "finish"),
    [
        ([text("Hi"), DONE], "stop"),
        ([{"type": "response.refusal.delta", "delta": "No."}, DONE], "refusal"),
        ([item("added", "function_call", call_id="t", name="f"), DONE], "tools"),
        (
            [{"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}}],
            "length",
        ),
        (
            [{"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}}],
            "refusal",
        ),
    ],
)
def test_an_answer_ends_for_a_reason(documents, finish):
    assert fed(BEGUN, *documents)[0][-1] == Ended(finish)


def test_a_failure_is_an_error_with_its_meters():
    usage = {"input_tokens": 5, "output_tokens": 2}
    _, reader = fed(
        BEGUN, {"type": "response.failed", "response": {"error": {"message": "no"}, "usage": usage}}, text("Hi")
    )
    assert (reader.failed, reader.done, json.loads(reader.error)) == (True, False, {"error": {"message": "no"}})
    assert reader.usage.prompt_tokens == 5
    events, reader = fed({"type": "error", "message": "no"})
    assert (events, reader.failed, json.loads(reader.error)["message"]) == ([], True, "no")


@pytest.mark.parametrize("documents", [[arguments("{}")], [{}], [text("Hi"), arguments("{}", at=3)]])
def test_what_belongs_to_nothing_cannot_be_read(documents):
    with pytest.raises(ValueError, match=r"not being called|missing required"):
        fed(*documents)


def test_too_deep_an_event_cannot_be_read():
    with pytest.raises(ValueError, match="too deep"):
        ResponsesReader().feed(b'data: {"type":"x","item":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}\n\n")


def told(*events, include=()):
    top = TopLevel(json.dumps({"include": list(include)}).encode())
    request = Request(top=top, model="m", needs=0, shape=PromptShape(texts=(), messages=1))
    writer = ResponsesWriter(Asked(request, 9, 7, "resp_7"))
    stream = writer.write(events) + writer.ending(None, None) + writer.last
    return [json.loads(event.partition(b"data: ")[2]) for event in stream.split(b"\n\n") if event]


def test_a_stream_is_written_in_the_order_that_the_types_demand():
    found = told(
        Begun("c", "large"),
        Opened(0, "thought"), Piece(0, "Hm"), Signed(0, "s"), Closed(0),
        Opened(1, "hidden", "x"), Closed(1),
        Opened(2, "tool", "t", "f"), Piece(2, "{}"), Closed(2),
        Ended("tools"),
    )  # fmt: skip
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.done",
        "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert {event["item_id"] for event in found if "delta" in event} == {"rs_70", "fc_72"}
    assert [item["id"] for item in found[-1]["response"]["output"]] == ["rs_70", "rs_71", "fc_72"]


def test_a_stream_that_has_not_ended_has_no_last_event():
    assert [event["type"] for event in told(Begun("c", "m"))] == ["response.created", "response.in_progress"]

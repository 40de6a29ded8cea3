import json

import pytest

from router.core.values import Usage
from router.dialects.anthropic.events import LAST, MessagesReader, MessagesWriter
from router.dialects.neutral import Begun, Closed, Ended, Opened, Piece, Signed
from router.dialects.signatures import UNSIGNED
from router.dialects.sse import datas

OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def event(type_, **fields):
    return b"data: " + json.dumps({"type": type_, **fields}).encode() + b"\n\n"


def opened(index=0, **block):
    return event("content_block_start", index=index, content_block=block)


def delta(index=0, **said):
    return event("content_block_delta", index=index, delta=said)


def closed(index=0):
    return event("content_block_stop", index=index)


TOOL = opened(type="tool_use", id="t", name="find", input={})


def read(*pieces):
    """(what is said, the reader)."""
    reader = MessagesReader()
    return [said for piece in pieces for said in reader.feed(piece)], reader


def written(*said):
    """The documents of the events that these become."""
    return [json.loads(data) for data in datas(MessagesWriter(9).write(said))]


def an_end(said=(), usage=None, cost=None):
    writer = MessagesWriter(9)
    writer.write(said)
    (data,) = datas(writer.ending(usage, cost))
    return json.loads(data)


# -- read


@pytest.mark.parametrize(
    ("message", "begun"),
    [({"id": "m", "model": "large"}, Begun("m", "large")), ({"id": None}, Begun("", "")), ({}, Begun("", ""))],
)
def test_a_message_begins(message, begun):
    assert read(event("message_start", message=message))[0] == [begun]


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (opened(type="text", text=""), [Opened(0, "text")]),
        (opened(type="text", text="Hi"), [Opened(0, "text"), Piece(0, "Hi")]),
        (opened(type="text", text=True), [Opened(0, "text")]),
        (opened(type="thinking", thinking=7), [Opened(0, "thought")]),
        (opened(type="thinking", thinking=""), [Opened(0, "thought")]),
        (opened(type="thinking", thinking="hm"), [Opened(0, "thought"), Piece(0, "hm")]),
        (opened(type="redacted_thinking", data="xyz"), [Opened(0, "hidden", "xyz")]),
        (opened(type="redacted_thinking"), [Opened(0, "hidden", "")]),
        (TOOL, [Opened(0, "tool", "t", "find")]),
        (opened(type="tool_use"), [Opened(0, "tool", "", "")]),
        (opened(type="tool_use", id="t", name="f", input={"q": 1}), [Opened(0, "tool", "t", "f"), Piece(0, '{"q":1}')]),
        (opened(type="server_tool_use", id="t"), []),
        (opened(), []),
    ],
)
def test_each_kind_of_block_opens(stream, said):
    assert read(stream)[0] == said


@pytest.mark.parametrize(
    ("said", "pieces"),
    [
        ({"type": "text_delta", "text": "Hi"}, [Piece(0, "Hi")]),
        ({"type": "text_delta", "text": ""}, []),
        ({"type": "thinking_delta", "thinking": "hm"}, [Piece(0, "hm")]),
        ({"type": "input_json_delta", "partial_json": '{"q"'}, [Piece(0, '{"q"')]),
        ({"type": "signature_delta", "signature": "s"}, [Signed(0, "s")]),
        ({"type": "signature_delta"}, [Signed(0, "")]),
        ({"type": "text_delta", "text": 5}, []),
        ({"type": "citations_delta", "citation": {}}, []),
    ],
)
def test_each_kind_of_delta_is_more_of_its_block(said, pieces):
    assert read(opened(type="text", text=""), delta(**said))[0] == [Opened(0, "text"), *pieces]


def test_blocks_that_no_request_leads_to_are_passed_over_and_the_others_numbered_anew():
    stream = (
        opened(0, type="server_tool_use", id="s") + delta(0, type="input_json_delta", partial_json="{}") + closed(0),
        opened(1, type="text", text="") + delta(1, type="text_delta", text="Hi") + closed(1),
    )
    assert read(*stream)[0] == [Opened(0, "text"), Piece(0, "Hi"), Closed(0)]


@pytest.mark.parametrize(
    ("stream", "arguments"),
    [
        (TOOL + closed(), "{}"),
        (TOOL + delta(type="input_json_delta", partial_json="") + closed(), "{}"),
        (TOOL + delta(type="input_json_delta", partial_json='{"q":1}') + closed(), '{"q":1}'),
        (opened(type="tool_use", id="t", name="find", input={"q": 1}) + closed(), '{"q":1}'),
    ],
)
def test_a_tool_without_arguments_says_so(stream, arguments):
    assert read(stream)[0] == [Opened(0, "tool", "t", "find"), Piece(0, arguments), Closed(0)]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ({"stop_reason": "end_turn", "stop_sequence": None}, [Ended("stop")]),
        ({"stop_reason": "stop_sequence", "stop_sequence": "END"}, [Ended("stop", "END")]),
        ({"stop_reason": "max_tokens"}, [Ended("length")]),
        ({"stop_reason": "model_context_window_exceeded"}, [Ended("length")]),
        ({"stop_reason": "tool_use"}, [Ended("tools")]),
        ({"stop_reason": "refusal"}, [Ended("refusal")]),
        ({"stop_reason": "pause_turn"}, [Ended("pause")]),
        ({"stop_reason": "not known yet"}, [Ended("stop")]),
        ({"stop_reason": None}, []),
        ({}, []),
    ],
)
def test_a_message_ends_for_a_reason(end, said):
    assert read(event("message_delta", delta=end))[0] == said


def test_a_message_ends_once():
    ends = [event("message_delta", delta={"stop_reason": reason}) for reason in ("max_tokens", "end_turn")]
    assert read(*ends)[0] == [Ended("length")]


@pytest.mark.parametrize(
    ("first", "last", "usage"),
    [
        ({"input_tokens": 5, "output_tokens": 1}, {"output_tokens": 9}, Usage(5, 9)),
        ({"input_tokens": 5, "output_tokens": 1}, {"output_tokens": -1}, None),
        ({"input_tokens": 5, "output_tokens": 1}, None, None),
        (None, {"output_tokens": 9}, None),
    ],
)
def test_figures_are_cumulative_and_later_ones_replace_what_they_repeat(first, last, usage):
    stream = event("message_start", message={"usage": first}), event("message_delta", usage=last)
    assert read(*stream)[1].usage == usage


def test_the_stream_says_that_it_ends():
    said, reader = read(event("ping") + event("message_stop") + opened(type="text", text="more"))
    assert (said, reader.done, reader.failed, reader.error) == ([], True, False, b"")


def test_an_error_is_kept_to_be_told():
    said, reader = read(event("error", error=OVERLOADED["error"]) + opened(type="text", text="more"))
    assert (said, reader.done, reader.failed, json.loads(reader.error)) == ([], False, True, OVERLOADED)


@pytest.mark.parametrize("strange", [b"{", b"[]", b"{}", b'{"type":5}', b'{"type":"ping","usage":' + b"[" * 5000])
def test_what_is_no_event_cannot_be_read(strange):
    with pytest.raises(ValueError, match=r"."):
        read(b"data: " + strange + b"\n\n")


def test_what_is_nested_too_deeply_is_said_in_words():
    with pytest.raises(ValueError, match=r"^an event is nested too deeply$"):
        MessagesReader().read(b'{"type":"ping","usage":' + b"[" * 5000)


# -- written


def test_a_message_begins_with_the_prompt_as_it_is_expected():
    assert written(Begun("m", "large")) == [
        {
            "type": "message_start",
            "message": {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "large",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 9,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0,
                    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                    "output_tokens": 0,
                    "output_tokens_details": {"thinking_tokens": 0},
                    "service_tier": "standard",
                },
            },
        }
    ]


@pytest.mark.parametrize(
    ("opening", "block", "piece"),
    [
        (Opened(2, "text"), {"type": "text", "text": ""}, {"type": "text_delta", "text": "é\n"}),
        (
            Opened(2, "thought"),
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "é\n"},
        ),
        (
            Opened(2, "tool", "t", "find"),
            {"type": "tool_use", "id": "t", "name": "find", "input": {}},
            {"type": "input_json_delta", "partial_json": "é\n"},
        ),
    ],
)
def test_blocks_open_and_say_more(opening, block, piece):
    assert written(opening, Piece(2, "é\n")) == [
        {"type": "content_block_start", "index": 2, "content_block": block},
        {"type": "content_block_delta", "index": 2, "delta": piece},
    ]


@pytest.mark.parametrize(
    ("said", "signature"),
    [
        ((Opened(0, "thought"), Signed(0, "s"), Closed(0)), "s"),
        ((Opened(0, "thought"), Closed(0)), UNSIGNED),
        ((Opened(0, "text"), Closed(0)), None),
        ((Opened(0, "hidden", "xyz"), Closed(0)), None),
    ],
)
def test_a_thought_is_signed_before_it_closes(said, signature):
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": signature}}
    assert written(*said)[1:] == [
        *([delta] if signature else []),
        {"type": "content_block_stop", "index": 0},
    ]


def test_a_hidden_thought_is_all_in_its_opening():
    block = {"type": "redacted_thinking", "data": "xyz"}
    assert written(Opened(0, "hidden", "xyz")) == [{"type": "content_block_start", "index": 0, "content_block": block}]


@pytest.mark.parametrize(
    ("said", "delta"),
    [
        ([], {"stop_reason": "end_turn", "stop_sequence": None}),
        ([Ended("stop", "END")], {"stop_reason": "stop_sequence", "stop_sequence": "END"}),
        ([Ended("length")], {"stop_reason": "max_tokens", "stop_sequence": None}),
        ([Ended("tools")], {"stop_reason": "tool_use", "stop_sequence": None}),
        ([Ended("refusal")], {"stop_reason": "refusal", "stop_sequence": None}),
        ([Ended("pause")], {"stop_reason": "pause_turn", "stop_sequence": None}),
    ],
)
def test_the_ending_says_why(said, delta):
    ending = an_end(said)
    assert (ending["type"], ending["delta"]) == ("message_delta", delta)


@pytest.mark.parametrize(
    ("usage", "cost", "meters"),
    [
        (None, None, {"input_tokens": 9, "output_tokens": 0}),
        (Usage(7, 3), None, {"input_tokens": 7, "output_tokens": 3}),
        (Usage(7, 3), "0.001", {"input_tokens": 7, "output_tokens": 3, "cost_usd": "0.001"}),
    ],
)
def test_the_ending_has_the_meters_and_the_cost(usage, cost, meters):
    assert an_end(usage=usage, cost=cost)["usage"] == {
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens_details": {"thinking_tokens": 0},
        **meters,
    }


def test_an_event_is_named_by_its_type():
    writer = MessagesWriter(9)
    assert writer.write([Opened(0, "text"), Piece(0, "Hi"), Ended("stop")]) == (
        b"event: content_block_start\n"
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n'
    )
    assert writer.ending(None, None).startswith(b'event: message_delta\ndata: {"type":"message_delta",')
    assert writer.last == LAST == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

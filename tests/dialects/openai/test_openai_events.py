import json

import pytest

from router.core.values import Usage
from router.dialects.neutral import Begun, Closed, Ended, Opened, Piece, Signed
from router.dialects.openai.events import ChatReader, ChatWriter

BEGUN = Begun("c", "large")
USAGE = {"prompt_tokens": 5, "completion_tokens": 2}
METERS = Usage(prompt_tokens=5, completion_tokens=2)


def chunk(delta=None, finish=None, index=0, **more):
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "c", "model": "large", "choices": [choice], **more}


def calling(index, arguments=None, **call):
    function = {"arguments": arguments, "name": call.pop("name", None)}
    return {"tool_calls": [{"index": index, "function": function, **call}]}


def fed(*documents):
    """(events, reader) after a stream of these chunks."""
    reader = ChatReader()
    stream = "".join(f"data: {json.dumps(document)}\n\n" for document in documents)
    return reader.feed(stream.encode()), reader


def told(*documents):
    events, _ = fed(*documents)
    assert events[0] == BEGUN
    return events[1:]


# -- what is read


@pytest.mark.parametrize(
    ("deltas", "events"),
    [
        ([None], []),
        ([{}], []),
        ([{"role": "assistant", "content": ""}], []),
        ([{"content": "Hi"}, {"content": " there"}], [Opened(0, "text"), Piece(0, "Hi"), Piece(0, " there")]),
        ([{"content": "Hi"}, {"content": ".", "refusal": " No."}], [Opened(0, "text"), Piece(0, "Hi"), Piece(0, "."), Piece(0, " No.")]),
        ([{"refusal": "No."}], [Opened(0, "text"), Piece(0, "No.")]),
        (
            [{"reasoning_content": "Hm"}, {"reasoning": "m"}, {"content": "Hi"}],
            [Opened(0, "thought"), Piece(0, "Hm"), Piece(0, "m"), Closed(0), Opened(1, "text"), Piece(1, "Hi")],
        ),
        (
            [{"reasoning": "Hm", "content": "Hi"}],
            [Opened(0, "thought"), Piece(0, "Hm"), Closed(0), Opened(1, "text"), Piece(1, "Hi")],
        ),
        (
            [calling(0, "", id="t", name="find"), calling(0, '{"q":'), calling(0, "1}")],
            [Opened(0, "tool", "t", "find"), Piece(0, '{"q":'), Piece(0, "1}")],
        ),
        (
            [{"content": "Wait."}, calling(0, "{}", id="t", name="find"), calling(1, "[]", id="u", name="see")],
            [Opened(0, "text"), Piece(0, "Wait."), Closed(0), Opened(1, "tool", "t", "find"), Piece(1, "{}"), Closed(1),
             Opened(2, "tool", "u", "see"), Piece(2, "[]")],
        ),
        (
            [calling(0, '{"a":', id="t", name="find"), calling(1, '{"b":', id="u", name="see"), calling(0, "1}"),
             calling(1, "2}"), calling(0, " ")],
            [Opened(0, "tool", "t", "find"), Piece(0, '{"a":'), Piece(0, "1}"), Closed(0),
             Opened(1, "tool", "u", "see"), Piece(1, '{"b":'), Piece(1, "2}")],
        ),
        (
            [calling(0, id="t", name="find"), calling(1, "{}", id="u", name="see"), {"content": "Well"}, {"content": "?"},
             calling(0, "{}")],
            [Opened(0, "tool", "t", "find"), Piece(0, "{}"), Closed(0), Opened(1, "tool", "u", "see"), Piece(1, "{}"),
             Closed(1), Opened(2, "text"), Piece(2, "Well?")],
        ),
        ([calling(3)], [Opened(0, "tool", "call_3", "")]),
        ([{"tool_calls": [{"index": 0, "id": "t"}]}], [Opened(0, "tool", "t", "")]),
    ],
)  # fmt: skip
def test_deltas_become_blocks(deltas, events):
    assert told(*(chunk(delta) for delta in deltas)) == events


@pytest.mark.parametrize(
    ("delta", "finish", "ended"),
    [
        ({"content": "Hi"}, "stop", "stop"),
        ({"content": "Hi"}, "length", "length"),
        ({"content": "Hi"}, "content_filter", "refusal"),
        ({"content": "Hi"}, "eos", "stop"),
        ({"refusal": "No."}, "stop", "refusal"),
        (calling(0, id="t"), "tool_calls", "tools"),
        (calling(0, id="t"), "function_call", "tools"),
        (calling(0, id="t"), "stop", "tools"),
        (calling(0, id="t"), "length", "length"),
    ],
)
def test_an_answer_ends_for_a_reason(delta, finish, ended):
    assert told(chunk(delta), chunk({}, finish))[-2:] == [Closed(0), Ended(ended)]


def test_calls_that_wait_for_their_turn_are_told_at_the_end_at_the_latest():
    said = [
        calling(0, "{", id="t", name="find"),
        calling(1, '{"b":2}', id="u", name="see"),
        calling(2, id="v", name="go"),
    ]
    assert told(*map(chunk, said), chunk({}, "length")) == [
        Opened(0, "tool", "t", "find"),
        Piece(0, "{"),
        Closed(0),
        Opened(1, "tool", "u", "see"),
        Piece(1, '{"b":2}'),
        Closed(1),
        Opened(2, "tool", "v", "go"),
        Closed(2),
        Ended("length"),
    ]


def test_a_call_that_goes_on_after_it_was_whole_cannot_be_read():
    with pytest.raises(ValueError, match="goes on after its arguments were whole"):
        told(*map(chunk, [calling(0, "{}", id="t"), calling(1, "", id="u"), calling(0, "{}")]))


def test_an_answer_without_words_ends_without_blocks():
    assert told(chunk(None, "stop")) == [Ended("stop")]


def test_only_the_first_choice_is_read_and_only_to_its_end():
    assert told(
        chunk({"content": "Me too"}, "stop", index=1),
        chunk({"content": "Hi"}, "stop"),
        chunk({"content": " again"}, "stop"),
    ) == [Opened(0, "text"), Piece(0, "Hi"), Closed(0), Ended("stop")]


def test_an_answer_begins_with_its_first_choice():
    assert fed({"id": "ping", "choices": []}, {"id": "ping"}, chunk({}), chunk({}))[0] == [BEGUN]
    assert fed({"choices": [{}]})[0] == [Begun("", "")]


@pytest.mark.parametrize(
    "last",
    [{"choices": [], "usage": USAGE}, {"usage": USAGE}, {"choices": [], "x_groq": {"usage": USAGE, "error": None}}],
)
def test_meters_come_last(last):
    events, reader = fed(chunk({}, "stop", usage=None), last, {"choices": [], "usage": None})
    assert events == [BEGUN, Ended("stop")]
    assert (reader.usage, reader.failed, reader.done) == (METERS, False, False)


@pytest.mark.parametrize(
    "failure",
    [
        {"error": {"message": "no"}},
        {"error": "no"},
        {"choices": [], "x_groq": {"error": "no"}},
        chunk({"content": "lost"}, error={"message": "no"}),
    ],
)
def test_nothing_is_read_behind_an_error(failure):
    events, reader = fed(chunk({}), failure, chunk({"content": "Hi"}))
    assert events == [BEGUN]
    assert (reader.failed, reader.done, json.loads(reader.error)) == (True, False, failure)


@pytest.mark.parametrize("error", [None, False, ""])
def test_an_error_that_is_none_is_none(error):
    events, reader = fed(chunk({"content": "Hi"}, error=error, x_groq={"id": "g", "error": error}))
    assert events == [BEGUN, Opened(0, "text"), Piece(0, "Hi")]
    assert (reader.failed, reader.error) == (False, b"")


def test_a_stream_says_that_it_is_done():
    reader = ChatReader()
    assert reader.feed(b"data: [DONE] \n\ndata: no chunk\n\n") == []
    assert (reader.done, reader.failed) == (True, False)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"choices":5}', b'{"id":"\xff"}', b'{"x_groq":' + b"[" * 100_000])
def test_what_is_no_chunk_cannot_be_read(data):
    with pytest.raises(ValueError, match=r".+"):
        ChatReader().feed(b"data: " + data + b"\n\n")


# -- what is written


def written(*events, wants_usage=True, usage=None, cost=None):
    """The documents of a stream of these events, and of its ending."""
    writer = ChatWriter(7, wants_usage=wants_usage)
    stream = writer.write(events) + writer.ending(usage, cost)
    assert writer.last == b"data: [DONE]\n\n"
    return [json.loads(event.removeprefix("data: ")) for event in stream.decode().split("\n\n")[:-1]]


def deltas(*events):
    found = written(BEGUN, *events)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    return [(event["choices"][0]["delta"], event["choices"][0]["finish_reason"]) for event in found[1:]]


def test_each_chunk_has_the_answers_head():
    head = {"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "large"}
    assert written(BEGUN, Opened(0, "text"), Piece(0, "Hi"), Closed(0)) == [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in ({"role": "assistant", "content": ""}, {"content": "Hi"})
    ]


@pytest.mark.parametrize(
    ("events", "chunks"),
    [
        ([Opened(0, "text"), Piece(0, "Hi"), Closed(0)], [{"content": "Hi"}]),
        ([Opened(0, "thought"), Piece(0, "Hm"), Signed(0, "s"), Closed(0)], [{"reasoning_content": "Hm"}]),
        ([Opened(0, "hidden", "s"), Closed(0)], []),
        (
            [Opened(0, "text"), Closed(0), Opened(1, "tool", "t", "find"), Piece(1, "{}"), Closed(1),
             Opened(2, "tool", "u", "see"), Piece(2, "[]"), Closed(2)],
            [
                {"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": {"name": "find", "arguments": ""}}]},
                {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
                {"tool_calls": [{"index": 1, "id": "u", "type": "function", "function": {"name": "see", "arguments": ""}}]},
                {"tool_calls": [{"index": 1, "function": {"arguments": "[]"}}]},
            ],
        ),
    ],
)  # fmt: skip
def test_blocks_become_deltas(events, chunks):
    assert deltas(*events) == [(delta, None) for delta in chunks]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tools", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause", "stop"),
    ],
)
def test_an_end_has_a_reason(finish, reason):
    assert deltas(Ended(finish, "END")) == [({}, reason)]


def test_meters_are_told_to_whoever_asked():
    last = written(BEGUN, usage=METERS, cost="0.5")[-1]
    assert (last["id"], last["choices"]) == ("c", [])
    assert last["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
        "cost_usd": "0.5",
    }
    assert "cost_usd" not in written(BEGUN, usage=METERS)[-1]["usage"]
    assert len(written(BEGUN, usage=None)) == len(written(BEGUN, usage=METERS, wants_usage=False)) == 1

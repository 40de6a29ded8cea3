import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import PLAIN, STREAMS

from router.core.values import Usage
from router.dialects.openai.stream import (
    StreamScanner,
    answered_text,
    is_answer,
    said_so_far,
    streamed_text,
)
from router.dialects.openai.usage import usage_of
from router.dialects.sse import MAX_EVENT_BYTES, data_of

COST = "0.000000042"
METERS = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
NASTY = (
    'he said "usage":{"prompt_tokens":1}',
    '\\"usage":{',
    '"error":{"message":"no"}',
    "data: [DONE]\n\ndata: [DONE]",
    '"finish_reason":"stop","x_groq":{"error":"no"}',
    "\r\n\r\n\n\n",
    '"usage"',
    "é😀\\",
    "[DONE]",
)


def a_scanner(*, wants_usage=False):
    return StreamScanner(wants_usage=wants_usage, cost=lambda usage: f"{usage.prompt_tokens}.{usage.completion_tokens}")


def event(document, end=b"\n\n"):
    return b"data: " + (document if isinstance(document, bytes) else json.dumps(document).encode()) + end


def a_chunk(content="Hi", finish=None, **more):
    delta = {} if content is None else {"content": content}
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def usage_only(**more):
    return {"id": "c", "choices": [], "usage": {**METERS, **more}}


DONE = event(b"[DONE]")


def run(pieces, *, wants_usage=False):
    """(bytes for the caller, the scanner) after a stream in these pieces."""
    scanner = a_scanner(wants_usage=wants_usage)
    passed = b"".join(scanner.feed(piece) for piece in pieces)
    return passed, scanner


def told(scanner):
    return scanner.usage, scanner.answered, scanner.finished, scanner.done, scanner.failed, scanner.ending()


def events_of(stream):
    """The data of each event, the way a client takes a stream apart (WHATWG HTML, 9.2.6)."""
    found, data = [], []
    for line in re.split(rb"\r\n|\n|\r", stream):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            found.append(b"\n".join(data))
            data = []
    return found


# -- what passes


def test_ordinary_events_pass_as_they_are():
    stream = event(a_chunk()) + b": ping\n\n" + event(a_chunk(" there", logprobs=None, usage=None))
    assert run([stream])[0] == stream


def test_only_whole_events_pass():
    scanner = a_scanner()
    assert scanner.feed(b'data: {"choices":') == b""
    assert scanner.feed(b"[]}\n") == b""
    assert scanner.feed(b'\ndata: {"a') == b'data: {"choices":[]}\n\n'
    assert scanner.feed(b'":1}\r\n\r\n') == b'data: {"a":1}\r\n\r\n'


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\n\r", b"\n\n\n\n"])
def test_an_event_ends_at_any_blank_line(end):
    passed, scanner = run([event(a_chunk(), end), event(usage_only(), end), event(b"[DONE]", end)])
    assert events_of(passed) == [json.dumps(a_chunk()).encode()]
    assert (scanner.usage, scanner.done) == (Usage(5, 2), True)


def test_text_and_end_are_noticed():
    scanner = a_scanner()
    scanner.feed(event({"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}))
    assert (scanner.answered, scanner.finished) == (False, False)
    scanner.feed(event(a_chunk("x")))
    assert (scanner.answered, scanner.finished) == (True, False)
    scanner.feed(event(a_chunk(None, finish="stop")))
    assert (scanner.answered, scanner.finished, scanner.done) == (True, True, False)
    assert scanner.feed(DONE) == b""
    assert scanner.done


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning", "refusal"])
def test_any_kind_of_text_is_an_answer(field):
    assert run([event({"choices": [{"delta": {field: "x"}}]})])[1].answered


def test_a_tool_call_is_an_answer():
    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "look_up", "arguments": ""}}
    assert run([event({"choices": [{"delta": {"tool_calls": [call]}}]})])[1].answered


@pytest.mark.parametrize("data", [b"[DONE]", b" [DONE]", b"[DONE] "])
def test_nothing_passes_after_the_end(data):
    stream = event(a_chunk()) + event(data) + event(a_chunk("late")) + event(usage_only())
    passed, scanner = run([stream, event(a_chunk("later"))])
    assert (passed, scanner.done, scanner.usage) == (event(a_chunk()), True, None)


def test_an_event_without_a_space_after_the_colon_counts_too():
    assert run([b"data:[DONE]\n\n"])[1].done
    assert run([b"data:" + json.dumps(usage_only()).encode() + b"\n\n"])[1].usage == Usage(5, 2)


def test_an_event_beyond_all_bounds_is_refused():
    scanner = a_scanner()
    scanner.feed(b"data: " + b"x" * (MAX_EVENT_BYTES - 6))
    with pytest.raises(ValueError, match=f"larger than {MAX_EVENT_BYTES} bytes"):
        scanner.feed(b"x")


# -- usage


def test_the_usage_event_is_kept_from_those_who_did_not_ask():
    passed, scanner = run([event(a_chunk()) + event(usage_only()) + DONE])
    assert (passed, scanner.usage, scanner.ending()) == (event(a_chunk()), Usage(5, 2), b"")


def test_those_who_asked_get_it_at_the_end_with_its_cost():
    passed, scanner = run([event(a_chunk()) + event(usage_only()) + DONE], wants_usage=True)
    assert passed == event(a_chunk())
    assert [json.loads(data) for data in events_of(scanner.ending())] == [usage_only(cost_usd="5.2")]


def test_usage_that_rides_on_a_chunk_passes_with_it():
    riding = a_chunk(None, finish="stop", usage=METERS)
    passed, scanner = run([event(riding)])
    assert (passed, scanner.usage, scanner.finished) == (event(riding), Usage(5, 2), True)
    passed, scanner = run([event(riding)], wants_usage=True)
    assert json.loads(data_of(passed)) == {**riding, "usage": {**METERS, "cost_usd": "5.2"}}
    assert scanner.ending() == b""


def test_the_last_usage_counts():
    stream = event(usage_only(prompt_tokens=1)) + event(a_chunk(usage=METERS)) + event(usage_only(completion_tokens=9))
    _, scanner = run([stream + DONE], wants_usage=True)
    assert scanner.usage == Usage(5, 9)
    assert json.loads(data_of(scanner.ending()))["usage"]["cost_usd"] == "5.9"


def test_groqs_usage_is_found_and_passes():
    riding = a_chunk(None, finish="stop", x_groq={"id": "r", "usage": METERS})
    for wants_usage in (False, True):
        passed, scanner = run([event(riding)], wants_usage=wants_usage)
        assert (passed, scanner.usage, scanner.failed) == (event(riding), Usage(5, 2), False)


@pytest.mark.parametrize("wrong", [{}, {"prompt_tokens": -1}, [], 7, "many"])
def test_usage_that_cannot_be_believed_is_withheld_and_not_booked(wrong):
    stream = event({"choices": [], "usage": wrong})
    assert run([stream])[0] == b""
    passed, scanner = run([stream], wants_usage=True)
    assert (passed, scanner.usage, scanner.ending()) == (b"", None, stream)


@pytest.mark.parametrize("document", [{"usage": METERS}, {"choices": None, "usage": METERS}])
def test_an_event_of_usage_needs_no_list_of_choices(document):
    passed, scanner = run([event(document)])
    assert (passed, scanner.usage) == (b"", Usage(5, 2))


def test_an_event_without_choices_and_without_usage_passes():
    for document in ({"choices": [], "prompt_filter_results": []}, {"choices": [], "x_groq": {"id": "r"}}):
        assert run([event(document)])[0] == event(document)


def test_data_over_several_lines_is_one_document():
    told_at_length = usage_only(prompt_tokens_details={"cached_tokens": 1})
    lines = json.dumps(told_at_length, indent=1).encode().replace(b"\n", b"\r\ndata: ")
    _, scanner = run([event(lines, b"\r\n\r\n")], wants_usage=True)
    assert scanner.usage == Usage(5, 2, 1)
    (data,) = events_of(scanner.ending())
    assert json.loads(data) == {**told_at_length, "usage": {**told_at_length["usage"], "cost_usd": "5.2"}}
    torn = b'data: {"choices":[],"usage":\ndata: {"prompt_tokens":3}}\n\n'
    assert run([torn])[1].usage == Usage(3)


@pytest.mark.parametrize(
    "strange", [b'"\xff"', b"1e999", b"9" * 5000, b'[{"logprobs":-1e999}]', b"[" * 500 + b"]" * 500]
)
@pytest.mark.parametrize("field", [b"choices", b"id"])
def test_what_else_a_usage_event_holds_does_no_harm(field, strange):
    data = b'{"' + field + b'":' + strange + b',"usage":{"prompt_tokens":3,"cost":1.10}}'
    for wants_usage in (False, True):
        passed, scanner = run([event(data)], wants_usage=wants_usage)
        assert scanner.usage == Usage(3)
        assert (passed or scanner.ending()).count(strange) == (wants_usage or field == b"choices")
        assert (passed + scanner.ending()).count(b"1.10") == (wants_usage or field == b"choices")


def test_a_document_that_cannot_be_read_passes():
    for data in (b'{"usage":{', b'{"\xff":0,"usage":{"prompt_tokens":1}}', b'{"usage":{"prompt_tokens":' + b"[" * 5000):
        assert run([event(data)], wants_usage=True)[0] == event(data)


def test_a_cost_of_none_leaves_the_usage_as_it_came():
    scanner = StreamScanner(wants_usage=True, cost=lambda _: None)
    scanner.feed(event(usage_only()))
    assert scanner.ending() == event(usage_only())


# -- errors


@pytest.mark.parametrize("error", [{"message": "overloaded"}, "overloaded", {}, 1])
def test_an_error_event_is_withheld_and_kept_to_be_told(error):
    passed, scanner = run([event({"error": error})])
    assert (passed, scanner.failed, scanner.done) == (b"", True, False)
    assert json.loads(scanner.error) == {"error": error}


def test_groq_tells_why_it_broke_off():
    broken = event(a_chunk(None, x_groq={"id": "r", "error": "over capacity", "usage": METERS}))
    passed, scanner = run([broken])
    assert (passed, scanner.failed, scanner.usage) == (b"", True, Usage(5, 2))


def test_an_error_with_usage_is_both():
    _, scanner = run([event({"error": {"message": "no"}, "usage": METERS, "choices": []})])
    assert (scanner.failed, scanner.usage) == (True, Usage(5, 2))


@pytest.mark.parametrize("error", [None, "", False])
def test_no_error_is_no_error(error):
    for document in (
        a_chunk(error=error),
        a_chunk(error=error, x_groq={"error": error}),
        usage_only() | {"error": error},
    ):
        assert not run([event(document)])[1].failed


def test_an_error_deeper_down_is_the_providers_affair():
    filtered = a_chunk(content_filter_results={"error": {"code": "x"}})
    filtered["choices"][0]["content_filter_result"] = {"error": {"code": "content_filter_error"}}
    assert not run([event(filtered)])[1].failed


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("wants_usage", [False, True])
def test_what_a_model_writes_triggers_nothing(text, wants_usage):
    for document in (
        a_chunk(text),
        a_chunk(text, usage=None),
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": json.dumps({text: text})}}]}}]},
    ):
        passed, scanner = run([event(document)], wants_usage=wants_usage)
        assert passed == event(document)
        assert told(scanner)[0] is None
        assert told(scanner)[2:] == (False, False, False, b"")


# -- any stream, however it is cut


@st.composite
def streams(draw):
    """(bytes, the data that must pass if usage was not asked for, usage, failed)"""
    stream, passes, usage, failed, done = b"", [], None, False, False
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(("text", "nasty", "comment", "usage", "riding", "groq", "error", "done")))
        meters = {**METERS, "completion_tokens": draw(st.integers(2, 9))}
        document = {
            "text": a_chunk(draw(st.text(max_size=6))),
            "nasty": a_chunk(draw(st.sampled_from(NASTY)), usage=None),
            "comment": None,
            "usage": usage_only(**meters),
            "riding": a_chunk(usage=meters),
            "groq": a_chunk(x_groq={"usage": meters}),
            "error": {"error": {"message": "no"}},
            "done": "[DONE]",
        }[kind]
        newline = draw(st.sampled_from((b"\n", b"\r\n", b"\r")))
        if kind == "comment":
            written = b": ping" + newline
        elif kind == "done":
            written = b"data: [DONE]" + newline
        else:
            lines = json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from((None, 1))))
            written = b"".join(b"data: " + line + newline for line in lines.encode().split(b"\n"))
            data = lines.encode()
        # A line feed right after a carriage return would end the same line, not the next.
        blank = draw(st.sampled_from((b"\r\n", b"\r") if newline == b"\r" else (b"\n", b"\r\n", b"\r")))
        stream += written + blank + draw(st.sampled_from((b"", b"", b"\n", b"\r\n", b"\r")))
        if not done and kind in ("text", "nasty", "riding", "groq"):
            passes.append(data)
        if not done and kind in ("usage", "riding", "groq"):
            usage = Usage(5, max(meters["completion_tokens"], 2))
        failed |= not done and kind == "error"
        done |= kind == "done"
    return stream, passes, usage, failed, done


@st.composite
def cut(draw, stream):
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


@given(streams(), st.booleans(), st.data())
def test_however_a_stream_is_cut_the_same_comes_of_it(made, wants_usage, data):
    stream, passes, usage, failed, done = made
    passed, scanner = run([stream], wants_usage=wants_usage)
    assert (scanner.usage, scanner.failed, scanner.done) == (usage, failed, done)
    if not wants_usage:
        assert events_of(passed + b"\n\n") == passes
    for pieces in (data.draw(cut(stream)), [stream[place : place + 1] for place in range(len(stream))]):
        again, other = run(pieces, wants_usage=wants_usage)
        assert again == passed
        assert told(other) == told(scanner)


@given(
    st.text(alphabet='data: []DONE{}"usagerochic\n\r:,1', max_size=60).map(str.encode) | st.binary(max_size=40),
    st.data(),
)
def test_any_bytes_do_no_harm(stream, data):
    passed, scanner = run([stream], wants_usage=True)
    again, other = run(data.draw(cut(stream)), wants_usage=True)
    assert (again, told(other)) == (passed, told(scanner))
    assert isinstance(streamed_text(stream) + answered_text(stream), list)


@pytest.mark.parametrize("one", STREAMS, ids=lambda one: one.name)
@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_every_recorded_stream_reads_as_its_index_says(one, size):
    pieces = [one.body[place : place + size] for place in range(0, len(one.body), size)]
    for wants_usage in (False, True):
        passed, scanner = run(pieces, wants_usage=wants_usage)
        assert scanner.usage == one.usage
        assert (scanner.finished and scanner.done) == one.complete
        assert scanner.failed == ("error" in one.name)
        assert scanner.answered or one.name == "openai-error.sse"
        ordinary = [data for data in events_of(one.body) if data != b"[DONE]" and json.loads(data).get("choices")]
        seen = events_of(passed)
        if not wants_usage:
            assert seen == ordinary
        else:
            assert [usage_of(data) for data in seen] == [usage_of(data) for data in ordinary]
            ending = json.loads(data_of(scanner.ending()) or b"{}")
            prices = [json.loads(data).get("usage") for data in seen] + [ending.get("usage")]
            assert all("cost_usd" in price for price in prices if price)


@pytest.mark.parametrize("size", [1, 1024])
def test_one_huge_event_costs_no_more_per_byte_than_a_small_one(size):
    def seconds(length):
        piece, scanner = b"x" * size, a_scanner()
        start = time.process_time()
        for _ in range(length // size):
            scanner.feed(piece)
        return time.process_time() - start

    base = 50_000 * size
    few = min(seconds(base) for _ in range(3)) if size == 1 else min(seconds(base // 25) for _ in range(3))
    many = min(seconds(4 * base) for _ in range(2)) if size == 1 else min(seconds(4 * base // 25) for _ in range(2))
    # Four times the bytes: four times the work if it is linear, sixteen times if every piece looks at all before it.
    assert many < 10 * few


# -- text to be counted when no usage came


def test_streamed_text_is_put_together_by_choice_and_kind():
    stream = b"".join(
        event({"choices": [{"index": index, "delta": delta}]})
        for index, delta in [
            (0, {"content": "Hel"}),
            (1, {"content": "Bon"}),
            (0, {"content": "lo", "reasoning_content": "hm", "reasoning": "hm"}),
            (1, {"content": "jour"}),
            (0, {"reasoning": "m", "refusal": "no"}),
        ]
    )
    assert streamed_text(stream + DONE) == ["Hello", "Bonjour", "hmm", "no"]


def test_of_a_tool_call_its_name_and_arguments_are_counted():
    pieces = [
        [{"index": 0, "id": "t", "type": "function", "function": {"name": "find", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"q":'}}],
        [{"index": 1, "function": {"name": "stop"}}, {"index": 0, "function": {"arguments": "1}"}}],
    ]
    stream = b"".join(event({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}) for calls in pieces)
    assert streamed_text(stream) == ['find{"q":1}', "stop"]


def test_what_a_stream_has_said_so_far_is_about_the_text_that_will_be_counted():
    bodies = {one.name: one.body for one in STREAMS}
    for name in ("openai-text", "openai-tools", "openai-parallel-tools", "groq-text", "mistral-text", "together-text"):
        text, said = "".join(streamed_text(bodies[f"{name}.sse"])), said_so_far(bodies[f"{name}.sse"])
        assert abs(len(said) - len(text)) <= len(text) // 5 + 20


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        ({"content": 'say "hi"'}, r"say \"hi\""),
        ({"content": "", "refusal": "no"}, "no"),
        ({"reasoning": "hm"}, "hm"),
        ({"reasoning": "hm", "reasoning_content": "hm"}, "hm"),
    ],
)
def test_reasoning_that_comes_under_two_names_is_said_once(delta, said):
    assert said_so_far(event({"choices": [{"index": 0, "delta": delta}]}) + DONE) == said


def test_older_and_newer_kinds_of_calls_are_counted_too():
    message = {
        "content": None,
        "tool_calls": [
            {"type": "custom", "custom": {"name": "sh", "input": "ls"}},
            "?",
            {"function": 3},
            {"type": "?"},
        ],
        "function_call": {"name": "old", "arguments": "{}", "input": 5},
    }
    assert answered_text(json.dumps({"choices": [{"message": message}]}).encode()) == ["shls", "old{}"]


def test_content_in_parts_is_counted_as_it_stands():
    message = {"content": [{"type": "text", "text": "Hi"}], "tool_calls": {"no": "list"}}
    assert answered_text(json.dumps({"choices": [{"message": message}]}).encode()) == ['[{"type":"text","text":"Hi"}]']


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"choices":null}', b'{"choices":[{}]}', b'{"choices":[{"message":null}]}', b"\xff"],
)
def test_a_document_without_text_has_none(document):
    assert answered_text(document) == []
    assert streamed_text(event(document)) == []


@pytest.mark.parametrize("one", PLAIN, ids=lambda one: one.name)
def test_recorded_answers_have_text(one):
    assert "".join(answered_text(one.body))


def test_a_stream_says_the_same_as_the_answer_that_it_was_recorded_with():
    bodies = {one.name: one.body for one in (*PLAIN, *STREAMS)}
    for name in ("openai-text", "openai-tools", "openai-parallel-tools", "groq-text", "mistral-text", "together-text"):
        assert streamed_text(bodies[f"{name}.sse"]) == answered_text(bodies[f"{name}.json"])


def test_data_of_an_event_leaves_comments_and_other_fields_out():
    assert data_of(b": ping\nevent: x\rdata: a\r\ndata:b\ndata\n\n") == b"a\nb"


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (b'{"choices": []}', True),
        (b'{"object": "list", "data": []}', True),
        (b'{"error": {"message": "no"}}', False),
        (b"[1]", False),
        (b"<html>", False),
        (b"", False),
    ],
)
def test_an_answer_is_known_by_its_keys(document, kind):
    assert is_answer(document) is kind

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.values import Usage
from router.dialects.anthropic.stream import MessagesScanner, said_so_far, streamed_text
from router.dialects.sse import MAX_EVENT_BYTES

NASTY = (
    'he said "usage":{"input_tokens":1}',
    '\\"error":{',
    '"message_stop"',
    'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    '"stop_reason":"end_turn"',
    "é😀\\",
)


def event(document, end=b"\n\n"):
    """An event with its name, as Anthropic sends them."""
    if isinstance(document, bytes):
        return b"data: " + document + end
    return b"event: " + document["type"].encode() + b"\ndata: " + json.dumps(document).encode() + end


def start(**usage):
    return event({"type": "message_start", "message": {"id": "m", "content": [], "usage": usage}})


def opened(index=0, **block):
    return event({"type": "content_block_start", "index": index, "content_block": block})


def delta(index=0, **said):
    return event({"type": "content_block_delta", "index": index, "delta": said})


def text(said, index=0):
    return delta(index, type="text_delta", text=said)


def end(reason="end_turn", **usage):
    return event({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage})


STOP = event({"type": "message_stop"})
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
WHOLE = start(input_tokens=5, output_tokens=1) + opened(type="text", text="") + text("Hi") + end(output_tokens=2) + STOP


def run(*pieces):
    """(bytes for the caller, the scanner) after a stream in these pieces."""
    scanner = MessagesScanner()
    return b"".join(scanner.feed(piece) for piece in pieces), scanner


def told(scanner):
    return scanner.usage, scanner.answered, scanner.finished, scanner.done, scanner.failed, scanner.error


# -- what passes


def test_a_whole_message_passes_but_for_its_last_event():
    passed, scanner = run(WHOLE)
    assert passed + scanner.last == WHOLE.replace(b'"type": "message_stop"', b'"type":"message_stop"')
    assert told(scanner) == (Usage(5, 2), True, True, True, False, b"")
    assert scanner.ending() == b""


def test_only_whole_events_pass():
    scanner = MessagesScanner()
    assert scanner.feed(b'data: {"type":') == b""
    assert scanner.feed(b'"ping"}\n') == b""
    assert scanner.feed(b"\n: more") == b'data: {"type":"ping"}\n\n'


def test_nothing_passes_after_the_end():
    scanner = MessagesScanner()
    assert scanner.feed(STOP + text("more")) == b""
    assert scanner.feed(text("more")) == b""
    assert told(scanner) == (None, False, False, True, False, b"")


def test_ordinary_events_before_and_after_one_that_tells_pass():
    stream = text("a") + end(output_tokens=2) + b": ping\n\n" + text("b")
    assert run(stream)[0] == stream


def test_an_event_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match=f"one stream event is larger than {MAX_EVENT_BYTES} bytes"):
        run(b"x" * (MAX_EVENT_BYTES + 1))


@pytest.mark.parametrize("strange", [b'{"usage":{', b'{"usage":"\xff"}', b'{"usage":' + b"[" * 5000])
def test_what_cannot_be_read_passes(strange):
    passed, scanner = run(event(strange))
    assert (passed, told(scanner)) == (event(strange), (None, False, False, False, False, b""))


# -- what matters for money


@pytest.mark.parametrize(
    ("stream", "usage"),
    [
        (start(input_tokens=5, output_tokens=1), None),
        (start(input_tokens=5, output_tokens=1) + end(output_tokens=9), Usage(5, 9)),
        (start(input_tokens=5, output_tokens=1) + end(output_tokens="many"), None),
        (start(input_tokens=5, output_tokens=1, cache_read_input_tokens=3) + end(output_tokens=2), Usage(8, 2, 3)),
        (start(input_tokens=5), None),
        (event({"type": "message_delta", "usage": "none"}), None),
    ],
)
def test_figures_are_cumulative_and_later_ones_replace_what_they_repeat(stream, usage):
    assert run(stream)[1].usage == usage


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (opened(type="text", text=""), False),
        (text("Hi"), True),
        (delta(type="thinking_delta", thinking="hm"), True),
        (delta(type="input_json_delta", partial_json="{"), True),
        (opened(type="tool_use", id="t", name="find", input={}), True),
        (opened(type="redacted_thinking", data="xyz"), True),
        (delta(type="signature_delta", signature="s"), False),
        (event({"type": "ping"}), False),
    ],
)
def test_an_answer_begins_with_its_first_word(said, answered):
    assert run(said)[1].answered is answered


@pytest.mark.parametrize(("reason", "finished"), [("end_turn", True), (None, False)])
def test_a_message_is_finished_once_it_says_why(reason, finished):
    assert run(end(reason, output_tokens=2))[1].finished is finished


def test_a_message_that_is_finished_stays_so():
    assert run(end("end_turn", output_tokens=2) + end(None, output_tokens=3))[1].finished is True


@pytest.mark.parametrize("cut", [True, False])
def test_an_error_is_withheld_and_kept_to_be_told(cut):
    stream = text("Hi"), event(OVERLOADED)
    passed, scanner = run(*stream) if cut else run(b"".join(stream))
    assert passed == text("Hi")
    assert told(scanner) == (None, True, False, False, True, json.dumps(OVERLOADED).encode())


@pytest.mark.parametrize("nasty", NASTY)
def test_what_a_model_writes_triggers_nothing(nasty):
    for said in (text(nasty), delta(type="input_json_delta", partial_json=json.dumps({nasty: nasty}))):
        passed, scanner = run(said)
        assert (passed, told(scanner)) == (said, (None, True, False, False, False, b""))


@given(
    st.lists(st.integers(0, len(WHOLE)), max_size=8).map(sorted),
    st.sampled_from((WHOLE, text("a") + event(OVERLOADED))),
)
def test_however_a_stream_is_cut_the_same_comes_of_it(places, stream):
    passed, scanner = run(stream)
    again, other = run(*(stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)))
    assert (again, told(other)) == (passed, told(scanner))


# -- text to be counted when no meters came


def test_streamed_text_is_put_together_by_block():
    stream = (
        start(input_tokens=5, output_tokens=1)
        + delta(0, type="thinking_delta", thinking="h")
        + text("Hel", 1)
        + delta(0, type="thinking_delta", thinking="m")
        + opened(2, type="tool_use", id="t", name="find", input={})
        + text("lo", 1)
        + delta(2, type="input_json_delta", partial_json='{"q":')
        + delta(2, type="input_json_delta", partial_json="1}")
        + opened(3, type="text", text="")
        + end(output_tokens=2)
    )
    assert streamed_text(stream) == ["hm", "Hello", 'find{"q":1}']


@pytest.mark.parametrize("strange", [b"{", b"[]", b'"\xff"', b'{"delta":5}', b'{"x":' + b"[" * 5000])
def test_what_cannot_be_read_has_no_text(strange):
    assert streamed_text(event(strange) + text("Hi")) == ["Hi"]


@pytest.mark.parametrize(
    ("said", "so_far"),
    [
        (text("Hel") + text("lo"), "Hello"),
        (text('say "hi"'), r"say \"hi\""),
        (delta(type="thinking_delta", thinking="hm") + delta(type="input_json_delta", partial_json="{}"), "hm{}"),
        (start(input_tokens=5) + STOP, ""),
        (b'data: {"delta":{"text":"a\xff', "a�"),
    ],
)
def test_what_has_been_said_so_far_is_about_the_same(said, so_far):
    assert said_so_far(said) == so_far

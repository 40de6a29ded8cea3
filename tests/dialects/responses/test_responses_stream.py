"""Streams of Responses on their way through: meters, ends and errors are seen, everything else passes."""

import json

import pytest

from router.core.errors import RouterError
from router.core.values import Usage
from router.dialects.responses.errors import error_event
from router.dialects.responses.stream import ResponsesScanner, said_so_far, streamed_text
from router.dialects.responses.usage import usage_of

USAGE = {"input_tokens": 5, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}}
METERS = Usage(prompt_tokens=5, completion_tokens=2, reasoning_tokens=1, tier="flex")


def event(kind, **more):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


CREATED = event("response.created", response={"id": "r", "usage": None, "error": None})
DELTA = event("response.output_text.delta", delta='say "error": and "response.completed"')
DONE = event("response.completed", response={"id": "r", "usage": USAGE, "service_tier": "flex", "error": None})


def scanned(*events, cost=lambda _: None):
    scanner = ResponsesScanner(cost)
    return scanner.feed(b"".join(events)), scanner


def test_events_pass_and_the_last_is_held_back_until_the_cost_is_known():
    passed, scanner = scanned(CREATED, DELTA, DONE, b"event: more\n\n", cost=lambda _: "0.5")
    assert passed == CREATED + DELTA
    assert (scanner.usage, scanner.answered, scanner.finished, scanner.done, scanner.failed) == (
        METERS,
        True,
        True,
        True,
        False,
    )
    assert scanner.ending() == b""
    assert json.loads(scanner.last.partition(b"data: ")[2])["response"]["usage"] == {**USAGE, "cost_usd": "0.5"}
    assert scanner.feed(DELTA) == b""


def test_without_a_cost_the_last_event_passes_as_it_came():
    assert scanned(DONE)[1].last == DONE
    _, scanner = scanned(event("response.incomplete", response={"usage": {}}), cost=lambda _: "0.5")
    assert (scanner.usage, scanner.done) == (None, True)


def test_chunks_may_be_cut_anywhere():
    whole, once = scanned(CREATED, DELTA, DONE)
    scanner = ResponsesScanner(lambda _: None)
    stream = CREATED + DELTA + DONE
    assert b"".join(scanner.feed(stream[at : at + 1]) for at in range(len(stream))) == whole
    assert (scanner.usage, scanner.last.strip()) == (once.usage, once.last.strip())


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (event("error", message="no"), {"type": "error", "message": "no"}),
        (event("response.failed", response={"error": {"message": "no"}, "usage": USAGE}), {"error": {"message": "no"}}),
    ],
)
def test_an_error_is_withheld(failure, told):
    passed, scanner = scanned(CREATED, failure, DELTA)
    assert (passed, scanner.failed, scanner.done, json.loads(scanner.error)) == (CREATED, True, False, told)


@pytest.mark.parametrize(
    "strange", [b'data: {"type":"error"\n\n', event("else", a="response.completed"), event("else", a="error")]
)
def test_what_only_looks_like_it_passes(strange):
    assert scanned(strange, DELTA)[0] == strange + DELTA


def test_what_a_stream_has_said():
    stream = b"".join([
        event("response.output_item.added", output_index=1, item={"type": "function_call", "name": "find"}),
        event("response.function_call_arguments.delta", output_index=1, delta="{"),
        event("response.output_text.delta", delta="Hi"),
        event("response.output_text.delta", delta=" you"),
        event("response.output_text.delta", delta=5),
        b"data: [\n\n",
    ])  # fmt: skip
    assert streamed_text(stream) == ["find", "{", "Hi you"]
    assert said_so_far(stream) == "{Hi you"


@pytest.mark.parametrize(
    ("usage", "meters"),
    [
        (USAGE | {"total_tokens": 9}, Usage(5, 4, reasoning_tokens=2)),
        (USAGE | {"input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 1}}, Usage(5, 2, 3, 1, 1)),
        (USAGE | {"input_tokens_details": {"cached_tokens": 9}}, None),
        ({"input_tokens": 5}, None),
        (None, None),
        (5, None),
    ],
)
def test_meters(usage, meters):
    assert usage_of(json.dumps({"usage": usage}).encode()) == meters


def test_what_is_no_document_has_no_meters():
    assert usage_of(DONE.partition(b"data: ")[2]) == METERS
    assert usage_of(b"[") is None
    assert usage_of(b'{"response":5,"usage":null}') is None


def test_an_error_of_ours_is_what_the_types_say_and_what_sdks_raise_on():
    told = json.loads(error_event(RouterError("upstream_error", "It broke.")).partition(b"data: ")[2])
    assert (told["type"], told["code"], told["message"], told["sequence_number"]) == (
        "error",
        "upstream_error",
        "It broke.",
        0,
    )
    assert told["error"]["message"] == "It broke."

import asyncio
import json

import pytest
from fakes import FakeResponse
from wired import EVENTS, METERS, Wired, ends, event, says

from router.core.errors import RouterError
from router.core.money import usd
from router.ports import UpstreamFailure

RESET = UpstreamFailure("reset", "acme broke off", sent=True)
ASKED = {"stream_options": {"include_usage": True}}


def streaming(*parts, **changes):
    response = FakeResponse(parts, headers=EVENTS)
    wired = Wired(response, **changes)
    wired.response = response
    return wired


def last_error(text):
    return json.loads(text.rstrip().rpartition(b"data: ")[2])["error"]


async def test_a_whole_stream_is_metered_and_its_end_tells_the_cost():
    wired = streaming(says("Hello"), says(" there"), ends())
    text = await wired.whole_stream()
    row = wired.row
    assert (row.outcome, row.certainty, row.completion_tokens) == ("ok", "metered", 2)
    assert text.endswith(b": x-costrouter-cost-usd=" + usd(row.cost_nano).encode() + b"\n\ndata: [DONE]\n\n")
    assert b'"usage"' not in text
    assert wired.response.closed
    assert wired.ledger.holds == {}


async def test_the_usage_object_tells_the_cost_of_the_row():
    wired = streaming(says("Hello"), ends())
    text = await wired.whole_stream(**ASKED)
    assert f'"cost_usd":"{usd(wired.row.cost_nano)}"'.encode() in text


async def test_usage_that_is_not_believed_gets_no_cost():
    wired = streaming(says("Hello"), ends(prompt_tokens=10**8))
    text = await wired.whole_stream(**ASKED)
    assert wired.row.certainty == "counted"
    assert b"100000000" in text
    assert b"cost_usd" not in text


async def test_a_stream_that_breaks_is_counted_and_says_so():
    wired = streaming(says("Hello there"), RESET)
    text = await wired.whole_stream()
    assert last_error(text)["code"] == "upstream_interrupted"
    assert b"[DONE]" not in text
    assert (wired.row.outcome, wired.row.certainty, wired.row.completion_tokens) == (
        "upstream_interrupted",
        "counted",
        2,
    )
    assert [error for _, error in wired.listener.rows] == ["upstream_interrupted"]


async def test_a_stream_that_ends_too_soon_is_broken():
    wired = streaming(says("Hello there"))
    assert last_error(await wired.whole_stream())["code"] == "upstream_interrupted"


@pytest.mark.parametrize(("fault", "code"), [("reset", "upstream_interrupted"), ("protocol", "upstream_bad_response")])
async def test_nothing_of_use_is_an_error_answer_and_a_row(fault, code):
    wired = streaming(UpstreamFailure(fault, "acme broke off", sent=True))
    with pytest.raises(RouterError) as caught:
        await wired.stream()
    assert caught.value.code == code
    assert wired.row.outcome == "upstream_interrupted"
    assert wired.response.closed


# -- errors that the upstream reports


@pytest.mark.parametrize(
    ("reported", "told"),
    [
        ({"message": "The server is overloaded"}, "overloaded"),
        ({"message": "Rate limit for organization org-s3cret reached"}, None),
        ({"message": "Incorrect API key sk-s3cret provided"}, None),
        ({"message": "You have s3cret money left", "code": "insufficient_quota"}, None),
    ],
)
async def test_a_reported_error_is_told_in_our_words(reported, told):
    wired = streaming(says("Hello"), event({"error": reported}))
    text = await wired.whole_stream()
    error = last_error(text)
    assert error["code"] == "upstream_error"
    assert b"s3cret" not in text
    assert (told or "acme reported an error") in error["message"]
    assert b"[DONE]" not in text
    assert wired.row.outcome == "upstream_error"
    assert [error for _, error in wired.listener.rows] == ["upstream_error"]


async def test_meters_that_follow_an_error_are_believed_and_no_text_is():
    wired = streaming(says("Hello"), event({"error": {"message": "no"}}), says("more"), ends())
    text = await wired.whole_stream()
    assert b"more" not in text
    assert (wired.row.certainty, wired.row.completion_tokens) == ("metered", 2)


async def test_an_error_in_place_of_an_answer_is_an_error_answer():
    wired = streaming(event({"error": {"message": "Too busy"}}))
    with pytest.raises(RouterError, match="Too busy") as caught:
        await wired.stream()
    assert caught.value.code == "upstream_error"
    assert wired.row.outcome == "upstream_error"


# -- callers who leave


async def left(wired):
    _, stream = await wired.stream()
    wired.pipeline.abandon(stream)
    return stream


async def test_where_the_provider_bills_the_stream_is_read_to_its_meters():
    wired = streaming(says("Hello"), says(" there"), ends())
    await left(wired)
    await wired.pipeline.close(1)
    assert (wired.row.outcome, wired.row.certainty) == ("client_left", "metered")


async def test_where_it_does_not_bill_the_stream_is_closed():
    wired = streaming(says("Hello"), says(" there"), ends(), bills=False)
    await left(wired)
    await wired.pipeline.close(1)
    assert (wired.row.certainty, wired.row.completion_tokens) == ("counted", 1)
    assert wired.response.closed


async def test_closing_ends_the_reading_and_books_what_had_come():
    wired = streaming(says("Hello there"), asyncio.Event())
    await left(wired)
    await wired.pipeline.close(0.05)
    assert (wired.row.outcome, wired.row.certainty, wired.row.completion_tokens) == ("client_left", "counted", 2)


async def test_a_flaw_of_ours_while_reading_on_still_leaves_a_row():
    wired = streaming(says("Hello"), ZeroDivisionError())
    stream = await left(wired)
    await wired.pipeline.close(1)
    assert wired.row.outcome == "client_left"
    assert wired.response.closed
    assert await stream.next_part() == b""


async def test_a_caller_cut_off_while_we_count_still_leaves_a_row():
    wired = streaming(says("Hello"), ends(prompt_tokens=10**8))
    wired.counter.hold = asyncio.Event()
    _, stream = await wired.stream()
    waiting = asyncio.create_task(stream.next_part())
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    wired.pipeline.abandon(stream)
    await wired.pipeline.close(1)
    assert (wired.row.outcome, wired.row.certainty) == ("client_left", "estimated")
    assert wired.ledger.holds == {}


async def test_counting_that_fails_still_leaves_a_row():
    wired = streaming(says("Hello"), RESET)
    wired.counter.broken = RuntimeError("cannot schedule new futures after shutdown")
    _, stream = await wired.stream()
    with pytest.raises(RuntimeError):
        await stream.next_part()
    assert (wired.row.outcome, wired.row.certainty) == ("upstream_interrupted", "estimated")


async def test_the_meters_are_those_of_the_fake():
    wired = streaming(says("Hello"), ends())
    await wired.whole_stream()
    assert wired.row.prompt_tokens == METERS["prompt_tokens"]

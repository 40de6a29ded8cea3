from __future__ import annotations

import json

import msgspec
import pytest

from router.dialects.cacheable import (
    for_nothing,
    may_be_asked_again,
    may_be_given_again,
    same_request,
    wishes,
)
from router.dialects.json_object import TopLevel
from router.dialects.openai.chat import read_chat

FUNCTION = {"type": "function", "function": {"name": "f"}}


def request(**fields):
    return read_chat(json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode(), {})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0},
        {"temperature": 0.0},
        {"temperature": None},
        {"tools": [FUNCTION]},
        {"tools": []},
        {"tools": None},
        {"store": False},
        {"stream": True, "user": "u1", "metadata": {"a": "b"}, "seed": 4},
    ],
)
def test_a_plain_question_may_be_asked_again(fields):
    assert may_be_asked_again(request(**fields), sampled=False)


@pytest.mark.parametrize(
    "fields",
    [
        {"store": True},
        {"previous_response_id": "r1"},
        {"web_search_options": {}},
        {"tools": [FUNCTION, {"type": "web_search"}]},
        {"tools": ["none"]},
    ],
)
def test_what_looks_at_the_world_or_at_what_went_before_may_not(fields):
    assert not may_be_asked_again(request(**fields), sampled=True)


@pytest.mark.parametrize("fields", [{"temperature": 0.7}, {"n": 2}])
def test_who_asks_for_variety_is_answered_anew_unless_the_policy_says_otherwise(fields):
    assert not may_be_asked_again(request(**fields), sampled=False)
    assert may_be_asked_again(request(**fields), sampled=True)


@pytest.mark.parametrize("body", [b'{"temperature": "hot"}', b'{"temperature": [0]}'])
def test_a_temperature_that_is_none_is_no_reason_to_give_an_answer_again(body):
    strange = msgspec.structs.replace(request(), top=TopLevel(body))
    assert not may_be_asked_again(strange, sampled=False)


def test_who_asks_makes_no_other_question_and_what_is_asked_does():
    plain = same_request(request())
    assert same_request(request(user="u1", metadata={"a": "b"}, prompt_cache_key="k", safety_identifier="s")) == plain
    turned = read_chat(b'{ "messages": [{"content": "hi", "role": "user"}],  "model": "m"}', {})
    assert same_request(turned) == plain
    for fields in ({"seed": 1}, {"stream": True}, {"model": "n"}, {"max_tokens": 5}):
        assert same_request(request(**fields)) != plain


@pytest.mark.parametrize(
    "answer",
    [
        b'{"choices":[{"message":{"content":"hi","tool_calls":null},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":"hi","tool_calls": []},"finish_reason":"length"}]}',
        b'data: {"choices":[{"delta":{"content":"say \\"tool_calls\\": [1]"}}]}\n\n',
        b'{"data":[{"embedding":[0.1]}]}',
        b'{"type":"message","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}',
    ],
)
def test_an_answer_that_only_says_something_may_be_given_again(answer):
    assert may_be_given_again(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"choices":[{"message":{"tool_calls":[{"id":"c1"}]},"finish_reason":"tool_calls"}]}',
        b'{"choices":[{"message":{"function_call": {"name":"f"}}}]}',
        b'{"content":[{"type": "tool_use","id":"t1"}]}',
        b'{"output":[{"type":"function_call"}]}',
        b'{"choices":[{"message":{"content":""},"finish_reason": "content_filter"}]}',
        b'{"content":[],"stop_reason":"refusal"}',
    ],
)
def test_one_that_acts_or_was_refused_may_not(answer):
    assert not may_be_given_again(answer)


def test_a_stream_that_is_given_again_says_that_it_costs_nothing():
    said = b'data: {"text":"\\"cost_usd\\":\\"1.5\\""}\n\ndata: {"usage":{"cost_usd":"0.000002000"}}\n\n'
    again = for_nothing(said + b": x-costrouter-cost-usd=0.000002000\n\ndata: [DONE]\n\n")
    assert (
        again
        == said.replace(b"0.000002000", b"0.000000000") + b": x-costrouter-cost-usd=0.000000000\n\ndata: [DONE]\n\n"
    )


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", (True, True)),
        ("max-age=60", (True, True)),
        ("no-cache", (False, True)),
        ("Max-Age=0", (False, True)),
        ("no-store", (False, False)),
        ("no-cache, no-store", (False, False)),
    ],
)
def test_the_caller_may_say_so_as_http_does(header, said):
    assert wishes({"cache-control": header} if header else {}) == said


def test_a_body_that_cannot_be_read_to_its_last_value_is_the_same_as_itself():
    def asks(hidden):
        return same_request(read_chat(b'{"model":"m","messages":[{"role":"user","content":"hi","x":' + hidden + b"}]}"))

    assert asks(b'"\xff"') == asks(b'"\xff"') != asks(b'"\xfe"')
    assert asks(b"1e99999") == asks(b"1e99999") != asks(b"1")

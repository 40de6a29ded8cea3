"""Converse's answers and meters, in neutral form."""

import json

import pytest

from router.core.values import Usage
from router.dialects.bedrock.answer import answered_text, is_answer, read_answer
from router.dialects.bedrock.usage import usage_of
from router.dialects.neutral import Answer, Text, Thought, ToolUse

METERS = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}


def body(*content, reason="end_turn", **more):
    message = {"role": "assistant", "content": list(content)}
    document = {
        "output": {"message": message},
        "stopReason": reason,
        "usage": METERS,
        "metrics": {"latencyMs": 1},
        **more,
    }
    return json.dumps(document).encode()


BLOCKS = [
    ({"text": "Hi"}, Text("Hi")),
    ({"toolUse": {"toolUseId": "t1", "name": "look", "input": {"at": "sky"}}}, ToolUse("t1", "look", '{"at":"sky"}')),
    ({"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "sig"}}}, Thought("Hm", "sig")),
    ({"reasoningContent": {"reasoningText": {"text": "Hm"}}}, Thought("Hm")),
    ({"reasoningContent": {"redactedContent": "c2ln"}}, Thought("", "c2ln", hidden=True)),
]


@pytest.mark.parametrize(("block", "ours"), BLOCKS)
def test_blocks(block, ours):
    assert read_answer(body(block)) == Answer("", "", (ours,), "stop", usage=Usage(10, 5))


def test_blocks_that_no_translated_request_leads_to_are_passed_over():
    assert read_answer(body({"citationsContent": {}}, {"text": "Hi"})).blocks == (Text("Hi"),)


@pytest.mark.parametrize(
    ("reason", "ours"),
    [("tool_use", "tools"), ("max_tokens", "length"), ("guardrail_intervened", "refusal"), ("model_context_window_exceeded", "length")],
)  # fmt: skip  # one row
def test_why_it_ended(reason, ours):
    assert read_answer(body({"text": "Hi"}, reason=reason)).finish == ours


def test_which_stop_sequence_claude_met():
    ended = body({"text": "Hi"}, reason="stop_sequence", additionalModelResponseFields={"stop_sequence": "END"})
    assert (read_answer(ended).finish, read_answer(ended).stop_sequence) == ("stop", "END")
    assert read_answer(body({"text": "Hi"}, reason="stop_sequence")).stop_sequence is None
    odd = body({"text": "Hi"}, reason="stop_sequence", additionalModelResponseFields={"stop_sequence": 7})
    assert read_answer(odd).stop_sequence is None


def test_a_model_that_failed_has_not_answered():
    with pytest.raises(ValueError, match="the model failed: malformed_tool_use"):
        read_answer(body({"text": "Hi"}, reason="malformed_tool_use"))


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b"\xff", b'{"output":{"message":{"content":[7]}}}', b"[" * 100_000]
)
def test_what_is_no_answer(document):
    with pytest.raises(ValueError, match="no answer"):
        read_answer(document)
    assert answered_text(document) == []
    assert not is_answer(document) or b"output" in document


def test_everything_that_was_said_is_counted():
    said = body(*(block for block, _ in BLOCKS), {"text": ""}, {"citationsContent": {}})
    assert answered_text(said) == ["Hi", "look", '{"at":"sky"}', "Hm", "Hm", "c2ln"]
    assert is_answer(said)


@pytest.mark.parametrize(
    ("fields", "meters"),
    [
        (METERS, Usage(10, 5)),
        # What was read and written stands beside the input, …
        (
            {"inputTokens": 10, "outputTokens": 5, "totalTokens": 115, "cacheReadInputTokens": 60, "cacheWriteInputTokens": 40},
            Usage(110, 5, cached_tokens=60, cache_write_tokens=40),
        ),
        # … unless the total says that it is within.
        (
            {"inputTokens": 110, "outputTokens": 5, "totalTokens": 115, "cacheReadInputTokens": 60, "cacheWriteInputTokens": 40},
            Usage(110, 5, cached_tokens=60, cache_write_tokens=40),
        ),
        (
            {
                "inputTokens": 10, "outputTokens": 5, "cacheWriteInputTokens": 40,
                "cacheDetails": [{"ttl": "5m", "inputTokens": 10}, {"ttl": "1h", "inputTokens": 30}, 7],
            },
            Usage(50, 5, cache_write_tokens=40, cache_write_1h_tokens=30),
        ),
        ({"inputTokens": 10, "outputTokens": 5, "cacheWriteInputTokens": 4, "cacheDetails": [{"ttl": "1h", "inputTokens": 9}]}, Usage(14, 5, cache_write_tokens=4, cache_write_1h_tokens=4)),
        ({"inputTokens": 0, "outputTokens": 0, "cacheDetails": 7}, Usage(0)),
    ],
)  # fmt: skip  # one row a line
def test_meters(fields, meters):
    assert usage_of(json.dumps({"usage": fields}).encode()) == meters


@pytest.mark.parametrize(
    ("tier", "ours"),
    [({"type": "flex"}, "flex"), ({"type": "default"}, "realtime"), ({"type": 7}, ""), ("x", ""), (None, "")],
)
def test_the_tier_that_was_served(tier, ours):
    assert usage_of(json.dumps({"usage": METERS, "serviceTier": tier}).encode()).tier == ours


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"usage":[]}', b'{"usage":{"inputTokens":1}}', b'{"usage":{"inputTokens":-1,"outputTokens":1}}', b'{"usage":{"inputTokens":1,"outputTokens":1,"cacheReadInputTokens":"x"}}'],
)  # fmt: skip  # one row
def test_what_no_meter_may_believe(document):
    assert usage_of(document) is None

import json

import pytest

from router.core.values import Usage
from router.dialects.anthropic.usage import merged, normal, usage_object, usage_of

PLAIN = {"input_tokens": 5, "output_tokens": 2}


@pytest.mark.parametrize(
    ("more", "usage"),
    [
        ({}, Usage(5, 2)),
        ({"cache_read_input_tokens": 30, "cache_creation_input_tokens": 100}, Usage(135, 2, 30, 100)),
        ({"cache_read_input_tokens": -1, "cache_creation_input_tokens": None}, Usage(5, 2)),
        ({"output_tokens_details": {"thinking_tokens": 1}}, Usage(5, 2, reasoning_tokens=1)),
        ({"output_tokens_details": {"thinking_tokens": 9}}, Usage(5, 2, reasoning_tokens=2)),
        ({"output_tokens_details": {"thinking_tokens": "1"}}, Usage(5, 2)),
        ({"output_tokens_details": 7}, Usage(5, 2)),
        (
            {"cache_creation_input_tokens": 10, "cache_creation": {"ephemeral_1h_input_tokens": 4}},
            Usage(15, 2, cache_write_tokens=10, cache_write_1h_tokens=4),
        ),
        (
            {"cache_creation_input_tokens": 10, "cache_creation": {"ephemeral_1h_input_tokens": 40}},
            Usage(15, 2, cache_write_tokens=10, cache_write_1h_tokens=10),
        ),
        ({"cache_creation_input_tokens": 10, "cache_creation": {}}, Usage(15, 2, cache_write_tokens=10)),
        ({"service_tier": "standard"}, Usage(5, 2, tier="realtime")),
        ({"service_tier": "priority"}, Usage(5, 2, tier="priority")),
        ({"service_tier": "batch"}, Usage(5, 2, tier="batch")),
        ({"service_tier": ["?"]}, Usage(5, 2)),
    ],
)
def test_what_each_figure_means(more, usage):
    assert normal({**PLAIN, **more}) == usage


@pytest.mark.parametrize(
    "wrong",
    [{}, {"input_tokens": 5}, {"output_tokens": 2}, {**PLAIN, "input_tokens": -1}, {**PLAIN, "output_tokens": True}],
)
def test_figures_that_are_none_are_not_believed(wrong):
    assert normal(wrong) is None
    assert usage_of(json.dumps({"usage": wrong}).encode()) is None


COMPACTION = {"type": "compaction", "input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 10}


@pytest.mark.parametrize(
    ("iterations", "usage"),
    [
        ([COMPACTION], Usage(115, 22, 10, tier="batch")),
        ([COMPACTION, {"type": "message", **PLAIN}, COMPACTION], Usage(225, 42, 20, tier="batch")),
        ([{"type": "message", **PLAIN}], Usage(5, 2, tier="batch")),
        ([{"type": "compaction"}], None),
        ([{"type": "compaction"}, COMPACTION], None),
        (["?"], Usage(5, 2, tier="batch")),
        ("?", Usage(5, 2, tier="batch")),
    ],
)
def test_of_iterations_only_compaction_comes_on_top(iterations, usage):
    assert normal({**PLAIN, "service_tier": "batch", "iterations": iterations}) == usage


@pytest.mark.parametrize(
    ("document", "usage"),
    [
        (b'{"usage":{"input_tokens":5,"output_tokens":2}}', Usage(5, 2)),
        (b'{"usage":[5,2]}', None),
        (b"{}", None),
        (b"[]", None),
        (b"", None),
        (b'{"usage":"\xff"}', None),
        (b'{"usage":' + b"[" * 5000, None),
    ],
)
def test_a_messages_meters_are_found_or_there_are_none(document, usage):
    assert usage_of(document) == usage


@pytest.mark.parametrize(
    ("later", "together"),
    [
        ({"output_tokens": 9}, {"input_tokens": 5, "output_tokens": 9}),
        ({"output_tokens": None, "cache_read_input_tokens": 3}, {**PLAIN, "cache_read_input_tokens": 3}),
        ({"no_figure": 1}, PLAIN),
        (None, PLAIN),
        ([], PLAIN),
    ],
)
def test_later_figures_replace_what_they_repeat(later, together):
    assert merged(PLAIN, later) == together


def test_meters_are_written_as_anthropic_counts_them():
    usage = Usage(135, 20, 30, 100, 7, cache_write_1h_tokens=40)
    assert usage_object(usage) == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 7},
        "service_tier": "standard",
    }
    assert normal(usage_object(usage)) == Usage(135, 20, 30, 100, 7, "realtime", 40)

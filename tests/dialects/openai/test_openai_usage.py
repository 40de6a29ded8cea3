import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import ALL, FOLDER, PLAIN

from router.core.values import Usage
from router.dialects.openai.usage import MAX_TOKENS, usage_of

COUNTS = st.one_of(st.none(), st.booleans(), st.integers(-5, 50), st.sampled_from((2**40, 2**41, 1.5, "7", [], {})))
DETAILS = st.none() | st.just(3) | st.dictionaries(
    st.sampled_from(("cached_tokens", "cache_write_tokens", "reasoning_tokens")), COUNTS
)  # fmt: skip
USAGES = st.none() | st.just([]) | st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": COUNTS,
        "completion_tokens": COUNTS,
        "total_tokens": COUNTS,
        "prompt_cache_hit_tokens": COUNTS,
        "prompt_tokens_details": DETAILS,
        "completion_tokens_details": DETAILS,
    },
)  # fmt: skip


def read(**usage):
    return usage_of(msgspec.json.encode({"usage": usage}))


@pytest.mark.parametrize("one", PLAIN, ids=lambda one: one.name)
def test_every_recorded_answer_reads_as_its_index_says(one):
    assert usage_of(one.body) == one.usage


def test_the_index_names_every_recorded_file():
    assert {one.name for one in ALL} == {path.name for path in FOLDER.iterdir()} - {"index.yaml"}


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        # OpenAI: prompt_tokens include what was cached and written, completion_tokens include reasoning.
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "total_tokens": 120,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
                "completion_tokens_details": {"reasoning_tokens": 15},
            },
            Usage(100, 20, 60, 30, 15),
        ),
        # Embeddings have no completion.
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8)),
        ({"prompt_tokens": 8, "completion_tokens": None, "total_tokens": 8}, Usage(8)),
        # DeepSeek: hits are part of the prompt, and are told twice.
        ({"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_hit_tokens": 7}, Usage(10, 1, 7)),
        (
            {"prompt_tokens": 10, "prompt_cache_hit_tokens": 7, "prompt_tokens_details": {"cached_tokens": 7}},
            Usage(10, 0, 7),
        ),
        # xAI and Gemini: reasoning is outside completion_tokens, inside the total.
        (
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(32, 103, 0, 0, 94),
        ),
        ({"prompt_tokens": 758, "completion_tokens": 102, "total_tokens": 1725}, Usage(758, 967, 0, 0, 865)),
        # A total that is too small, or no number, says nothing.
        ({"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 3}, Usage(5, 5)),
        ({"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": "11"}, Usage(5, 5)),
        # Reasoning is never more than the answer.
        (
            {"prompt_tokens": 5, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 9}},
            Usage(5, 5, 0, 0, 5),
        ),
        ({"prompt_tokens": 5, "prompt_tokens_details": None, "completion_tokens_details": 3}, Usage(5)),
        # Zero is a meter.
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0)),
    ],
)
def test_each_providers_way_of_counting(given, normal):
    assert read(**given) == normal


@pytest.mark.parametrize("wrong", [None, -1, 1.0, "1", True, [], MAX_TOKENS + 1])
def test_a_prompt_that_is_no_count_is_not_believed(wrong):
    assert read(prompt_tokens=wrong, completion_tokens=1) is None


@pytest.mark.parametrize("wrong", [-1, 1.0, "1", False, {}, MAX_TOKENS + 1])
def test_an_answer_that_is_no_count_is_not_believed(wrong):
    assert read(prompt_tokens=1, completion_tokens=wrong) is None


@pytest.mark.parametrize(("cached", "written"), [(6, 0), (0, 6), (3, 3)])
def test_parts_larger_than_the_whole_are_not_believed(cached, written):
    details = {"cached_tokens": cached, "cache_write_tokens": written}
    assert read(prompt_tokens=6, prompt_tokens_details=details) == Usage(6, 0, cached, written)
    assert read(prompt_tokens=5, prompt_tokens_details=details) is None


def test_groq_tells_at_another_place():
    inside = {"prompt_tokens": 3, "completion_tokens": 4}
    assert usage_of(msgspec.json.encode({"x_groq": {"id": "r", "usage": inside}})) == Usage(3, 4)
    assert usage_of(msgspec.json.encode({"usage": None, "x_groq": {"usage": inside}})) == Usage(3, 4)
    assert usage_of(msgspec.json.encode({"usage": {"prompt_tokens": 1}, "x_groq": {"usage": inside}})) == Usage(1)
    assert usage_of(msgspec.json.encode({"x_groq": {"id": "r"}})) is None
    assert usage_of(msgspec.json.encode({"x_groq": [inside]})) is None


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[]", b"{}", b'{"usage":null}', b'{"usage":[]}', b"\xff", b'{"usage":{"prompt_tokens":1e999}}',
     b'{"usage":{"prompt_tokens":"\xff"}}', b'{"a":' + b"[" * 100_000, b'{"usage":' + b'{"a":' * 100_000],
)  # fmt: skip
def test_a_document_without_readable_usage_has_none(document):
    assert usage_of(document) is None


def test_what_else_the_document_holds_does_not_matter():
    assert usage_of(b'{"choices":"\xff","a":1e999,"usage":{"prompt_tokens":1}}') == Usage(1)


@given(USAGES, st.none() | st.builds(lambda usage: {"usage": usage}, USAGES))
def test_whatever_is_told_the_parts_fit_the_whole(usage, groq):
    found = usage_of(msgspec.json.encode({"usage": usage, "x_groq": groq}))
    if found is not None:
        assert 0 <= found.cached_tokens + found.cache_write_tokens <= found.prompt_tokens
        assert min(found.cached_tokens, found.cache_write_tokens) >= 0
        assert 0 <= found.reasoning_tokens <= found.completion_tokens


@pytest.mark.parametrize(
    ("told", "tier"),
    [
        ({"service_tier": "default"}, "realtime"),
        ({"service_tier": "on_demand"}, "realtime"),
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": "fast"}, "priority"),
        ({"service_tier": "scale"}, ""),
        ({"service_tier": None}, ""),
        ({"service_tier": 7}, ""),
        ({"service_tier": ["flex"]}, ""),
    ],
)
def test_the_tier_that_was_served_is_told_beside_the_usage_or_in_it(told, tier):
    assert usage_of(msgspec.json.encode({**told, "usage": {"prompt_tokens": 1}})) == Usage(1, tier=tier)
    assert usage_of(msgspec.json.encode({"usage": {"prompt_tokens": 1, **told}})) == Usage(1, tier=tier)

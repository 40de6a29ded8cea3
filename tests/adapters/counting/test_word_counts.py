import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.adapters.counting.encoders import load_encoding
from router.adapters.counting.word_counts import LONGEST_WORD, MOST_NEW_WORDS, WordCounts

encodings = {name: load_encoding(name) for name in ("o200k_base", "cl100k_base")}
PIECES = ["a", "Ab", "don't", "'s", "1", "2345", "é", "中文", "\u0301", "ß", "½", ".", ",)", "/", "\U0001f600", "X\ny"]
BLANKS = [" ", " ", " ", " ", "  ", "\n", "\t", "\u00a0", "\u200a", "\x1c", "\x85", "\u3000", ""]


@pytest.fixture(params=sorted(encodings))
def encode(request):
    return encodings[request.param].encode_ordinary


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES + BLANKS), max_size=24).map("".join))
def test_counting_by_word_is_exact(text):
    for encoding in encodings.values():
        words = WordCounts(encoding.encode_ordinary)
        assert [words.count(text), words.count(text)] == [len(encoding.encode_ordinary(text))] * 2


@given(st.text(max_size=80))
def test_any_text_is_counted_as_the_encoder_counts_it(text):
    encoding = encodings["o200k_base"]
    assert WordCounts(encoding.encode_ordinary).count(text) == len(encoding.encode_ordinary(text))


def test_words_seen_before_are_not_encoded_again(encode):
    calls = []
    words = WordCounts(lambda text: calls.append(text) or encode(text))
    words.count("the quick brown fox")
    assert calls == ["the", " quick", " brown", " fox"]
    calls.clear()
    words.count("the brown quick fox")
    assert calls == []


def test_text_with_many_new_words_is_encoded_whole(encode):
    calls = []
    words = WordCounts(lambda text: calls.append(text) or encode(text))
    text = " ".join(f"word{number}" for number in range(MOST_NEW_WORDS * 3))
    assert words.count(text) == len(encode(text))
    assert calls[-1] == text
    assert len(calls) == MOST_NEW_WORDS + 2


def test_long_words_are_not_kept(encode):
    words = WordCounts(encode)
    secret = "k" * (LONGEST_WORD + 1)
    words.count(f"my key is {secret} thanks")
    assert secret not in words


def test_a_full_table_starts_again(encode, monkeypatch):
    monkeypatch.setattr("router.adapters.counting.word_counts.MOST_WORDS", 10)
    words = WordCounts(encode)
    for number in range(40):
        text = f"x w{number} y"
        assert words.count(text) == len(encode(text))
        assert len(words) <= 10

"""Names of tiers whose answers come later."""

import pytest

from router.core.jobs.tiers import hours_of, kind_of, word_of


@pytest.mark.parametrize(
    ("tier", "kind", "word"),
    [
        ("batch", "batch", "batch"),
        ("window-2h", "window", "window"),
        ("window-120h", "window", "window"),
        ("realtime", None, "realtime"),
        ("flex", None, "flex"),
    ],
)
def test_a_tier_has_a_kind_where_it_is_answered_later_and_a_word_in_policies(tier, kind, word):
    assert (kind_of(tier), word_of(tier)) == (kind, word)


def test_a_windows_length_stands_in_its_name():
    assert (hours_of("window-2h"), hours_of("window-120h")) == (2, 120)

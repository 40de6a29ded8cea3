"""Signatures of what a model thought or called: whose they are."""

import pytest

from router.dialects.signatures import GEMINI, UNSIGNED, foreign


@pytest.mark.parametrize(
    ("signature", "theirs"),
    [("EqoBCkgIARABGAIiQL2UoU0b1OHYi+yCHpBY7U6FQW8/A==", False), ("", False), (None, False), (UNSIGNED, True), (GEMINI + "Cg==", True)],
)  # fmt: skip  # one row a line
def test_what_anthropic_has_not_signed_is_known_by_its_mark(signature, theirs):
    assert foreign(signature) is theirs

import pytest

from router.dialects.effort import BUDGETS, LEAST_BUDGET, an_effort, effort_of


@pytest.mark.parametrize(
    ("budget", "effort"),
    [
        (0, "low"),
        (1024, "low"),
        (4095, "low"),
        (4096, "medium"),
        (16_383, "medium"),
        (16_384, "high"),
        (1_000_000, "high"),
    ],
)
def test_a_budget_becomes_the_effort_whose_own_it_reaches(budget, effort):
    assert effort_of(budget) == effort


@pytest.mark.parametrize("effort", ["low", "medium", "high"])
def test_an_effort_comes_back_from_its_budget(effort):
    assert effort_of(BUDGETS[effort]) == effort


def test_no_effort_stands_for_less_than_what_is_taken():
    assert min(BUDGETS.values()) == LEAST_BUDGET


@pytest.mark.parametrize(
    ("given", "effort"),
    [("none", "none"), ("max", "max"), ("", None), ("extreme", None), (None, None), (5, None), (["low"], None)],
)
def test_only_known_words_are_efforts(given, effort):
    assert an_effort(given) == effort

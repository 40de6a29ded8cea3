"""What dialects can express: the bits and the catalog's use of them."""

from router.core.catalog.catalog import SPOKEN
from router.core.values import Needs
from router.core.wire import EXPRESSES, Wire, able


def test_features_of_the_wire_are_never_taken_for_what_a_model_can_do():
    assert not sum(Wire) & sum(Needs)


def test_what_is_spoken_is_what_can_be_told_apart():
    assert set(EXPRESSES) == SPOKEN


def test_a_provider_of_several_dialects_can_be_told_all_that_any_of_them_has_a_place_for():
    assert able(Needs.CHAT, "openai") & Wire.SEED
    assert not able(Needs.CHAT, "anthropic") & Wire.SEED
    assert able(Needs.CHAT, "anthropic", "openai") & Wire.SEED
    assert able(Needs.CHAT) == Needs.CHAT


def test_an_effort_takes_the_place_of_a_budget_where_the_model_takes_efforts_and_the_dialect_has_no_budgets():
    assert able(Needs.REASONING_EFFORT, "openai") & Needs.THINKING_BUDGET
    assert not able(Needs.CHAT, "openai") & Needs.THINKING_BUDGET
    assert not able(Needs.REASONING_EFFORT, "anthropic") & Needs.THINKING_BUDGET


def test_a_budget_takes_the_place_of_an_effort_where_the_model_takes_nothing_else():
    found = able(Needs.THINKING_BUDGET, "anthropic")
    assert found & Needs.REASONING_EFFORT
    assert not found & Wire.EFFORT, "said in Anthropic's own words, it would be refused"

"""What dialects can express: the bits and the catalog's use of them."""

from router.core.catalog.catalog import SPOKEN
from router.core.values import Needs
from router.core.wire import EXPRESSES, NATIVE, Wire, able, lacking


def test_features_of_the_wire_are_never_taken_for_what_a_model_can_do():
    assert not sum(Wire) & sum(Needs)


def test_what_is_spoken_is_what_can_be_told_apart():
    assert set(EXPRESSES) == SPOKEN


def test_a_provider_is_told_what_its_first_dialect_has_a_place_for():
    assert able(Needs.CHAT, "openai") & Wire.SEED
    assert not able(Needs.CHAT, "anthropic") & Wire.SEED
    assert able(Needs.CHAT, "openai", "responses") & Wire.SEED
    assert not able(Needs.CHAT, "openai", "responses") & Wire.LINKED_FILE
    assert able(Needs.CHAT) == Needs.CHAT


def test_whoever_speaks_the_callers_dialect_is_told_everything():
    needs = Needs.CHAT | Wire.LINKED_FILE.value | Wire.RESPONSES_ONLY.value
    found = able(Needs.CHAT, "openai", "responses")
    assert lacking(needs, NATIVE["responses"], found) == 0
    assert lacking(needs, NATIVE["anthropic"], found) == Wire.LINKED_FILE | Wire.RESPONSES_ONLY
    assert lacking(needs, 0, found) == Wire.LINKED_FILE | Wire.RESPONSES_ONLY


def test_what_a_model_cannot_do_no_dialect_makes_up_for():
    needs = Needs.CHAT | Needs.VISION | Wire.EFFORT.value
    assert lacking(needs, NATIVE["anthropic"], able(Needs.CHAT, "anthropic")) == Needs.VISION | Wire.EFFORT.value


def test_an_effort_takes_the_place_of_a_budget_where_the_model_takes_efforts_and_the_dialect_has_no_budgets():
    assert able(Needs.REASONING_EFFORT, "openai") & Needs.THINKING_BUDGET
    assert not able(Needs.CHAT, "openai") & Needs.THINKING_BUDGET
    assert not able(Needs.REASONING_EFFORT, "anthropic") & Needs.THINKING_BUDGET


def test_a_budget_takes_the_place_of_an_effort_where_the_model_takes_nothing_else():
    found = able(Needs.THINKING_BUDGET, "anthropic")
    assert found & Needs.REASONING_EFFORT
    assert not found & Wire.EFFORT, "said in Anthropic's own words, it would be refused"

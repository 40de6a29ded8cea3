"""What dialects can express: the bits and the catalog's use of them."""

from router.core.catalog import SPOKEN
from router.core.values import Needs
from router.core.wire import EXPRESSES, Wire, expressed


def test_features_of_the_wire_are_never_taken_for_what_a_model_can_do():
    assert not sum(Wire) & sum(Needs)


def test_what_is_spoken_is_what_can_be_told_apart():
    assert set(EXPRESSES) == SPOKEN


def test_a_provider_of_several_dialects_can_be_told_all_that_any_of_them_has_a_place_for():
    assert expressed("openai") & Wire.SEED
    assert expressed(*EXPRESSES) & Wire.SEED
    assert expressed() == 0

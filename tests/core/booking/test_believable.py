import pytest
from options import facts, option, tokens

from router.core.booking.believable import LIMIT_SLACK, UNSEEN_TOKENS, believable
from router.core.images import Flat, Image
from router.core.values import Needs, Usage


def test_meters_beyond_the_model_are_not_believed():
    asked = facts(choices=2)
    assert believable(Usage(100_000, 16_000), option(), asked)
    assert not believable(Usage(100_001, 1), option(), asked)
    assert not believable(Usage(1, 16_001), option(), asked)
    assert believable(Usage(0), option(max_output=0), asked)


def test_the_window_holds_for_each_input():
    asked = facts(150_000, max_output=0, inputs=2, largest=tokens(90_000))
    assert believable(Usage(200_000), option(), asked)
    assert not believable(Usage(200_001), option(), asked)


def test_a_prompt_larger_than_its_body_is_not_believed():
    asked = facts(2, text_bytes=60)
    most = 60 + 3 + UNSEEN_TOKENS
    assert believable(Usage(most, 1), option(), asked)
    assert not believable(Usage(most + 1, 1), option(), asked)
    assert believable(Usage(2 * 60 + 3 + UNSEEN_TOKENS, 1), option(ratio_ppm=2_000_000), asked)
    assert believable(Usage(90_000, 1), option(), facts(2))


def test_images_are_no_part_of_the_body():
    asked = facts(2, text_bytes=60, images=(Image(64, 64),))
    assert believable(Usage(20_000, 1), option(image=Flat(tokens=20_000)), asked)


def test_an_answer_longer_than_was_asked_for_is_not_believed():
    asked = facts(max_output=10, choices=2)
    assert believable(Usage(1000, 2 * (10 + LIMIT_SLACK)), option(), asked)
    assert not believable(Usage(1000, 2 * (10 + LIMIT_SLACK) + 1), option(), asked)


def test_reasoning_and_predictions_may_pass_the_callers_limit_but_not_the_models():
    asked, reasons = facts(max_output=10), option(capabilities=int(Needs.CHAT | Needs.REASONING_EFFORT))
    assert believable(Usage(1000, 5_000, reasoning_tokens=4_995), option(), asked)
    assert believable(Usage(1000, 5_000), reasons, asked)
    assert not believable(Usage(1000, 8_001), reasons, asked)
    assert believable(Usage(1000, 5_000), option(), facts(max_output=10, needs=int(Needs.CHAT | Needs.PREDICTION)))


@pytest.mark.parametrize("usage", [Usage(0), Usage(1000), Usage(0, 5)])
def test_an_answer_without_a_token_is_not_believed(usage):
    assert not believable(usage, option(), facts(), answered=True)
    assert believable(usage, option(), facts())
    assert believable(Usage(1000, 5), option(), facts(), answered=True)

"""What is ordered beside text, as prices meter it, and what is chosen, held and believed by that."""

import pytest
from options import facts, option, plan

from router.core.booking.believable import believable
from router.core.budgets.holds import worst_case
from router.core.deciding.choices import Work
from router.core.deciding.decide import decide, expected_cost, has_window, hold
from router.core.deciding.explain import refusal
from router.core.deciding.work import as_priced, expected, is_known, lacks_price, most
from router.core.values import Band, Needs, Price, Rates, Usage

SPOKEN = Work(characters=100)
HEARD = Work(sound_ms=2_500, sound_most_ms=15_000, sound_read=True)
RANKED = Work(documents=3, repeated=80)


def sold(units=None, **rates):
    found = Rates(**{"input": 0, "output": 0, "cached_input": 0, "cache_write": 0} | rates)
    return Price("v", (Band(0, found, units=units or {}),))


def at(units=None, **changes):
    rates = {name: changes.pop(name) for name in ("input", "output") if name in changes}
    return option(**{"price": sold(units, **rates), "capabilities": int(Needs.SPEECH | Needs.IMAGES), **changes})


# Option, work, prompt and output that are known besides; what is likely, what is the most: (prompt, output, units) each.
TAKEN = [
    (at({"audio.characters": 15}), SPOKEN, 9, 0, (9, 0, {"audio.characters": 100}), (9, 0, {"audio.characters": 100})),
    (at({}), SPOKEN, 9, 5, (9, 140, {"audio.output": 140}), (9, 2250, {"audio.output": 2250})),
    (at({"audio.input_minute": 1}), HEARD, 2, 0, (2, 0, {"audio.input_minute": 3000}), (2, 0, {"audio.input_minute": 15_000})),
    (at({}), HEARD, 2, 7, (27, 7, {"audio.input": 25}), (152, 7, {"audio.input": 150})),
    (at({}, context_window=100), HEARD, 2, 7, (27, 7, {"audio.input": 25}), (100, 7, {"audio.input": 100})),
    (at({"search": 1}), RANKED, 900, 0, (900, 0, {"search": 1}), (900, 0, {"search": 1})),
    (at({"search": 1}), RANKED, 50_000, 0, (50_000, 0, {"search": 2}), (50_000, 0, {"search": 3})),
    (at({}), RANKED, 50, 0, (70, 0, {}), (130, 0, {})),
    (at({"image.output_each": 1}), Work(images=2), 5, 0, (5, 0, {"image.output_each": 2}), (5, 0, {"image.output_each": 2})),
    (
        at({"image.output": 1, "image.output_each": 0}), Work(images=2, pictures=1), 5, 80,
        (505, 80, {"image.input": 500, "image.output": 80, "image.output_each": 2}),
        (6505, 80, {"image.input": 6500, "image.output": 80, "image.output_each": 2}),
    ),
    (at({}), Work(tools=(("tool.web_search", 1, 10),)), 5, 8, (5, 8, {"tool.web_search": 1}), (5, 8, {"tool.web_search": 10})),
]  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_an_order_comes_to_meters_by_the_price(case):
    here, work, prompt, output, likely, bound = case
    for found, (tokens, answer, units) in (
        (expected(here, work, prompt, output), likely),
        (most(here, work, prompt, output), bound),
    ):
        assert (found.prompt_tokens, found.completion_tokens, dict(found.units)) == (tokens, answer, units)


def test_an_image_has_the_price_of_its_quality_and_size():
    here = at({"image.output_each/standard/64x64": 4, "image.output_each/hd/64x64": 8})
    assert dict(expected(here, Work(images=1), 0, 0).units) == {"image.output_each/standard/64x64": 1}
    assert dict(expected(here, Work(images=2, quality="hd"), 0, 0).units) == {"image.output_each/hd/64x64": 2}
    assert lacks_price(here, Work(images=1, size="9x9")) == ("image.output_each/standard/9x9",)
    told = Usage(5, units=(("image.output_each", 2), ("search", 1)))
    assert as_priced(here, Work(images=2, quality="hd"), told).units == (
        ("image.output_each/hd/64x64", 2),
        ("search", 1),
    )
    assert as_priced(here, None, told) is told
    assert as_priced(here, Work(images=2), Usage(5)) == Usage(5)


KNOWN = [
    (at({"audio.characters": 1}), SPOKEN, True),
    (at({}), SPOKEN, False),
    (at({"audio.input_minute": 1}), HEARD, True),
    (at({"audio.input_minute": 1}), Work(sound_ms=5), False),
    (at({}), HEARD, False),
    (at({"image.output_each": 1}), Work(images=1), True),
    (at({"image.output": 1}), Work(images=1), False),
    (at({}), Work(), True),
    (at({"search": 1}), RANKED, False),
    (at({}, input=1), RANKED, False),
]


@pytest.mark.parametrize(("here", "work", "known"), KNOWN)
def test_what_is_charged_may_be_known_before_the_answer(here, work, known):
    assert is_known(here, work) is known


def asked(work, endpoint="speech", needs=Needs.SPEECH, **changes):
    return facts(400, endpoint=endpoint, needs=int(needs), work=work, **changes)


DEAR = at({"audio.characters": 30}, name="a/dear")
CHEAP = at({"audio.characters": 15}, name="a/cheap")
MIDDLE = at({"audio.characters": 20}, name="a/middle", context_window=10)
CHAT = at({"audio.characters": 1}, name="a/chat", capabilities=int(Needs.CHAT))


def test_the_cheapest_by_its_meters_is_chosen():
    made = decide(plan(DEAR, CHEAP, CHAT, MIDDLE), asked(SPOKEN), None)
    assert (made.option, made.expected_pico, made.runner_up_pico) == (CHEAP, 1500, 2000)
    assert (made.units, made.hold_pico, made.certain) == ((("audio.characters", 100),), 1500, True)
    made = decide(plan(CHEAP, MIDDLE, DEAR), asked(SPOKEN), None)
    assert (made.option, made.runner_up_pico) == (CHEAP, 2000)


def test_a_cap_and_a_missing_price_exclude():
    made = decide(plan(DEAR), asked(SPOKEN, max_cost_pico=2999), None)
    assert made is None
    unpriced = at({"image.output_each/hd/64x64": 8}, name="a/images")
    ordered = asked(Work(images=1, quality="low"), "images", Needs.IMAGES)
    assert decide(plan(unpriced), ordered, None) is None
    assert "has no price for image.output_each/low/64x64" in refusal(plan(unpriced), ordered).message


def test_a_window_bounds_conversations_alone():
    tools = Work(tools=(("tool.x", 1, 2),))
    assert not has_window(asked(SPOKEN))
    assert has_window(asked(tools, "chat", Needs.CHAT))
    able = at({"tool.x": 5}, capabilities=int(Needs.CHAT), context_window=1000, max_output=500)
    for limit, fits in ((None, True), (500, True), (501, False), (499, True)):
        seen = asked(tools, "chat", Needs.CHAT, max_output=limit)
        assert (decide(plan(able), seen, None) is not None) is fits
    full = at({"tool.x": 5}, capabilities=int(Needs.CHAT), context_window=50, max_output=50)
    assert decide(plan(full), asked(tools, "chat", Needs.CHAT), None) is None


def test_the_worst_case_is_that_of_units():
    here = at({"audio.input_minute": 60_000}, max_output=0)
    seen = asked(HEARD, "transcription", Needs.TRANSCRIPTION, text_bytes=0)
    assert expected_cost(here, seen, 0) == 3_000
    assert hold(here, seen) == 3_000
    assert worst_case(here, seen) == 15_000
    batch = sold({"audio.input_minute": 30_000})
    here = at({"audio.input_minute": 60_000}, max_output=0)
    flex = at({}, price=batch, max_output=0, prices={"realtime": here.price}, tier="flex")
    assert worst_case(flex, seen) == 15_000


def test_meters_beyond_what_was_ordered_are_not_believed():
    here = at({"audio.input_minute": 1}, max_output=50, context_window=1000)
    seen = asked(HEARD, "transcription", Needs.TRANSCRIPTION, text_bytes=0)
    assert believable(Usage(0, units=(("audio.input_minute", 150_000),)), here, seen)
    assert not believable(Usage(0, units=(("audio.input_minute", 150_001),)), here, seen)
    assert not believable(Usage(0, units=(("search", 1),)), here, seen)
    assert not believable(Usage(0, units=(("audio.input_minute", -1),)), here, seen)
    assert believable(Usage(2024, 50, units=(("audio.input", 2024),)), here, seen)
    assert not believable(Usage(2025), here, seen)
    assert not believable(Usage(5, 51), here, seen)


def test_of_a_chat_calls_beyond_all_bounds_are_not_believed():
    here, seen = at({}, max_output=50), asked(Work(tools=(("tool.x", 1, 2),)), "chat", Needs.CHAT)
    assert believable(Usage(5, 5, units=(("tool.x", 10_000),)), here, seen)
    assert not believable(Usage(5, 5, units=(("tool.x", 10_001),)), here, seen)

import pytest
from catalogs import NOW, a_price, the_model

from router.core.meters import NO_SUMS, UNIT_SUMS, added, less, unit_sums, units_of, units_pico, unpriced
from router.core.pricing import cache_saved_pico, cost_pico, price_at
from router.core.values import Usage

SOLD = {
    "request": "0.0005",
    "tools": {"web_search": "0.01"},
    "audio": {"input": "6.00", "output": "12.00", "input_minute": "0.006", "characters": "15.00"},
    "images": {"input": "10.00", "cached_input": "2.50", "output": "40.00"},
    "search": "0.002",
}


def price(tier="realtime", region=None, **changes):
    found = price_at(the_model(region=region, prices=[a_price(**SOLD | changes)]), NOW, tier)
    assert found is not None
    return found


# Text costs $1 a million in, $4 out, a request $0.0005. Amounts in pico-dollars, worked out by hand.
GOLDEN = [
    # two searches at a cent each
    ({"units": (("tool.web_search", 2),)}, 500_000_000 + 2 * 10_000_000_000),
    # 61.5 s at $0.006 a minute: 61,500 ms · 6,000,000,000 / 60,000
    ({"units": (("audio.input_minute", 61_500),)}, 500_000_000 + 6_150_000_000),
    # a millisecond of a third of a pico-dollar is rounded up: 1 · 6,000,000,000 / 60,000 is whole
    ({"units": (("audio.input_minute", 1),)}, 500_000_000 + 100_000),
    # 400 characters at $15 a million
    ({"units": (("audio.characters", 400),)}, 500_000_000 + 400 * 15_000_000),
    # three search units at $2 a thousand
    ({"units": (("search", 3),)}, 500_000_000 + 3 * 2_000_000_000),
    # of 1,000 tokens, 900 are sound at $6; of 100, 60 at $12
    (
        {"prompt_tokens": 1000, "completion_tokens": 100, "units": (("audio.input", 900), ("audio.output", 60))},
        500_000_000 + 100 * 1_000_000 + 900 * 6_000_000 + 40 * 4_000_000 + 60 * 12_000_000,
    ),
    # of 500 tokens 300 are cached (text's rate for those is the input's, $1), 200 of them of an image, at $2.50
    (
        {"prompt_tokens": 500, "cached_tokens": 300, "units": (("image.cached_input", 200),)},
        500_000_000 + 200 * 1_000_000 + 100 * 1_000_000 + 200 * 2_500_000,
    ),
    # images that are paid for in tokens are counted, at no further cost
    (
        {"completion_tokens": 272, "units": (("image.output", 272), ("image.output_each", 1))},
        500_000_000 + 272 * 40_000_000,
    ),
]


@pytest.mark.parametrize(("meters", "pico"), GOLDEN)
def test_units_cost_what_was_worked_out_by_hand(meters, pico):
    assert cost_pico(price(), Usage(**{"prompt_tokens": 0} | meters)) == pico


def test_a_size_and_quality_has_a_price_of_its_own():
    sold = price(images={"each": {"standard/1024x1024": "0.04", "hd/1024x1792": "0.12"}})
    dear = Usage(0, units=(("image.output_each/hd/1024x1792", 2),))
    assert cost_pico(sold, dear) == 500_000_000 + 2 * 120_000_000_000
    assert unpriced(sold.bands, dear.units) == ()
    assert unpriced(sold.bands, (("audio.input", 5), ("image.output_each/low/64x64", 1))) == (
        "image.output_each/low/64x64",
    )


def test_what_has_no_rate_costs_nothing_and_parts_of_tokens_then_cost_what_text_does():
    plain = price(audio=None, images=None, search=None, tools={})
    usage = Usage(100, units=(("audio.input", 50), ("search", 1)))
    assert cost_pico(plain, usage) == 500_000_000 + 100 * 1_000_000
    assert units_pico(plain.bands[0], (("search", -1),)) == 0


def test_a_tier_changes_rates_of_sound_and_images_and_no_fee():
    half = price("batch", tiers={"batch": {"factor": "0.5"}}).bands[0].units
    assert half["audio.input"] == 3_000_000
    assert half["image.output"] == 20_000_000
    assert (half["tool.web_search"], half["search"]) == (10_000_000_000, 2_000_000_000)
    own = price("batch", tiers={"batch": {"input": "0.5"}}).bands[0].units
    assert own["audio.input"] == 6_000_000
    there = price(region="eu", regions={"eu": "1.1"}).bands[0].units
    assert (there["audio.characters"], there["tool.web_search"]) == (16_500_000, 10_000_000_000)


def test_a_prompt_past_a_cliff_pays_the_fees_of_its_band():
    sold = [
        a_price(**SOLD),
        a_price(**SOLD | {"above_input_tokens": 1000, "input": "2.00", "tools": {"web_search": "0.02"}}),
    ]
    found = price_at(the_model(prices=sold), NOW)
    assert found is not None
    usage = Usage(1001, units=(("tool.web_search", 1),))
    assert cost_pico(found, usage) == 500_000_000 + 1001 * 2_000_000 + 20_000_000_000


def test_the_saving_of_a_cache_is_that_of_tokens_alone():
    sold = price(cached_input="0.10")
    usage = Usage(1000, 0, cached_tokens=500, units=(("tool.web_search", 1),))
    assert cache_saved_pico(sold, usage) == 500 * 900_000


def test_units_are_kept_in_one_form():
    assert units_of({"search": 2, "audio.characters": 0, "audio.input": 5}) == (("audio.input", 5), ("search", 2))
    assert added((("search", 2),), (), (("search", -2), ("tool.x", 1))) == (("tool.x", 1),)
    assert less((("search", 2),), (("search", 3),)) == (("search", -1),)


def test_sums_are_by_kind():
    units = (
        ("audio.characters", 7), ("audio.input", 900), ("audio.input_minute", 10), ("audio.output_minute", 5),
        ("image.output", 3), ("image.output_each", 1), ("image.output_each/hd/1024x1024", 2), ("search", 4),
        ("tool.file_search", 1), ("tool.web_search", 2),
    )  # fmt: skip
    found = dict(zip(UNIT_SUMS, unit_sums(units), strict=True))
    assert found == {"tool_calls": 3, "images": 3, "audio_ms": 15, "characters": 7, "searches": 4}
    assert unit_sums(()) == NO_SUMS

"""Options, plans and facts for tests of deciding: one with defaults, and strategies for random small worlds."""

from hypothesis import strategies as st

from router.core.deciding.choices import Cache, Prefix
from router.core.deciding.decide import Decision, Facts, Fault, Option, Plan, level
from router.core.images import Flat, Image
from router.core.statistics.stats import Summary
from router.core.values import Band, Needs, Price, Rates, TokenRange


def rates(**changes):
    return Rates(**{"input": 100, "output": 400, "cached_input": 10, "cache_write": 125, "request": 0, **changes})


def price(*bands, **changes):
    return Price(version="v", bands=(Band(0, rates(**changes)), *bands))


def flat(value):
    return Summary(n=0, mean=value, quantiles=(value,) * 5)


def option(name="acme/large", provider="acme", **changes):
    return Option(
        **{
            "entry": f"{name}@{provider}",
            "model": name,
            "provider": provider,
            "tier": "realtime",
            "upstream_model": name.partition("/")[2],
            "capabilities": int(Needs.CHAT | Needs.TOOLS),
            "context_window": 100_000,
            "max_output": 8_000,
            "ratio_ppm": 1_000_000,
            "message_overhead": 3,
            "image": None,
            "price": price(),
            "output_mean": 200,
            "output_p90": 500,
            "ttft": flat(400_000),
            "tpot": flat(8_000),
            "live": False,
            **changes,
        }
    )


def decision(**changes):
    """That the option with these changes serves a prompt of 100 tokens."""
    return Decision(
        option=option(**changes), policy="p@1", rule="r", relaxed="", prompt_tokens=100, output_tokens=10,
        expected_pico=1, hold_pico=1, baseline=None, baseline_pico=0, runner_up_pico=0, certain=True,
    )  # fmt: skip


def tokens(expected, slack=0):
    low = max(expected - slack, 0)
    return TokenRange(low - slack if low > slack else 0, low, expected, expected + slack, expected + 2 * slack)


def facts(count=1000, slack=0, **changes):
    return Facts(**{"endpoint": "chat", "needs": int(Needs.CHAT), "tokens": tokens(count, slack), **changes})


def plan(*options, then=(), faulty=None, **changes):
    """A plan whose first level holds ``options``; ``then`` are (relaxed, options); ``faulty`` maps options to faults."""
    faulty = faulty or {}
    seen = list(options) + [candidate for candidate, _ in faulty.values()]
    return Plan(
        **{
            "policy": "support@1234abcd",
            "rule": "everyday",
            "levels": tuple(level(relaxed, found) for relaxed, found in (("", options), *then) if found),
            "candidates": tuple(seen),
            "faults": {entry: found for entry, (_, found) in faulty.items()},
            "max_cost_pico": None,
            "reference": None,
            **changes,
        }
    )


def missing(candidate, *faults):
    """An entry for ``faulty``."""
    return {candidate.entry: (candidate, {fault.limit: fault for fault in faults})}


FAULT = Fault("ttft", 840, 800)
ON_REQUEST = Cache(asked=True, least=100, hit_ppm=1_000_000)
KNOWN = (
    Prefix(300, warm={"acme/m0@acme": 600_000}, again_ppm=400_000, head_ppm=300_000, head_again_ppm=1_000_000),
    Prefix(2_000, warm={"acme/m1@acme": 1_000_000, "acme/m2@acme": 10_000}, head_ppm=500_000, head_again_ppm=900_000),
)
COUNTS = st.integers(0, 3_000)

_rates = st.builds(
    rates,
    input=st.integers(0, 50),
    output=st.integers(0, 50),
    cache_write=st.integers(0, 70),
    request=st.sampled_from((0, 0, 1_000)),
)


@st.composite
def random_prices(draw):
    above = draw(st.lists(st.integers(1, 3_000), max_size=2, unique=True).map(sorted))
    return Price(version="v", bands=tuple(Band(edge, draw(_rates)) for edge in (0, *above)))


@st.composite
def random_options(draw, number):
    return option(
        f"acme/m{number}",
        capabilities=int(Needs.CHAT) | draw(st.sampled_from((0, int(Needs.TOOLS), int(Needs.VISION)))),
        context_window=draw(st.integers(500, 4_000)),
        max_output=draw(st.integers(0, 1_000)),
        ratio_ppm=draw(st.integers(500_000, 2_000_000)),
        message_overhead=draw(st.integers(0, 4)),
        image=draw(st.sampled_from((None, Flat(tokens=10)))),
        price=draw(random_prices()),
        output_mean=draw(st.integers(0, 300)),
        output_p90=draw(st.integers(0, 600)),
        tries_ppm=draw(st.sampled_from((1_000_000, 1_000_000, 1_250_000))),
        cache=draw(st.sampled_from((None, Cache(asked=False, least=100, hit_ppm=900_000), ON_REQUEST))),
    )


@st.composite
def random_facts(draw):
    return facts(
        draw(COUNTS),
        draw(st.sampled_from((0, 3, 200))),
        needs=int(Needs.CHAT) | draw(st.sampled_from((0, int(Needs.TOOLS)))),
        fixed_tokens=draw(st.integers(0, 20)),
        messages=draw(st.integers(0, 4)),
        images=draw(st.sampled_from(((), (Image(64, 64),)))),
        max_output=draw(st.sampled_from((None, 0, 50, 900))),
        choices=draw(st.integers(1, 3)),
        max_cost_pico=draw(st.sampled_from((None, 20_000, 60_000))),
        prefix=draw(st.sampled_from((None, None, *KNOWN))),
    )


@st.composite
def random_plans(draw):
    """Up to five options, each of them in the first level, in a later one only, or in none."""
    number = draw(st.integers(1, 5))
    options = [draw(random_options(index)) for index in range(number)]
    places = [draw(st.sampled_from(("first", "relaxed", "nowhere"))) for _ in options]
    first = [found for found, place in zip(options, places, strict=True) if place == "first"]
    relaxed = [found for found, place in zip(options, places, strict=True) if place != "nowhere"]
    faulty = {}
    for found in options:
        if found not in first:
            faulty |= missing(found, FAULT)
    fallback = draw(st.sampled_from(((), (option("acme/reference"),))))
    return plan(
        *first,
        then=(("relax ttft", relaxed), ("use reference", fallback)),
        faulty=faulty,
        candidates=tuple(options),
        max_cost_pico=draw(st.sampled_from((None, 40_000))),
    )

import msgspec
from hypothesis import given
from options import FAULT, facts, flat, missing, option, plan, price, random_facts, random_plans

from router.core.deciding.choices import Cache, Prefix
from router.core.deciding.decide import decide
from router.core.deciding.flips import flips, savings
from router.core.tokens import exactly


def told(made, asked=None):
    asked = asked or facts()
    found = flips(made, asked, decide(made, asked, None))
    return {flip.text: flip.option and flip.option.model for flip in found}


CHEAP, DEAR = option("acme/cheap"), option("acme/dear", price=price(output=900))


def test_the_runner_up_takes_over_where_the_price_rises_past_its_own():
    # 1,003 tokens in and 200 out: 180,300 pico-dollars against 280,300.
    assert told(plan(DEAR, CHEAP)) == {
        "its price rises by more than 56 %": "acme/dear",
        "it cannot be called": "acme/dear",
        "the prompt has 99,997 tokens or more": None,
    }


def test_where_nothing_else_serves_nothing_takes_over():
    assert told(plan(CHEAP))["it cannot be called"] is None


def test_limits_that_are_met_could_be_missed():
    made = plan(
        CHEAP,
        DEAR,
        limits=(("ttft", 95, 800), ("tpot", 95, 40), ("total", 90, 9_000)),
        floor_milli=950,
        bounds={CHEAP.name: 970},
    )
    found = told(made)
    assert found["its ttft p95 passes 800 ms (now 400 ms)"] == "acme/dear"
    assert found["its tpot p95 passes 40 ms (now 8 ms)"] == "acme/dear"
    assert found["its total p90 passes 9000 ms (now 2000 ms)"] == "acme/dear"
    assert found["its quality bound falls below .950 (now .970)"] == "acme/dear"


def test_limits_that_were_given_up_no_longer_count():
    slow = option(ttft=flat(900_000))
    made = plan(then=(("relax ttft", (slow,)),), faulty=missing(slow, FAULT), limits=(("ttft", 95, 800),))
    assert not [text for text in told(made) if "ttft" in text]


def test_a_longer_prompt_crosses_into_anothers_favour():
    fixed = option("acme/fixed", price=price(input=0, output=0, request=500_000))
    # 100 a token, 3 for the frame of the message, 80,000 for the answer: above 4,197 tokens the fee is less.
    assert told(plan(CHEAP, fixed))["the prompt has 4,198 tokens or more"] == "acme/fixed"
    assert told(plan(CHEAP, option("acme/small", context_window=9)))["the prompt has 99,997 tokens or more"] is None


def test_where_no_longer_prompt_changes_anything_none_is_told():
    huge = option(context_window=10**9)
    assert not [text for text in told(plan(huge)) if "prompt" in text]
    assert not [text for text in told(plan(huge), facts(0)) if "prompt" in text]
    apart = facts(100, inputs=2, largest=exactly(50), max_output=0)
    assert not [text for text in told(plan(CHEAP), apart) if "prompt" in text]


def test_longer_and_shorter_answers_cross_too():
    brief = option("acme/brief", price=price(input=90, output=600))
    found = told(plan(CHEAP, brief))
    # 100,300 + 80,000 x against 90,270 + 120,000 x: they meet at a quarter.
    assert found["answers are shorter: 25 % of 200 tokens"] == "acme/brief"
    wordy = option("acme/wordy", price=price(input=110, output=390))
    assert told(plan(CHEAP, wordy))["answers are longer: 501 % of 200 tokens"] == "acme/wordy"


def test_a_crossing_with_what_cannot_serve_is_none():
    small = option("acme/brief", price=price(input=90, output=600), context_window=9)
    assert not [text for text in told(plan(CHEAP, small)) if "answers" in text]


def test_a_limit_of_the_callers_leaves_no_room_for_longer_answers():
    brief = option("acme/brief", price=price(input=90, output=600))
    assert not [text for text in told(plan(CHEAP, brief), facts(max_output=100)) if "answers" in text]
    none = option("acme/none", price=price(input=0, output=1, request=1))
    assert not [
        text for text in told(plan(none, option("acme/same", price=price(input=1, output=1)))) if "answers" in text
    ]


def test_what_one_limit_keeps_away_could_save_something():
    slow = option("acme/slow", price=price(input=10, output=40))
    made = plan(CHEAP, faulty=missing(slow, FAULT))
    (saving,) = savings(made, facts(), decide(made, facts(), None))
    assert (saving.text, saving.option, saving.expected_pico) == ("ttft 800 ms → 840 ms", slow, 18_030)
    assert savings(plan(CHEAP, DEAR), facts(), decide(plan(CHEAP, DEAR), facts(), None)) == []


@given(random_plans(), random_facts())
def test_what_is_said_to_flip_flips(made, asked):
    found = decide(made, asked, None)
    if found is None:
        return
    for flip in flips(made, asked, found):
        assert flip.option is None or flip.option.name != found.option.name
        if flip.text.startswith("the prompt has"):
            count = int(flip.text.split()[3].replace(",", ""))
            for tokens, same in ((count - 1, True), (count, False)):
                there = decide(made, msgspec.structs.replace(asked, tokens=exactly(tokens)), None)
                assert ((there and there.option) is found.option) is same
    for saving in savings(made, asked, found):
        assert saving.expected_pico < found.expected_pico


def test_a_cache_that_goes_cold_is_told_where_it_would_change_the_choice():
    cache = Cache(asked=False, least=1_000, hit_ppm=1_000_000)
    warm = option("acme/warm", cache=cache, price=price(cache_write=100))
    other = option("acme/other", price=price(input=60))
    asked = facts(10_000, prefix=Prefix(10_000, warm={"acme/warm@acme": 900_000}))
    made = plan(warm, other)
    found = [flip for flip in flips(made, asked, decide(made, asked, None)) if "cold" in flip.text]
    assert [(flip.text, flip.option.model) for flip in found] == [("cache goes cold", "acme/other")]
    for alone in (plan(warm), plan(warm, option("acme/dear", price=price(input=200)))):
        assert not any("cold" in flip.text for flip in flips(alone, asked, decide(alone, asked, None)))
    plain = facts(10_000)
    assert not any("cold" in flip.text for flip in flips(made, plain, decide(made, plain, None)))

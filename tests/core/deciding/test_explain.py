import msgspec
import pytest
from hypothesis import given
from options import FAULT, facts, missing, option, plan, price, random_facts, random_plans, tokens

from router.core.deciding.decide import Fault, decide, level
from router.core.deciding.explain import refusal, verdicts
from router.core.values import Needs


def reasons(made, asked):
    return {verdict.option.entry: verdict.reasons for verdict in verdicts(made, asked)}


def only(made, asked):
    (verdict,) = verdicts(made, asked)
    return verdict.reasons, verdict.change


def test_feasible_ones_come_first_each_group_by_cost():
    dear, cheap = option("acme/dear", price=price(output=900)), option("acme/cheap")
    small, tiny = option("acme/small", context_window=9), option("acme/tiny", context_window=8, price=price(input=1))
    found = verdicts(plan(small, dear, tiny, cheap), facts())
    assert [verdict.option for verdict in found] == [cheap, dear, tiny, small]
    assert [bool(verdict.reasons) for verdict in found] == [False, False, True, True]


def test_equals_stay_in_order_of_preference():
    made = plan(option("acme/zeta"), option("acme/alpha"))
    assert [verdict.option.model for verdict in verdicts(made, facts())] == ["acme/zeta", "acme/alpha"]


@pytest.mark.parametrize(
    ("one", "asked", "reason", "change"),
    [
        ({}, {"needs": int(Needs.CHAT | Needs.VISION)}, "cannot do vision", "leaving out vision"),
        ({"max_output": 60}, {"max_output": 80}, "answers at most 60 tokens", "max_tokens 80 → 60"),
        ({"context_window": 1_000}, {}, "window of 1000 tokens is less than 1004", "4 tokens less"),
        ({"context_window": 1_000}, {"max_output": 10}, "window of 1000 tokens is less than 1013", "13 tokens less"),
        (
            {},
            {"max_cost_pico": 80_000},
            "$0.000000181 is above $0.000000080",
            "max_cost_usd 0.000000080 → 0.000000181",
        ),
        ({}, {"max_cost_pico": 0}, "$0.000000181 is above $0.000000000", "max_cost_usd 0.000000000 → 0.000000181"),
    ],
)
def test_what_the_request_itself_asks_too_much(one, asked, reason, change):
    assert only(plan(option(**one)), facts(**asked)) == ((reason,), change)


@pytest.mark.parametrize(
    ("fault", "reason", "change"),
    [
        (Fault("quality", 870, 900), "quality .870 below .900", "quality .900 → .870"),
        (Fault("quality", 0, 1000), "quality .000 below 1.000", "quality 1.000 → .000"),
        (Fault("quality", None, 900), "quality unknown, must not be below .900", "allowing unknown quality"),
        (Fault("ttft", 840, 800), "ttft 840 ms above 800 ms", "ttft 800 ms → 840 ms"),
        (Fault("tpot", 41, 40), "tpot 41 ms above 40 ms", "tpot 40 ms → 41 ms"),
        (Fault("total", None, 9), "total unknown, must not be above 9 ms", "allowing unknown total"),
    ],
)
def test_what_the_policy_asks_too_much(fault, reason, change):
    assert only(plan(faulty=missing(option(), fault)), facts()) == ((reason,), change)


def test_two_reasons_have_no_single_change():
    made = plan(faulty=missing(option(), FAULT, Fault("quality", 1, 2)))
    assert only(made, facts()) == (("ttft 840 ms above 800 ms", "quality .001 below .002"), "")


def test_of_a_machine_of_ones_own_it_is_told_how_busy_it_is():
    own = option(busy_milli=943)
    faults = (Fault("ttft", 1_140, 800), Fault("quality", 1, 2))
    assert only(plan(faulty=missing(own, *faults)), facts())[0] == (
        "ttft 1140 ms above 800 ms (GPU 94 %)",
        "quality .001 below .002",
    )
    far = plan(option(context_window=9), max_cost_pico=1)
    assert only(far, facts())[1] == ""


def test_an_embeddings_prompt_may_fill_the_window():
    made, asked = plan(option(context_window=1_003, max_output=0)), facts(max_output=0)
    assert only(made, asked) == ((), "")
    assert decide(made, asked, None) is not None


def test_an_input_that_is_embedded_apart_fills_a_window_alone():
    made, asked = plan(option(context_window=500, max_output=0)), facts(9_000, max_output=0, inputs=20)
    assert only(made, msgspec.structs.replace(asked, largest=tokens(500))) == ((), "")
    assert only(made, msgspec.structs.replace(asked, largest=tokens(501)))[0] == (
        "window of 500 tokens is less than 501",
    )


def test_what_costs_more_than_the_model_asked_for_says_so():
    dear, asked = option("acme/dear", price=price(output=900)), option("acme/asked")
    own = level("the model asked for", (asked,))
    made = msgspec.structs.replace(plan(dear), levels=(level("", (dear,)), own), asked=own)
    assert reasons(made, facts()) == {
        "acme/asked@acme": (),
        "acme/dear@acme": ("dearer than the model asked for, $0.000000181",),
    }


# -- levels


def test_what_only_a_relaxed_level_admits_is_not_feasible_while_the_first_serves():
    slow = option("acme/slow", price=price(input=1, output=1))
    made = plan(option(), then=(("relax ttft", (option(), slow)),), faulty=missing(slow, FAULT))
    assert reasons(made, facts()) == {"acme/large@acme": (), "acme/slow@acme": ("ttft 840 ms above 800 ms",)}


def test_what_a_relaxed_level_admits_is_feasible_once_it_is_reached():
    slow = option("acme/slow", price=price(input=1, output=1))
    small = option(context_window=9)
    made = plan(small, then=(("relax ttft", (small, slow)),), faulty=missing(slow, FAULT))
    assert reasons(made, facts())["acme/slow@acme"] == ()


def test_the_reference_appears_once_its_level_is_reached():
    reference = option("acme/reference", price=price(input=1))
    then = (("use reference", (reference,)),)
    assert "acme/reference@acme" not in reasons(plan(option(), then=then), facts())
    assert reasons(plan(option(context_window=9), then=then), facts())["acme/reference@acme"] == ()


@given(random_plans(), random_facts())
def test_verdicts_agree_with_the_decision(made, asked):
    found, judged = decide(made, asked, None), verdicts(made, asked)
    assert len({verdict.option.entry for verdict in judged}) == len(judged)
    if found is None:
        assert all(verdict.reasons for verdict in judged)
    else:
        assert judged[0].option is found.option
        assert judged[0].expected_pico == found.expected_pico
        feasible = [verdict.expected_pico for verdict in judged if not verdict.reasons]
        assert found.runner_up_pico == (feasible[1] if len(feasible) > 1 else 0)


# -- the refusal


def test_a_refusal_leads_with_the_smallest_change_that_would_help():
    slow = option("acme/slow")
    weak = option("acme/weak", price=price(input=1))
    made = plan(
        option("acme/small", context_window=9), faulty=missing(slow, FAULT) | missing(weak, Fault("quality", 400, 900))
    )
    error = refusal(made, facts())
    assert (error.code, error.status, error.retryable) == ("no_feasible_model", 422, False)
    assert error.message == (
        "ttft 800 ms → 840 ms would admit acme/slow ($0.000000181). "
        "No candidate of support@1234abcd, rule everyday, can serve this request. "
        "acme/weak@acme: quality .400 below .900; "
        "acme/small@acme: window of 9 tokens is less than 1004; "
        "acme/slow@acme: ttft 840 ms above 800 ms."
    )
    assert error.details["candidates"][0] == {"model": "acme/weak@acme", "reasons": ["quality .400 below .900"]}


def test_of_two_changes_of_a_size_the_cheaper_model_leads():
    dear, cheap = option("acme/dear", price=price(input=900)), option("acme/cheap")
    error = refusal(plan(dear, cheap), facts(needs=int(Needs.CHAT | Needs.VISION)))
    assert error.message.startswith("leaving out vision would admit acme/cheap ($")


def test_a_refusal_without_a_single_change_names_no_change():
    error = refusal(plan(option(context_window=9, capabilities=0)), facts())
    assert error.message.startswith("No candidate of support@1234abcd")


def test_a_long_refusal_names_eight_and_counts_the_rest():
    error = refusal(plan(*(option(f"acme/m{n}", context_window=9) for n in range(10))), facts())
    assert error.message.count("window of 9") == 8
    assert error.message.endswith("; and 2 more.")
    assert len(error.details["candidates"]) == 10


def test_a_policy_without_a_callable_candidate_says_so():
    error = refusal(plan(), facts())
    assert (error.message, error.details) == (
        "The policy support@1234abcd has no candidate that can be called here.",
        {"candidates": []},
    )

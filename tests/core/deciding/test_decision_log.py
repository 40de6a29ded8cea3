import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from options import facts, option, plan, random_facts, random_options, random_plans

from router.core.deciding.decide import decide, level
from router.core.deciding.decision_log import Made, Packer, again, unpack


def a_decision(made=None, asked=None, baseline=None, **changes):
    made, asked = made or plan(option()), asked or facts()
    found = decide(made, asked, baseline)
    return Made(
        **{
            "id": "req_1", "at_ms": 1_800_000_000_000, "tenant": "acme", "key": "k1", "team": "search", "app": "faq",
            "snapshot": "w1-7", "facts": asked, "plan": made, "baseline": baseline,
            "option": found and found.option, "expected_pico": found.expected_pico if found else 0, **changes,
        }
    )  # fmt: skip  # a record's layout


def packed(*made):
    packer = Packer()
    for one in made:
        packer.add(one)
    assert len(packer) == len(made)
    return packer.block()


@given(random_plans(), random_facts(), st.none() | random_options(9), st.booleans())
def test_what_was_kept_decides_again_as_it_did(made, asked, baseline, bare):
    if bare:
        last = level("the model asked for", (option("acme/asked", headroom=60),), headroom=False)
        made = msgspec.structs.replace(made, levels=(*made.levels, last), asked=last)
    first = a_decision(made, asked, baseline)
    (kept,) = unpack(packed(first))
    assert kept == first
    assert again(kept) == decide(made, asked, baseline)
    assert kept.option == (again(kept) and again(kept).option)


def test_a_budget_without_room_had_a_plan_of_its_own():
    spare = option("acme/spare")
    made = plan(option(), exhausted=plan(spare))
    (kept,) = unpack(packed(a_decision(made, option=spare, exhausted=True)))
    assert again(kept).option == spare
    assert kept.deciding is kept.plan.exhausted
    assert again(msgspec.structs.replace(kept, exhausted=False)).option == option()


def test_what_decisions_share_is_written_once():
    one = plan(*(option(f"acme/m{number}") for number in range(20)))
    alone = len(packed(a_decision(one)))
    again_and_again = packed(*(a_decision(one, facts(number), id=f"req_{number}") for number in range(100)))
    assert len(again_and_again) < alone + 100 * 150
    tick = plan(*(option(f"acme/m{number}") for number in range(20)))
    assert len(packed(a_decision(one), a_decision(tick))) < alone * 1.2


def test_one_of_many_is_read_by_its_id():
    block = packed(*(a_decision(asked=facts(number), id=f"req_{number}") for number in range(5)))
    (found,) = unpack(block, ["req_3"])
    assert (found.id, found.facts.tokens.expected) == ("req_3", 3)
    assert unpack(block, ["req_9"]) == []


def test_prices_of_other_tiers_are_left_out():
    sold = option(prices={"flex": option().price})
    assert unpack(packed(a_decision(plan(sold))))[0].plan.candidates == (option(),)


@pytest.mark.parametrize("block", [b"", b"\x80", b"\x93", msgspec.msgpack.encode({"version": 1})])
def test_what_is_no_block_is_refused(block):
    with pytest.raises(ValueError, match="not a block of decisions"):
        unpack(block)


def test_a_later_versions_block_is_refused():
    later = msgspec.msgpack.decode(packed(a_decision())) | {"version": 2}
    with pytest.raises(ValueError, match="version 2"):
        unpack(msgspec.msgpack.encode(later))

"""What would be done with a request of a policy's test that may wait: at once, by a provider's batch API, or in a window.

Belongs here: the bids of such a request, as a job's planner makes them, from what is believed of waiting times before any was
seen. Does not belong here: choosing among bids (`router.core.jobs.deadlines`), and what providers have shown since, which
only a node knows (`router.adapters.broker.planner`). Cheaper hours of the same model are not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from router.core.deciding.decide import cheapest, expected_output, highest_cost
from router.core.jobs.deadlines import ON_TIME_PPM, PPM, Bid, choose, prior_of, reserve_for, waits
from router.core.jobs.tiers import BATCH, WINDOW, kind_of
from router.core.pricing import REALTIME

if TYPE_CHECKING:
    from router.core.deciding.decide import Decision, Facts, Option
    from router.core.deciding.snapshot import Route, World

ASYNC_MS: Final = 3_600_000
"""The deadline of what is answered later and states none."""


def later(world: World, route: Route, facts: Facts, decision: Decision) -> Decision:
    """The decision as it stands, or with what answers later, is expected to cost less, and to be on time."""
    plan, left_ms = route.plan, ASYNC_MS if facts.deadline_ms is None else facts.deadline_ms
    policy = world.policies[plan.policy.partition("@")[0]]
    rule = next((rule for rule in policy.rules if rule.name == plan.rule), None)
    if rule is None or not {BATCH, WINDOW} & set(rule.tiers) or route.instead is not None:
        return decision
    instant, tokens = decision.option, facts.tokens.expected
    run_ms = (instant.ttft.at(99) + expected_output(instant, facts) * instant.tpot.at(99)) // 1000
    options: list[Option] = [instant]
    bids = [Bid(0, decision.expected_pico)]
    cap = highest_cost(plan, facts, tokens)
    level = next(used for used in plan.levels if instant in used.options)
    for option in level.options:
        for tier, price in option.prices.items() if option.tier == REALTIME else ():
            kind = kind_of(tier)
            if kind is None or kind not in rule.tiers or (option.provider, kind) not in world.later:
                continue
            other = msgspec.structs.replace(option, tier=tier, price=price)
            fits, pico, _ = cheapest((other.figures(headroom=False),), facts, tokens, cap)
            if fits is not None:
                bids.append(Bid(len(options), pico, waits(prior_of(tier))))
                options.append(other)
    wanted = ON_TIME_PPM if rule.on_time_milli is None else rule.on_time_milli * (PPM // 1000)
    chosen = choose(bids, left_ms, reserve_for(left_ms, run_ms), wanted)
    if chosen is None or chosen.index == 0:
        return decision
    return msgspec.structs.replace(decision, option=options[chosen.index], expected_pico=chosen.expected_pico)

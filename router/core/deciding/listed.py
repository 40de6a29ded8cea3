"""Requests that name several models: the first of them that can serve, or the cheapest.

Belongs here: one plan from those of each model. Does not belong here: reading the list (dialects/openai/chat.py), the plan of
one model (snapshot.py), and what follows a failure (forwarding): what is left of this plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from router.core.deciding.choices import level
from router.core.deciding.variants import preference
from router.core.errors import RouterError
from router.core.forwarding.forwarding import shutting
from router.core.names import AUTO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.deciding.choices import Facts, Plan
    from router.core.deciding.snapshot import Route, Snapshot
    from router.core.policy.governing import Wish


def listed(snapshot: Snapshot, facts: Facts, wish: Wish) -> Route:
    """The route of a request that names several models. None of them is substituted; `auto` among them is the policy's choice.

    Models that cannot be called here, or that the policy does not allow, are passed over while another one is left. The
    cheapest is chosen where the policy says so, or where the request itself asks for `auto` among these.

    Raises:
        RouterError: ``unknown_model`` for a name that nobody knows, ``invalid_request`` for a policy's; where no model is
            left, what is in the way of the first.
    """
    world = snapshot.world
    routes: list[tuple[str, Route]] = []
    refused: RouterError | None = None
    for name in facts.models:
        if name in world.policies:
            message = f"models: {name!r} is a policy; ask for it as the model, or in the header x-costrouter-policy."
            raise RouterError("invalid_request", message, param="models")
        one = msgspec.structs.replace(facts, asked_model=name, models=())
        try:
            routes.append((name, snapshot.plain_route(one, wish, exact=True)))
        except RouterError as error:
            if error.param != "model" or world.names.find(name) is None:
                raise
            refused = refused or error
    if not routes:
        raise refused or RouterError("invalid_request", "models must name a model.", param="models")
    first = routes[0][1]
    cheapest = facts.asked_model == AUTO or world.policies[first.plan.policy.partition("@")[0]].cheapest_listed
    plan = _joined([(name, route.plan.whole or route.plan) for name, route in routes], cheapest=cheapest)
    if snapshot.shut and any(option.entry in snapshot.shut for option in plan.candidates):
        plan = shutting(plan, snapshot.shut)
    return msgspec.structs.replace(first, plan=plan, instead=None, doubtful=any(r.doubtful for _, r in routes))


def _joined(plans: Sequence[tuple[str, Plan]], *, cheapest: bool) -> Plan:
    """One plan; each level of a later model says which models were given up for it."""
    first = plans[0][1]
    options = {option.name: option for _, plan in plans for option in plan.candidates}
    if cheapest:
        able = {option.name: option for _, plan in plans for found in plan.levels for option in found.options}
        found = [level("", sorted(able.values(), key=preference), headroom=False)]
    else:
        given_up: tuple[str, ...] = ()
        found = []
        for name, plan in plans:
            for one in plan.levels:
                relaxed = "; ".join(filter(None, (", ".join(given_up), one.relaxed)))
                found.append(msgspec.structs.replace(one, relaxed=relaxed))
            given_up += (name,)
    return msgspec.structs.replace(
        first,
        levels=tuple(found),
        candidates=tuple(options.values()),
        faults={name: faults for _, plan in reversed(plans) for name, faults in plan.faults.items()},
        hint=None,
        asked=None,
    )

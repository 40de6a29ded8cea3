"""A plan for a request that goes on from an answer which one provider keeps.

Belongs here: what is left of a plan then. Does not belong here: where answers lie (`router.memory`).
"""

from __future__ import annotations

import msgspec

from router.core.deciding.choices import Plan


def staying(plan: Plan, entry: str) -> Plan:
    """The plan, with nothing but the model that gave the answer, where the policy lets it be chosen; else the plan itself:
    its options are the provider's anyway.

    Args:
        plan: of the request, at the provider that keeps the answer.
        entry: what gave the answer (``author/name@provider``).
    """
    levels = []
    for level in plan.levels:
        rows = tuple(row for row in level.figures if row[0].entry == entry)
        if rows:
            options = tuple(option for option in level.options if option.entry == entry)
            levels.append(msgspec.structs.replace(level, options=options, figures=rows))
    if not levels:
        return plan
    candidates = tuple(option for option in plan.candidates if option.entry == entry)
    return msgspec.structs.replace(plan, levels=tuple(levels), candidates=candidates, asked=None, whole=None)

"""Several policy files compiled together: what extends what, and whose binds overlap.

Belongs here: what concerns more than one file. Does not belong here: reading files (`files.py`), what concerns one
policy (`router.core.policy.compile`), which set is in force (`store.py`).
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from operator import is_
from typing import TYPE_CHECKING

from router.core.catalog.catalog import did_you_mean
from router.core.policy.binding import clashes
from router.core.policy.compile import CompiledPolicy, compile_policy
from router.core.policy.guardrails import Parent
from router.core.schema import Problem, SchemaError

if TYPE_CHECKING:
    from router.adapters.policies.yaml_document import Document, FileProblem
    from router.core.catalog.catalog import Catalog
    from router.core.policy.policy import Policy
    from router.core.policy.schema import PolicySchema

Files = Sequence[tuple["Document", "PolicySchema"]]


Compilations = dict[str, tuple[tuple[object, ...], CompiledPolicy]]
"""By policy: what it was compiled from, and the result."""


def compile_set(  # noqa: PLR0917 - two lists that are added to, and one store
    files: Files,
    catalog: Catalog,
    now: dt.datetime,
    problems: list[FileProblem],
    warnings: list[FileProblem],
    kept: Compilations,
) -> dict[str, Policy]:
    """The policies by name, guardrails among them. What is wrong or doubtful is added to the lists.

    Args:
        files: each with what it says; their order changes nothing.
        catalog: the models that there are.
        now: as of when models are retired or unpriced.
        problems: gets every fault, with its place.
        warnings: gets what is only doubtful.
        kept: earlier results; those of files that are still the same are taken from it.
    """
    by_name: dict[str, tuple[Document, PolicySchema]] = {}
    for document, file in files:
        first = by_name.setdefault(file.policy, (document, file))
        if first[0] is not document:
            twice = f"{first[0].where(('policy',))} has a policy called {file.policy!r} too"
            problems.append(document.place(Problem(("policy",), twice)))
    compiled: dict[str, Policy] = {}
    for name, (document, file) in by_name.items():
        parents, fault = _parents(file, by_name)
        if fault:
            problems.append(document.place(Problem(("extends",), fault)))
            continue
        made_of = (file, *(parent.file for parent in parents), catalog)
        known = kept.get(name)
        if known is not None and len(known[0]) == len(made_of) and all(map(is_, known[0], made_of)):
            result = known[1]
        else:
            try:
                result = compile_policy(file, catalog, now, parents=parents, knows_zone=knows_zone)
            except SchemaError as error:
                problems += map(document.place, error.problems)
                continue
            kept[name] = made_of, result
        compiled[name] = result.policy
        warnings += map(document.place, result.warnings)
    for clash in clashes(compiled.values()):
        for one, other in ((clash.first, clash.second), (clash.second, clash.first)):
            there = by_name[other][0].where(("bind",))
            message = (
                f"requests that {one!r} is bound to fall under {other!r} too, {there}; one policy must govern each"
            )
            problems.append(by_name[one][0].place(Problem(("bind",), message)))
    return compiled


def knows_zone(name: str) -> bool:
    """Whether this machine knows a time zone."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def zones_of(policies: Iterable[Policy]) -> dict[str, dt.tzinfo]:
    """Each time zone that a rule names."""
    names = {hours.zone for policy in policies for rule in policy.rules for hours in rule.when.hours}
    return {name: zoneinfo.ZoneInfo(name) for name in names}


def _parents(file: PolicySchema, by_name: Mapping[str, tuple[Document, PolicySchema]]) -> tuple[list[Parent], str]:
    """(what it extends, nearest first; what is wrong with that)."""
    found: list[Parent] = []
    names = [file.policy]
    above = file.extends
    while above is not None:
        if above in names:
            return [], f"{' extends '.join([*names, above])}, which never ends"
        if above not in by_name:
            return [], f"there is no policy {above!r}{did_you_mean(above, by_name)}"
        document, parent = by_name[above]
        found.append(Parent(parent, document.where))
        names.append(above)
        above = parent.extends
    return found, ""

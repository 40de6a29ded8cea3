"""Tests of a directory of policies, and what looks wrong with the policies though it is allowed.

    <dir>/tests/*.yaml      cases: what is given, a request, where it must go

Belongs here: reading those files, running them, and lint. Does not belong here: a case itself (`router.core.policy.cases`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from router.adapters.jobs.batch_api import LATER
from router.adapters.policies.files import Loaded, Source, files_in, load_policies
from router.adapters.policies.yaml_document import Document, PolicyFileError
from router.core.catalog.catalog import TASKS
from router.core.deciding.snapshot import World
from router.core.names import Names
from router.core.policy.binding import Binds
from router.core.policy.cases import Result, run_case
from router.core.policy.cases_schema import CasesSchema, GivenSchema, SeenSchema
from router.core.policy.conditions import ALWAYS
from router.core.policy.governing import DEFAULT_POLICY
from router.core.policy.schema import PolicySchema
from router.core.schema import Path as SchemaPath
from router.core.schema import Problem, SchemaError, validate

if TYPE_CHECKING:
    from router.core.catalog.catalog import Model
    from router.core.policy.policy import Policy, Rule


class Tested(msgspec.Struct, frozen=True):
    """A case, where it stands, and what became of it."""

    place: str
    """``support.yaml:12``"""
    result: Result


def world_in(loaded: Loaded) -> World:
    """A directory's policies with every provider to be called."""
    policies = dict(loaded.policies)
    if policies:
        policies.setdefault(DEFAULT_POLICY, next(iter(policies.values())))
    catalog = loaded.catalog
    return World(
        catalog=catalog,
        policies=policies,
        names=Names(catalog),
        offered=frozenset(provider.name for provider in catalog.providers.values() if provider.spoken),
        binds=Binds(policies.values()),
        zones=loaded.zones,
        later=LATER,
    )


def read_tests(directory: Path) -> list[tuple[Document, CasesSchema]]:
    """The files of tests of a directory of policies.

    Raises:
        PolicyFileError: one that cannot be read or used.
    """
    source, problems, found = Source(), [], []
    for path in files_in(directory / "tests"):
        try:
            document, cases = source.read(path, CasesSchema)
            found.append((document, _with_stats(document, cases, path.parent)))
        except PolicyFileError as error:
            problems += error.problems
    if problems:
        raise PolicyFileError(problems)
    return found


def _with_stats(document: Document, file: CasesSchema, folder: Path) -> CasesSchema:
    """The file with what its ``stats`` name read from beside it: JSON, as ``stats`` themselves would be written.

    Raises:
        PolicyFileError: it cannot be read, or says something else.
    """

    def read(given: GivenSchema, place: SchemaPath) -> GivenSchema:
        if not isinstance(given.stats, str):
            return given
        try:
            known = json.loads((folder / Path(given.stats).name).read_bytes())
            seen = {name: validate(SeenSchema, said) for name, said in known.items()}
        except (OSError, ValueError, AttributeError, SchemaError) as error:
            why = (
                error.problems[0].message
                if isinstance(error, SchemaError)
                else getattr(error, "strerror", "") or "no JSON"
            )
            message = f"{given.stats} beside this file cannot be used: {why}"
            raise PolicyFileError([document.place(Problem((*place, "stats"), message))]) from None
        return given.model_copy(update={"stats": seen})

    cases = tuple(
        case if case.given is None else case.model_copy(update={"given": read(case.given, ("cases", number, "given"))})
        for number, case in enumerate(file.cases)
    )
    return file.model_copy(update={"given": read(file.given, ("given",)), "cases": cases})


def run_tests(loaded: Loaded, tests: Iterable[tuple[Document, CasesSchema]]) -> list[Tested]:
    """Every case, in order."""
    world = world_in(loaded)
    return [
        Tested(document.where(("cases", index)), run_case(world, file.given, case))
        for document, file in tests
        for index, case in enumerate(file.cases)
    ]


def without_rule(loaded: Loaded, policy: str, rule: str) -> Loaded:
    """The same policies, one rule deleted."""
    found = loaded.policies[policy]
    rules = tuple(other for other in found.rules if other.name != rule)
    return msgspec.structs.replace(
        loaded, policies={**loaded.policies, policy: msgspec.structs.replace(found, rules=rules)}
    )


def untested(loaded: Loaded, tests: list[tuple[Document, CasesSchema]]) -> list[tuple[str, str]]:
    """(policy, rule) of each rule that could be deleted and no test would tell."""
    return [
        (name, rule.name)
        for name, policy in loaded.policies.items()
        for rule in policy.rules
        if all(not tested.result.failures for tested in run_tests(without_rule(loaded, name, rule.name), tests))
    ]


def lint(directory: Path) -> list[str]:
    """What looks wrong in sound policies: one line each, with its place.

    Raises:
        PolicyFileError: policies or tests that cannot be used.
    """
    loaded = load_policies(directory)
    tests = read_tests(directory)
    hit = {(tested.result.policy, tested.result.rule) for tested in run_tests(loaded, tests)}
    source = Source()
    read = {name: source.read(path, PolicySchema) for name, path in loaded.files.items()}
    found = [warning.brief for warning in loaded.warnings]
    for name, policy in loaded.policies.items():
        document, file = read[name]
        said = "without_data" in file.model_fields_set or _handed_down(file, read)
        doubts = (*_policy(policy, said=said), *_rules(policy, hit), *_candidates(policy, file, loaded))
        found += [document.place(Problem(path, message)).brief for path, message in doubts]
    extended = {file.extends for _, file in read.values()}
    unused = sorted(loaded.guardrails.keys() - extended)
    return found + [
        read[name][0].place(Problem(("policy",), "nothing extends these guardrails")).brief for name in unused
    ]


_Doubt = tuple[tuple[str | int, ...], str]


def _handed_down(file: PolicySchema, read: Mapping[str, tuple[Document, PolicySchema]]) -> bool:
    above = None if file.extends is None else read[file.extends][1]
    return above is not None and ("without_data" in above.model_fields_set or _handed_down(above, read))


def _policy(policy: Policy, *, said: bool) -> Iterator[_Doubt]:
    floors = any(rule.floors for rule in policy.rules)
    limits = any(rule.ttft or rule.tpot or rule.total for rule in policy.rules)
    if (floors or limits) and set(policy.when_nothing_fits) <= {"refuse"}:
        yield ("when_nothing_fits",), "no fallback: a request that no candidate fits is refused (422)"
    if (floors or limits) and not said:
        yield ("policy",), "`without_data` is missing: say what becomes of models that nobody has scored or measured"
    if limits and policy.without_latency == "allow":
        yield ("without_data", "latency"), "models whose latency nobody has measured pass every limit"
    if floors and policy.without_quality == "allow":
        yield ("without_data", "quality"), "models that nobody has scored pass every floor"
    if policy.baseline == "requested" and policy.reference is None:
        yield (
            ("policy",),
            "without a `reference`, requests for `auto` have no baseline, and no savings are shown for them",
        )
    if policy.rules[-1].when != ALWAYS:
        yield ("rules",), "the last rule has conditions, so requests that match none are refused (422)"


def _rules(policy: Policy, hit: set[tuple[str, str]]) -> Iterator[_Doubt]:
    for index, rule in enumerate(policy.rules):
        if (policy.name, rule.name) not in hit:
            yield ("rules", index, "name"), f"no test of this directory reaches the rule {rule.name!r}"


def _candidates(policy: Policy, file: PolicySchema, loaded: Loaded) -> Iterator[_Doubt]:
    """Models that are named by their id, and that reach the floor of no rule for any task."""
    if "relax quality" in policy.when_nothing_fits or policy.without_quality == "allow" or policy.probe_quality_milli:
        return
    for index, pattern in enumerate(file.candidates.include if file.candidates is not None else ()):
        entries = loaded.catalog.by_id(pattern)
        if entries and not any(_may_win(rule, entry, policy, loaded) for rule in policy.rules for entry in entries):
            yield ("candidates", "include", index), f"{pattern} reaches no rule's floor for any task: it can never win"


def _may_win(rule: Rule, model: Model, policy: Policy, loaded: Loaded) -> bool:
    catalog = loaded.catalog
    for task in rule.when.tasks or TASKS:
        score = catalog.quality.score(model, task)
        known = [s for m in catalog.by_id(policy.reference or "") if (s := catalog.quality.score(m, task)) is not None]
        best = max(known, key=lambda found: found.milli, default=None)
        if not rule.floors or (score is not None and rule.lower_milli(score) >= rule.floor_milli(best)):
            return True
    return False


def summary(tested: Iterable[Tested]) -> Mapping[str, int]:
    """How many cases passed and failed."""
    results = [bool(one.result.failures) for one in tested]
    return {"passed": results.count(False), "failed": results.count(True)}

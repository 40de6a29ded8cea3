"""From a policy file's schema to a compiled policy: checks across keys and against the catalog.

Belongs here: what cannot be said key by key (a rule nobody reaches, a reference that is needed and not named, a
model that the catalog does not know). Does not belong here: the keys themselves (`policy_schema`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from router.core.catalog import did_you_mean
from router.core.policy import SELECTORS, Policy, Rule, selects, versioned
from router.core.pricing import price_at
from router.core.schema import Path, Problem, SchemaError

if TYPE_CHECKING:
    import datetime as dt

    from router.core.catalog import Catalog
    from router.core.policy_schema import PolicySchema, RuleSchema


class CompiledPolicy(msgspec.Struct, frozen=True):
    """A policy and what is doubtful about it."""

    policy: Policy
    warnings: tuple[Problem, ...]


def compile_policy(file: PolicySchema, catalog: Catalog, instant: dt.datetime) -> CompiledPolicy:
    """A policy file, checked against the catalog as of an instant.

    A candidate or reference that is retired or has no price is a warning; at run time it is skipped.

    Raises:
        SchemaError: unknown names, rules that can never be reached, a missing reference.
    """
    policy = versioned(
        Policy(
            name=file.policy,
            mode=file.mode,
            baseline=file.baseline,
            reference=file.reference,
            include=file.candidates.include,
            exclude=file.candidates.exclude,
            rules=tuple(_rule(rule) for rule in file.rules),
            without_quality=file.without_data.quality,
            without_latency=file.without_data.latency,
            when_nothing_fits=file.when_nothing_fits,
            clamp=file.clamp,
            exhausted=file.budget_exhausted.new_requests,
            stops_streams=file.budget_exhausted.running_streams == "stop",
            efforts=file.candidates.effort,
        )
    )
    errors = [
        *_names(policy, catalog),
        *_rules(policy),
        *_reference(policy, catalog),
        *_steps(policy),
        *_exhausted(policy, catalog),
    ]
    if errors:
        raise SchemaError(errors)
    return CompiledPolicy(policy=policy, warnings=tuple(_doubts(policy, catalog, instant)))


def _rule(rule: RuleSchema) -> Rule:
    return Rule(
        name=rule.name,
        tasks=rule.when.task,
        endpoints=rule.when.endpoint,
        tags=rule.when.tags,
        models=rule.when.model,
        paths=rule.when.path,
        tiers=rule.tiers,
        floor=rule.require.quality,
        confidence_milli=rule.require.confidence,
        ttft=rule.require.ttft,
        tpot=rule.require.tpot,
        total=rule.require.total,
        max_cost_pico=rule.require.max_cost_usd,
    )


def _patterns(policy: Policy) -> list[tuple[Path, str]]:
    return [
        (("candidates", key, index), pattern)
        for key, patterns in (("include", policy.include), ("exclude", policy.exclude))
        for index, pattern in enumerate(patterns)
    ]


def _names(policy: Policy, catalog: Catalog) -> list[Problem]:
    """Names that mean nothing: mostly typing errors, so they do not pass silently."""
    wrong: list[Problem] = []
    if policy.name == "auto":
        wrong.append(
            Problem(("policy",), "'auto' leaves the choice to the policy that is bound; call this one otherwise")
        )
    for path, pattern in _patterns(policy):
        kind, _, value = pattern.partition(":")
        known = {"tag": catalog.tags, "provider": catalog.providers, "weights": ("open", "closed")}.get(kind)
        if value and known is None and "/" not in kind:
            hint = did_you_mean(kind, SELECTORS) or f"; the selectors are {', '.join(SELECTORS)}"
            wrong.append(Problem(path, f"{pattern!r}: unknown selector {kind!r}{hint}"))
        elif value and known is not None and value not in known:
            wrong.append(Problem(path, f"{pattern!r}: the catalog has no such {kind}{did_you_mean(value, known)}"))
        elif not set(pattern) & set("*?[:@") and not catalog.by_id(pattern):
            hint = did_you_mean(pattern, catalog.ids)
            wrong.append(Problem(path, f"the catalog has no model {pattern!r}{hint}"))
    if not wrong and not policy.candidates(catalog):
        wrong.append(Problem(("candidates",), "these leave no model of the catalog to choose from"))
    return wrong


def _rules(policy: Policy) -> list[Problem]:
    wrong = [] if policy.rules else [Problem(("rules",), "there must be a rule, or no request is ever served")]
    names: set[str] = set()
    for index, rule in enumerate(policy.rules):
        if rule.name in names:
            wrong.append(Problem(("rules", index, "name"), f"two rules are called {rule.name!r}"))
        names.add(rule.name)
        conditions = (rule.tasks, rule.endpoints, rule.tags, rule.models, rule.paths)
        if not any(conditions) and index + 1 < len(policy.rules):
            lost = ", ".join(repr(later.name) for later in policy.rules[index + 1 :])
            message = f"rule {rule.name!r} matches every request, so {lost} can never be reached; move it to the end"
            wrong.append(Problem(("rules", index), message))
    return wrong


def _reference(policy: Policy, catalog: Catalog) -> list[Problem]:
    users: list[Path] = [
        ("rules", index, "require", "quality")
        for index, rule in enumerate(policy.rules)
        if rule.floor is not None and rule.floor.relative
    ]
    if policy.reference is not None:
        entries = catalog.by_id(policy.reference)
        if not entries:
            hint = did_you_mean(policy.reference, catalog.ids)
            return [Problem(("reference",), f"the catalog has no model {policy.reference!r}{hint}")]
        unscored = all(catalog.quality.score(entry, "chat") is None for entry in entries)
        return [
            Problem(path, f"{policy.reference} has no quality score to be a share of") for path in users if unscored
        ]
    if policy.baseline == "reference":
        users.append(("baseline",))
    if policy.without_quality == "use reference":
        users.append(("without_data", "quality"))
    if "use reference" in policy.when_nothing_fits:
        users.append(("when_nothing_fits", policy.when_nothing_fits.index("use reference")))
    return [Problem(path, "this needs a reference; add `reference: author/model`") for path in users]


def _steps(policy: Policy) -> list[Problem]:
    steps = policy.when_nothing_fits
    wrong = [
        Problem(("when_nothing_fits", index), f"{step!r} stands there twice")
        for index, step in enumerate(steps)
        if step in steps[:index]
    ]
    if "refuse" in steps[:-1]:
        wrong.append(Problem(("when_nothing_fits", steps.index("refuse")), "nothing after 'refuse' is ever tried"))
    return wrong


def _exhausted(policy: Policy, catalog: Catalog) -> list[Problem]:
    if policy.exhausted is None or catalog.by_id(policy.exhausted):
        return []
    hint = did_you_mean(policy.exhausted, catalog.ids)
    return [Problem(("budget_exhausted", "new_requests"), f"the catalog has no model {policy.exhausted!r}{hint}")]


def _doubts(policy: Policy, catalog: Catalog, instant: dt.datetime) -> list[Problem]:
    doubts = [
        Problem(path, f"{pattern!r} matches no model of the catalog")
        for path, pattern in _patterns(policy)
        if not any(selects(pattern, model) for model in catalog.models)
    ]
    named = [(path, pattern) for path, pattern in _patterns(policy) if path[1] == "include"]
    if policy.reference is not None:
        named.append((("reference",), policy.reference))
    for path, name in named:
        entries = catalog.by_id(name)
        usable = [model for model in entries if not model.retired_at(instant) and price_at(model, instant)]
        if entries and not usable:
            doubts.append(Problem(path, f"{name} is retired or has no price today, so it is skipped"))
    return doubts

"""From a policy file's schema to a compiled policy: what it takes over, its checks across keys and against the catalog.

Belongs here: what cannot be said key by key (a rule nobody reaches, a reference that is needed and not named, a
model that the catalog does not know). Does not belong here: the keys themselves (`schema.py`), what a policy may
change of one that it extends (`guardrails`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from router.core.catalog.catalog import TASKS, did_you_mean
from router.core.policy.conditions import Hours, Span, When, contradiction, covered
from router.core.policy.forwarding_schema import forwarding_of
from router.core.policy.guardrails import Parent, Said, breaches, own_breaches, settled
from router.core.policy.policy import SELECTORS, Bind, CacheRule, Policy, Rule, versioned
from router.core.pricing import price_at
from router.core.schema import Path, Problem, SchemaError
from router.core.values import CAPABILITIES

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    from router.core.catalog.catalog import Catalog, Model
    from router.core.policy.schema import BindSchema, CacheSchema, PolicySchema, RuleSchema, WhenSchema
    from router.core.statistics.quality import Quality


class CompiledPolicy(msgspec.Struct, frozen=True):
    """A policy and what is doubtful about it."""

    policy: Policy
    warnings: tuple[Problem, ...]


def compile_policy(
    file: PolicySchema,
    catalog: Catalog,
    instant: dt.datetime,
    *,
    parents: Sequence[Parent] = (),
    knows_zone: Callable[[str], bool] = lambda _: True,
) -> CompiledPolicy:
    """A policy file, checked against the catalog as of an instant.

    A candidate or reference that is retired or has no price is a warning; at run time it is skipped.

    Args:
        file: what was read.
        catalog: the models that there are.
        instant: as of when models are retired or unpriced.
        parents: the policies that it extends, nearest first.
        knows_zone: whether this machine knows a time zone.

    Raises:
        SchemaError: unknown names, rules that can never be reached, a missing reference, looser than its parents.
    """
    said = settled(file, parents)
    policy = versioned(_policy(file, said, parents))
    errors = [
        *_names(file, policy, catalog),
        *_bind(file),
        *_rules(file, policy, knows_zone),
        *own_breaches(file),
        *breaches(file, parents, catalog),
        *_reference(policy, catalog),
        *_steps(policy),
        *_exhausted(policy, catalog),
        *_hedge(policy),
    ]
    if not errors:
        errors += _nobody_left(file, policy, catalog) or _unsatisfiable(policy, catalog)
    if errors:
        raise SchemaError(errors)
    return CompiledPolicy(policy=policy, warnings=tuple(_doubts(file, policy, catalog, instant)))


def _cache(stated: CacheSchema | None) -> CacheRule | None:
    return None if stated is None else CacheRule(stated.ttl, stated.share, stated.sampled)


def _policy(file: PolicySchema, said: Mapping[Path, Said], parents: Sequence[Parent]) -> Policy:
    def of(*path: str, default: Any = None) -> Any:
        return said[path].value if path in said else default

    mode, share = of("mode", default=("live", 0))
    quality, quality_share = of("without_data", "quality", default=("exclude", 0))
    latency, latency_share = of("without_data", "latency", default=("use prior", 0))
    lists = [owner.candidates for owner in (file, *(parent.file for parent in parents)) if owner.candidates is not None]
    included = [candidates.include for candidates in lists if candidates.include]
    floors = [parent.file.require.quality for parent in reversed(parents) if parent.file.require.quality is not None]
    if file.require.quality is not None:
        floors.append(file.require.quality)
    limits = {path[1]: found.value for path, found in said.items() if path[0] == "require"}
    return Policy(
        name=file.policy,
        mode=mode,
        canary_milli=share,
        bind=_bound(file.bind),
        baseline=of("baseline", default="requested"),
        reference=of("reference"),
        include=included[0] if included else (),
        within=tuple(included[1:]),
        exclude=tuple(pattern for candidates in lists for pattern in candidates.exclude),
        efforts=of("candidates", "effort", default=()),
        rules=tuple(_rule(rule, limits, floors) for rule in file.rules or ()),
        without_quality="exclude" if quality == "probe" else quality,
        without_latency="exclude" if latency == "probe" else latency,
        probe_quality_milli=quality_share,
        probe_latency_milli=latency_share,
        when_nothing_fits=of("when_nothing_fits", default=("refuse",)),
        cache=_cache(of("cache")),
        cheapest_listed=of("fallbacks", default="in order") == "cheapest",
        clamp=of("clamp", default=False),
        task=of("task") or "",
        prompt_cache=of("prompt_cache", default="auto") == "auto",
        exhausted=of("budget_exhausted", "new_requests"),
        stops_streams=of("budget_exhausted", "running_streams", default="finish") == "stop",
        hold_ms=of("hold"),
        forwarding=forwarding_of(of("timeouts"), of("retry"), of("queue"), of("hedge")),
    )


def _bound(bind: BindSchema | None) -> Bind | None:
    return None if bind is None else Bind(**bind.model_dump())


def _rule(rule: RuleSchema, limits: Mapping[str | int, Any], floors: Sequence[Any]) -> Rule:
    """A rule with what holds for all of them: its own limits are the tighter ones, as `guardrails` sees to."""

    def of(key: str, default: Any = None) -> Any:
        own = getattr(rule.require, key)
        return limits.get(key, default) if own is None else own

    own = () if rule.require.quality is None else (rule.require.quality,)
    return Rule(
        name=rule.name,
        when=_when(rule.when),
        tiers=rule.tiers,
        floors=tuple(dict.fromkeys((*own, *reversed(floors)))),
        confidence_milli=of("confidence", 900),
        ttft=of("ttft"),
        tpot=of("tpot"),
        total=of("total"),
        max_cost_pico=of("max_cost_usd"),
        on_time_milli=of("on_time"),
    )


def _when(when: WhenSchema) -> When:
    left = when.deadline
    return When(
        tasks=when.task,
        endpoints=when.endpoint,
        tags=when.tags,
        models=when.model,
        paths=when.path,
        needs=sum({int(CAPABILITIES[name]) for name in when.capability}),
        deadline=left if isinstance(left, Span) else None,
        patient=left if isinstance(left, bool) else None,
        tokens=when.input_tokens,
        budget=when.budget_used,
        hours=tuple(Hours(time.zone, time.days, *time.hours) for time in when.time),
    )


def _patterns(file: PolicySchema) -> list[tuple[Path, str]]:
    """(path, pattern) of what the file itself names."""
    if file.candidates is None:
        return []
    lists = (("include", file.candidates.include), ("exclude", file.candidates.exclude))
    return [(("candidates", key, index), pattern) for key, patterns in lists for index, pattern in enumerate(patterns)]


def _names(file: PolicySchema, policy: Policy, catalog: Catalog) -> list[Problem]:
    """Names that mean nothing: mostly typing errors, so they do not pass silently."""
    wrong: list[Problem] = []
    if policy.name == "auto":
        wrong.append(
            Problem(("policy",), "'auto' leaves the choice to the policy that is bound; call this one otherwise")
        )
    known = catalog.vocabulary
    for path, pattern in _patterns(file):
        kind, _, value = pattern.partition(":")
        if value and kind not in known and "/" not in kind:
            hint = did_you_mean(kind, SELECTORS) or f"; the selectors are {', '.join(SELECTORS)}"
            wrong.append(Problem(path, f"{pattern!r}: unknown selector {kind!r}{hint}"))
        elif value and value not in known.get(kind, (value,)):
            wrong.append(
                Problem(path, f"{pattern!r}: the catalog has no such {kind}{did_you_mean(value, known[kind])}")
            )
        elif not set(pattern) & set("*?[:@") and not catalog.by_id(pattern):
            hint = did_you_mean(pattern, catalog.ids)
            wrong.append(Problem(path, f"the catalog has no model {pattern!r}{hint}"))
    if not wrong and policy.serves and not policy.include:
        wrong.append(Problem((), "the key 'candidates' is missing, or what it is to include"))
    return wrong


def _bind(file: PolicySchema) -> list[Problem]:
    bind = file.bind
    if bind is None:
        return []
    if not bind.model_fields_set:
        return [Problem(("bind",), "this names nobody; without `bind`, a policy is for requests that name it")]
    if file.rules is None:
        return [
            Problem(("bind",), "these requests would find no rule: the file has no `rules`, so it can only be extended")
        ]
    return []


def _rules(file: PolicySchema, policy: Policy, knows_zone: Callable[[str], bool]) -> list[Problem]:
    empty = file.rules is not None and not file.rules
    wrong = [Problem(("rules",), "there must be a rule, or no request is ever served")] if empty else []
    for index, rule in enumerate(policy.rules):
        before = policy.rules[:index]
        if rule.name in {other.name for other in before}:
            wrong.append(Problem(("rules", index, "name"), f"two rules are called {rule.name!r}"))
        zones = [n for n, hours in enumerate(rule.when.hours) if not knows_zone(hours.zone)]
        for number in zones:
            zone = rule.when.hours[number].zone
            message = f"{zone[:40]!r} is no time zone of this machine; write one such as Europe/Berlin"
            wrong.append(Problem(("rules", index, "when", "time", number, "zone"), message))
        fault = contradiction(rule.when)
        if fault:
            wrong.append(Problem(("rules", index, "when", fault), "no request can meet these at once"))
        elif before and covered(rule.when, [other.when for other in before]):
            wrong.append(Problem(("rules", index), _unreached(rule, before)))
    return wrong


def _unreached(rule: Rule, before: Sequence[Rule]) -> str:
    alone = next((other for other in before if covered(rule.when, [other.when])), None)
    if alone is None:
        names = ", ".join(repr(other.name) for other in before)
        return f"rule {rule.name!r} can never be reached: {names} together take all of its requests"
    takes = "matches every request" if alone.when.everything else "takes all of its requests"
    return f"rule {rule.name!r} can never be reached: {alone.name!r}, before it, {takes}; move {rule.name!r} up"


def _nobody_left(file: PolicySchema, policy: Policy, catalog: Catalog) -> list[Problem]:
    if not policy.include or policy.candidates(catalog):
        return []
    where: Path = ("extends",) if file.candidates is None else ("candidates",)
    return [Problem(where, "these leave no model of the catalog to choose from")]


def _unsatisfiable(policy: Policy, catalog: Catalog) -> list[Problem]:
    """Floors that no candidate reaches, retired ones included: a mistake of the file, and none of the day."""
    handled = (*policy.when_nothing_fits, policy.without_quality)
    if {"relax quality", "use reference", "allow"} & set(handled) or policy.probe_quality_milli:
        return []
    candidates = policy.candidates(catalog)
    entries = catalog.by_id(policy.reference) if policy.reference else ()
    wrong = []
    for index, rule in enumerate(policy.rules):
        tasks = rule.when.tasks or TASKS
        if rule.floors and not any(_reached(rule, task, candidates, entries, catalog.quality) for task in tasks):
            path = ("rules", index, "require", "quality")
            share = f"{rule.confidence_milli / 10:g}%"
            message = f"no candidate reaches this with {share} confidence, so rule {rule.name!r} can never choose one"
            wrong.append(Problem(path, message))
    return wrong


def _reached(rule: Rule, task: str, candidates: Sequence[Model], reference: Sequence[Model], quality: Quality) -> bool:
    """Whether some candidate may reach the rule's floors; nobody knows of one without a score."""
    known = [score for entry in reference if (score := quality.score(entry, task)) is not None]
    best = max(known, key=lambda score: score.milli, default=None)
    floor = rule.floor_milli(best)
    scores = [quality.score(model, task) for model in candidates]
    return any(score is None or rule.lower_milli(score) >= floor for score in scores)


def _reference(policy: Policy, catalog: Catalog) -> list[Problem]:
    users: list[Path] = [
        ("rules", index, "require", "quality") for index, rule in enumerate(policy.rules) if rule.relative
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


def _hedge(policy: Policy) -> list[Problem]:
    bounds = policy.forwarding
    if bounds is None or bounds.hedge is None or bounds.attempts != 1:
        return []
    return [Problem(("hedge",), "`retry: {attempts: 1}` leaves no room for a second attempt")]


def _doubts(file: PolicySchema, policy: Policy, catalog: Catalog, instant: dt.datetime) -> list[Problem]:
    doubts = [
        Problem(path, f"{pattern!r} matches no model of the catalog")
        for path, pattern in _patterns(file)
        if not catalog.selected(pattern)
    ]
    named = [(path, pattern) for path, pattern in _patterns(file) if path[1] == "include"]
    if file.reference is not None:
        named.append((("reference",), file.reference))
    if policy.exhausted is not None:
        named.append((("budget_exhausted", "new_requests"), policy.exhausted))
    for path, name in named:
        entries = catalog.by_id(name)
        usable = [model for model in entries if not model.retired_at(instant) and price_at(model, instant)]
        if entries and not usable:
            doubts.append(Problem(path, f"{name} is retired or has no price today, so it is skipped"))
    return doubts

"""The world at one tick, compiled for deciding: prices, statistics and policies as plain figures.

Belongs here: turning catalog, policies and statistics into options and plans, and finding the plan of a request.
A snapshot is immutable to its users and has an id; plans are compiled when first asked for and kept. Does not belong
here: the choice itself (decide.py), reasons (explain.py), when to compile anew (app.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

import msgspec

from router.core.catalog.catalog import TASKS, Catalog, Model, did_you_mean
from router.core.deciding.choices import at_most
from router.core.deciding.decide import Facts, Option, Plan, level
from router.core.deciding.hints import hint
from router.core.deciding.judge import Judge
from router.core.deciding.listed import listed
from router.core.deciding.options import base_option
from router.core.deciding.variants import (
    Summaries,
    Tariff,
    list_price,
    may_order,
    preference,
    same_minute,
    tariff,
    variants,
)
from router.core.deciding.views import OWN_EFFORT, Views
from router.core.errors import RouterError
from router.core.forwarding.forwarding import entries_shut, shutting
from router.core.names import AUTO, VARIANTS, Names
from router.core.policy.binding import Binds
from router.core.policy.governing import Governing, Wish, in_share, probing
from router.core.policy.policy import Policy, Rule
from router.core.pricing import REALTIME
from router.core.values import IN_TEXT, SERVED

_RELAX: Final = {"relax ttft": "ttft", "relax tpot": "tpot", "relax total": "total", "relax quality": "quality"}


class Route(msgspec.Struct, frozen=True):
    """How a request is to be decided."""

    plan: Plan
    baseline: Option | None
    """The model that was asked for, if it is known and substituted; else the policy's reference, if any."""
    instead: Plan | None = None
    """In observe mode: the plan that would have been followed."""
    doubtful: bool = False
    """True when another count of the prompt, within its likely range, would meet another rule."""


class World(msgspec.Struct, frozen=True):
    """What stays the same between ticks."""

    catalog: Catalog
    policies: Mapping[str, Policy]
    names: Names
    offered: frozenset[str]
    """Providers that can be called."""
    binds: Binds = msgspec.field(default_factory=Binds)
    later: frozenset[tuple[str, str]] = frozenset()
    """Providers and kinds of tiers that are answered later and spoken here; known to tests of policies only."""
    zones: Mapping[str, dt.tzinfo] = {}
    """Each time zone that a rule names."""
    brought: str = ""
    """The provider whose own key the callers bring: the only one that is offered; empty for callers with keys of ours."""


_Key = tuple[str, str, str, int | None, str, str, bool, int]
"""Policy, rule, task, quality ordered, entries asked for, tier ordered, whether the effort is the caller's, capabilities of
which a candidate has one."""


_Options = Mapping[str, Option]
_Further = Mapping[str, tuple[Option, ...]]


class Snapshot:
    """One tick's world. Built by `compile_snapshot`."""

    def __init__(
        self,
        snapshot_id: str,
        world: World,
        now: dt.datetime,
        options: Mapping[str, Option],
        further: Mapping[str, tuple[Option, ...]],
        *,
        summary: Summaries,
    ) -> None:
        self.id = snapshot_id
        self.world = world
        self.now = now
        self.tariff: Tariff = {entry: option.prices for entry, option in options.items()}
        self._by_entry = options
        self._variants = further
        self._summary = summary
        self._views = Views(summary)
        self.offered = tuple(option for option in options.values() if option.provider in world.offered)
        self.shut: dict[str, str] = {}  # entries that may not be called now, to the reason
        self._plans: dict[_Key, Plan] = {}
        self._brought: dict[str, Snapshot] = {}
        self.by_task = any(r.when.tasks or r.floors for policy in world.policies.values() for r in policy.rules)
        """Whether anything depends on what a request is for, unless it orders a quality of its own."""
        self.governing = Governing(world.policies, world.binds, world.zones, now)

    def route(self, facts: Facts, wish: Wish) -> Route:
        """The plan that governs a request, with what is known of prompts of its size, and of its application's task.

        Raises:
            RouterError: ``unknown_policy``, ``unknown_model`` (near misses named), ``model_not_allowed``,
                ``invalid_request`` for an unknown task, ``no_feasible_model`` when no rule matches.
        """
        return self._views.route(self, facts, wish)

    def plain_route(self, facts: Facts, wish: Wish, *, exact: bool = False) -> Route:
        """As `route`, with what is known of all prompts; raises the same. ``exact``: no model takes another's place."""
        if facts.models:
            return listed(self, facts, wish)
        policy = self.governing.policy(facts.asked_model, wish)
        if facts.task not in TASKS:
            raise RouterError("invalid_request", f"The task {facts.task!r} is none of {', '.join(TASKS)}.")
        rule, doubtful = self.governing.rule(policy, facts, wish.tags)
        if policy.probe_quality_milli or policy.probe_latency_milli:
            policy = probing(policy, wish.draw)
        order, own = facts.tier, bool(facts.needs & OWN_EFFORT)
        if order and not may_order(order, rule.tiers):
            message = (
                f"service_tier: the policy {policy.version}, rule {rule.name}, allows {' and '.join(rule.tiers)}, "
                f"not {order}."
            )
            raise RouterError("model_not_allowed", message, param="service_tier")
        quality, endpoint = wish.quality_milli, SERVED[facts.endpoint]
        served = IN_TEXT if endpoint & IN_TEXT else endpoint
        key: _Key = (policy.variant, rule.name, facts.task, quality, "", order, own, served)
        plan = self._kept(key, lambda: self._compile(policy, rule, facts.task, quality, self._ways(policy, rule, key)))
        reference = plan.reference if plan.reference and plan.reference.capabilities & endpoint else None
        if facts.asked_model == AUTO or facts.asked_model in self.world.policies:
            return Route(plan=plan, baseline=reference, doubtful=doubtful)
        named = self.world.names.find(facts.asked_model)
        if named is None:
            raise self.unknown(facts.asked_model)
        if not any(model.capabilities & endpoint for model in named.entries):
            message = (
                f"{facts.asked_model!r} does not serve {facts.endpoint}; ask for a model that does, or for `auto`."
            )
            raise RouterError("invalid_request", message, param="model")
        asked = self._cheapest_entry(named.entries, order)
        baseline = reference if policy.baseline == "reference" or asked is None else asked
        # Vectors of two embedding models cannot be compared, so none ever takes another's place.
        substitutable = facts.endpoint == "chat" and not named.explicit and not exact
        entries = " ".join(model.name for model in named.entries)
        if substitutable and quality is None:
            # Whoever orders a quality of their own wants that, whatever the model's name.
            cheap: _Key = (policy.variant, rule.name, facts.task, None, entries, order, own, served)
            plan = self._kept(cheap, partial(at_most, plan.whole or plan, {model.name for model in named.entries}))
        if substitutable and (policy.mode == "live" or in_share(policy.canary_milli, wish.draw, "canary")):
            return Route(plan=plan, baseline=baseline, doubtful=doubtful)
        only: _Key = (policy.variant, rule.name, "", None, f"{facts.task} {entries}", order, own, served)
        pinned = self._kept(
            only, lambda: self._pinned(policy, rule, named.entries, facts, self._ways(policy, rule, only))
        )
        return Route(plan=pinned, baseline=baseline, instead=plan if substitutable else None, doubtful=doubtful)

    def shutting(self, snapshot_id: str, shut: Mapping[tuple[str, str], str]) -> Snapshot:
        """The same world while some of it may not be called: (provider, model or ``""`` for all) to the reason."""
        found = Snapshot(snapshot_id, self.world, self.now, self._by_entry, self._variants, summary=self._summary)
        found.shut = entries_shut(self._by_entry, shut)
        return found

    def brought(self, provider: str) -> Snapshot:
        """The same world to callers who bring a key of this provider's: it opens nobody else's door, and what shuts our
        own keys' does not shut theirs.
        """
        found = self._brought.get(provider)
        if found is None:
            world = msgspec.structs.replace(self.world, offered=frozenset((provider,)), brought=provider)
            found = Snapshot(self.id, world, self.now, self._by_entry, self._variants, summary=self._summary)
            self._brought[provider] = found
        return found

    def changed(self, change: Callable[[_Options, _Further], tuple[_Options, _Further] | None]) -> Snapshot:
        """The same world with other options; this very snapshot where ``change`` gives None."""
        options = change(self._by_entry, self._variants)
        if options is None:
            return self
        found = Snapshot(self.id, self.world, self.now, *options, summary=self._summary)
        found.shut = self.shut
        return found

    def option(self, model: Model) -> Option | None:
        """The option of a catalog entry, offered or not; None when it is retired or has no price now."""
        return self._by_entry.get(model.name)

    def ways_of(self, model: Model) -> tuple[Option, ...]:
        """Every way to call a catalog entry here: by default, then in further tiers and with other efforts."""
        base = self._by_entry.get(model.name)
        if base is None or base.provider not in self.world.offered:
            return ()
        return (base, *self._variants.get(model.name, ()))

    def _ways(self, policy: Policy, rule: Rule, key: _Key) -> Callable[[Model], list[Option]]:
        """What lists the options of a model that can be called here and that the rule, and the caller, leave open."""
        order, own, served = key[-3:]
        tiers = (order,) if order else rule.tiers
        efforts = () if own else policy.efforts

        return lambda model: [
            o
            for o in self.ways_of(model)
            if o.capabilities & served and o.tier in tiers and (not o.effort or o.effort in efforts)
        ]

    def _kept(self, key: _Key, make: Callable[[], Plan]) -> Plan:
        plan = self._plans.get(key)
        if plan is None:
            plan = make()
            if self.shut and any(option.entry in self.shut for option in plan.candidates):
                plan = shutting(plan, self.shut)
            self._plans[key] = plan
        return plan

    def _compile(
        self, policy: Policy, rule: Rule, task: str, quality: int | None, ways: Callable[[Model], list[Option]]
    ) -> Plan:
        reference = self._reference(policy, task)
        best, scores = None if reference is None else reference[0], self.world.catalog.quality
        judge = Judge(policy, rule, task, quality, best, scores=scores, summary=self._summary)
        candidates = [(model, option) for model in policy.candidates(self.world.catalog) for option in ways(model)]
        candidates.sort(key=lambda pair: preference(pair[1]))
        by_reference = tuple(
            option
            for model in (reference[1] if reference else ())
            for option in ways(model)
            if not option.effort and (quality is None or judge.reaches(model, quality))
        )
        given_up: tuple[str, ...] = ()
        levels = [level("", (option for model, option in candidates if not judge.faults(model, option)))]
        if policy.without_quality == "use reference" and any(judge.unknown_quality(model) for model, _ in candidates):
            levels.append(level("no quality data: reference", by_reference))
        for step in policy.when_nothing_fits:
            if step == "refuse":
                break
            if step == "relax quality" and quality is not None:
                continue  # a policy may give up its own floor, not one that the caller ordered
            if step in _RELAX:
                given_up += (_RELAX[step],)
                options = tuple(o for model, o in candidates if not judge.faults(model, o).keys() - set(given_up))
            else:
                options = by_reference
            levels.append(level(step, options))
        return Plan(
            policy=policy.version,
            rule=rule.name,
            levels=tuple(found for found in levels if found.options),
            candidates=tuple(option for _, option in candidates),
            faults={option.name: faults for model, option in candidates if (faults := judge.faults(model, option))},
            **judge.terms(candidates),
            hint=hint(policy, rule, judge, candidates, levels[0].options, ways=self.ways_of),
            max_cost_pico=rule.max_cost_pico,
            reference=None if reference is None else self._cheapest_entry(reference[1], ""),
            clamp=policy.clamp,
            exhausted=self._exhausted(policy, rule),
            stops_streams=policy.stops_streams,
            forwarding=policy.forwarding,
            caches=policy.prompt_cache,
        )

    def _reference(self, policy: Policy, task: str) -> tuple[Model, tuple[Model, ...]] | None:
        """The entry that a relative floor goes by, and all entries of the reference."""
        if policy.reference is None:
            return None
        entries = self.world.catalog.by_id(policy.reference)
        # A relative floor goes by the best of them: a provider may serve a weaker copy, or nobody may have scored it.
        known = self.world.catalog.quality.score
        best = max(entries, key=lambda model: score.milli if (score := known(model, task)) else -1)
        return best, entries

    def _pinned(
        self,
        policy: Policy,
        rule: Rule,
        entries: Collection[Model],
        facts: Facts,
        ways: Callable[[Model], list[Option]],
    ) -> Plan:
        allowed = [model for model in policy.candidates(self.world.catalog) if model in entries]
        if not allowed:
            message = f"The policy {policy.version} does not allow {facts.asked_model!r}."
            raise RouterError("model_not_allowed", message, param="model")
        found = [(model, option) for model in allowed for option in ways(model)]
        if not found:
            called = [o for m in allowed if (o := self._by_entry.get(m.name)) and o.provider in self.world.offered]
            tiers = facts.tier or " or ".join(rule.tiers)
            why = f"it is not sold as {tiers} here" if called else self._why_absent(allowed)
            message = f"{facts.asked_model!r} cannot be served: {why}."
            raise RouterError("unknown_model", message, param="service_tier" if called else "model")
        # Whoever names a model gets it whatever the rule requires; other ways to call it than asked for must meet that.
        reference = self._reference(policy, facts.task)
        best, scores = None if reference is None else reference[0], self.world.catalog.quality
        judge = Judge(policy, rule, facts.task, None, best, scores=scores)
        plain = [o for _, o in found if not o.effort and o.tier in (facts.tier, REALTIME)]
        further = [o for model, o in found if o not in plain and not judge.faults(model, o)]
        options = tuple(sorted(plain + further or [o for _, o in found], key=preference))
        return Plan(
            policy=policy.version,
            rule=rule.name,
            levels=(level("", options, headroom=False),),
            candidates=options,
            faults={},
            max_cost_pico=rule.max_cost_pico,
            reference=None,
            clamp=policy.clamp,
            exhausted=self._exhausted(policy, rule),
            stops_streams=policy.stops_streams,
            hint=hint(policy, rule, judge, found, options, ways=self.ways_of),
            forwarding=policy.forwarding,
            caches=policy.prompt_cache,
        )

    def _exhausted(self, policy: Policy, rule: Rule) -> Plan | None:
        """The plan where a budget has no room; the policy need not name its model among the candidates."""
        entries = () if policy.exhausted is None else self.world.catalog.by_id(policy.exhausted)
        options = tuple(o for m in entries if (o := self._by_entry.get(m.name)) and o.provider in self.world.offered)
        if not options:
            return None
        found = level("budget exhausted", sorted(options, key=preference), headroom=False)
        return Plan(policy.version, rule.name, (found,), options, {}, rule.max_cost_pico, None)

    def _why_absent(self, models: Collection[Model]) -> str:
        reasons = []
        for model in models:
            provider = self.world.catalog.providers[model.provider]
            if self.world.brought:
                reasons.append(f"{model.name} is not opened by a key of {self.world.brought}'s")
            elif not provider.spoken:
                reasons.append(f"{model.name} is priced only: {provider.dialect!r} is a dialect not spoken here yet")
            elif model.name not in self._by_entry:
                gone = f"was retired on {model.retired}" if model.retired_at(self.now) else "has no known price"
                reasons.append(f"{model.name} {gone}")
            else:
                reasons.append(f"{provider.title} has no key here (set {provider.base_url_env or provider.key_env})")
        return "; ".join(reasons)

    def _cheapest_entry(self, entries: Collection[Model], tier: str) -> Option | None:
        """By default, or in a tier that the caller orders, where it is sold there."""
        options = [option for model in entries if (option := self._by_entry.get(model.name)) is not None]
        further = [
            o for model in entries for o in self._variants.get(model.name, ()) if o.tier == tier and not o.effort
        ]
        return min(further or options, key=list_price, default=None)

    def unknown(self, asked: str) -> RouterError:
        """The refusal of a model name that nobody knows, with its near misses."""
        shown, suffix = asked[:80], asked[:80].rpartition(":")[2]
        if suffix in VARIANTS and self.world.names.find(asked.removesuffix(f":{suffix}")) is not None:
            message = f"{shown!r}: {VARIANTS[suffix]}; write the model without `:{suffix}`."
            return RouterError("unknown_model", message, param="model")
        known = [AUTO, *self.world.policies, *self.world.catalog.ids]
        return RouterError(
            "unknown_model",
            f"The model {shown!r} is not known here{did_you_mean(shown, known) or '.'} `auto` lets the policy choose.",
            param="model",
        )


def compile_snapshot(
    snapshot_id: str, world: World, now: dt.datetime, summary: Summaries, last: Snapshot | None = None
) -> Snapshot:
    """The world at an instant.

    Args:
        snapshot_id: names it in rows and explanations.
        world: catalog and policies.
        now: aware; prices and retirements are those of this instant.
        summary: live statistics of a series, or None.
        last: an earlier snapshot; what both have in common is taken from it.
    """
    same = last is not None and last.world.catalog is world.catalog and same_minute(last.now, now)
    prices = last.tariff if last and same else tariff(world.catalog, now)
    efforts = {effort for policy in world.policies.values() for effort in policy.efforts}
    options: dict[str, Option] = {}
    further: dict[str, tuple[Option, ...]] = {}
    for model in world.catalog.models:
        sold = prices.get(model.name)
        if sold is None:
            continue
        provider = world.catalog.providers[model.provider]
        base = options[model.name] = base_option(model, provider, sold, summary)
        if model.efforts or provider.service_tiers:
            further[model.name] = tuple(variants(base, model, provider, efforts, summary))
    return Snapshot(snapshot_id, world, now, options, further, summary=summary)

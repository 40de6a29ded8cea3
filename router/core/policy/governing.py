"""Which policy and which of its rules govern a request, and whether it is one of a canary's or a probe's share.

Belongs here: the look-ups that every request makes, so what a caller may repeat is kept. Does not belong here: what the
rule asks of models (deciding/snapshot.py compiles that), conditions themselves (conditions.py).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from router.core.catalog.catalog import did_you_mean
from router.core.deciding.decide import Facts
from router.core.errors import RouterError
from router.core.policy.binding import Binds, takes
from router.core.policy.binding import who as asker
from router.core.policy.conditions import Question
from router.core.policy.policy import Policy, Rule
from router.core.values import Identity

DEFAULT_POLICY: Final = "default"
MOST_KNOWN: Final = 4_096
"""Combinations of words for which the rules left are kept."""
_Words = tuple[str, str, str, str, str, tuple[str, ...]]


class Wish(msgspec.Struct, frozen=True):
    """What of a request's orders bears on its route."""

    policy: str | None = None
    quality_milli: int | None = None
    tags: tuple[str, ...] = ()
    who: Identity | None = None
    """Whose request it is; None is anybody's."""
    user: str = ""
    draw: str = ""
    """What stays the same of requests that belong together: canaries and probes go by its hash."""
    session: bool = False
    """Whether the caller says that it belongs to a session."""


class Governing:
    """The policies at an instant.

    Args:
        policies: by name; ``default`` among them.
        binds: theirs.
        zones: each time zone that a rule names.
        now: aware; rules of other hours are left out.
    """

    __slots__ = ("_asks", "_binds", "_now", "_policies", "_rules", "_tasked", "_zones")

    def __init__(
        self, policies: Mapping[str, Policy], binds: Binds, zones: Mapping[str, dt.tzinfo], now: dt.datetime
    ) -> None:
        self._policies = policies
        self._binds = binds
        self._zones = zones
        self._now = now
        self._asks = frozenset(policy.name for policy in policies.values() if policy.budgeted)
        self._tasked = any(policy.task for policy in policies.values())
        self._rules: dict[_Words, tuple[tuple[Rule, bool], ...]] = {}

    def policy(self, asked: str, wish: Wish) -> Policy:
        """The policy of a request: the one that it names, if it may, else the one that governs it.

        Raises:
            RouterError: ``unknown_policy`` with the near miss, ``not_allowed``.
        """
        policies = self._policies
        name = wish.policy or (asked if asked in policies else "")
        governing = None if wish.who is None else self._binds.governing(wish.who, wish.user)
        if not name:
            return policies[governing or DEFAULT_POLICY]
        policy = policies.get(name)
        if policy is None:
            raise RouterError("unknown_policy", f"There is no policy {name!r}{did_you_mean(name, policies) or '.'}")
        if wish.who is not None and name != governing:
            self._may_name(policy, wish.who, wish.user, governing)
        return policy

    def asks_budgets(self, asked: str, wish: Wish) -> bool:
        """Whether a rule of the request's policy goes by how full its budgets are. Raises what `policy` raises."""
        return bool(self._asks) and self.policy(asked, wish).name in self._asks

    def task(self, asked: str, wish: Wish) -> str:
        """What the request's policy says that its requests are for; empty where it says nothing. Raises what `policy` raises."""
        return self.policy(asked, wish).task if self._tasked else ""

    def _may_name(self, policy: Policy, who: Identity, user: str, governing: str | None) -> None:
        """Raises RouterError ``not_allowed`` where a request must not leave the policy that governs it for another."""
        bound = policy.bind is not None
        if who.role in ("admin", "platform") or (policy.bind is not None and takes(policy.bind, asker(who, user))):
            return
        if bound or governing is not None:
            why = "is bound to others" if bound else f"is not bound to this key, which {governing!r} governs"
            raise RouterError("not_allowed", f"The policy {policy.name!r} {why}.", param="model")

    def rule(self, policy: Policy, facts: Facts, tags: tuple[str, ...]) -> tuple[Rule, bool]:
        """The first rule that matches, and whether another count of the prompt would meet another.

        Raises:
            RouterError: ``no_feasible_model`` when no rule matches.
        """
        key = _words(policy, facts, tags)
        rules = self._rules.get(key)
        if rules is None:
            rules = self._spoken_of(policy, facts, tags)
            if len(self._rules) >= MOST_KNOWN:
                self._rules.clear()
            self._rules[key] = rules
        tokens = facts.tokens
        expected = tokens.expected + facts.fixed_tokens
        question: Question | None = None
        doubtful = False
        for rule, plain in rules:
            if plain:
                return rule, doubtful
            question = question or Question(facts.needs, facts.deadline_ms, expected, facts.budget_milli)
            size = rule.when.tokens
            if size is not None and not tokens.exact:
                ends = (tokens.likely_low + facts.fixed_tokens, tokens.likely_high + facts.fixed_tokens)
                doubtful = doubtful or any(size.has(end) is not size.has(expected) for end in ends)
            if rule.when.fits(question):
                return rule, doubtful
        raise RouterError("no_feasible_model", f"No rule of the policy {policy.version} matches this request.")

    def alike(self, policy: Policy, facts: Facts, tags: tuple[str, ...]) -> bool:
        """Whether all requests of these words have one rule, and are asked nothing else: neither their size, deadline and
        budgets nor a share's draw. To be asked once there is a `rule`.
        """
        shared = policy.probe_quality_milli or policy.probe_latency_milli or policy.canary_milli
        return not shared and self._rules[_words(policy, facts, tags)][0][1]

    def _spoken_of(self, policy: Policy, facts: Facts, tags: tuple[str, ...]) -> tuple[tuple[Rule, bool], ...]:
        """The rules that are left for requests of these words at this time, each with whether that alone decides."""
        return tuple(
            (rule, rule.when.plain)
            for rule in policy.rules
            if rule.when.open_at(self._now, self._zones)
            and rule.when.speaks_of(
                endpoint=facts.endpoint, task=facts.task, model=facts.asked_model, path=facts.path, tags=tags
            )
        )


def _words(policy: Policy, facts: Facts, tags: tuple[str, ...]) -> _Words:
    return (policy.name, facts.endpoint, facts.task, facts.asked_model, facts.path, tags)


def in_share(milli: int, draw: str, what: str) -> bool:
    """Whether this draw is one of so many in a thousand. Requests of one draw are treated alike; so are those of two
    workers, and of the same policy tomorrow. ``what`` keeps two shares apart.
    """
    if not milli:
        return False
    digest = hashlib.blake2b(f"{what}\0{draw}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % 1000 < milli


def probing(policy: Policy, draw: str) -> Policy:
    """The policy as it holds for this request: candidates without data may take the share that is left to probes."""
    return msgspec.structs.replace(
        policy,
        without_quality="allow" if in_share(policy.probe_quality_milli, draw, "quality") else policy.without_quality,
        without_latency="allow" if in_share(policy.probe_latency_milli, draw, "latency") else policy.without_latency,
    )

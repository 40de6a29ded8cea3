"""A request as it was understood, and what was decided about it.

Belongs here: what the stages before the reservation have found out, and the record of it that is kept. Part of the
pipeline's layer. Does not belong here: finding it out (pipeline.py).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec

from router.attempt import Attempt
from router.core.access.delegation import on_behalf
from router.core.deciding.decide import Decision, Facts, Plan, decide, prompt_tokens
from router.core.deciding.decision_log import Made
from router.core.deciding.explanation import explanation
from router.core.deciding.snapshot import Route, Snapshot
from router.core.errors import RouterError
from router.core.policy.governing import Wish
from router.core.values import Identity
from router.desk import Desk
from router.dialects.contract import Inbound
from router.dialects.described import counted, wholly
from router.dialects.orders import Orders, due_ms
from router.dialects.request import Request
from router.dialects.ways import way
from router.ports import ProviderLink

if TYPE_CHECKING:
    from router.ports import BudgetBook, TextCounter


class Considered(msgspec.Struct, frozen=True):
    """A request as it was understood and what was decided; ``decision`` is None when nothing is feasible."""

    inbound: Inbound
    request: Request
    orders: Orders
    facts: Facts
    route: Route
    decision: Decision | None
    snapshot: Snapshot
    identity: Identity
    """Whose request it is, as far as the key lets its headers say."""
    own: ProviderLink | None = None
    """The way to the provider whose key the caller has brought; None for callers with keys of ours."""

    def explanation(self, at_ms: int, used: Decision | None = None) -> dict[str, Any]:
        """Everything about the decision, as plain data.

        Args:
            at_ms: now, in ms since the epoch.
            used: the decision that was followed; another one than was made first where a budget had no room.
        """
        plan, decision = self.route.plan, used or self.decision
        instead = decision is not self.decision and plan.exhausted is not None
        at = dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC)
        return explanation(
            plan.exhausted if instead and plan.exhausted else plan,
            self.facts,
            self.route.baseline,
            decision,
            self.snapshot.world.catalog,
            snapshot=self.snapshot.id,
            at=at,
        )

    def attempt(
        self,
        desk: Desk,
        decision: Decision,
        link: ProviderLink,
        *,
        request_id: str,
        number: int,
        stops: bool = False,
        counted: frozenset[str] = frozenset(),
    ) -> Attempt:
        """An attempt to have it answered as decided; `Attempt` says what each argument is."""
        return Attempt(
            desk,
            request_id=request_id,
            identity=self.identity,
            orders=self.orders,
            request=self.request,
            facts=self.facts,
            decision=decision,
            link=link,
            snapshot=self.snapshot.id,
            way=way(self.inbound.api, decision.option.dialects or link.dialects),
            number=number,
            stops=stops,
            counted=counted,
        )

    def explains(self, body: bytes, *, streamed: bool, at_ms: int, used: Decision | None = None) -> bytes:
        """An answer's body, or the first part of a stream, that carries the explanation: in a field ``costrouter`` of its
        own, or in a comment before the first event.
        """
        told = msgspec.json.encode(self.explanation(at_ms, used))
        if streamed:
            return b": x-costrouter-explanation=" + told + b"\n\n" + body
        rest = body.lstrip()[1:]
        return b'{"costrouter":' + told + (b"" if rest.lstrip()[:1] == b"}" else b",") + rest

    def made(self, request_id: str, at_ms: int, decision: Decision | None, *, exhausted: bool = False) -> Made:
        """The record of a decision; None when nothing was feasible. Of the prompt it has no text.

        Args:
            request_id: the request's.
            at_ms: when, in the store's time.
            decision: what was decided, by the plan or, ``exhausted``, by the plan for budgets without room.
            exhausted: a budget had no room.
        """
        who = self.identity
        return Made(
            id=request_id,
            at_ms=at_ms,
            tenant=who.tenant,
            key=who.key,
            team=who.team,
            app=who.app,
            snapshot=self.snapshot.id,
            facts=self.facts,
            plan=self.route.plan,
            baseline=self.route.baseline,
            option=None if decision is None else decision.option,
            expected_pico=0 if decision is None else decision.expected_pico,
            exhausted=exhausted,
        )


def wish_of(orders: Orders, identity: Identity, user: str, request_id: str) -> Wish:
    """What of a request's orders, and of who asks, bears on its route."""
    draw = orders.session or user or request_id
    return Wish(orders.policy, orders.quality_milli, orders.tags, identity, user, draw, bool(orders.session))


def tasked(facts: Facts, orders: Orders, wish: Wish, snapshot: Snapshot) -> Facts:
    """The facts with the task that the policy states, where the caller states none."""
    task = "" if orders.task else snapshot.governing.task(facts.asked_model, wish)
    return msgspec.structs.replace(facts, task=task) if task else facts


def claimed(identity: Identity, orders: Orders, own: ProviderLink | None) -> tuple[Identity, str]:
    """Whose request it is by what it claims, and its user, "" for none.

    Args:
        identity: as the key says.
        orders: with the claims.
        own: the way to the provider whose key it brings, if it does.

    Raises:
        RouterError: ``not_allowed`` for what the key does not delegate; ``invalid_request`` where it brings no key of the
            provider that it names.
    """
    if orders.provider and (own is None or own.name != orders.provider):
        whose = "the router's" if own is None else f"{own.name}'s"
        message = f"x-costrouter-provider says whose key a request brings, and this is one of {whose}; leave it out."
        raise RouterError("invalid_request", message, param="x-costrouter-provider")
    return on_behalf(identity, orders.claims)


def in_time(facts: Facts, orders: Orders, now_ms: int, left_ms: int | None) -> Facts:
    """The facts with the time that is left: what is known of it, or what the caller orders."""
    left = due_ms(orders.deadline, now_ms) - now_ms if left_ms is None else left_ms
    return msgspec.structs.replace(facts, deadline_ms=max(left, 0))


def tried(route: Route, facts: Facts) -> Decision | None:
    """The decision, and what it could have been where the policy only observes."""
    decision = decide(route.plan, facts, route.baseline)
    if decision is None or route.instead is None:
        return decision
    could = decide(route.instead, facts, route.baseline)
    if could is None:
        return decision
    return msgspec.structs.replace(decision, could_have_pico=could.expected_pico, could_have=could.option)


async def prompt_size(seen: Considered, counter: TextCounter) -> int:
    """Tokens of the prompt as the chosen model's provider is expected to meter it, every text counted; in the reference
    encoding where no model is feasible.
    """
    facts = seen.facts
    if not facts.tokens.exact:
        facts = counted(facts, seen.request, await counter.count(seen.request.shape.texts))
    if seen.decision is None:
        return facts.tokens.expected + facts.fixed_tokens
    return prompt_tokens(seen.decision.option, facts, facts.tokens.expected)


def translates(inbound: Inbound, decision: Decision | None, snapshot: Snapshot) -> bool:
    """Whether a request goes on in another dialect than its own, or nowhere: then, too, all of it must be known."""
    if decision is not None:
        option = decision.option
        if inbound.native in (option.dialects or snapshot.world.catalog.providers[option.provider].dialects):
            return False
    return inbound.hearing is not None


def decided(seen: Considered, plan: Plan) -> tuple[Considered, Decision | None]:
    """What another plan would choose for the request, and the request as far as it had to be read for that.

    None also where it would be put into another dialect, and cannot be read for that.
    """
    decision = decide(plan, seen.facts, seen.route.baseline)
    if decision is None or seen.request.conversation is not None:
        return seen, decision
    if translates(seen.inbound, decision, seen.snapshot):
        try:
            request, facts = wholly(seen.inbound, seen.request, seen.facts)
        except RouterError:
            return seen, None
        seen = msgspec.structs.replace(seen, request=request, facts=facts)
        decision = decide(plan, facts, seen.route.baseline)
    return seen, decision


async def budgeted(facts: Facts, wish: Wish, identity: Identity, book: BudgetBook, now_ms: int) -> Facts:
    """The facts with how full the fullest budget is that the request falls under, whatever model serves it."""
    dims = (identity.team, identity.app, identity.key, wish.user, "", "", wish.tags)
    return msgspec.structs.replace(facts, budget_milli=await book.used_milli(identity.tenant, dims, now_ms))

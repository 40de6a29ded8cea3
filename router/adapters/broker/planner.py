"""Which way a request goes that may wait: what the policy admits in every tier, put to the choice under one deadline.

Belongs here: bids from a considered request, and the try that was chosen with its money set aside. Does not belong here:
the choice itself (core/jobs/deadlines.py), and sending anything (broker.py).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import msgspec

from router.attempt import Attempt
from router.core.budgets.words import budget_refusal
from router.core.deciding.decide import (
    Decision,
    Option,
    cheapest,
    expected_cost,
    expected_output,
    highest_cost,
    hold,
    prompt_tokens,
)
from router.core.errors import RouterError
from router.core.jobs.deadlines import ON_TIME_PPM, PPM, Bid, Chosen, Reserve, choose, judged, reserve_for
from router.core.jobs.idle import has_room, marginal_price
from router.core.jobs.jobs import attempt_name
from router.core.jobs.tiers import IDLE, kind_of, word_of
from router.core.pricing import REALTIME, price_at
from router.core.values import Price
from router.core.wire import EXPRESSES
from router.desk import Desk
from router.dialects.described import wholly
from router.dialects.ways import way
from router.ports import BudgetExceeded, PeriodOver, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from router.adapters.jobs.batch_calls import BatchApi
    from router.adapters.jobs.ledger import JobLedger
    from router.adapters.jobs.waits import JobWaits
    from router.considered import Considered
    from router.core.catalog.catalog import Model
    from router.core.deciding.snapshot import Snapshot
    from router.core.policy.policy import Policy, Rule
    from router.core.values import Row
    from router.ports import ProviderLink

GRACE_MS: Final = 5_000
_RESERVATIONS: Final = 5
_PEAK_STEP_MS: Final = 1_800_000
"""Prices by the hour begin and end on half hours at most."""


class Planned(msgspec.Struct, frozen=True):
    """The way that was chosen for one try."""

    option: Option
    chosen: Chosen
    instant: Option | None
    """What would serve it at once: the way out, and what is held for."""
    instant_pico: int
    reserve: Reserve
    wait_ms: int = 0
    """How long until its hours begin."""
    booked_pico: int = 0
    """What it is expected to be booked at, where that is another price than it is chosen by; else 0."""

    @property
    def cost_pico(self) -> int:
        """What it is expected to cost whoever asked."""
        return self.booked_pico or self.chosen.expected_pico

    @property
    def idle(self) -> bool:
        """Whether it goes to a machine of one's own that has room now."""
        return self.option.tier == IDLE

    @property
    def at_once(self) -> bool:
        """Whether it is best answered now, on the usual way."""
        return not (self.batched or self.wait_ms or self.idle)

    @property
    def batched(self) -> bool:
        """Whether it goes by a provider's batch API, or in one of its completion windows."""
        return kind_of(self.option.tier) is not None


class Planner:
    """Plans tries.

    Args:
        desk: the ports of attempts, with the ledger of work that waits.
        ledger: the same ledger.
        links: providers by name.
        apis: those that sell tiers which are answered later, by provider and kind of tier.
        known: how long tiers take.
    """

    def __init__(
        self,
        desk: Desk,
        ledger: JobLedger,
        links: Mapping[str, ProviderLink],
        apis: Mapping[tuple[str, str], BatchApi],
        known: JobWaits,
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._links = links
        self._apis = apis
        self._known = known
        self._models: tuple[object, dict[str, Model]] = (None, {})
        self._prices: dict[tuple[str, str, int], Price | None] = {}

    def wholly(self, seen: Considered) -> Considered:
        """The request read to its last field where what speaks another dialect may bid for it later."""
        rule = rule_of(seen)
        inbound = seen.inbound
        tiers = () if rule is None else rule.tiers
        if not any(kind in tiers and api.dialect != inbound.native for (_, kind), api in self._apis.items()):
            return seen
        try:
            request, facts = wholly(inbound, seen.request, seen.facts)
        except RouterError:
            return seen  # it can be passed on, though not be put into another dialect
        return msgspec.structs.replace(seen, request=request, facts=facts)

    def order(self, seen: Considered, attempt: Attempt) -> bytes:
        """The request as it lies in its provider's batch, or is begun in its window."""
        option = attempt.decision.option
        provider = option.provider
        how = way(seen.inbound.api, (self._apis[provider, word_of(option.tier)].dialect,))
        return how.order(seen.request, attempt.decision, self._links[provider].quirks).body

    def plan(self, seen: Considered, left_ms: int, avoid: str = "") -> Planned | None:
        """The cheapest way that is on time; None where nothing is feasible.

        Args:
            seen: the request.
            left_ms: until the deadline.
            avoid: a tier that has failed this request; then it goes by none that is answered later.
        """
        instant, cost = self._instant(seen)
        options, bids, reserve, run_ms = self._bids(seen, left_ms, avoid)
        chosen = choose(bids, left_ms, reserve, self.on_time_ppm(seen))
        if chosen is None and instant is not None:
            # Too late for anything else: at once is the best that can be done, and the breach is recorded.
            chosen = Chosen(0, cost, cost, 0, run_ms, early=False)
        if chosen is None:
            return None
        option = options[chosen.index]
        booked = 0 if option.tier != IDLE else self.booked(seen, option)
        return Planned(option, chosen, instant, cost, reserve, bids[chosen.index].wait_ms, booked)

    def booked(self, seen: Considered, option: Option) -> int:
        """What an idle machine's answer is booked at: its average price, which pays for idle hours too."""
        return expected_cost(
            msgspec.structs.replace(option, price=option.prices[REALTIME]), seen.facts, seen.facts.tokens.expected
        )

    def offers(self, seen: Considered, left_ms: int) -> list[tuple[Option, Chosen]]:
        """Every way that the policy admits and that can begin in time, the least expected cost first."""
        options, bids, reserve, _ = self._bids(seen, left_ms)
        found = [(options[one.index], one) for one in judged(bids, left_ms, reserve) if one is not None]
        return sorted(found, key=lambda offer: (offer[1].expected_pico, offer[1].promised_ms))

    def _bids(self, seen: Considered, left_ms: int, avoid: str = "") -> tuple[list[Option], list[Bid], Reserve, int]:
        """Every way with its bid, the time kept for the way out, and what an answer at once takes at its slowest."""
        options: list[Option] = []
        bids: list[Bid] = []
        instant, cost = self._instant(seen)
        run_ms = 0
        if instant is not None:
            output = expected_output(instant, seen.facts)
            run_ms = (instant.ttft.at(99) + output * instant.tpot.at(99)) // 1000
            options.append(instant)
            bids.append(Bid(0, cost))
        reserve = reserve_for(left_ms, run_ms, self._known.pace)
        if seen.route.instead is None:
            # A policy that only observes changes nothing of how it is served.
            for option, pico, wait_ms in self._ways(seen, left_ms, avoid):
                waits = None if kind_of(option.tier) is None else self._known.of(option.provider, option.tier)
                bids.append(Bid(len(options), pico, waits, wait_ms, lasts=option.tier != IDLE))
                options.append(option)
        return options, bids, reserve, run_ms

    def on_time_ppm(self, seen: Considered) -> int:
        """The least chance to be on time that the policy asks for."""
        rule = rule_of(seen)
        stated = None if rule is None else rule.on_time_milli
        return ON_TIME_PPM if stated is None else stated * (PPM // 1000)

    def attempt(self, seen: Considered, planned: Planned, job: str, number: int, tries: int) -> Attempt:
        """A try that goes by its own option."""
        return self._attempt(seen, self._decision(seen, planned, planned.option), job, number, tries)

    async def hold(
        self, seen: Considered, planned: Planned, job: str, number: int, tries: int
    ) -> tuple[Row, Price | None]:
        """Set aside what the way out would cost, at most; the try's row as far as it is known, and the baseline's price.

        What is held for this try already is held on.

        Raises:
            RouterError: ``budget_exceeded``, ``store_unavailable``.
        """
        decision = self._decision(seen, planned, planned.option)
        holder = decision
        if planned.instant is not None and planned.batched:
            holder = self._decision(seen, planned, planned.instant)
        holding = self._attempt(seen, holder, job, number, tries)
        at_ms = await self._reserved(holding)
        attempt = self._attempt(seen, decision, job, number, tries)
        attempt.hold, attempt.at_ms = holding.hold, at_ms
        attempt.sending()
        row = self._ledger.planned(attempt.name)
        return row, None if decision.baseline is None else decision.baseline.price

    async def _reserved(self, attempt: Attempt) -> int:
        over_ms = 0
        for _ in range(_RESERVATIONS):
            try:
                return await attempt.reserve(GRACE_MS, over_ms)
            except PeriodOver as over:
                over_ms = over.now_ms
            except BudgetExceeded as no:
                now_ms = self._ledger.store_ms()
                raise budget_refusal(no.term, no.spent_nano, no.held_nano, no.amount_nano, now_ms) from None
            except StoreUnavailable:
                break
        raise RouterError("store_unavailable", "The ledger does not answer; try again.", retry_after_s=1)

    def _attempt(self, seen: Considered, decision: Decision, job: str, number: int, tries: int) -> Attempt:
        return seen.attempt(
            self._desk,
            decision,
            self._links[decision.option.provider],
            request_id=attempt_name(job, number, tries).rpartition("/")[0],
            number=tries,
        )

    def _decision(self, seen: Considered, planned: Planned, option: Option) -> Decision:
        facts, plan = seen.facts, seen.route.plan
        decided = seen.decision
        own = planned.instant_pico if option is planned.instant else planned.chosen.expected_pico
        baseline = planned.instant if decided is None or decided.baseline is None else decided.baseline
        return Decision(
            option=option,
            policy=plan.policy,
            rule=plan.rule,
            relaxed="" if decided is None else decided.relaxed,
            prompt_tokens=prompt_tokens(option, facts, facts.tokens.expected),
            output_tokens=expected_output(option, facts),
            expected_pico=own,
            hold_pico=hold(option, facts),
            baseline=baseline,
            baseline_pico=planned.instant_pico if decided is None else decided.baseline_pico,
            runner_up_pico=planned.instant_pico if option is not planned.instant else 0,
            certain=True,
        )

    def _instant(self, seen: Considered) -> tuple[Option | None, int]:
        if seen.decision is None:
            return None, 0
        return seen.decision.option, seen.decision.expected_pico

    def _ways(self, seen: Considered, left_ms: int, avoid: str) -> Iterator[tuple[Option, int, int]]:
        """Options that answer later, their expected cost in pico-dollars, and how long until they may begin."""
        rule, plan, facts = rule_of(seen), seen.route.plan, seen.facts
        tiers = () if rule is None else rule.tiers
        cap = highest_cost(plan, facts, facts.tokens.expected)
        now = self._now()
        for used in plan.levels:
            if cheapest(used.figures, facts, facts.tokens.expected, cap)[0] is None:
                continue
            for option in used.options:
                if option.tier != REALTIME:
                    continue
                for tier in () if avoid else option.prices:
                    kind = kind_of(tier)
                    if kind is not None and kind in tiers and self._takes(seen, option, kind):
                        yield from self._priced(seen, option, tier, now, 0, cap)
                yield from self._off_peak(seen, option, now, left_ms, cap)
                yield from self._left_over(seen, option, cap)
            return

    def _takes(self, seen: Considered, option: Option, kind: str) -> bool:
        """Whether such a request can be put to a provider that way."""
        api = self._apis.get((option.provider, kind))
        if api is None or seen.request.stream or seen.inbound.endpoint not in api.endpoints:
            return False
        if option.dialects and api.dialect not in option.dialects:
            return False
        if seen.inbound.native == api.dialect:
            # A beta is asked for in a header, and a batch has one for all of its requests.
            return all(name != b"anthropic-beta" for name, _ in seen.request.passed)
        said = seen.request.conversation  # its answer is put into the caller's dialect
        return said is not None and not said.wire & ~EXPRESSES[api.dialect]

    def _off_peak(
        self, seen: Considered, option: Option, now: dt.datetime, left_ms: int, cap: int | None
    ) -> Iterator[tuple[Option, int, int]]:
        """The same option at its next cheaper hours, where it has hours at all."""
        model = self._model(seen.snapshot, option.entry)
        if model is None or all(row.when is None for row in model.prices):
            return
        into = (now.minute * 60 + now.second) * 1000 % _PEAK_STEP_MS
        for step in range(1, 49):
            wait_ms = step * _PEAK_STEP_MS - into
            if wait_ms > left_ms // 2:
                return
            later = now + dt.timedelta(milliseconds=wait_ms)
            price = price_at(model, later)
            if price is not None and price.bands[0].rates.output < option.price.bands[0].rates.output:
                yield from self._priced(seen, option, REALTIME, later, wait_ms, cap)
                return

    def _left_over(self, seen: Considered, option: Option, cap: int | None) -> Iterator[tuple[Option, int, int]]:
        """The same option on a machine of one's own that has room now, at what one more token costs there."""
        model = self._model(seen.snapshot, option.entry)
        if model is None or model.self_hosted is None or not has_room(model, option):
            return
        other = msgspec.structs.replace(option, tier=IDLE, price=marginal_price(option, model.self_hosted))
        fits, pico, _ = cheapest((other.figures(headroom=False),), seen.facts, seen.facts.tokens.expected, cap)
        if fits is not None:
            yield other, pico, 0

    def _priced(  # noqa: PLR0917 - one place calls it for each kind of bid
        self, seen: Considered, option: Option, tier: str, at: dt.datetime, wait_ms: int, cap: int | None
    ) -> Iterator[tuple[Option, int, int]]:
        price = self._price(seen, option.entry, tier, at)
        if price is None:
            return
        other = msgspec.structs.replace(option, tier=tier, price=price)
        fits, pico, _ = cheapest((other.figures(headroom=False),), seen.facts, seen.facts.tokens.expected, cap)
        if fits is not None:
            yield other, pico, wait_ms

    def _price(self, seen: Considered, entry: str, tier: str, at: dt.datetime) -> Price | None:
        key = (entry, tier, int(at.timestamp()) // 60)
        if key not in self._prices:
            if len(self._prices) > 4096:
                self._prices.clear()
            model = self._model(seen.snapshot, entry)
            self._prices[key] = None if model is None else price_at(model, at, tier)
        return self._prices[key]

    def has_room(self, snapshot: Snapshot, entry: str) -> bool:
        """Whether a machine of one's own has room now."""
        model = self._model(snapshot, entry)
        option = None if model is None else snapshot.option(model)
        return model is not None and option is not None and has_room(model, option)

    def _model(self, snapshot: Snapshot, entry: str) -> Model | None:
        catalog = snapshot.world.catalog
        if self._models[0] is not catalog:
            self._models = (catalog, {model.name: model for model in catalog.models})
        return self._models[1].get(entry)

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._desk.clock.now_ms() / 1000, dt.UTC)


def policy_of(seen: Considered) -> Policy | None:
    """The policy that governs a request."""
    return seen.snapshot.world.policies.get(seen.route.plan.policy.partition("@")[0])


def rule_of(seen: Considered) -> Rule | None:
    """The policy's rule that governs a request."""
    policy = policy_of(seen)
    rules = () if policy is None else policy.rules
    return next((rule for rule in rules if rule.name == seen.route.plan.rule), None)

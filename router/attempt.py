"""One attempt from its reservation to its row: what is known, what it cost, what is told of it.

Belongs here: the life of an attempt and its figures. Part of the pipeline's layer. Does not belong here: the order of
stages (pipeline.py) and how a stream is passed on (streaming.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.booking.believable import believable
from router.core.booking.ending import ended_row, savings
from router.core.budgets.holds import likely_output, output_limit, worst_case
from router.core.budgets.limit_words import limit_headers
from router.core.budgets.limits import counted
from router.core.deciding.decide import Decision, Facts, prompt_tokens
from router.core.deciding.work import as_priced, expected, is_known
from router.core.errors import RouterError
from router.core.money import nano_ceil, usd
from router.core.pricing import cost_pico
from router.core.values import Certainty, Hold, Identity, Outcome, Row, Usage
from router.dialects.contract import Asked
from router.ports import NotHeld, ProviderLink

if TYPE_CHECKING:
    from router.core.values import Price
    from router.desk import Desk
    from router.dialects.orders import Orders
    from router.dialects.request import Request
    from router.dialects.ways import Way

_ENDS: Final = frozenset({"ok", "client_left", "node_stopped", "budget_stopped"})
"""Ends that are no provider's fault."""
Headers = list[tuple[str, str]]


class Attempt:
    """One try at one option. Ends with one row: whatever is settled first stands, and later calls only see it told."""

    __slots__ = (
        "_desk", "_sent", "_told", "at_ms", "clamped", "counted", "decision", "facts", "first_at", "hold",
        "identity", "link", "number", "orders", "outrun", "request", "request_id", "row", "snapshot", "started", "stops",
        "way",
    )  # fmt: skip  # one name a line would be longer than what is done with them

    def __init__(
        self,
        desk: Desk,
        *,
        request_id: str,
        identity: Identity,
        orders: Orders,
        request: Request,
        facts: Facts,
        decision: Decision,
        link: ProviderLink,
        snapshot: str,
        way: Way,
        number: int = 1,
        stops: bool = False,
        counted: frozenset[str] = frozenset(),
    ) -> None:
        self._desk = desk
        self.request_id = request_id
        self.identity = identity
        self.orders = orders
        self.request = request
        self.facts = facts
        self.decision = decision
        self.link = link
        self.snapshot = snapshot
        self.way = way
        self.number = number
        self.stops = stops
        """Whether its stream is stopped where it no longer fits into a budget, even one that would let it finish."""
        self.counted = counted
        self.outrun = False
        """Whether another attempt of the request has answered meanwhile."""
        self.started = desk.clock.monotonic()
        self.first_at = 0.0
        self.at_ms = 0
        self.hold: Hold | None = None
        """What was set aside last, budgets and all."""
        self.clamped: int | None = None
        """The output limit, where a budget has made it smaller than the caller's."""
        self.row: Row | None = None
        self._sent: Row | None = None
        self._told = False

    @property
    def name(self) -> str:
        """Identifies it everywhere: ``request-id/n``."""
        return f"{self.request_id}/{self.number}"

    def asked(self) -> Asked:
        """What a translated answer needs to know of it."""
        named, decision = self.way.inbound.id_prefix, self.decision
        answer_id = named + self.request_id.removeprefix("req_").replace("/", "_") if named else ""
        spare = (self.request_id, decision.option.upstream_model)
        return Asked(self.request, decision.prompt_tokens, self.at_ms // 1000, answer_id, self.request.stored, *spare)

    def reserve(self, grace_ms: int, not_before_ms: int = 0) -> asyncio.Future[int]:
        """Have its upper cost set aside in all budgets that it falls under; gives ``at_ms``. Raises what `Ledger.reserve`
        raises, now or when awaited.

        Whoever does not go on with the attempt gives the future to `call_off`.

        Args:
            grace_ms: how late the store may get to it.
            not_before_ms: the store's time is known to be that at least.
        """
        ledger = self._desk.ledger
        now_ms = max(ledger.store_ms(), not_before_ms)
        self.hold = self._hold(now_ms, now_ms + grace_ms)
        return ledger.reserve(self.hold)

    def grow(self, likely_nano: int, grace_ms: int) -> asyncio.Future[int]:
        """Have more set aside while it runs, up to its worst case. Raises what `Ledger.reserve` raises.

        Raises:
            NotHeld: nothing is set aside for it.
        """
        hold, ledger = self.hold, self._desk.ledger
        if hold is None:
            raise NotHeld(f"{self.name} is not held")
        self.hold = msgspec.structs.replace(
            hold,
            amount_nano=hold.amount_nano if hold.terms.hard else likely_nano,
            likely_nano=likely_nano if hold.terms.hard else None,
            not_after_ms=ledger.store_ms() + grace_ms,
            grows=True,
        )
        return ledger.reserve(self.hold)

    async def count(self, texts: Sequence[str]) -> int:
        """Tokens of all these texts in the reference encoding."""
        return sum(await self._desk.counter.count(texts))

    def store_ms(self) -> int:
        """The store's time in ms since the epoch."""
        return self._desk.ledger.store_ms()

    def worst_nano(self) -> int:
        """The most that it can cost, in nano-dollars."""
        return nano_ceil(worst_case(self.decision.option, self.facts))

    def _hold(self, now_ms: int, not_after_ms: int) -> Hold:
        who, option, decision, user = self.identity, self.decision.option, self.decision, self.request.user
        dims = (who.team, who.app, who.key, user, option.model, option.provider, self.orders.tags)
        terms = self._desk.budgets.terms(who.tenant, dims, now_ms)
        if self.counted and terms.limits:
            terms = msgspec.structs.replace(terms, counted=self.counted)
        likely = nano_ceil(decision.hold_pico)
        worst = self.worst_nano() if terms.hard else likely
        return Hold(
            attempt=self.name,
            tenant=who.tenant,
            amount_nano=worst,
            not_after_ms=not_after_ms,
            likely_nano=min(likely, worst) if terms.hard and terms.statistical else None,
            terms=terms,
            tokens=decision.prompt_tokens + decision.output_tokens * self.facts.choices if terms.limits else 0,
            dims=(
                who.team, who.app, who.key, user, decision.policy, decision.rule, option.model, option.provider,
                option.tier, self.facts.endpoint,
            ),
        )  # fmt: skip  # ten names in a row are the record's layout

    def clamp(self) -> bool:
        """Limit the answer to what is likely; False where that is no less than what it is limited to already."""
        output = likely_output(self.decision.option, self.facts)
        if self.facts.endpoint != "chat" or output >= output_limit(self.decision.option, self.facts):
            return False
        self.clamped = output
        self.facts = msgspec.structs.replace(self.facts, max_output=output)
        self.request = msgspec.structs.replace(self.request, max_output=output, clamped=True)
        return True

    def call_off(self, reservation: asyncio.Future[int]) -> None:
        """Nothing will be sent: the money goes back, however far its reservation has come."""
        if not reservation.cancel() and not reservation.cancelled() and reservation.exception() is None:
            self.at_ms = reservation.result()
            self.release()

    def sending(self) -> None:
        """To be called before the first byte goes upstream: from now on it is booked whatever becomes of this process.

        Raises:
            JournalUnavailable: it must not be sent; the hold stays until `release`.
        """
        self._sent = self._row(self._expected(), "upstream_interrupted", 500, "estimated")
        self._desk.ledger.sent(self._sent)

    def answered(self) -> None:
        """The first part of the answer is here."""
        if not self.first_at:
            self.first_at = self._desk.clock.monotonic()

    def believed(self, usage: Usage | None, answered: Callable[[], bool] | None = None) -> Usage | None:
        """The provider's meters, unless they cannot be true.

        Args:
            usage: the meters, if any came.
            answered: whether text of an answer has come; asked only where a chat's meter is zero.
        """
        if usage is None:
            return None
        if usage.units:
            usage = as_priced(self.decision.option, self.facts.work, usage)
        empty = self.facts.endpoint == "chat" and not (usage.prompt_tokens and usage.completion_tokens)
        told = empty and answered is not None and answered()
        return usage if believable(usage, self.decision.option, self.facts, answered=told) else None

    def price(self, usage: Usage) -> int:
        """Cost of these meters in nano-dollars."""
        return nano_ceil(cost_pico(self._price(usage), usage))

    def _price(self, usage: Usage) -> Price:
        """That of the tier that was served; of the tier that was asked for, where the catalog lacks it."""
        option = self.decision.option
        return option.prices.get(usage.tier, option.price) if usage.tier else option.price

    def release(self, error: RouterError | None = None) -> None:
        """Nothing was sent: the hold is freed, no money was spent. Listeners hear the code of ``error``."""
        self.settle(Usage(0), outcome="released", status=0, certainty="metered", error=error)

    def settle(
        self,
        usage: Usage,
        *,
        outcome: Outcome,
        status: int,
        certainty: Certainty,
        error: RouterError | None = None,
        later: bool = False,
    ) -> Row:
        """Price the meters, queue the row for the ledger and tell the listeners; these ``later``, where `tell` follows.

        The row is written down in any case before the caller can know its cost. A second call changes no figure.
        """
        if self.row is not None:
            self.tell()
            return self.row
        if self.outrun and outcome in _ENDS:
            outcome = "outrun"
        row = self.row = self._row(usage, outcome, status, certainty)
        self._desk.ledger.settle(row)
        self._desk.ways.ended(self.link, row.model, outcome, error)
        if not later:
            self.tell(None if error is None else error.code)
        return row

    def _row(self, usage: Usage, outcome: Outcome, status: int, certainty: Certainty) -> Row:
        decision, identity, option = self.decision, self.identity, self.decision.option
        price = self._price(usage)
        cost = cost_pico(price, usage)
        baseline = decision.baseline
        cost_nano = nano_ceil(cost)
        baseline_nano = cost_nano if baseline is None else nano_ceil(cost_pico(baseline.price, usage))
        if outcome == "outrun":
            baseline_nano = 0  # the request is in the winner's; this one saved nobody anything
        ttft_ms = round((self.first_at - self.started) * 1000) if self.first_at else 0
        total_ms = round((self._desk.clock.monotonic() - self.started) * 1000)
        if self._sent is not None:
            row = ended_row(
                self._sent, usage, cost, outcome=outcome, status=status, certainty=certainty, ttft_ms=ttft_ms,
                baseline_nano=baseline_nano, total_ms=total_ms,
                saved=savings(price, usage, cost_nano, decision.could_have.price if decision.could_have else None),
            )  # fmt: skip  # a record
            if price is option.price and usage.tier in ("", option.tier):
                return row
            return msgspec.structs.replace(row, tier=usage.tier, price_version=price.version)
        return Row(
            attempt=self.name,
            at_ms=self.at_ms,
            tenant=identity.tenant,
            team=identity.team,
            app=identity.app,
            key=identity.key,
            user=self.request.user,
            tags=self.orders.tags,
            endpoint=self.facts.endpoint,
            policy=decision.policy,
            rule=decision.rule,
            requested_model=self.facts.asked_model,
            model=option.model,
            provider=option.provider,
            tier=usage.tier or option.tier,
            outcome=outcome,
            status=status,
            certainty=certainty,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            price_version=price.version,
            cost_pico=cost,
            cost_nano=cost_nano,
            estimated_nano=nano_ceil(decision.expected_pico),
            baseline_nano=baseline_nano,
            runner_up_nano=nano_ceil(decision.runner_up_pico),
            ttft_ms=ttft_ms,
            total_ms=total_ms,
            snapshot=self.snapshot,
            unit=self.orders.unit,
            choices=self.facts.choices,
            max_output=self.facts.max_output or 0,
            budgets=() if self.hold is None else self.hold.budgets,
            limits=counted(self.hold, self.at_ms),
            effort=option.effort,
            task=self.facts.task,
            warm_tokens=decision.warm_tokens,
            units=usage.units,
        )

    def tell(self, error: str | None = None) -> None:
        """Tell the listeners of the row. Does nothing a second time, nor without a row."""
        row = self.row
        if row is None or self._told:
            return
        self._told = True
        for listener in self._desk.listeners:
            listener.on_row(row, error)

    async def settle_counted(
        self, texts: Sequence[str], *, outcome: Outcome, status: int, error: RouterError | None = None
    ) -> Row:
        """Book our own count of the prompt and of what came back: no meters came that could be believed.

        Where counting is broken off, nothing is booked; `settle_estimated` then must be called.
        """
        work = self.facts.work
        if work is not None and not is_known(self.decision.option, work):
            return self.settle_estimated(outcome=outcome, status=status, error=error)
        asked = self.request.shape.texts
        counts = await self._desk.counter.count([*asked, *texts])
        prompt = sum(counts[: len(asked)]) + self.request.ready_tokens
        output = sum(counts[len(asked) :])
        option = self.decision.option
        usage = Usage(
            prompt_tokens=prompt_tokens(option, self.facts, prompt),
            completion_tokens=-(-output * option.ratio_ppm // 1_000_000),
        )
        if work is not None:
            usage = expected(option, work, usage.prompt_tokens, usage.completion_tokens)
        return self.settle(usage, outcome=outcome, status=status, certainty="counted", error=error)

    def settle_estimated(self, *, outcome: Outcome, status: int, error: RouterError | None = None) -> Row:
        """Book what was expected: it was sent, and nothing is known of what came of it."""
        return self.settle(self._expected(), outcome=outcome, status=status, certainty="estimated", error=error)

    def _expected(self) -> Usage:
        return Usage(
            prompt_tokens=self.decision.prompt_tokens,
            completion_tokens=self.decision.output_tokens * self.facts.choices,
            units=self.decision.units,
        )

    def headers(self) -> Headers:
        """What the caller is told in headers; the cost itself only once the row is there."""
        decision, option, row = self.decision, self.decision.option, self.row
        found = [
            ("x-request-id", self.request_id),
            ("x-costrouter-request-id", self.request_id),
            ("x-costrouter-model", option.model),
            ("x-costrouter-provider", option.provider),
            ("x-costrouter-tier", option.tier if row is None else row.tier),
            ("x-costrouter-policy", decision.policy),
            ("x-costrouter-rule", decision.rule),
            ("x-costrouter-attempts", str(self.number)),
            ("x-costrouter-estimated-cost-usd", usd(nano_ceil(decision.expected_pico))),
        ]
        if row is not None:
            found.append(("x-costrouter-cost-usd", usd(row.cost_nano)))
        baseline_nano = nano_ceil(decision.baseline_pico) if row is None else row.baseline_nano
        found.append(("x-costrouter-baseline-cost-usd", usd(baseline_nano)))
        if option.effort:
            found.append(("x-costrouter-effort", option.effort))
        if (hold := self.hold) is not None and hold.terms.limits:
            found += limit_headers((limit, self._desk.ledger.counted(limit)) for limit in hold.terms.limits)
        if self.way.inbound.id_header:
            found.append((self.way.inbound.id_header, self.request_id))
        if self.clamped is not None:
            found.append(("x-costrouter-max-tokens-clamped", str(self.clamped)))
        if decision.could_have_pico is not None:
            found.append(("x-costrouter-could-have-cost-usd", usd(nano_ceil(decision.could_have_pico))))
        return found

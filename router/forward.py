"""The one place where a request is tried again: same candidate, next candidate, or the honest last error.

Belongs here: the order of attempts of one request. Part of the pipeline's layer. Does not belong here: what an error
says about going on (core/forwarding/forwarding.py), one attempt's exchange (exchange.py) and its reservation (reserving.py).
After the first byte has gone to the caller nothing is tried again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from router.attempt import Attempt
from router.bounds import Bounds
from router.considered import Considered, decided
from router.core.budgets.limit_words import limit_refusal
from router.core.deciding.decide import Decision, Plan, decide
from router.core.deciding.explain import refusal
from router.core.deciding.variants import WAITS
from router.core.errors import RouterError
from router.core.forwarding.forwarding import Forwarding, Step, Trial, after, entries_of, most_attempts, without
from router.core.forwarding.hedging import Hedge, Shares, delay_ms
from router.core.values import Identity
from router.desk import Desk
from router.exchange import Exchange, Reply
from router.hedging import Race
from router.ports import ProviderLink, Timeouts
from router.queueing import Lines
from router.reserving import reserve

if TYPE_CHECKING:
    from router.ports import UpstreamRequest

SDK_RETRY: Final = "x-stainless-retry-count"
"""How often the official SDKs have tried this request before. They wait themselves, so such a request gets one attempt and one
elsewhere: three attempts of ours for each of three of theirs would be nine."""
SETTLING_S: Final = 0.06
"""How long a failed attempt's hold may take to be freed: after this, one that found no room is asked for once more."""


def _never() -> bool:
    return False


class Call(msgspec.Struct, frozen=True):
    """One request as the server hands it over. Header names are looked up in lower case."""

    api: str
    """Which of `INBOUND` it speaks."""
    headers: Mapping[str, str]
    read: Callable[[], Awaitable[bytes]]
    """The body; asked for only once the key is known."""
    request_id: str
    gone: Callable[[], bool] = _never
    """Whether the caller has hung up meanwhile."""
    identity: Identity | None = None
    """Who calls, where that is known already: the headers then say nothing of it, and it is answered at once."""
    stays: str = ""
    """The catalog entry that it is meant for, where the policy lets it be chosen; "" leaves the choice open."""


class Admitted:
    """A request whose first attempt is reserved, and how it stands since."""

    __slots__ = ("attempt", "began", "bounds", "call", "counted", "plan", "probing", "same", "seen", "sending", "tried")

    def __init__(self, call: Call, seen: Considered, bounds: Forwarding, began: float) -> None:
        self.call = call
        self.seen = seen
        self.plan = seen.route.plan
        self.bounds = bounds
        self.began = began
        self.attempt: Attempt
        self.sending: UpstreamRequest
        self.same = 1
        """Attempts on the candidate that is tried now."""
        self.tried: set[str] = set()
        self.counted: frozenset[str] = frozenset()
        self.probing = False
        """Whether the attempt under way is a probe of a breaker that is half open."""


class Forwarder:
    """Makes attempts until one answers, or none is left that makes sense.

    Args:
        desk: the ports that attempts use.
        exchange: performs one.
        bounds: for policies that state none of their own.
        draw: random numbers, 0 ≤ n < 1, for jitter.
        pause: waits so many seconds.
    """

    def __init__(
        self,
        desk: Desk,
        exchange: Exchange,
        *,
        bounds: Forwarding,
        draw: Callable[[], float] = random.random,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._desk = desk
        self._exchange = exchange
        self._bounds = Bounds(bounds)
        self._draw = draw
        self._pause = pause
        self._shares = Shares()
        self.leaving: set[asyncio.Task[None]] = set()
        """Attempts that another one has outrun, until they are over."""
        self.trace: Callable[[str, int, UpstreamRequest], UpstreamRequest] | None = None
        """Sees what is about to be sent, by request and number, and may mark it; None where nobody traces."""
        self.lines = Lines(desk.clock, pause)
        """Requests that wait for room under a limit."""

    async def admit(self, call: Call, seen: Considered) -> Admitted:
        """Reserve the first attempt; where a budget has no room, with the model that the policy names for that.

        Raises:
            RouterError: nothing can be sent.
        """
        plan, decision = seen.route.plan, seen.decision
        if decision is None:
            self._note(call, seen, None)
            raise self._refusal(plan, seen)
        bounds = self._bounds.of(plan.forwarding)
        admitted = Admitted(call, seen, bounds, self._desk.clock.monotonic())
        try:
            await (self._next if bounds.queue is None else self._first)(admitted, decision)
        except RouterError as refused:
            if refused.code != "budget_exceeded" or plan.exhausted is None:
                raise
            admitted.seen, instead = decided(seen, plan.exhausted)
            if instead is None or instead.option is decision.option:
                raise
            admitted.plan = plan.exhausted
            await self._first(admitted, instead)
            self._note(call, admitted.seen, instead, exhausted=True)
            return admitted
        self._note(call, admitted.seen, decision)
        return admitted

    async def _first(self, admitted: Admitted, decision: Decision) -> None:
        """Reserve the first attempt; where the policy lets requests wait for room under a limit, wait."""
        queue = admitted.bounds.queue
        if queue is None:
            await self._next(admitted, decision)
            return
        seen, refused = admitted.seen, self._in_line(admitted.seen, decision)
        if refused is None:
            try:
                await self._next(admitted, decision)
            except RouterError as error:
                refused = error
            else:
                return
        await self.lines.wait(
            refused,
            queue,
            key=seen.identity.key,
            tags=seen.orders.tags,
            gone=admitted.call.gone,
            attempt=lambda: self._next(admitted, decision),
        )

    def _in_line(self, seen: Considered, decision: Decision) -> RouterError | None:
        """The refusal of whoever would overtake those that wait already."""
        if not self.lines.waiting:
            return None
        who, option, ledger = seen.identity, decision.option, self._desk.ledger
        dims = (who.team, who.app, who.key, seen.request.user, option.model, option.provider, seen.orders.tags)
        limits = self._desk.budgets.terms(who.tenant, dims, ledger.store_ms()).limits
        ahead = next((limit for limit in limits if limit.id in self.lines), None)
        return None if ahead is None else limit_refusal(ahead, ledger.counted(ahead), 1, 1)

    def _note(self, call: Call, seen: Considered, decision: Decision | None, *, exhausted: bool = False) -> None:
        if (log := self._desk.decisions) is not None:
            log.made(seen.made(call.request_id, self._desk.ledger.store_ms(), decision, exhausted=exhausted))

    async def forward(self, admitted: Admitted) -> Reply:
        """Send, and go on until something answers.

        Raises:
            RouterError: the last attempt's error; rows of all of them are queued.
        """
        while True:
            try:
                hedge = admitted.bounds.hedge
                if hedge is None:
                    return await self._exchange.run(admitted.attempt, admitted.sending, admitted.call.gone)
                return await self._raced(admitted, hedge)
            except RouterError as error:
                error.attempts = admitted.attempt.number
                failed = error
            decision = await self._after(admitted, failed)
            if decision is None:
                raise failed
            try:
                await self._again(admitted, decision, admitted.attempt.number + 1)
            except RouterError:
                # What stands in the way now is not why the request failed.
                raise failed from None

    async def _raced(self, admitted: Admitted, hedge: Hedge) -> Reply:
        """As one attempt, with another beside it should it be slow."""
        first = admitted.attempt
        self._shares.asked(hedge)
        delay = delay_ms(
            hedge, first.decision.option, stream=first.request.stream, output_tokens=first.decision.output_tokens
        )
        race = Race(self._exchange, admitted, self.leaving)
        try:
            reply = await race.run(delay / 1000, lambda: self._second(admitted, hedge))
        except RouterError:
            if admitted.attempt is not first:
                # Two candidates have failed: which of them did so last does not make it the one to ask again.
                admitted.same = admitted.bounds.same + 1
            raise
        admitted.attempt = reply.attempt or admitted.attempt
        return reply

    async def _second(self, admitted: Admitted, hedge: Hedge) -> bool:
        """Reserve an attempt at the next candidate beside the one under way, if there is one and the bounds allow it."""
        first, bounds = admitted.attempt, admitted.bounds
        late = (self._desk.clock.monotonic() - admitted.began) * 1000 > bounds.within_ms
        if late or first.number >= bounds.attempts or self._retried(admitted) or admitted.call.gone():
            return False
        admitted.tried.add(first.decision.option.entry)
        other = self._other(admitted)
        if other is None or not self._shares.taken(hedge):
            return False
        try:
            await self._next(admitted, other, first.number + 1)
        except RouterError:
            return False  # there is no room for it, and the first is still under way
        return True

    def _retried(self, admitted: Admitted) -> bool:
        return admitted.call.headers.get(SDK_RETRY, "0") not in ("", "0")

    async def _after(self, admitted: Admitted, error: RouterError) -> Decision | None:
        """Wait as long as makes sense; the next attempt's decision, or None for the end."""
        admitted.tried.add(admitted.attempt.decision.option.entry)
        other = self._another(admitted)
        step = self._step(admitted, error, others=other is not None)
        ours = admitted.seen.own is None
        if step.act == "stop" and error.code == "upstream_billing" and other is not None and ours:
            # By now nobody is sent to that account any more: another try comes to somebody else.
            error.retryable = True
        if step.act == "stop" or admitted.call.gone():
            return None
        if step.wait_ms:
            await self._pause(step.wait_ms / 1000)
            if admitted.call.gone():
                return None
        if step.act == "other":
            admitted.same = 1
            return other
        admitted.same += 1
        return admitted.attempt.decision

    def _another(self, admitted: Admitted) -> Decision | None:
        """The next candidate. Where two of a provider's have failed, or one attempt is left, it is somebody else's if any is:
        what ails a provider mostly ails all of its models.
        """
        provider = admitted.attempt.link.name
        last = admitted.attempt.number + 1 >= most_attempts(admitted.bounds, again=self._retried(admitted))
        other = self._other(admitted)
        if other is None or other.option.provider != provider:
            return other
        own = entries_of(admitted.plan, provider)
        if not last and len(own & admitted.tried) < 2:
            return other
        admitted.seen, elsewhere = decided(admitted.seen, without(admitted.plan, admitted.tried | own))
        return elsewhere or other

    def _step(self, admitted: Admitted, error: RouterError, *, others: bool) -> Step:
        trial = Trial(
            code=error.code,
            attempts=admitted.attempt.number,
            same=admitted.same,
            others=others,
            elapsed_ms=round((self._desk.clock.monotonic() - admitted.began) * 1000),
            retry_after_ms=None if error.retry_after_s is None else round(error.retry_after_s * 1000),
            failing=self._desk.ways.failing(admitted.attempt.link, admitted.attempt.decision.option.model),
            probing=admitted.probing,
            again=self._retried(admitted),
        )
        return after(trial, admitted.bounds, self._draw())

    async def _again(self, admitted: Admitted, decision: Decision, number: int) -> None:
        try:
            await self._next(admitted, decision, number)
        except RouterError as error:
            if error.code not in ("budget_exceeded", "rate_limited"):
                raise
            # It may be the failed attempt's own hold that is in the way.
            await self._pause(SETTLING_S)
            await self._next(admitted, decision, number)

    def _other(self, admitted: Admitted) -> Decision | None:
        admitted.seen, decision = decided(admitted.seen, without(admitted.plan, admitted.tried))
        return decision

    def _refusal(self, plan: Plan, seen: Considered) -> RouterError:
        """Nothing may be chosen: because of the request, or because all that could serve it may not be called now."""
        could = None if plan.whole is None else decide(plan.whole, seen.facts, seen.route.baseline)
        return refusal(plan, seen.facts) if could is None else self._shut(could, plan.shut.get(could.option.entry, ""))

    def _shut(self, could: Decision, why: str) -> RouterError:
        option = could.option
        wait_ms = self._desk.ways.wait_ms(option.provider, option.model) or 1_000
        return RouterError(
            "upstream_unavailable",
            f"{option.model} at {option.provider} {why or 'is about to refuse: its rate has run out'}, and nothing else "
            "that the policy allows can serve this request now.",
            retry_after_s=wait_ms / 1000,
            details={"provider": option.provider},
        )

    def _way(self, admitted: Admitted, decision: Decision) -> tuple[Decision, ProviderLink]:
        """The decision, or the next one that a key may be used for, and that key."""
        ways, first = self._desk.ways, decision
        while True:
            option = decision.option
            tokens = decision.prompt_tokens + decision.output_tokens
            own = admitted.seen.own
            if own is None:
                link = ways.link(option.provider, option.model, tokens)
            else:
                link = own if ways.open(own, option.model) else None
            leaves = link is None or (ways.failing(link, option.model) and self._retried(admitted))
            if leaves:
                admitted.tried.add(option.entry)
            other = self._other(admitted) if leaves else None
            if other is not None:
                decision = other
            elif link is not None:
                admitted.probing = ways.probing(link, option.model)
                return decision, link
            else:
                raise self._shut(first, "")

    async def _next(self, admitted: Admitted, decision: Decision, number: int = 1) -> None:
        """Reserve an attempt of its own, at its own price."""
        decision, link = self._way(admitted, decision)
        seen = admitted.seen
        attempt = seen.attempt(
            self._desk,
            decision,
            link,
            request_id=admitted.call.request_id,
            number=number,
            stops=seen.route.plan.stops_streams,
            counted=admitted.counted,
        )
        timeouts = self._bounded(link, admitted, waits=decision.option.tier in WAITS)
        admitted.sending = await reserve(attempt, self._desk, timeouts, clamps=seen.route.plan.clamp)
        if self.trace is not None:
            admitted.sending = self.trace(attempt.request_id, attempt.number, admitted.sending)
        admitted.attempt = attempt
        if attempt.hold is not None and attempt.hold.terms.limits:
            # A request counts once against a limit on requests, however often it is tried.
            admitted.counted |= {limit.id for limit in attempt.hold.terms.limits}

    def _bounded(self, link: ProviderLink, admitted: Admitted, *, waits: bool) -> Timeouts:
        """The time that an exchange may take: the policy's, else the provider's; all attempts within one total."""
        stream = admitted.seen.request.stream
        found = self._bounds.timeouts(link, admitted.bounds, stream=stream, waits=waits)
        if not admitted.tried:
            return found
        left = max(found.total - (self._desk.clock.monotonic() - admitted.began), 0.001)
        return msgspec.structs.replace(found, total=left, first_byte=min(found.first_byte, left))

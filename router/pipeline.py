"""The stages of a request, in order. Orchestration only: each stage asks a pure function or a port.

    authenticate → describe → decide → reserve → forward → meter → settle → report

Belongs here: the order of things and what happens when one fails. Does not belong here: wire formats (dialects/),
choices (core/decide.py), one attempt's figures (attempt.py), sockets and files (adapters/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from router.attempt import Attempt, Desk, Headers
from router.considered import Considered, in_time, tried, wish_of
from router.core.budget_words import budget_refusal
from router.core.decide import Decision, decide
from router.core.delegation import on_behalf
from router.core.errors import RouterError
from router.core.explain import refusal
from router.core.rights import MAY, refused
from router.core.snapshot import Snapshot
from router.core.values import Identity, Outcome, Usage
from router.core.variants import WAITS
from router.dialects.described import counted, facts_of
from router.dialects.openai_errors import provider_error
from router.dialects.orders import read_orders
from router.dialects.ways import INBOUND, way
from router.ports import (
    BudgetExceeded,
    JournalUnavailable,
    Keys,
    PartStream,
    PeriodOver,
    ProviderLink,
    StoreUnavailable,
    Upstream,
    UpstreamFailure,
    UpstreamRequest,
)
from router.streaming import AnswerStream, broken

if TYPE_CHECKING:
    from router.ports import UpstreamResponse

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
HOLD_GRACE_MS: Final = 1_000
"""A reservation that reaches the store later than this after it was asked for is refused there."""
PATIENCE_S: Final = 900.0
"""How long a tier may take whose provider answers when it has room (OpenAI's guide to flex: 15 minutes)."""
RESERVATIONS: Final = 5
"""Most calls for one reservation: a budget period may end just now, or a smaller answer be asked for."""
_SENDERS: Final = MAY["prompt"]
_FAULTS: Final = {"connect": "upstream_unreachable", "tls": "upstream_unreachable", "timeout": "upstream_timeout"}
"""What a caller is told of an exchange that broke before or while a whole answer was read; else `broken` says."""


def _nothing() -> None:
    pass


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


class Reply(msgspec.Struct, frozen=True):
    """What to send back: a whole body, or the first part of a stream and the stream it goes on with."""

    headers: Headers
    body: bytes
    stream: PartStream | None = None
    after: Callable[[], None] = _nothing
    """To be called once a whole body is written, or cannot be: what the caller need not wait for."""
    status: int = 200


class Deferral(Protocol):
    """Who takes requests that may wait."""

    async def take(self, call: Call, identity: Identity, seen: Considered, body: bytes) -> Reply | None:
        """An answer, or a promise of one; None for what is best answered at once. Raises `RouterError`."""


class Pipeline:
    """Serves requests. ``snapshot`` is replaced from outside whenever the world has changed."""

    def __init__(
        self, *, keys: Keys, upstream: Upstream, desk: Desk, links: Mapping[str, ProviderLink], snapshot: Snapshot
    ) -> None:
        self._keys = keys
        self._upstream = upstream
        self._desk = desk
        self._links = links
        self._leaving: set[asyncio.Task[None]] = set()
        self.snapshot = snapshot
        self.deferral: Deferral | None = None
        """Takes what may wait; without one everything is answered at once."""

    async def serve(self, call: Call) -> Reply:
        """Answer one call.

        Raises:
            RouterError: nothing was or could be delivered; rows for whatever was sent are queued.
        """
        identity: Identity | None = None
        try:
            identity = call.identity or await self.authenticate(call.headers)
            body = await self._body(call, identity)
            seen = await self.consider(call.api, identity, call.headers, body, request_id=call.request_id)
            if (
                self.deferral is not None
                and call.identity is None
                and (seen.orders.deadline or "prefer" in call.headers)
            ):
                deferred = await self.deferral.take(call, identity, seen, body)
                if deferred is not None:
                    return deferred
            attempt, sending = await self._admit(call, seen)
        except RouterError as error:
            for listener in self._desk.listeners:
                listener.on_refusal(INBOUND[call.api].endpoint, error.code, identity)
            raise
        try:
            response = await self._forward(attempt, sending)
            return await self._deliver(attempt, response, call.gone)
        except BaseException as failure:
            # Whatever it was, it may have been sent: the books must say so. A row that stands already is kept.
            left = isinstance(failure, asyncio.CancelledError)
            attempt.settle_estimated(
                outcome="client_left" if left else "upstream_interrupted", status=499 if left else 500
            )
            raise

    def abandon(self, stream: PartStream) -> None:
        """A stream's caller has gone; what is left to do goes on without them."""
        task = asyncio.get_running_loop().create_task(stream.abandon())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self, bound_s: float) -> None:
        """Wait, at most this long, for streams whose callers have gone; then settle them as they stand."""
        for task in self._leaving:
            asyncio.get_running_loop().call_later(bound_s, task.cancel)
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def authenticate(self, headers: Mapping[str, str]) -> Identity:
        """Who calls: by ``Authorization: Bearer`` or ``x-api-key``."""
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            secret = headers.get("x-api-key", "")
        secret = secret.strip()
        if not secret:
            raise RouterError("invalid_api_key", "Send the key as `Authorization: Bearer KEY`; none came.")
        try:
            identity = await self._keys.identify(secret)
        except StoreUnavailable:
            raise _store_unavailable() from None
        if identity is None:
            raise RouterError("invalid_api_key", "This key is not known here. Provider keys are not router keys.")
        return identity

    async def consider(
        self,
        api: str,
        identity: Identity,
        headers: Mapping[str, str],
        body: bytes,
        *,
        request_id: str = "",
        deadline_ms: int | None = None,
        exact: bool = False,
    ) -> Considered:
        """Describe and decide, and do nothing: what an estimate shows and what `serve` goes by.

        Args:
            api: which of `INBOUND` it speaks.
            identity: as the key says; what it delegates to headers is seen to here.
            headers: the caller's.
            body: the caller's.
            request_id: what canaries and probes go by where the caller names neither session nor user.
            deadline_ms: time that is left; by default, what the caller orders.
            exact: whether short prompts are to be counted even where no count would change the choice.
        """
        inbound = INBOUND[api]
        request = inbound.read(body, headers)
        orders = read_orders(headers, request.own)
        if orders.claims:
            identity, user = on_behalf(identity, orders.claims)
            request = msgspec.structs.replace(request, user=user) if user else request
        counter, snapshot = self._desk.counter, self.snapshot
        facts = facts_of(
            inbound.endpoint,
            inbound.path,
            request,
            orders,
            count_now=counter.count_now,
            known=counter.known,
            glances=not exact,
            tasks=snapshot.by_task or orders.quality_milli is not None,
        )
        if orders.deadline or deadline_ms is not None:
            facts = in_time(facts, orders, self._desk.ledger.store_ms(), deadline_ms)
        wish = wish_of(orders, identity, request.user, request_id)
        route = snapshot.route(facts, wish)
        decision = tried(route, facts)
        if not facts.tokens.exact and (route.doubtful or decision is None or not decision.certain):
            facts = counted(facts, request, await counter.count(request.shape.texts))
            if route.doubtful:
                route = snapshot.route(facts, wish)
            decision = tried(route, facts)
        return Considered(inbound, request, orders, facts, route, decision, snapshot, identity)

    async def _body(self, call: Call, identity: Identity) -> bytes:
        if identity.role not in _SENDERS:
            raise RouterError("not_allowed", refused(identity.role, "prompt"))
        return await call.read()

    async def _admit(self, call: Call, seen: Considered) -> tuple[Attempt, UpstreamRequest]:
        """Reserve; where a budget has no room, with the model that the policy names for that."""
        plan, decision = seen.route.plan, seen.decision
        if decision is None:
            self._note(call, seen, None)
            raise refusal(plan, seen.facts)
        attempt = self._attempt(call, seen, decision)
        try:
            sending = await self._reserve(attempt, clamps=plan.clamp)
        except RouterError as full:
            if full.code != "budget_exceeded" or plan.exhausted is None:
                raise
            instead = decide(plan.exhausted, seen.facts, seen.route.baseline)
            if instead is None or instead.option is decision.option:
                raise
            attempt = self._attempt(call, seen, instead)
            sending = await self._reserve(attempt, clamps=plan.clamp)
            self._note(call, seen, instead, exhausted=True)
            return attempt, sending
        self._note(call, seen, decision)
        return attempt, sending

    def _note(self, call: Call, seen: Considered, decision: Decision | None, *, exhausted: bool = False) -> None:
        if (log := self._desk.decisions) is not None:
            log.made(seen.made(call.request_id, self._desk.ledger.store_ms(), decision, exhausted=exhausted))

    def _attempt(self, call: Call, seen: Considered, decision: Decision) -> Attempt:
        link = self._links[decision.option.provider]
        return Attempt(
            self._desk,
            request_id=call.request_id,
            identity=seen.identity,
            orders=seen.orders,
            request=seen.request,
            facts=seen.facts,
            decision=decision,
            link=link,
            snapshot=seen.snapshot.id,
            way=way(seen.inbound.api, link.dialects),
            stops=seen.route.plan.stops_streams,
        )

    async def _reserve(self, attempt: Attempt, *, clamps: bool) -> UpstreamRequest:
        """Set the money aside; what is to be sent is put together while the store is at it."""
        over_ms = 0
        for _ in range(RESERVATIONS):
            try:
                reservation = attempt.reserve(HOLD_GRACE_MS, over_ms)
            except StoreUnavailable:
                raise _store_unavailable() from None
            try:
                sending = _to_send(attempt)
                attempt.at_ms = await reservation
            except StoreUnavailable:
                raise _store_unavailable() from None
            except PeriodOver as over:
                over_ms = over.now_ms
            except BudgetExceeded as no:
                hard = no.term.budget.mode == "hard"
                if not (clamps and hard and attempt.clamped is None and attempt.clamp()):
                    now_ms = self._desk.ledger.store_ms()
                    raise budget_refusal(no.term, no.spent_nano, no.held_nano, no.amount_nano, now_ms) from None
            except BaseException:
                attempt.call_off(reservation)
                raise
            else:
                return sending
        raise _store_unavailable()

    async def _forward(self, attempt: Attempt, sending: UpstreamRequest) -> UpstreamResponse:
        """Send it; returns with a 200 head, or books a row and raises."""
        link = attempt.link
        try:
            attempt.sending()
        except JournalUnavailable:
            message = "What is sent cannot be written down at the moment, so nothing was sent; try again."
            error = RouterError("journal_unavailable", message, retry_after_s=1)
            attempt.release(error)
            raise error from None
        try:
            response = await self._upstream.send(sending)
        except UpstreamFailure as failure:
            raise self._failed(attempt, failure) from None
        if response.status == 200:
            return response
        try:
            body = await response.read(MAX_ANSWER_BYTES)
        except UpstreamFailure:
            body = b""
        finally:
            response.close()
        error = provider_error(
            response.status,
            body,
            response.headers.get("retry-after"),
            provider=link.name,
            model=attempt.decision.option.model,
        )
        # A provider bills no error answer: the meters are known to be zero.
        attempt.settle(Usage(0), outcome="upstream_error", status=response.status, certainty="metered", error=error)
        raise error

    async def _deliver(self, attempt: Attempt, response: UpstreamResponse, gone: Callable[[], bool]) -> Reply:
        if attempt.request.stream and response.headers.get("content-type", "").startswith("text/event-stream"):
            stream = AnswerStream(attempt, response, gone)
            try:
                first = await stream.first_part()
            except BaseException:
                response.close()
                raise
            return Reply(headers=[*attempt.headers(), ("content-type", "text/event-stream")], body=first, stream=stream)
        try:
            body = await response.read(MAX_ANSWER_BYTES)
        except UpstreamFailure as failure:
            raise self._failed(attempt, failure) from None
        finally:
            response.close()
        answers = attempt.way.outbound
        usage = attempt.believed(answers.usage_of(body), lambda: any(answers.answered_text(body)))
        # A plain answer is read to its end whoever waits for it: what it cost is known only then.
        outcome: Outcome = "client_left" if gone() else "ok"
        if usage is not None:
            attempt.settle(usage, outcome=outcome, status=200, certainty="metered", later=True)
        elif answers.is_answer(body):
            await attempt.settle_counted(answers.answered_text(body), outcome=outcome, status=200)
        else:
            error = RouterError("upstream_bad_response", f"{attempt.link.name} answered 200 with something unreadable.")
            attempt.settle_estimated(outcome="upstream_error", status=200, error=error)
            raise error
        content_type = response.headers.get("content-type", "application/json")
        return Reply(headers=[*attempt.headers(), ("content-type", content_type)], body=body, after=attempt.tell)

    def _failed(self, attempt: Attempt, failure: UpstreamFailure) -> RouterError:
        code = _FAULTS.get(failure.fault)
        error = RouterError(code, failure.message) if code else broken(failure)
        if failure.sent:
            attempt.settle_estimated(outcome="upstream_interrupted", status=error.status, error=error)
        else:
            attempt.release(error)
        return error


def _to_send(attempt: Attempt) -> UpstreamRequest:
    link, timeouts, option = attempt.link, attempt.link.timeouts, attempt.decision.option
    if option.tier in WAITS:
        patient = max(timeouts.total, PATIENCE_S)
        timeouts = msgspec.structs.replace(timeouts, first_byte=patient, total=patient)
    if not attempt.request.stream:
        # The head of a plain answer comes when the whole of it has been written.
        timeouts = msgspec.structs.replace(timeouts, first_byte=timeouts.total)
    order = attempt.way.order(attempt.request, attempt.decision, link.quirks)
    return UpstreamRequest(
        origin=link.origin,
        method="POST",
        path=order.path,
        headers=(*link.headers, *order.headers) if order.headers else link.headers,
        body=order.body,
        timeouts=timeouts,
    )


def _store_unavailable() -> RouterError:
    return RouterError(
        "store_unavailable", "The ledger does not answer, so nothing was sent; try again.", retry_after_s=1
    )

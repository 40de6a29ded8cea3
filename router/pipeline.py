"""The stages of a request, in order. Orchestration only: each stage asks a pure function or a port.

    authenticate → describe → decide → reserve → forward → meter → settle → report

Belongs here: the order of things and what happens when one fails. Does not belong here: wire formats (dialects/),
choices (core/deciding/decide.py), one attempt's figures (attempt.py), sockets and files (adapters/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from router.caching import Caching
from router.considered import Considered, budgeted, claimed, in_time, prompt_size, tasked, translates, tried, wish_of
from router.core.access.rights import MAY, refused
from router.core.deciding.hints import cheaper
from router.core.deciding.snapshot import Route, Snapshot
from router.core.deciding.staying import staying
from router.core.density import Densities
from router.core.errors import RouterError
from router.core.values import Identity
from router.desk import Desk
from router.dialects.described import counted, facts_of, wholly
from router.dialects.orders import PREFIX, read_orders
from router.dialects.ways import INBOUND
from router.exchange import Reply
from router.forward import Admitted, Call, Forwarder
from router.memory import Memory, Pin, unknown
from router.ports import Deferral, Keys, OwnKeys, PartStream, ProviderLink, StoreUnavailable
from router.reserving import store_unavailable

if TYPE_CHECKING:
    from router.core.deciding.decide import Facts
    from router.core.policy.governing import Wish
    from router.dialects.contract import Inbound
    from router.dialects.request import Request
    from router.once import Once
    from router.prefixes import Prefixes

__all__ = ["Call", "Considered", "Pipeline", "Reply"]

_SENDERS: Final = MAY["prompt"]
PROVIDER: Final = f"{PREFIX}provider"
"""The header by which a caller says whose key they bring."""


class Pipeline:
    """Serves requests. ``snapshot`` is replaced from outside whenever the world has changed."""

    def __init__(self, *, keys: Keys, desk: Desk, forwarder: Forwarder, snapshot: Snapshot) -> None:
        self._keys = keys
        self._desk = desk
        self._forwarder = forwarder
        self._leaving: set[asyncio.Task[None]] = set()
        self._densities = Densities()
        self.snapshot = snapshot
        self.deferral: Deferral | None = None
        """Takes what may wait; without one everything is answered at once."""
        self.own_keys: OwnKeys | None = None
        """Providers whose own keys callers may bring; without it, none."""
        self.memory: Memory | None = None
        """Remembers responses; without it, none is kept and nobody can go on from one."""
        self.caching: Caching | None = None
        """Gives answers again where the policy has a cache."""
        self.prefixes: Prefixes | None = None
        """Knows which prompts' beginnings providers keep; without it, all are taken to be new."""
        self.once: Once | None = None
        """Serves requests with an idempotency key; without it, such a key means nothing."""

    async def serve(self, call: Call) -> Reply:
        """Answer one call.

        Raises:
            RouterError: nothing was or could be delivered; rows for whatever was sent are queued.
        """
        identity, own = call.identity, None
        try:
            if identity is None:
                identity, own = await self.caller(call.headers)
            body = await self._body(call, identity)
            seen = await self.consider(
                call.api, identity, call.headers, body, request_id=call.request_id, own=own, stays=call.stays
            )
            # Nobody has vouched for a key that was brought: only its provider's answer does.
            asked = None if self.caching is None or own is not None else self.caching.question(call, seen)
            if asked is not None and (kept := await asked.caching.find(asked, call, seen)) is not None:
                return kept
            if (
                self.deferral is not None
                and call.identity is None
                and own is None
                and (seen.request.work is None or seen.inbound.outbound is None)
                and (seen.orders.deadline or seen.request.background or "prefer" in call.headers)
            ):
                deferred: Reply | None = await self.deferral.take(call, identity, seen, body)
                if deferred is not None:
                    return deferred
            admitted = await self._forwarder.admit(call, seen)
        except RouterError as error:
            for listener in self._desk.listeners:
                listener.on_refusal(INBOUND[call.api].endpoint, error.code, identity)
            raise
        reply = await self._forwarder.forward(admitted)
        if seen.request.stored and self.memory is not None:
            reply = await self.memory.kept(reply, seen)
        if hint := self._cheaper(seen):
            reply.headers.append(("x-costrouter-could-be-cheaper", hint))
        if asked is not None:
            reply = asked.caching.kept(asked, reply)
        return self._explained(reply, admitted) if seen.orders.explain else reply

    def _cheaper(self, seen: Considered) -> str:
        """What of a deadline or another tier would have cost less, in a few words; "" for nothing."""
        hint = "" if self.deferral is None or seen.orders.deadline else self.deferral.hint(seen)
        return hint or (cheaper(seen.decision, seen.facts) if seen.decision and seen.decision.hint else "")

    def _explained(self, reply: Reply, admitted: Admitted) -> Reply:
        """The answer with why it was decided so; attempts after the first go by the same plan."""
        seen, streamed, now_ms = admitted.seen, reply.stream is not None, self._desk.ledger.store_ms()
        if seen.request.sound or not (streamed or reply.body.lstrip().startswith(b"{")):
            return reply  # there is no place for it in sound, nor in subtitles
        used = admitted.attempt.decision if admitted.plan is not seen.route.plan else None
        body = seen.explains(reply.body, streamed=streamed, at_ms=now_ms, used=used)
        return msgspec.structs.replace(reply, body=body)

    @property
    def queued(self) -> int:
        """How many requests wait for room under a limit."""
        return self._forwarder.lines.waiting

    def abandon(self, stream: PartStream) -> None:
        """A stream's caller has gone; what is left to do goes on without them."""
        task = asyncio.get_running_loop().create_task(stream.abandon())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self, bound_s: float) -> None:
        """Wait, at most this long, for streams whose callers have gone; then settle them as they stand."""
        leaving = self._leaving | self._forwarder.leaving
        for task in leaving:
            asyncio.get_running_loop().call_later(bound_s, task.cancel)
        await asyncio.gather(*leaving, return_exceptions=True)
        if self.caching is not None:
            await self.caching.close()

    async def authenticate(self, headers: Mapping[str, str]) -> Identity:
        """Who calls, by a key of ours: in ``Authorization: Bearer`` or ``x-api-key``."""
        identity, own = await self.caller(headers)
        if own is not None:
            message = f"This needs a key of the router's: one of {own.name}'s may send prompts, and no more."
            raise RouterError("not_allowed", message)
        return identity

    async def caller(self, headers: Mapping[str, str]) -> tuple[Identity, ProviderLink | None]:
        """Who calls, and the way to the provider whose own key they bring, if that is what they do."""
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            secret = headers.get("x-api-key", "")
        secret = secret.strip()
        if not secret:
            raise RouterError("invalid_api_key", "Send the key as `Authorization: Bearer KEY`; none came.")
        try:
            identity = await self._keys.identify(secret)
        except StoreUnavailable:
            raise store_unavailable() from None
        if identity is None:
            brought = None if self.own_keys is None else self.own_keys(secret, headers.get(PROVIDER, ""))
            if brought is None:
                raise RouterError("invalid_api_key", "This key is not known here. Provider keys are not router keys.")
            return brought
        return identity, None

    async def consider(  # noqa: C901 - what is asked of a request, in order; each step is a call
        self,
        api: str,
        identity: Identity,
        headers: Mapping[str, str],
        body: bytes,
        *,
        request_id: str = "",
        deadline_ms: int | None = None,
        exact: bool = False,
        own: ProviderLink | None = None,
        stays: str = "",
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
            own: the way to the provider whose key the caller has brought: nobody else's models are chosen.
            stays: as `Call` has it.
        """
        inbound = INBOUND[api]
        request = inbound.read(body, headers)
        orders = read_orders(headers, request.own)
        if orders.claims or orders.provider:
            identity, user = claimed(identity, orders, own)
            request = msgspec.structs.replace(request, user=user) if user else request
        pin: Pin | None = None
        if request.recalls:
            request, pin, own = await self._remembered(identity, inbound, request, own)
        counter, snapshot = self._desk.counter, self.snapshot if own is None else self.snapshot.brought(own.name)
        facts = facts_of(
            inbound.endpoint,
            inbound.path,
            request,
            orders,
            count_now=counter.count_now,
            known=counter.known,
            glances=not exact,
            density=self._densities[identity.key],
            tasks=snapshot.by_task or orders.quality_milli is not None,
        )
        if exact:
            request, facts = wholly(inbound, request, facts)
        if orders.deadline or deadline_ms is not None:
            facts = in_time(facts, orders, self._desk.ledger.store_ms(), deadline_ms)
        wish = wish_of(orders, identity, request.user, request_id)
        facts = tasked(facts, orders, wish, snapshot)
        if self.prefixes is not None:
            facts = self.prefixes.seen(facts, request, snapshot.world, wish, request_id)
        if snapshot.governing.asks_budgets(facts.asked_model, wish):
            facts = await budgeted(facts, wish, identity, self._desk.budgets, self._desk.ledger.store_ms())
        route = _routed(snapshot, facts, wish, pin, stays)
        while True:
            decision = tried(route, facts)
            if not facts.tokens.exact and (route.doubtful or decision is None or not decision.certain):
                facts = counted(facts, request, await counter.count(request.shape.texts))
                if route.doubtful:
                    route = _routed(snapshot, facts, wish, pin, stays)
            elif request.conversation is None and translates(inbound, decision, snapshot):
                # What the other dialect cannot express may change the choice.
                request, facts = wholly(inbound, request, facts)
            else:
                return Considered(inbound, request, orders, facts, route, decision, snapshot, identity, own)

    async def _remembered(
        self, identity: Identity, inbound: Inbound, request: Request, own: ProviderLink | None
    ) -> tuple[Request, Pin | None, ProviderLink | None]:
        """The request with what it goes on from, or where it must go for that, and by which key."""
        if self.memory is None:
            if request.follows:
                raise unknown(request.follows, "previous_response_id")
            return msgspec.structs.replace(request, stored=False), None, own
        if not request.follows:
            return request, None, own
        request, pin = await self.memory.followed(identity, inbound, request, own)
        return request, pin, own if pin is None else pin.link

    async def prompt_size(self, seen: Considered) -> int:
        """Tokens of a prompt as the model that was chosen for it is expected to meter them."""
        return await prompt_size(seen, self._desk.counter)

    async def _body(self, call: Call, identity: Identity) -> bytes:
        if identity.role not in _SENDERS:
            raise RouterError("not_allowed", refused(identity.role, "prompt"))
        return await call.read()


def _routed(snapshot: Snapshot, facts: Facts, wish: Wish, pin: Pin | None, stays: str) -> Route:
    """The request's route; that of one that goes on from a kept answer leads to where that lies."""
    if pin is None:
        route = snapshot.route(facts, wish)
        return msgspec.structs.replace(route, plan=staying(route.plan, stays), instead=None) if stays else route
    try:
        route = snapshot.route(facts, wish)
    except RouterError as error:
        if error.code not in ("unknown_model", "model_not_allowed"):
            raise
        where = pin.link.name
        message = (
            f"What the request goes on from lies at {where}, and {facts.asked_model!r} cannot be had there: ask for a model of "
            f"{where}'s or for `auto`, or send the whole conversation without previous_response_id."
        )
        raise RouterError("no_feasible_model", message, param="previous_response_id") from None
    return msgspec.structs.replace(route, plan=staying(route.plan, pin.entry), instead=None)

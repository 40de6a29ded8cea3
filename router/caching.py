"""The cache of answers: the same question, by the same policy, is answered from what was kept, where the policy says so.

Belongs here: whose question counts as the same, what a kept answer is booked as, and keeping. Part of the pipeline's layer.
Does not belong here: what may be kept by what stands in it (dialects/cacheable), and idempotency keys (once).

An answer from the cache is a row of its own: tier ``cache``, no token, no cost, and the baseline of the answer that was kept,
so that reports show what it saves.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import msgspec

from router.attempt import Headers
from router.core.deciding.decide import Decision
from router.core.money import usd
from router.core.policy.policy import CacheRule
from router.core.pricing import CACHED
from router.core.values import Row
from router.dialects.cacheable import (
    for_nothing,
    may_be_asked_again,
    may_be_given_again,
    same_request,
    wishes,
)
from router.exchange import Reply
from router.kept import KeptReply, WrittenDown, headers_again, packed, unpacked
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.attempt import Attempt
    from router.considered import Considered
    from router.core.deciding.snapshot import World
    from router.desk import Desk
    from router.forward import Call
    from router.ports import AnswerStore

HEADER: Final = "x-costrouter-cache"
_REPLACED: Final = frozenset({
    HEADER, "x-costrouter-tier", "x-costrouter-attempts", "x-costrouter-estimated-cost-usd",
    "x-costrouter-baseline-cost-usd", "x-costrouter-max-tokens-clamped",
})  # fmt: skip  # a line a name would hide that it is one set


class Caching:
    """Finds and keeps answers.

    Args:
        store: keeps them.
        desk: where rows are booked and told.
    """

    def __init__(self, store: AnswerStore, desk: Desk) -> None:
        self._store = store
        self._desk = desk
        self._keeping: set[asyncio.Task[None]] = set()
        self._world: World | None = None
        self._rules: dict[str, CacheRule] = {}

    def question(self, call: Call, seen: Considered) -> Question | None:
        """The request as one that may be answered from the cache, or its answer be kept; None for all others, and for what a
        job sends: that was answered later because it cost less.
        """
        world = seen.snapshot.world
        if world is not self._world:
            self._world = world
            self._rules = {
                policy.version: policy.cache for policy in world.policies.values() if policy.cache is not None
            }
        rule = self._rules.get(seen.route.plan.policy) if self._rules else None
        if rule is None or seen.decision is None or call.identity is not None or seen.request.work is not None:
            return None
        may_find, may_keep = wishes(call.headers)
        if not may_keep or not may_be_asked_again(seen.request, sampled=rule.sampled):
            return None
        orders = seen.orders
        # Another policy, or another order, may choose another model.
        parts = (_whose(rule, seen), seen.route.plan.policy, call.api, orders.quality_milli, orders.tags)
        name = self._store.digest(b"cache", repr(parts).encode(), same_request(seen.request))
        return Question(self, seen.identity.tenant, name, rule, seen.decision, may_find)

    async def find(self, question: Question, call: Call, seen: Considered) -> Reply | None:
        """The answer that was kept, booked as such; or None."""
        if not question.may_find:
            return None
        try:
            answer = await self._store.find(question.tenant, question.name)
        except StoreUnavailable:
            return None
        kept = None if answer is None else unpacked(answer)
        if kept is None:
            return None
        row = _row(kept, question, seen, call.request_id, self._desk.ledger.store_ms())
        self._desk.ledger.settle(row)

        def tell() -> None:
            for listener in self._desk.listeners:
                listener.on_row(row, None)

        headers = headers_again(
            kept,
            call.request_id,
            (HEADER, "hit"),
            ("x-costrouter-tier", CACHED),
            ("x-costrouter-estimated-cost-usd", usd(0)),
            ("x-costrouter-baseline-cost-usd", usd(kept.baseline_nano)),
            ("x-costrouter-saved-usd", usd(kept.baseline_nano)),
            without=_REPLACED,
        )
        return Reply(headers=headers, body=for_nothing(kept.body), after=tell)

    def kept(self, question: Question, reply: Reply) -> Reply:
        """The reply; its answer is kept once it is whole, if it may be given again."""
        attempt = reply.attempt
        if attempt is None:
            return reply
        headers = [*reply.headers, (HEADER, "miss")]
        if reply.stream is None:
            self._keep(question, attempt, reply.headers, reply.body)
            return msgspec.structs.replace(reply, headers=headers)

        async def done(answer: bytes | None) -> None:
            if answer is not None:
                self._keep(question, attempt, reply.headers, answer)

        stream = WrittenDown(reply.stream, reply.body, done, reads_on=False)
        return msgspec.structs.replace(reply, headers=headers, stream=stream)

    def _keep(self, question: Question, attempt: Attempt, headers: Headers, body: bytes) -> None:
        row = attempt.row
        if row is None or row.status != 200 or row.certainty == "estimated" or not may_be_given_again(body):
            return
        kept = KeptReply(attempt.request_id, headers, body, row.cost_nano, row.baseline_nano, row.model, row.provider)
        # Nobody waits for it.
        task = asyncio.get_running_loop().create_task(self._put(question, kept))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def close(self) -> None:
        """Wait for what is being kept."""
        await asyncio.gather(*self._keeping, return_exceptions=True)

    async def _put(self, question: Question, kept: KeptReply) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self._store.put(question.tenant, question.name, packed(kept), question.rule.ttl_ms / 1000)


class Question(msgspec.Struct, frozen=True, eq=False):
    """A request that may be answered from the cache, or its answer be kept."""

    caching: Caching
    tenant: str
    name: str
    rule: CacheRule
    decision: Decision
    may_find: bool


def _row(kept: KeptReply, question: Question, seen: Considered, request_id: str, at_ms: int) -> Row:
    """No token, no cost, and what the first answer's baseline was."""
    who, decision = seen.identity, question.decision
    return Row(
        attempt=f"{request_id}/1",
        at_ms=at_ms,
        tenant=who.tenant,
        team=who.team,
        app=who.app,
        key=who.key,
        user=seen.request.user,
        tags=seen.orders.tags,
        endpoint=seen.facts.endpoint,
        policy=decision.policy,
        rule=decision.rule,
        requested_model=seen.facts.asked_model,
        model=kept.model,
        provider=kept.provider,
        tier=CACHED,
        outcome="ok",
        status=200,
        certainty="metered",
        prompt_tokens=0,
        cached_tokens=0,
        cache_write_tokens=0,
        completion_tokens=0,
        reasoning_tokens=0,
        price_version="",
        cost_pico=0,
        cost_nano=0,
        estimated_nano=0,
        baseline_nano=kept.baseline_nano,
        runner_up_nano=0,
        ttft_ms=0,
        total_ms=0,
        snapshot=seen.snapshot.id,
        unit=seen.orders.unit,
    )


def _whose(rule: CacheRule, seen: Considered) -> tuple[str, str]:
    if rule.share == "tenant":
        return rule.share, ""
    return rule.share, seen.request.user if rule.share == "user" else getattr(seen.identity, rule.share)

"""Requests with a deadline: handed in as jobs where that is cheaper, and their answers awaited or promised.

Belongs here: what a caller with a deadline gets, by convention: held and answered 200, or with ``Prefer: respond-async``
(RFC 7240) 202 and a place to look. Does not belong here: which way it goes (broker/planner.py), doing it (broker/broker.py), and a
held connection once bytes keep it alive (held.py).

A held connection gets bytes that keep it alive only while real time can still answer in time: once they are out the
status is 200, and no error could be told behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.broker.ends import cancel
from router.adapters.broker.planner import policy_of
from router.adapters.broker.yard import SMALL, encode_identity
from router.adapters.http.background import answer_id, kept_without_stream, window
from router.adapters.http.held import QUIET_S, HeldAnswer
from router.adapters.http.told import told_error
from router.adapters.jobs.news import LOOK_S
from router.core.deciding.explain import refusal
from router.core.errors import RouterError
from router.core.jobs.jobs import Job, Line
from router.core.money import nano_ceil, usd
from router.dialects.orders import due_ms
from router.dialects.responses.background import standing
from router.pipeline import Reply
from router.ports import BlobMissing, BlobsUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from router.adapters.broker.broker import Broker
    from router.adapters.broker.planner import Planned
    from router.adapters.broker.yard import Yard
    from router.adapters.http.background import Background
    from router.attempt import Headers
    from router.considered import Considered
    from router.core.deciding.decide import Option
    from router.core.deciding.snapshot import Snapshot
    from router.core.jobs.deadlines import Chosen
    from router.core.values import Identity
    from router.pipeline import Call

ASYNC_MS: Final = 3_600_000
"""The deadline of what is answered later and states none."""
MOST_DEADLINE_MS: Final = 30 * 86_400_000
KEEP_MS: Final = 7 * 86_400_000
"""How long an answer is kept after its job's end."""
_DAY_MS: Final = 86_400_000
_MOST_HINTS: Final = 1_000
_MOST_BIDS: Final = 20
GONE_S: Final = 1.0
"""After so long it is seen that a caller has gone who waits silently."""
_CARRIED: Final = ("anthropic-version", "anthropic-beta")
_LEFT_OUT: Final = frozenset({"x-costrouter-deadline", "x-costrouter-webhook", "x-costrouter-budget-usd"})


class Deferral:
    """Takes requests that may wait.

    Args:
        yard: the broker's place of work.
        broker: woken when there is something new; None where brokers run elsewhere.
        background: knows responses that are made in the background, and hears of jobs' ends.
        hold_ms: how long a connection is held, at most.
    """

    def __init__(self, yard: Yard, broker: Broker | None, background: Background, *, hold_ms: int) -> None:
        self._yard = yard
        self.endings = background.endings
        self._broker = broker
        self._hold_ms = hold_ms
        self._background = background
        self._hints: dict[tuple[str, str, str, str, bool], str] = {}
        self._hinted = 0
        self._asked: Snapshot | None = None

    async def take(self, call: Call, identity: Identity, seen: Considered, body: bytes) -> Reply | None:
        """An answer, or a promise of one; None for what is best answered at once, on the usual way.

        Raises:
            RouterError: it cannot be done; nothing was handed in.
        """
        background, streams = seen.request.background, seen.request.stream
        later = prefers_async(call.headers) or background
        deadline = seen.orders.deadline or (window(seen.request) if background else "")
        if not later and not deadline:
            return None
        if background:
            seen, body = kept_without_stream(seen, body)
        elif streams:
            if later:
                raise RouterError(
                    "invalid_request", "What is answered later cannot be streamed: leave out stream.", param="stream"
                )
            return None
        now_ms = self._yard.now_ms()
        at_ms = deadline_of(deadline, now_ms)
        until_ms = at_ms if later else min(at_ms, now_ms + self._held_ms(seen))
        seen = self._yard.planner.wholly(seen)
        planned = self._yard.planner.plan(seen, until_ms - now_ms)
        if planned is None:
            raise refusal(seen.route.plan, seen.facts)
        if not later and planned.at_once:
            return None
        job = await self._handed_in(call, identity, seen, body, planned, until_ms, later=later)
        if background:
            return await self._queued(job, seen, streams=streams)
        if later:
            return await self._soon(job, waits(call.headers)) or promised(job, planned, now_ms)
        return await self._held(call, job, planned)

    def estimate(self, seen: Considered) -> dict[str, Any] | None:
        """What would be done with a request that states a deadline; None where nothing is feasible.

        Raises:
            RouterError: the deadline cannot be.
        """
        now_ms = self._yard.now_ms()
        planner = self._yard.planner
        seen = planner.wholly(seen)
        left_ms = deadline_of(seen.orders.deadline, now_ms) - now_ms
        planned = planner.plan(seen, left_ms)
        if planned is None:
            return None
        bids = [_bid(option, chosen) for option, chosen in planner.offers(seen, left_ms)[:_MOST_BIDS]]
        return {**_bid(planned.option, planned.chosen), "deadline_s": left_ms // 1000, "bids": bids}

    def hint(self, seen: Considered) -> str:
        """What a day's time would save such a request, in a few words; "" for nothing. Worked out once a minute for each
        choice: the share is that of the request that was first.
        """
        decision, plan = seen.decision, seen.route.plan
        if decision is None or decision.expected_pico <= 0:
            return ""
        if seen.snapshot is not self._asked:
            self._asked, minute = seen.snapshot, self._yard.now_ms() // 60_000
            if minute != self._hinted:
                self._hints, self._hinted = {}, minute
        key = (plan.policy, plan.rule, decision.option.name, seen.inbound.api, seen.request.stream)
        found = self._hints.get(key)
        if found is None:
            if len(self._hints) >= _MOST_HINTS:
                self._hints.clear()
            found = self._hints[key] = self._worked_out(seen, decision.expected_pico)
        return found

    def _worked_out(self, seen: Considered, pico: int) -> str:
        planned = self._yard.planner.plan(seen, _DAY_MS)
        if planned is None or planned.cost_pico >= pico:
            return ""
        percent = 100 - 100 * planned.cost_pico // pico
        return f"24h deadline: {planned.option.model} {planned.option.tier} about -{percent}%"

    def _held_ms(self, seen: Considered) -> int:
        """How long the connection is held, at most: as the policy says, or the settings."""
        policy = policy_of(seen)
        return self._hold_ms if policy is None or policy.hold_ms is None else policy.hold_ms

    async def _handed_in(  # noqa: PLR0917 - all that a job is made of
        self,
        call: Call,
        identity: Identity,
        seen: Considered,
        body: bytes,
        planned: Planned,
        until_ms: int,
        *,
        later: bool,
    ) -> Job:
        yard, now_ms = self._yard, self._yard.now_ms()
        job = Job(
            id=f"job_{secrets.token_hex(12)}",
            tenant=identity.tenant,
            key=identity.key,
            created_ms=now_ms,
            deadline_ms=until_ms,
            promised_ms=now_ms + min(planned.chosen.promised_ms, until_ms - now_ms),
            endpoint=call.api,
            kind="request",
            headers=carried(call.headers),
            identity=encode_identity(identity),
            keep_ms=KEEP_MS,
            webhook=webhook_of(call.headers),
        )
        try:
            if planned.batched:
                # Refused here and now rather than hours later, where a budget has no room.
                await yard.planner.hold(seen, planned, job.id, 0, 1)
            name, place, sealed = yard.blob(job.tenant, "request", job.id), ("", 0, 0), b""
            if len(body) <= SMALL:
                sealed = yard.vault.seal(f"{job.id}/0", 0, body)
            else:
                place = await yard.vault.put(name, body)
                await yard.store.expire(job.tenant, until_ms + job.keep_ms, f"blob:{name}")
            line = Line(state="queued", tries=0, bound="", payload=place)
            if later:
                await yard.promise(job, [(0, line, sealed)])
            else:
                await yard.store.put(job, [(0, line, sealed)], now_ms=now_ms)
        except StoreUnavailable:
            with contextlib.suppress(StoreUnavailable, BlobsUnavailable):
                await cancel(yard, job)
            raise RouterError("store_unavailable", "The store does not answer; try again.", retry_after_s=1) from None
        except BlobsUnavailable as failure:
            raise RouterError("store_unavailable", f"Payloads cannot be kept: {failure}.", retry_after_s=5) from None
        if self._broker is not None:
            self._broker.wake(job.tenant)
        return job

    async def _queued(self, job: Job, seen: Considered, *, streams: bool) -> Reply:
        """A background response: how it stands, or a stream that waits for it."""
        if streams:
            stream = self._background.stream(job)
            headers = _job_headers(job, "text/event-stream")
            return Reply(headers=headers, body=await stream.first_part(), stream=stream)
        found = standing(seen.request, answer_id(job.id), job.created_ms // 1000, "queued")
        return Reply(headers=_job_headers(job, "application/json"), body=msgspec.json.encode(found))

    async def _soon(self, job: Job, most_s: int) -> Reply | None:
        """The answer, if it is there within the time that its caller would wait for it; None for what is promised."""
        answer = await self.endings.first(job.id, lambda: self.answer(job), min(most_s, self._hold_ms // 1000))
        if answer is not None:
            answer.headers.append(("preference-applied", f"respond-async, wait={most_s}"))
        return answer

    async def _held(self, call: Call, job: Job, planned: Planned) -> Reply:
        """Wait for the answer, silently at first."""
        # Once a byte is out there is no other status than 200: so only while real time could still bring the answer.
        until_ms = 0 if planned.instant is None else job.deadline_ms - planned.reserve.run_ms
        loop = asyncio.get_running_loop()
        quiet_until = loop.time() + QUIET_S
        look_at, told = 0.0, False
        with self.endings.awaiting(job.id) as end:
            while True:
                if told or loop.time() >= look_at:
                    answer = await self.answer(job)
                    if answer is not None:
                        return answer
                    look_at = loop.time() + LOOK_S
                if call.gone():
                    await cancel(self._yard, job)
                    raise ConnectionResetError("the caller has gone")
                if loop.time() >= quiet_until and self._yard.now_ms() < until_ms:
                    stream = HeldAnswer(self, job)
                    return Reply(headers=_job_headers(job, "application/json"), body=b" ", stream=stream)
                told = await end.news(GONE_S)

    async def answer(self, job: Job) -> Reply | None:
        """The answer, once there is one.

        Raises:
            RouterError: there will be none, and why.
        """
        try:
            if not await self._yard.store.ended(job.tenant, job.id):
                return None
            (line,) = await self._yard.store.lines(job.tenant, job.id, [0])
            if line is None:
                raise RouterError("internal_error", f"{job.id} is gone.")
            found = await self._yard.answer(job, 0, line)
        except (StoreUnavailable, BlobsUnavailable):
            return None  # it is asked for again until the store answers
        except BlobMissing as missing:
            raise RouterError("internal_error", f"The answer is gone: {missing}.") from None
        if line.state != "succeeded":
            raise told_error(found.status, found.body, line.error)
        headers = _job_headers(job, "application/json")
        headers += [(name, value) for name, value in found.headers.items() if name != "x-costrouter-cost-nano"]
        cost = found.headers.get("x-costrouter-cost-nano")
        if cost is not None:
            headers.append(("x-costrouter-cost-usd", usd(int(cost))))
        return Reply(headers=headers, body=found.body)

    async def leave(self, job: Job) -> None:
        """Whoever waited has gone."""
        await cancel(self._yard, job)


def _bid(option: Option, chosen: Chosen) -> dict[str, Any]:
    """One way to have it done by the deadline, for people and programs."""
    return {
        "model": option.model,
        "provider": option.provider,
        "tier": option.tier,
        "gpu_percent": None if option.busy_milli is None else option.busy_milli // 10,
        "effort": option.effort or None,
        "own_cost_usd": usd(nano_ceil(chosen.own_pico)),
        "estimated_cost_usd": usd(nano_ceil(chosen.expected_pico)),
        "promised_s": chosen.promised_ms // 1000,
        "on_time": f"{chosen.on_time_ppm / 10_000:.2f}%",
    }


def prefers_async(headers: Mapping[str, str]) -> bool:
    """Whether the caller asks to be answered later (RFC 7240)."""
    asked = headers.get("prefer", "")
    return (
        any(part.partition(";")[0].strip().lower() == "respond-async" for part in asked.split(",")) if asked else False
    )


def waits(headers: Mapping[str, str]) -> int:
    """How many seconds the caller would wait for the answer before it is promised one (RFC 7240, ``wait``); 0 for none."""
    for part in headers.get("prefer", "").split(","):
        name, _, value = part.partition("=")
        if name.strip().lower() == "wait" and value.strip().isascii() and value.strip().isdigit():
            return int(value.strip()[:6])
    return 0


def promised(job: Job, planned: Planned, now_ms: int) -> Reply:
    """202: where to look, and when."""
    wait_s = max(1, round((job.promised_ms - now_ms) / 1000))
    document: dict[str, Any] = {
        "id": job.id,
        "object": "costrouter.job",
        "status": "queued",
        "created_at": job.created_ms // 1000,
        "deadline_at": job.deadline_ms // 1000,
        "promised_at": job.promised_ms // 1000,
        "model": planned.option.model,
        "provider": planned.option.provider,
        "tier": planned.option.tier,
        "estimated_cost_usd": usd(nano_ceil(planned.cost_pico)),
        "at_once_cost_usd": usd(nano_ceil(planned.instant_pico)),
        "on_time": f"{planned.chosen.on_time_ppm / 10_000:.2f}%",
    }
    headers = [
        *_job_headers(job, "application/json"),
        ("location", f"/costrouter/v1/jobs/{job.id}"),
        ("retry-after", str(min(wait_s, 3600))),
        ("preference-applied", "respond-async"),
    ]
    return Reply(headers=headers, body=msgspec.json.encode(document), status=202)


def carried(headers: Mapping[str, str]) -> dict[str, str]:
    """The caller's headers that a job goes by: orders to us, and what belongs to the body. No credentials."""
    lower = {name.lower(): value for name, value in headers.items()}
    return {
        name: value
        for name, value in lower.items()
        if (name.startswith("x-costrouter-") and name not in _LEFT_OUT) or name in _CARRIED
    }


def webhook_of(headers: Mapping[str, str]) -> str:
    """Where the end of the job is to be told; "" for nowhere.

    Raises:
        RouterError: ``invalid_request``.
    """
    url = headers.get("x-costrouter-webhook", "").strip()
    if url and (not url.startswith(("https://", "http://")) or len(url) > 2_000 or not url.isprintable() or " " in url):
        name = "x-costrouter-webhook"
        raise RouterError("invalid_request", f"{name}: write a URL such as https://example.com/hook", param=name)
    return url


def _job_headers(job: Job, kind: str) -> Headers:
    return [("x-request-id", job.id), ("x-costrouter-request-id", job.id), ("content-type", kind)]


def deadline_of(text: str, now_ms: int) -> int:
    """When an answer is needed, in ms since the epoch; within `ASYNC_MS` where nothing is said.

    Raises:
        RouterError: ``invalid_request``.
    """
    name = "x-costrouter-deadline"
    at_ms = due_ms(text, now_ms) if text else now_ms + ASYNC_MS
    if at_ms <= now_ms:
        raise RouterError("invalid_request", f"{name}: {text} has passed.", param=name)
    if at_ms > now_ms + MOST_DEADLINE_MS:
        raise RouterError("invalid_request", f"{name}: a deadline lies at most 30 days ahead.", param=name)
    return at_ms

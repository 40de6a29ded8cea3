"""Parcels on their way: one action after the other, by the table of core/jobs/jobs.py, each written down before the next.

Belongs here: performing a parcel's actions. Does not belong here: what follows from what (core/jobs/jobs.py), gathering lines
into parcels (gather.py), and booking what came back (booking.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec
import structlog

from router.adapters.broker.booking import Booking
from router.adapters.jobs.batch_calls import BatchTrouble
from router.core.jobs.deadlines import Reserve, give_up, reserve_for
from router.core.jobs.jobs import (
    RESUME,
    UNFOUND,
    Action,
    Event,
    Parcel,
    ParcelState,
    custom_id,
    follow,
    pause_ms,
    poll_ms,
)
from router.core.jobs.tiers import word_of
from router.dialects.batch_files import Remote
from router.ports import BlobMissing, BlobsUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.adapters.broker.yard import Yard
    from router.adapters.jobs.batch_calls import BatchApi
    from router.adapters.jobs.records import Leased

RUN_MS: Final = 20_000
"""Taken for the time that an answer in real time takes, where nothing else is known of a parcel's lines."""
_GIVEN_UP: Final = 12
"""Failures to read results in a row after which there are none."""
_LATER: Final = frozenset({"unknown", "unsent", "full", "running", "stopped"})
"""Events after which asking again makes sense only later."""
_LEFT_ALONE: Final = 5
"""Failures to delete in a row after which a provider's files are left to expire."""
_log: Final = structlog.get_logger(__name__)


class Parcels:
    """Takes parcels further."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._booking = Booking(yard)
        self._actions: dict[Action, Callable[[BatchApi, Parcel], Awaitable[tuple[Event, Parcel]]]] = {
            "upload": self._upload,
            "create": self._create,
            "look": self._look,
            "poll": self._poll,
            "cancel": self._cancel,
            "book": self._booking.book,
            "delete": self._delete,
            "forget": self._forget,
            "nothing": self._forget,
        }

    async def turn(self, leased: Leased, parcel: Parcel) -> None:
        """Do all that can be done about a parcel now, and say when to come again."""
        state = cast("ParcelState", parcel.state)
        action: Action = RESUME[state]
        asked = stopping = False
        # Where it was given up before, it is looked at first: a cancellation may race its end, and then only refused.
        known = bool(parcel.unwanted)
        while True:
            parcel, unwanted = await self._wanted(parcel, state)
            if unwanted and not stopping and (asked or not known or action in ("upload", "create")):
                state, action = follow(state, "wanted_no_more")
                stopping = action == "cancel"
            elif asked:
                break
            if action == "create":
                # From here on it may exist, whatever becomes of this broker.
                state = "unsure"
                parcel = msgspec.structs.replace(parcel, state=state, sent_ms=self._yard.now_ms())
                if not await self._written(leased, parcel):
                    return
                if not await self._yard.durable.confirmed(parcel.tenant):
                    # A batch of which the store might forget that it was begun would be begun again, and billed twice.
                    _log.warning("parcel_waits_for_disk", parcel=parcel.id)
                    state = "uploaded"  # nothing has been sent, so nothing is in doubt
                    parcel = msgspec.structs.replace(parcel, pauses=parcel.pauses + 1)
                    break
            event, parcel = await self._do(action, parcel)
            state, action = follow(state, event)
            if state == "gone":
                await self._yard.store.give_back(parcel.tenant, leased, None, forget=True)
                await self._yard.store.forget_parcel(parcel)
                return
            asked = event in _LATER
            failed = event in ("unknown", "unsent", "full")
            parcel = msgspec.structs.replace(parcel, state=state, pauses=parcel.pauses + 1 if failed else 0)
            if not await self._written(leased, parcel):
                return  # it is another broker's by now
        parcel = msgspec.structs.replace(parcel, state=state)
        await self._yard.store.give_back(parcel.tenant, leased, self._due(parcel, state), parcel)

    async def _written(self, leased: Leased, parcel: Parcel) -> bool:
        return await self._yard.store.extend(parcel.tenant, leased, self._yard.now_ms(), parcel)

    async def _wanted(self, parcel: Parcel, state: ParcelState) -> tuple[Parcel, bool]:
        """The parcel, and whether it must be given up now."""
        if state in ("ended", "booked", "gone"):
            return parcel, False
        now_ms = self._yard.now_ms()
        if not parcel.unwanted:
            reason = ""
            if await self._yard.store.unwanted(parcel):
                reason = "cancelled"
            elif self._late(parcel, now_ms):
                reason = "deadline"
            if not reason:
                return parcel, False
            self._yard.count(1, "costrouter_parcels_given_up", reason)
            _log.info("parcel_given_up", parcel=parcel.id, provider=parcel.provider, reason=reason, lines=parcel.lines)
            parcel = msgspec.structs.replace(parcel, unwanted=reason)
        if parcel.unwanted == "deadline" and parcel.deadline_ms - now_ms <= self._reserve(parcel).run_ms:
            await self._booking.go_on_without(parcel)
        return parcel, state != "cancelling"

    def _reserve(self, parcel: Parcel) -> Reserve:
        whole = max(parcel.deadline_ms - parcel.created_ms, 1)
        return reserve_for(whole, parcel.run_ms or RUN_MS, self._yard.pace)

    def _late(self, parcel: Parcel, now_ms: int) -> bool:
        waits = self._yard.known.of_ended(parcel.provider, parcel.tier)
        waited = now_ms - (parcel.sent_ms or now_ms)
        return give_up(waits, waited, parcel.deadline_ms - now_ms, self._reserve(parcel))

    def _due(self, parcel: Parcel, state: ParcelState) -> int:
        now_ms = self._yard.now_ms()
        reserve = self._reserve(parcel)
        left_ms = parcel.deadline_ms - now_ms - (reserve.run_ms if parcel.unwanted else reserve.both_ms)
        if parcel.pauses:
            wait = pause_ms(parcel.pauses - 1) / min(self._yard.pace, 20)
        else:
            waited_ms = now_ms - (parcel.sent_ms or now_ms)
            wait = poll_ms(waited_ms, left_ms, self._yard.pace, word_of(parcel.tier))
        if left_ms > 0 and state not in ("ended", "booked"):
            wait = min(wait, left_ms + 10)
        return now_ms + max(50, round(wait))

    async def _do(self, action: Action, parcel: Parcel) -> tuple[Event, Parcel]:
        api = self._yard.api(parcel.provider, parcel.tier)
        try:
            if api is None:
                # Its key was taken out of the environment: what is there cannot be reached, and nothing can be sent.
                return await self._without_api(action, parcel)
            return await self._actions[action](api, parcel)
        except BatchTrouble as trouble:
            return await self._trouble(action, parcel, trouble)
        except (BlobMissing, BlobsUnavailable) as failure:
            _log.warning("parcel_payload_failed", parcel=parcel.id, reason=str(failure))
            # Nothing was sent: requests are read before.
            gone = isinstance(failure, BlobMissing) and action in ("upload", "create")
            event: Event = "refused" if gone else "unknown"
            return event, msgspec.structs.replace(parcel, note=str(failure))

    async def _trouble(self, action: Action, parcel: Parcel, trouble: BatchTrouble) -> tuple[Event, Parcel]:
        event: Event = trouble.event
        if action == "create" and event == "unknown" and trouble.status == 429:
            event = "full"  # it was answered, so nothing has begun
        elif action in ("create", "upload") and event == "lost":
            event = "refused"
        elif action == "look" and not self._found_again(parcel):
            parcel = msgspec.structs.replace(parcel, outcome=UNFOUND)
        elif (
            action in ("look", "delete", "book")
            or (action == "cancel" and event == "refused")
            or (event == "unsent" and action != "create")
        ):
            event = "unknown"
        if action == "delete" and parcel.pauses >= _LEFT_ALONE:
            event = "deleted"
        _log.info("parcel_trouble", parcel=parcel.id, action=action, means=event, reason=trouble.words)
        parcel = msgspec.structs.replace(parcel, note=trouble.words[:200])
        if action == "book":
            if parcel.deadline_ms - self._yard.now_ms() <= self._reserve(parcel).both_ms:
                await self._booking.go_on_without(parcel)
            if parcel.pauses >= _GIVEN_UP:
                # Results that cannot be had are as good as none; what they cost stands as an estimate.
                parcel = msgspec.structs.replace(parcel, outputs=(), outcome="completed")
        return event, parcel

    def _found_again(self, parcel: Parcel) -> bool:
        api = self._yard.api(parcel.provider, parcel.tier)
        return api is None or api.found_again

    async def _without_api(self, action: Action, parcel: Parcel) -> tuple[Event, Parcel]:
        if action == "book":
            return await self._booking.book(None, parcel)
        if action == "look":
            return "lost", msgspec.structs.replace(parcel, outcome=UNFOUND)  # it may have been begun
        events: dict[Action, Event] = {"delete": "deleted", "poll": "lost", "cancel": "stopped"}
        return events.get(action, "refused" if not parcel.remote else "unknown"), parcel

    async def _look(self, api: BatchApi, parcel: Parcel) -> tuple[Event, Parcel]:
        taken: set[str] = set(parcel.strangers)
        if not api.named:
            store = self._yard.store
            for tenant in await store.tenants():
                taken |= {other.remote for other in await store.parcels(tenant) if other.id != parcel.id}
        found = await api.look(parcel, frozenset(taken))
        return ("not_found", parcel) if found is None else self._seen("found", parcel, found)

    async def _cancel(self, api: BatchApi, parcel: Parcel) -> tuple[Event, Parcel]:
        found = await api.cancel(parcel.remote)
        event, parcel = self._seen("over" if found.event == "over" else "stopped", parcel, found)
        if event == "over":
            await self._learned(parcel)
        return event, parcel

    async def _delete(self, api: BatchApi, parcel: Parcel) -> tuple[Event, Parcel]:
        await api.delete(parcel)
        return "deleted", parcel

    async def _forget(self, _: BatchApi, parcel: Parcel) -> tuple[Event, Parcel]:
        return "deleted", parcel

    async def _upload(self, api: BatchApi, parcel: Parcel) -> tuple[Event, Parcel]:
        if not api.files:
            return "uploaded", parcel
        file = await api.upload(parcel.id, await self._requests(api, parcel))
        return "uploaded", msgspec.structs.replace(parcel, file=file)

    async def _requests(self, api: BatchApi, parcel: Parcel) -> bytes:
        manifest = await self._yard.store.manifest(parcel)
        wanted = {entry.payload: entry for entry in manifest}
        lines: list[tuple[str, bytes]] = []
        async for place, payload in self._yard.vault.frames(manifest[0].payload[0]):
            entry = wanted.get(place)
            if entry is not None:
                lines.append((custom_id(entry.job, entry.number, entry.attempt), payload))
        return api.packed(lines, parcel.endpoint)

    async def _create(self, api: BatchApi, parcel: Parcel) -> tuple[Event, Parcel]:
        data = b"" if api.files else await self._requests(api, parcel)
        left_ms = parcel.deadline_ms - self._yard.now_ms()
        hours = max(1, -(-left_ms * round(self._yard.pace) // 3_600_000))
        found = await api.create(parcel, hours, data)
        self._yard.count(1, "costrouter_parcels", parcel.provider, parcel.tier)
        return self._seen("created", parcel, found)

    async def _poll(self, api: BatchApi, parcel: Parcel) -> tuple[Event, Parcel]:
        found = await api.poll(parcel.remote)
        event, parcel = self._seen(found.event, parcel, found)
        if event == "full":
            parcel = msgspec.structs.replace(parcel, remote="", sent_ms=0)
        if event == "over":
            await self._learned(parcel)
        return event, parcel

    async def _learned(self, parcel: Parcel) -> None:
        """How long it took, or that it was not over when it was called off."""
        if parcel.outcome in ("completed", "expired") or (parcel.outcome == "cancelled" and parcel.unwanted):
            now_ms, over = self._yard.now_ms(), parcel.outcome != "cancelled"
            await self._yard.known.tell(
                parcel.provider, parcel.tier, max(now_ms - parcel.sent_ms, 1), now_ms, over=over
            )

    def _seen(self, event: Event, parcel: Parcel, remote: Remote) -> tuple[Event, Parcel]:
        return event, msgspec.structs.replace(
            parcel,
            remote=remote.id,
            sent_ms=parcel.sent_ms or self._yard.now_ms(),
            outcome=remote.outcome,
            outputs=remote.outputs,
            done=remote.done,
            note=remote.note or parcel.note,
        )

"""Which keys of which provider may be used for a model now: circuit breakers, rates that run out, weights.

Belongs here: this worker's counts and what the fleet knows, told each other through the store. Does not belong here:
the table of states (core/forwarding/breaker.py), reading headers (core/forwarding/allowance.py), where keys come from (providers.py).

    cr:{@}:breakers            hash    way → msgpack of `State`; a closed way is not there
    cr:{@}:outcomes:<slice>    hash    way, separator, "o" or "f" → attempts of that slice that went well, or did not
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from router.adapters.store.resp import Script
from router.adapters.upstream.packed_ways import aged, field_of, outcomes, pack, unpack, way_of
from router.adapters.upstream.weights import drawn
from router.core.forwarding.allowance import Allowance, allowance, speaks_of_limits
from router.core.forwarding.breaker import CLOSED, Happening, Rules, State, Way, due, keeps, shut, step, too_many, words
from router.core.forwarding.forwarding import verdict
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.store.connection import StoreConnection
    from router.core.errors import RouterError
    from router.core.values import Outcome
    from router.ports import Clock, ProviderLink

STATES: Final = "cr:{@}:breakers"
OUTCOMES: Final = "cr:{@}:outcomes"
EXCHANGE_S: Final = 0.5
SLICES_KEPT: Final = 4
_EXCHANGE: Final = Script("breakers")
_NO_COUNTS: Final = (0, 0)
_log: Final = structlog.get_logger(__name__)


class Breakers:
    """Implements `router.ports.Ways`. Made and used on one event loop.

    Args:
        links: each provider's keys.
        clock: the machine's time.
        rules: when a way opens.
        connection: to the store; None keeps it to this worker.
        on: whether anything opens at all.
        draw: random numbers, 0 ≤ n < 1, to choose a key.
    """

    def __init__(
        self,
        links: Mapping[str, Sequence[ProviderLink]],
        clock: Clock,
        *,
        rules: Rules | None = None,
        connection: StoreConnection | None = None,
        on: bool = True,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.links = {name: tuple(keys) for name, keys in links.items()}
        self._clock = clock
        self._rules = rules or Rules()
        self._connection = connection
        self._on = on
        self._draw = draw
        self._states: dict[Way, State] = {}
        self._stored: dict[Way, bytes] = {}
        """As the store had them last."""
        self._dirty: set[Way] = set()
        self._probes: set[Way] = set()
        """Half-open ways whose next attempt is this worker's."""
        self._claims: dict[Way, int] = {}
        """Half-open ways with a probe of this worker's under way, to when it set out."""
        self._runs: dict[Way, int] = {}
        self._fresh: dict[Way, list[int]] = {}
        self._fleet: dict[Way, tuple[int, int]] = {}
        self._ailing: set[Way] = set()
        """Ways that have failed at least as often as not, fleet-wide."""
        self._forgiven: dict[Way, int] = {}
        """Ways that were closed anew, to the slice of time up to which the fleet's counts say nothing."""
        self._allowances: dict[Way, Allowance] = {}
        self._ahead_ms = 0
        self._told = asyncio.Event()
        self.on_change: Callable[[], None] | None = None
        """Called when `shut` says something else."""

    # The pipeline's side.

    def link(self, provider: str, model: str, tokens: int) -> ProviderLink | None:
        """The key to use for a model, or None where none may be used now. Takes a probe's turn where there is one."""
        keys = self.links[provider]
        if not self._states and not self._allowances:
            return keys[0] if len(keys) == 1 else drawn(keys, self._draw())
        now_ms = self._now_ms()
        usable = [key for key in keys if self._usable((provider, model, key.key), tokens, now_ms)]
        if not usable:
            return None
        chosen = usable[0] if len(usable) == 1 else drawn(usable, self._draw())
        way = (provider, model, chosen.key)
        self._take_turn(way)
        left = self._allowances.get(way)
        if left is not None:
            left.sent(tokens)
        return chosen

    def named(self, provider: str, key: str) -> ProviderLink | None:
        """A key by its name; None where it is not in use (any more)."""
        return next((link for link in self.links.get(provider, ()) if link.key == key), None)

    def open(self, link: ProviderLink, model: str) -> bool:
        """Whether a key that a caller has brought may be used for a model. Takes a probe's turn where there is one."""
        if not self._states:
            return True
        way = (link.name, model, link.key)
        if self._of(*way, self._now_ms()) is not None:
            return False
        self._take_turn(way)
        return True

    def _take_turn(self, way: Way) -> None:
        for one in (way, (way[0], "", way[2])):
            if one in self._probes:
                self._probes.discard(one)
                self._claims[one] = self._now_ms()
                self._changed()

    def probing(self, link: ProviderLink, model: str) -> bool:
        """Whether what goes this way now is a probe."""
        if not self._states:
            return False
        states = (self._states.get((link.name, model, link.key)), self._states.get((link.name, "", link.key)))
        return any(state is not None and state.phase == "half_open" for state in states)

    def failing(self, link: ProviderLink, model: str) -> bool:
        """Whether more than one attempt in a row has failed that way here, or half of the fleet's of late."""
        if not self._runs and not self._ailing:
            return False
        way = (link.name, model, link.key)
        return self._runs.get(way, 0) > 1 or way in self._ailing

    def wait_ms(self, provider: str, model: str) -> int | None:
        """In how many ms a way to a model is worth trying again, where there is one that is shut."""
        now_ms = self._now_ms()
        waits = [
            due(state, now_ms)
            for (name, of, _), state in self._states.items()
            if name == provider and of in (model, "") and shut(state, now_ms)
        ]
        waits += [
            left.until_ms - now_ms
            for (name, of, _), left in self._allowances.items()
            if (name, of) == (provider, model) and left.until_ms > now_ms
        ]
        return max(min(waits), 1) if waits else None

    def answered(self, link: ProviderLink, model: str, headers: Mapping[str, str]) -> None:
        """The head of an answer is here: what does it say of our rate?"""
        if not self._on or link.brought or not speaks_of_limits(headers):
            return
        now_ms = self._now_ms()
        found = allowance(headers, now_ms)
        if found is not None:
            self._allowances[link.name, model, link.key] = found

    def ended(self, link: ProviderLink, model: str, outcome: Outcome, error: RouterError | None) -> None:
        """An attempt has ended."""
        if not self._on:
            return
        way: Way = (link.name, model, link.key)
        self._claims.pop(way, None)
        if error is None:
            if outcome == "ok":
                self._well(way)
            return
        wait_ms = None if error.retry_after_s is None else round(error.retry_after_s * 1000)
        told = verdict(error.code, brought=link.brought)
        if told == "well":
            self._well(way)
        elif told == "account":
            self._happens((link.name, "", link.key), Happening("trip", error.code, account=True))
        elif told == "load":
            self._happens(way, Happening("limit", "429", for_ms=wait_ms))
        elif told == "fault":
            self._faulty(way, error.code)

    def shut(self) -> dict[tuple[str, str], str]:
        """(provider, model) that no key may be used for, to the reason; model ``""`` stands for all of them."""
        now_ms = self._now_ms()
        found: dict[tuple[str, str], str] = {}
        for provider, model, _ in self._states:
            keys = self.links.get(provider, ())
            states = [self._of(provider, model, key.key, now_ms) for key in keys]
            if states and all(state is not None for state in states):
                first = min((state for state in states if state is not None), key=lambda state: state.until_ms)
                found[provider, model] = words(first, now_ms)
        return found

    def states(self) -> dict[Way, State]:
        """Every way that is not closed."""
        return dict(self._states)

    def replace_links(self, links: Mapping[str, Sequence[ProviderLink]]) -> None:
        """Go by other keys from now on; what is under way ends with those it has."""
        self.links = {name: tuple(keys) for name, keys in links.items()}
        self._changed()

    # Counting.

    def _of(self, provider: str, model: str, key: str, now_ms: int) -> State | None:
        """What shuts a way, if anything does but for a probe of ours."""
        for way in ((provider, model, key), (provider, "", key)):
            state = self._states.get(way)
            if state is not None and way not in self._probes and shut(state, now_ms):
                return state
        return None

    def _usable(self, way: Way, tokens: int, now_ms: int) -> bool:
        if self._states and self._of(*way, now_ms) is not None:
            return False
        left = self._allowances.get(way)
        return left is None or left.fits(tokens, now_ms)

    def _well(self, way: Way) -> None:
        self._count(way, 0)
        if way in self._runs:
            del self._runs[way]
        if self._states:
            self._happens(way, Happening("ok"))
            self._happens((way[0], "", way[2]), Happening("ok"))

    def _faulty(self, way: Way, code: str) -> None:
        self._count(way, 1)
        self._runs[way] = self._runs.get(way, 0) + 1
        self._happens(way, Happening("fault", code))
        ok, faults = self._fleet.get(way, _NO_COUNTS)
        fresh = self._fresh.get(way, _NO_COUNTS)
        why = too_many(ok + fresh[0], faults + fresh[1], self._runs.get(way, 0), self._rules)
        if why:
            self._happens(way, Happening("trip", f"{why}, the last: {code}"))

    def _count(self, way: Way, kind: int) -> None:
        counts = self._fresh.get(way)
        if counts is None:
            counts = self._fresh[way] = [0, 0]
        counts[kind] += 1

    def _happens(self, way: Way, happening: Happening) -> None:
        state = self._states.get(way, CLOSED)
        new = step(state, happening, self._now_ms(), self._rules)
        if new is state:
            return
        self._put(way, new)
        self._dirty.add(way)
        self._told.set()
        if new.phase != state.phase:
            _log.warning("breaker", provider=way[0], model=way[1], key=way[2], phase=new.phase, why=new.why)
        if new.phase in ("open", "closed"):
            # What was counted before does not count against a way that has been probed and found well.
            self._runs.pop(way, None)
            self._fleet.pop(way, None)
            self._fresh.pop(way, None)
            self._forgiven[way] = self._now_ms() // self._rules.window_ms + 1
        self._changed()

    def _put(self, way: Way, state: State) -> None:
        if state == CLOSED:
            self._states.pop(way, None)
        else:
            self._states[way] = state

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def _now_ms(self) -> int:
        return self._clock.now_ms() + self._ahead_ms

    # The fleet's side.

    async def keep_exchanging(self) -> None:
        """Tell and hear, twice a second and whenever something has opened or closed, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(EXCHANGE_S):
                    await self._told.wait()
            except TimeoutError:
                pass
            self._told.clear()
            try:
                await self.exchange()
            except StoreUnavailable:
                await asyncio.sleep(EXCHANGE_S)  # each worker goes by what it sees itself meanwhile
            except Exception as error:  # noqa: BLE001 - the next turn tries again
                _log.exception("breakers_exchange_failed", kind=type(error).__name__)
                await asyncio.sleep(EXCHANGE_S)

    async def exchange(self) -> None:
        """Tell what was counted and what changed; hear the fleet's. Claims probes that are due.

        Raises:
            StoreUnavailable: nothing is lost by it.
        """
        before = self.shut()
        self._end_limits()
        held = keeps(self._claims, self._states, self._now_ms(), self._rules)
        self._claims = {way: self._claims[way] for way in held}
        self._states |= held
        self._dirty |= held.keys()
        claimed = self._claim()
        won = set(claimed)
        try:
            await self._round()
            # A claim is ours only if the store has it as we wrote it.
            won = {way for way, packed in claimed.items() if self._stored.get(way) == packed}
        finally:
            self._probes |= won
            if won or self.shut() != before:
                self._changed()

    def _end_limits(self) -> None:
        now_ms = self._now_ms()
        for way, state in list(self._states.items()):
            if state.phase == "limited":
                new = step(state, Happening("claim"), now_ms, self._rules)
                if new is not state:
                    self._put(way, new)
                    self._dirty.add(way)
        self._allowances = {way: left for way, left in self._allowances.items() if now_ms < left.until_ms}

    def _claim(self) -> dict[Way, bytes]:
        """Take the probes that are due; the states as they are written."""
        now_ms = self._now_ms()
        claimed = {}
        for way, state in list(self._states.items()):
            new = step(state, Happening("claim"), now_ms, self._rules)
            if new is state:
                continue
            # A moment of its own, so that two workers' claims are never the same bytes.
            mine = msgspec.structs.replace(new, until_ms=new.until_ms + int(self._draw() * 1000))
            self._states[way] = mine
            self._dirty.add(way)
            claimed[way] = pack(mine)
        return claimed

    async def _round(self) -> None:
        changes, self._dirty = self._dirty, set()
        fresh, self._fresh = self._fresh, {}
        if self._connection is None:
            self._stored = {way: pack(state) for way, state in self._states.items()}
            self._fleet = aged(self._fleet, fresh)  # this worker's counts are all there is
            return
        args: list[Any] = [SLICES_KEPT * self._rules.window_ms, len(changes)]
        for way in changes:
            state = self._states.get(way)
            args += (field_of(way), self._stored.get(way, b""), b"" if state is None else pack(state))
        for way, (ok, faults) in fresh.items():
            args += (field_of(way, "o"), ok, field_of(way, "f"), faults)
        number = self._now_ms() // self._rules.window_ms
        keys = [STATES, f"{OUTCOMES}:{number}", f"{OUTCOMES}:{number - 1}"]
        try:
            now_ms, states, counts, earlier = await self._connection.script(_EXCHANGE, keys, args)
        except StoreUnavailable:
            self._dirty |= changes
            self._fleet = aged(self._fleet, fresh)
            raise
        self._ahead_ms = now_ms - self._clock.now_ms()
        before = set(self._states)
        self._hear(states)
        # What was counted before a way was found well again does not count against it.
        self._forgiven = {way: upto for way, upto in self._forgiven.items() if upto >= number}
        self._forgiven |= dict.fromkeys(before - set(self._states), number + 1)
        self._heed(counts, earlier)

    def _hear(self, flat: list[bytes]) -> None:
        stored = {way_of(key): packed for key, packed in zip(flat[::2], flat[1::2], strict=True)}
        # What changed here while the call was under way is told in the next.
        kept = {way: self._states.get(way, CLOSED) for way in self._dirty}
        self._stored = stored
        self._states = {way: unpack(packed) for way, packed in stored.items()}
        for way, state in kept.items():
            self._put(way, state)
        self._probes = {way for way in self._probes if self._states.get(way, CLOSED).phase == "half_open"}

    def _heed(self, *slices: list[bytes]) -> None:
        self._fleet = {way: counts for way, counts in outcomes(slices).items() if way not in self._forgiven}
        self._ailing = {way for way, (ok, faults) in self._fleet.items() if faults > 1 and faults >= ok}

"""Which beginnings of prompts were sent where lately, and how likely they are to be asked for again.

Belongs here: the hash chain over a prompt's texts, and a bounded memory of its links. Does not belong here: what it makes of
a cost (`router.core.deciding.prefixes`), and who is asked (`router.prefixes`).

    texts in the order in which models get them   tools · system · message · message …
    links                                          at the end of the head, of the first turn, of the last turns, and at
                                                   fixed places of long texts: each stands for all that comes before it

A link is 64 bits of SHA-256 under a key of its tenant: nobody can tell a text from it, and no two tenants share one.
"""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import msgspec

from router.core.deciding.choices import Prefix

PPM: Final = 1_000_000
PLACES: Final = tuple(round(2048 * 2 ** (half / 2)) for half in range(26))
"""Characters at which long texts are cut, 2 K to 12 M: what two prompts share is told to within 30 %."""
LONG: Final = 4_096
"""Only within texts of so many characters; others are shared as a whole or not at all."""
TURNS: Final = 6
"""How many of the last texts' ends are links: the next request of a conversation adds an answer and a question, mostly."""
MOST_TOLD: Final = 128
"""Answered requests of which other workers are told at a time, at most: the newest."""
LINKS: Final = 16_384
"""Of so many links the last were used; about as many older ones are kept beside them. Some 10 MB when full."""
ASKERS: Final = 4_096
"""Applications whose habits are known, and heads whose rate is."""
USUAL_MS: Final = 300_000
LATE_MS: Final = 1_800_000
WINDOWS: Final = (USUAL_MS, LATE_MS)
"""Within so long another use counts as one that a cache would have served: most caches', and those that keep for half an hour."""
FADES_AT: Final = 1_000
"""Observations from which older ones count half."""
WORTH_PPM: Final = 850_000
"""From this share of a prompt on, what was read and written of it is all of it: the last tokens are a template's."""
KEY_RATE: Final = 15
"""Requests a minute of one prefix that come to one machine, by OpenAI's guide; beyond that, keys are split."""

HEAD, FIRST, TURN, PLACE = range(4)
"""What a link is the end of."""
KEPT: Final = 4
"""Beside a kind, where it is told: the provider should have the link."""


class Chain(msgspec.Struct, frozen=True):
    """A prompt's links, from the shortest to the whole: the link, its share of the prompt in parts per million, its kind."""

    links: tuple[tuple[int, int, int], ...]

    def of(self, kind: int) -> tuple[int, int]:
        """The link of a kind that there is once, with its share; (0, 0) where it is none."""
        return next(((link, share) for link, share, found in self.links if found == kind), (0, 0))


def chain(key: bytes, texts: Sequence[str], tools: int) -> Chain:
    """The links of a prompt.

    Args:
        key: of the tenant.
        texts: all that is said, as `router.core.tokens.PromptShape` has it: what describes tools comes last.
        tools: how many of the texts describe tools, and the answer's form.
    """
    ordered = (*texts[len(texts) - tools :], *texts[: len(texts) - tools]) if tools else texts
    said = "\0".join(ordered)
    ends = list(accumulate((len(text) + 1 for text in ordered), initial=-1))[1:]
    kinds = dict.fromkeys(ends[-TURNS:], TURN)
    if len(said) >= LONG:
        spans = [(end - len(text), end) for text, end in zip(ordered, ends, strict=True) if len(text) >= LONG]
        places = (place for start, end in spans for place in PLACES[bisect(PLACES, start) : bisect(PLACES, end)])
        kinds = dict.fromkeys(places, PLACE) | kinds
    turns = len(ordered) - tools
    if turns:
        kinds[ends[tools + (1 if turns > 1 else 0)]] = FIRST
    if tools or turns > 1:
        kinds[ends[tools - (turns <= 1)]] = HEAD
    hasher, start, total, links = hashlib.sha256(key), 0, max(len(said), 1), []
    for place in sorted(kinds):
        hasher.update(said[start:place].encode("utf-8", "surrogatepass"))
        start = place
        links.append((int.from_bytes(hasher.digest()[:8]), place * PPM // total, kinds[place]))
    return Chain(tuple(links))


class Link(msgspec.Struct):
    """What is known of a link."""

    until: dict[str, int]
    """By catalog entry: until when, in ms, its provider should have it."""
    ended_ms: int = 0
    """When a request ended with it last."""
    habit: int = 0
    """Of that request."""
    waits: bool = False
    """Whether nothing has gone on from there yet."""
    headed_ms: int = 0
    """When a request had it as its head last."""
    head_habit: int = 0


NEW, GOES_ON, NEW_HEAD, KNOWN_HEAD = range(4)
"""Habits: of requests that begin a conversation or go on with one, and of heads that are new or not."""
_PRIORS: Final = ((0, 10), (1, 2), (0, 10), (1, 2))
"""Of each habit, as if so many of so many had been asked for again."""


class Habits:
    """Of one application: how often what it asks is gone on with while a cache would still have it."""

    __slots__ = ("_again", "_asked")

    def __init__(self) -> None:
        self._asked = [0] * len(_PRIORS)
        self._again = [[0] * len(WINDOWS) for _ in _PRIORS]

    def asked(self, habit: int) -> None:
        """One more request of that kind."""
        self._asked[habit] += 1
        if self._asked[habit] > FADES_AT:
            self._asked[habit] //= 2
            self._again[habit] = [count // 2 for count in self._again[habit]]

    def again(self, habit: int, after_ms: int) -> None:
        """One of them has been gone on with, so long after it."""
        counts = self._again[habit]
        for number, window in enumerate(WINDOWS):
            counts[number] += after_ms <= window

    def chance_ppm(self, habit: int, window: int = 0) -> int:
        """How likely the next one is to be, in parts per million, within one of `WINDOWS`."""
        of, number = _PRIORS[habit]
        found = (self._again[habit][window] + of) * PPM // (self._asked[habit] + number)
        return min(found, PPM)


class Asked(msgspec.Struct, frozen=True):
    """A request on its way: what will be remembered of it when it has been answered."""

    chain: Chain
    asker: tuple[str, str]
    habit: int
    head_habit: int


class Told(msgspec.Struct, frozen=True, array_like=True):
    """An answered request, as other workers hear of it."""

    entry: str
    """Of the catalog: who has answered."""
    at_ms: int
    until_ms: int
    """Until when its provider should have what is marked as kept."""
    habit: int
    head_habit: int
    links: tuple[tuple[int, int], ...]
    """From the shortest to the whole: the link, and its kind with `KEPT` or without."""


class Warmth:
    """The memory. Times are milliseconds since the epoch.

    Args:
        links: how many that were used last are kept, and about as many older ones.
    """

    __slots__ = ("_habits", "_most", "_old", "_rates", "_told", "_young")

    def __init__(self, links: int = LINKS) -> None:
        self._most = links
        self._young: dict[int, Link] = {}
        self._old: dict[int, Link] = {}
        self._habits: dict[tuple[str, str], Habits] = {}
        self._rates: dict[int, tuple[int, int, int]] = {}
        self._told: deque[Told] = deque(maxlen=MOST_TOLD)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def asks(
        self, found: Chain, tokens: int, asker: tuple[str, str], now_ms: int, *, session: bool, marked: bool
    ) -> tuple[Prefix, Asked]:
        """What is known of a prompt, and what to remember of it once it has been answered.

        Args:
            found: its links.
            tokens: about as many it has.
            asker: tenant and application.
            now_ms: now.
            session: whether the caller names a session, which is likely to go on.
            marked: whether the caller has set breakpoints.
        """
        warm: dict[str, int] = {}
        goes_on, known_head, since = session, False, now_ms - USUAL_MS
        for link, share, kind in reversed(found.links):
            known = self._known(link)
            if known is None:
                continue
            for entry, until in known.until.items():
                if until > now_ms:
                    warm.setdefault(entry, share)
            goes_on = goes_on or known.ended_ms >= since
            known_head = known_head or (kind == HEAD and known.headed_ms >= since)
        asked = Asked(found, asker, GOES_ON if goes_on else NEW, KNOWN_HEAD if known_head else NEW_HEAD)
        habits = self._habits.get(asker) or Habits()
        head, head_ppm = found.of(HEAD)
        prefix = Prefix(
            tokens=tokens,
            warm=warm,
            again_ppm=habits.chance_ppm(asked.habit),
            late_ppm=habits.chance_ppm(asked.habit, 1),
            head_ppm=head_ppm,
            head_again_ppm=habits.chance_ppm(asked.head_habit) if head else 0,
            head_late_ppm=habits.chance_ppm(asked.head_habit, 1) if head else 0,
            marked=marked,
            key=self._key(found, now_ms),
        )
        return prefix, asked

    def answered(
        self, asked: Asked, entry: str, now_ms: int, ttl_ms: int, *, kept_ppm: int = PPM, on_request: bool = False
    ) -> None:
        """A request has been answered: its provider should have its beginning for a while.

        Args:
            asked: the request.
            entry: which catalog entry has answered.
            now_ms: now.
            ttl_ms: for how long its provider keeps prompts; 0 for not.
            kept_ppm: how much of it was read from the cache or written to it.
            on_request: whether only breakpoints are kept: then nothing is where no turn ends.
        """
        habits = self._habits_of(asked.asker)
        most = PPM if kept_ppm >= WORTH_PPM else kept_ppm
        last, until_ms = asked.chain.links[-1][0], now_ms + ttl_ms
        told = []
        for link, share, kind in asked.chain.links:
            if ttl_ms and share <= most and not (on_request and kind == PLACE):
                self._keeps(link, entry, until_ms)
                told.append((link, kind | KEPT))
            elif kind != PLACE:
                told.append((link, kind))
            known = self._known(link)
            if known is not None and known.waits:
                known.waits = False
                habits.again(known.habit, now_ms - known.ended_ms)
            if kind == HEAD:
                known = self._touched(link)
                if known.headed_ms:
                    habits.again(known.head_habit, now_ms - known.headed_ms)
                habits.asked(asked.head_habit)
                known.headed_ms, known.head_habit = now_ms, asked.head_habit
            if link == last:
                known = self._touched(link)
                habits.asked(asked.habit)
                known.ended_ms, known.habit, known.waits = now_ms, asked.habit, True
        self._told.append(Told(entry, now_ms, until_ms, asked.habit, asked.head_habit, tuple(told)))
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}

    def heard(self, told: Told) -> None:
        """Another worker's request has been answered. How often its application comes again is counted there; but whoever
        is gone on with here is found, and is no longer waited for where it was. What others say takes at most half of the
        memory: beyond, what this worker saw itself counts for more.
        """
        if len(self._young) >= self._most // 2:
            return
        for link, mark in told.links:
            if mark & KEPT:
                self._keeps(link, told.entry, told.until_ms)
            known = self._known(link)
            if known is not None:
                known.waits = False
            if mark & ~KEPT == HEAD:
                known = self._touched(link)
                known.headed_ms, known.head_habit = max(told.at_ms, known.headed_ms), told.head_habit
        known = self._touched(told.links[-1][0])
        known.ended_ms, known.habit, known.waits = max(told.at_ms, known.ended_ms), told.habit, True

    def told(self) -> list[Told]:
        """What was answered since it was asked for last."""
        found = list(self._told)
        self._told.clear()
        return found

    def _keeps(self, link: int, entry: str, until_ms: int) -> None:
        known = self._touched(link)
        known.until[entry] = max(until_ms, known.until.get(entry, 0))

    def _known(self, link: int) -> Link | None:
        return self._young.get(link) or self._old.get(link)

    def _touched(self, link: int) -> Link:
        """A link among those that were used last."""
        known = self._young.get(link)
        if known is None:
            known = self._young[link] = self._old.pop(link, Link(until={}))
        return known

    def _habits_of(self, asker: tuple[str, str]) -> Habits:
        found = self._habits.get(asker)
        if found is None:
            if len(self._habits) >= ASKERS:
                self._habits.clear()
            found = self._habits[asker] = Habits()
        return found

    def _key(self, found: Chain, now_ms: int) -> str:
        """What requests with the same head share, as long as there are few of them; beyond, those of one conversation do."""
        head, first = found.of(HEAD)[0], found.of(FIRST)[0]
        if not head:
            return f"cr-{first:016x}"
        minute = now_ms // 60_000
        begun, before, count = self._rates.get(head, (minute, 0, 0))
        if begun != minute:
            before, count = (count if begun == minute - 1 else 0), 0
        if len(self._rates) >= ASKERS:
            self._rates.clear()
        self._rates[head] = (minute, before, count + 1)
        parts = 1 << (max(before, count) // KEY_RATE).bit_length()
        return f"cr-{head:016x}" + (f"-{first % parts}" if parts > 1 else "")

"""What a deadline saves: an hour of chat traffic, deadlines 40 % now, 30 % one hour, 30 % a day, under four rules.

    make bench-deadline [TRACE=azure_conv_2023.csv]

The choices are the router's own (`router.core.jobs.deadlines`), prices the catalog's; what is simulated is time: parcels every
30 s, batches whose times differ from the prior and triple halfway, lines that are done before their batch is, and real
time with its latencies. Rules: all in real time; batch where the deadline is a day; the router; and who knows the future.

The trace is a CSV of timestamp, input tokens, output tokens (Azure's conversation trace of 2023, CC-BY 4.0); without one a
seeded stand-in with the same marginals (log-normal: input median 928, output median 150; 19,366 requests) is drawn.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import heapq
import itertools
import math
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.core.jobs.deadlines import PRIORS, SLICE_MS, Bid, Waits, cell, choose, give_up, reserve_for, waits
from router.core.pricing import cost_pico, price_at
from router.core.values import Usage

MODEL, PROVIDER = "openai/gpt-4.1-mini", "openai"
HOUR, DAY = 3_600_000, 86_400_000
PARCEL_MS = 30_000
ON_TIME_PPM = 995_000
RUN_MS = 12_000
"""What is kept for an answer in real time."""
CANCELS_MS = 20_000
TTFT, TPOT = (400.0, 0.55), 9.0
"""Of real time: median ms to the first token and its sigma; ms a token."""


@dataclass
class Line:
    """One request; times in ms."""

    at: int
    prompt: int
    output: int
    left: int
    """0 for now."""
    run: int = 0
    share: float = 0.0
    """When within its batch it is done."""

    @property
    def due(self) -> int:
        """Its deadline."""
        return self.at + self.left


@dataclass
class Parcel:
    """A batch under way."""

    sent: int
    takes: int
    lines: list[Line] = field(default_factory=list)


def stand_in(rng: random.Random, count: int = 19_366) -> list[tuple[int, int, int]]:
    def drawn(median: float, sigma: float, most: int) -> int:
        return max(1, min(most, round(median * math.exp(rng.gauss(0, sigma)))))

    at = sorted(rng.randrange(HOUR) for _ in range(count))
    return [(when, drawn(928, 1.0, 14_000), drawn(150, 0.95, 1_000)) for when in at]


def recorded(path: Path) -> list[tuple[int, int, int]]:
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row and row[0][:1].isdigit()]

    def ms(text: str) -> int:
        try:
            return round(float(text) * 1000)
        except ValueError:
            return round(dt.datetime.fromisoformat(text.strip()[:26]).timestamp() * 1000)

    first = ms(rows[0][0])
    return [(ms(row[0]) - first, int(float(row[1])), int(float(row[2]))) for row in rows]


class World:
    """Time as it really goes: the same for every rule."""

    def __init__(self, lines: list[Line], seed: int) -> None:
        self.lines = lines
        self._seed = seed
        self._takes: dict[tuple[int, int], int] = {}
        catalog = load_policies(packaged_policies_dir()).catalog
        model = next(m for m in catalog.by_id(MODEL) if m.provider == PROVIDER)
        noon = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
        self.instant, self.batch = price_at(model, noon), price_at(model, noon, "batch")

    def takes(self, slot: int, kind: int) -> int:
        """How long a batch takes that leaves then. Log-normal around 12 minutes, ninetieth percentile 48 (the prior: 7 and
        60); three times that from the middle of the hour on.
        """
        key = (slot, kind)
        if key not in self._takes:
            rng = random.Random(f"{self._seed}/{key}")
            ms = 12 * 60_000 * math.exp(rng.gauss(0, math.log(4) / 1.2816))
            self._takes[key] = round(ms * (3 if slot * PARCEL_MS >= HOUR // 2 else 1))
        return self._takes[key]

    def cost(self, line: Line, *, batch: bool) -> int:
        """Pico-dollars."""
        usage = Usage(prompt_tokens=line.prompt, completion_tokens=line.output)
        return cost_pico(self.batch if batch else self.instant, usage)


@dataclass
class Outcome:
    """What a rule comes to."""

    pico: int = 0
    with_deadline: int = 0
    late: int = 0
    escalated: int = 0
    batched: int = 0

    def in_time(self, line: Line, done: int) -> None:
        """Note when a line was done."""
        if line.left:
            self.with_deadline += 1
            self.late += done > line.due


def slot_of(line: Line) -> int:
    return -(-line.at // PARCEL_MS)


def kind_of(line: Line) -> int:
    return line.left.bit_length()


def at_once(world: World, lines: list[Line]) -> Outcome:
    found = Outcome()
    for line in lines:
        found.pico += world.cost(line, batch=False)
        found.in_time(line, line.at + line.run)
    return found


def by_rule(world: World, lines: list[Line]) -> Outcome:
    """Batch where the deadline is a day; who is late by then is late."""
    found = Outcome()
    for line in lines:
        batch = line.left >= DAY
        found.pico += world.cost(line, batch=batch)
        found.batched += batch
        sent = slot_of(line) * PARCEL_MS
        found.in_time(line, sent + world.takes(slot_of(line), kind_of(line)) if batch else line.at + line.run)
    return found


def knowing(world: World, lines: list[Line]) -> Outcome:
    """Who knows when each line will be done sends it by batch exactly where that is in time."""
    found = Outcome()
    for line in lines:
        done = slot_of(line) * PARCEL_MS + round(world.takes(slot_of(line), kind_of(line)) * line.share)
        batch = bool(line.left) and done <= line.due
        found.pico += world.cost(line, batch=batch)
        found.batched += batch
        found.in_time(line, done if batch else line.at + line.run)
    return found


class Router:
    """The router's rule: bids, learned times, parcels, giving up in time, losers settled as billed. Events in time's order."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.found = Outcome()
        self._outcomes: Counter[tuple[int, int]] = Counter()
        self._given_up: Counter[tuple[int, int]] = Counter()
        self._parcels: dict[tuple[int, int], Parcel] = {}
        self._events: list[tuple[int, int, str, object]] = []
        self._order = itertools.count()
        self._does = {"came": self._came, "looked": self._looked, "over": self._over, "stopped": self._stopped}

    def _later(self, at: int, what: str, about: object) -> None:
        heapq.heappush(self._events, (at, next(self._order), what, about))

    def _known(self, now: int, *, ended: bool = False) -> Waits:
        current = now // SLICE_MS
        seen = [(current - at, index, count) for (at, index), count in self._outcomes.items()]
        given_up = [(current - at, index, count) for (at, index), count in self._given_up.items()]
        return waits(PRIORS["batch"], seen, () if ended else given_up)

    def run(self, lines: list[Line]) -> Outcome:
        """Everything that happens."""
        for line in lines:
            self._later(line.at, "came", line)
        while self._events:
            now, _, what, about = heapq.heappop(self._events)
            self._does[what](now, about)
        return self.found

    def _came(self, now: int, line: Line) -> None:
        world, chosen = self.world, None
        if line.left:
            bids = [Bid(0, world.cost(line, batch=False)), Bid(1, world.cost(line, batch=True), self._known(now))]
            chosen = choose(bids, line.left, reserve_for(line.left, RUN_MS), ON_TIME_PPM)
        if chosen is None or chosen.index == 0:
            self.found.pico += world.cost(line, batch=False)
            self.found.in_time(line, now + line.run)
            return
        self.found.batched += 1
        key = (slot_of(line), kind_of(line))
        parcel = self._parcels.get(key)
        if parcel is None:
            parcel = self._parcels[key] = Parcel(slot_of(line) * PARCEL_MS, world.takes(*key))
            self._later(parcel.sent + parcel.takes, "over", parcel)
            self._later(parcel.sent + 60_000, "looked", parcel)
        parcel.lines.append(line)

    def _looked(self, now: int, parcel: Parcel) -> None:
        if not parcel.lines:
            return
        left, waited = min(line.due for line in parcel.lines) - now, now - parcel.sent
        reserve = reserve_for(max(line.left for line in parcel.lines), RUN_MS)
        if give_up(self._known(now, ended=True), waited, left, reserve):
            self._later(now + CANCELS_MS, "stopped", parcel)
        else:
            wait = min(max(waited // 12, 2_000), 120_000, max(left - reserve.both_ms, 50))
            self._later(now + wait, "looked", parcel)

    def _over(self, now: int, parcel: Parcel) -> None:
        if parcel.lines:
            self._outcomes[now // SLICE_MS, cell(parcel.takes)] += 1
        for line in parcel.lines:
            self.found.pico += self.world.cost(line, batch=True)
            self.found.in_time(line, now)
        parcel.lines = []

    def _stopped(self, now: int, parcel: Parcel) -> None:
        """What is done is kept and billed, the rest goes its way out."""
        if parcel.lines:
            self._given_up[now // SLICE_MS, cell(now - parcel.sent)] += 1
        for line in parcel.lines:
            done = parcel.sent + parcel.takes * line.share <= now
            self.found.escalated += not done
            self.found.pico += self.world.cost(line, batch=done)
            self.found.in_time(line, now if done else now + line.run)
        parcel.lines = []


def routed(world: World, lines: list[Line]) -> Outcome:
    """The router."""
    return Router(world).run(lines)


def made(trace: list[tuple[int, int, int]], seed: int) -> list[Line]:
    rng = random.Random(seed)
    lines = []
    for at, prompt, output in trace:
        draw = rng.random()
        left = 0 if draw < 0.4 else HOUR if draw < 0.7 else DAY
        run = round(TTFT[0] * math.exp(rng.gauss(0, TTFT[1])) + output * TPOT)
        lines.append(Line(at, prompt, output, left, run, 0.95 * (0.3 + 0.7 * rng.random())))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trace", nargs="?", type=Path, default=os.environ.get("TRACE") or None)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    trace = recorded(Path(asked.trace)) if asked.trace else stand_in(random.Random(asked.seed))
    lines = made(trace, asked.seed)
    world = World(lines, asked.seed)
    rules = {
        "all in real time": at_once,
        "batch if 24 h": by_rule,
        "the router": routed,
        "knowing the future": knowing,
    }
    found = {name: rule(world, lines) for name, rule in rules.items()}
    most, least = found["all in real time"].pico, found["knowing the future"].pico
    print(
        f"{len(lines)} requests of {asked.trace or 'the seeded stand-in'}, {MODEL} at {PROVIDER}, seed {asked.seed}\n"
    )
    print("| rule | dollars | of real time | of the optimum | by batch | escalated | on time |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, told in found.items():
        on_time = 100 * (1 - told.late / max(told.with_deadline, 1))
        print(
            f"| {name} | {told.pico / 1e12:.4f} | {100 * told.pico / most:.1f} % | {told.pico / least:.3f} x "
            f"| {told.batched} | {told.escalated} | {on_time:.2f} % |"
        )
    by_batch = [line for line in lines if line.left >= DAY]
    alone = sum(world.cost(line, batch=True) for line in by_batch) / sum(
        world.cost(line, batch=False) for line in by_batch
    )
    print(
        f"\nThe literature: batch 70-80 % cheaper, hybrid 40-50 %. Measured: batch {100 * (1 - alone):.0f} % (the list "
        f"price), hybrid {100 * (1 - found['the router'].pico / most):.0f} % with 40 % of requests needed now."
    )


if __name__ == "__main__":
    main()

"""Dollars and broken promises in a simulated hour: the product's own decisions beside simpler rules, and beside hindsight.

    make bench-world [TRACE=path]     also COSTROUTER_TRACE in the environment; python benchmarks/world.py --trace path

20,000 requests of a trace (benchmarks/predictors.py says of which forms; a shorter one is begun again where it ends)
meet eight models whose speed drifts and jumps, whose prices have bands and cached reads, and whose true quality lies
around its score. Without a trace one is drawn: lengths as Azure's conversation trace publishes them, arrivals at its rate.

Everything is one process and no sockets, but what decides is the product: policy, scores, snapshot, `decide`, statistics
from rows. It knows of a request what it would: the prompt's length, and rows of requests that have ended. All rules meet
the same draws. Hindsight knows each request's answer, first token and bill on every model, and uses the policy's
allowance of slow answers where that saves most; nothing that decides beforehand can reach it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import heapq
import math
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from predictors import Request, blank_row, read_trace

from router.adapters.fleet.statistics import Observations
from router.core.catalog.catalog import Catalog
from router.core.catalog.compile import compile_catalog
from router.core.catalog.schema import CatalogSchema
from router.core.deciding.choices import Prefix
from router.core.deciding.decide import Decision, Facts, Option, decide
from router.core.deciding.snapshot import Snapshot, World, compile_snapshot
from router.core.names import Names
from router.core.policy.compile import compile_policy
from router.core.policy.governing import Wish
from router.core.policy.schema import PolicySchema
from router.core.pricing import cost_pico
from router.core.schema import validate
from router.core.statistics.series import seen
from router.core.tokens import exactly
from router.core.values import Identity, Needs, Usage

REQUESTS: Final = 20_000
FLOOR: Final = 0.70
LIMIT_MS: Final = 1_500
ALLOWED: Final = 0.05
"""The policy: quality of at least `FLOOR` with 90 % confidence, first token within `LIMIT_MS` in 95 of 100 requests."""
WARM_MS: Final = 300_000
LEAST_CACHED: Final = 1_024
START_MS: Final = 1_795_000_000_000
NOON: Final = dt.datetime.fromtimestamp(START_MS / 1000, dt.UTC)


class Truth(NamedTuple):
    """What a model really is, and its list price in dollars per million tokens."""

    name: str
    input: str
    cached: str
    output: str
    score: float
    sd: float
    quality: float
    first_ms: float
    """Median first token of a short prompt, while nothing is wrong."""
    prefill_us: float
    """A token of the prompt adds so much."""
    talk: float
    """Its answers' length, in that of the trace."""
    slow: tuple[tuple[float, float, float], ...] = ()
    """From minute, to minute, times slower."""
    band: float = 0
    """How many times dearer prompts of more than 4,096 tokens are; 0 for not."""


TRUTHS: Final = (
    Truth("tiny", "0.03", "0.015", "0.10", 0.58, 0.02, 0.60, 180, 20, 1.2),
    Truth("flash", "0.10", "0.01", "0.40", 0.75, 0.02, 0.76, 420, 60, 0.9, ((18, 26, 4.0), (44, 48, 3.0))),
    Truth("open-70b", "0.12", "0.06", "0.35", 0.74, 0.02, 0.73, 500, 110, 1.0, ((8, 12, 3.5),), 2.0),
    Truth("lite", "0.08", "0.02", "0.45", 0.70, 0.03, 0.67, 300, 40, 1.1),
    Truth("mid", "0.25", "0.025", "1.25", 0.79, 0.02, 0.80, 380, 50, 1.0, ((30, 34, 2.5),)),
    Truth("quick", "0.40", "0.20", "0.90", 0.73, 0.02, 0.74, 120, 15, 1.0),
    Truth("strong", "1.25", "0.125", "8.00", 0.84, 0.02, 0.85, 650, 90, 1.3),
    Truth("best", "4.00", "0.20", "20.00", 0.87, 0.02, 0.88, 900, 120, 1.2),
)
ABOUT: Final = {"source": "benchmarks/world.py", "date": dt.date(2026, 11, 1)}


class Draw(NamedTuple):
    """What a model does with one request."""

    first_ms: int
    output: int


def world() -> World:
    """The catalog and the policy that the product knows."""
    models = [_entry(truth) for truth in TRUTHS]
    provider = {
        "version": 1, "provider": "world", "name": "World", "base_url": "https://world.example/v1", "dialect": "openai",
        "bills_after_disconnect": True, "models": models,
        "prompt_cache": {"kept": "by itself", "min_tokens": LEAST_CACHED, "ttl": f"{WARM_MS // 1000}s", "hit_rate": "0.9",
                         "source": ABOUT["source"], "checked": ABOUT["date"]},
    }  # fmt: skip  # a document
    compiled = compile_catalog(validate(CatalogSchema, provider))
    catalog = Catalog([compiled.provider], compiled.models)
    require = {"quality": f"{FLOOR}", "confidence": "90%", "ttft": f"p95 <= {LIMIT_MS}ms"}
    policy = {
        "version": 1, "policy": "default", "candidates": {"include": ["tag:chat"]},
        "rules": [{"name": "all", "require": require}], "when_nothing_fits": ["relax ttft"],
    }  # fmt: skip  # as above
    made = compile_policy(validate(PolicySchema, policy), catalog, NOON).policy
    return World(catalog, {"default": made}, Names(catalog), frozenset({"world"}))


def _entry(truth: Truth) -> dict[str, Any]:
    price = {"valid_from": dt.date(2026, 1, 1), "input": truth.input, "cached_input": truth.cached,
             "output": truth.output, "source": ABOUT["source"], "checked": ABOUT["date"]}  # fmt: skip  # as above
    dear = {k: str(float(str(price[k])) * truth.band) for k in ("input", "cached_input", "output")}
    return {
        "id": f"world/{truth.name}", "upstream": truth.name, "context_window": 1_000_000, "max_output": 16_000,
        "capabilities": ["chat"], "tags": ["chat"], "weights": "closed",
        "quality": {"chat": {"score": str(truth.score), "sd": str(truth.sd), **ABOUT}},
        "latency": {"ttft_p50_ms": 500, "ttft_p95_ms": 1_200, "tpot_ms": "10", **ABOUT},
        "output": {"mean": 260, "p90": 700},
        "prices": [price, *([{**price, **dear, "above_input_tokens": 4_096}] if truth.band else [])],
    }  # fmt: skip  # as above


def drawn_trace(count: int, seed: int) -> list[Request]:
    """Lengths log-normal about Azure's published medians (1,020 in, 129 out) and means (1,155, 211); 5.5 a second."""
    draw = random.Random(seed)
    at, found = 0.0, []
    for _ in range(count):
        at += draw.expovariate(5.5) * 1000
        prompt = min(int(draw.lognormvariate(math.log(1_020), 0.9)), 14_000)
        found.append(Request(int(at), max(prompt, 5), max(min(int(draw.lognormvariate(math.log(129), 1.0)), 1_000), 1)))
    return found


def repeated(trace: Sequence[Request], count: int) -> list[Request]:
    """So many requests of a trace, begun again where it ends."""
    length = trace[-1].at_ms + 200
    return [
        trace[n % len(trace)]._replace(at_ms=trace[n % len(trace)].at_ms + n // len(trace) * length)
        for n in range(count)
    ]


def draws(trace: Sequence[Request], seed: int) -> list[list[Draw]]:
    """What each model would do with each request."""
    draw = random.Random(seed)
    drift = [0.0] * len(TRUTHS)
    minute, found = -1, []
    for request in trace:
        if request.at_ms // 60_000 != minute:
            minute = request.at_ms // 60_000
            drift = [0.9 * level + draw.gauss(0, 0.12) for level in drift]
        found.append([_draw(truth, request, level, draw) for truth, level in zip(TRUTHS, drift, strict=True)])
    return found


def _draw(truth: Truth, request: Request, drift: float, draw: random.Random) -> Draw:
    minute = request.at_ms / 60_000
    slower = math.prod(times for start, end, times in truth.slow if start <= minute < end)
    first = (truth.first_ms + request.prompt * truth.prefill_us / 1000) * slower * math.exp(drift + draw.gauss(0, 0.35))
    return Draw(int(first), max(int(request.output * truth.talk * math.exp(draw.gauss(-0.02, 0.2))), 1))


def sessions(trace: Sequence[Request], seed: int) -> list[tuple[int, int]]:
    """(session, tokens of its prompt so far) of each request: by prefix blocks where the trace has them; else half of the
    requests go on with a conversation of the last minutes that was shorter.
    """
    draw = random.Random(seed)
    found: list[tuple[int, int]] = []
    blocks: dict[int, int] = {}
    waiting: list[tuple[int, int, int]] = []
    for number, request in enumerate(trace):
        if request.blocks:
            shared = sum(1 for block in request.blocks if block in blocks)
            found.append((blocks.get(request.blocks[max(shared - 1, 0)], number), min(shared * 512, request.prompt)))
            for block in request.blocks:
                blocks[block] = found[-1][0]
            continue
        waiting = [one for one in waiting[-200:] if request.at_ms - one[0] < WARM_MS]
        fitting = [one for one in waiting if one[2] < request.prompt] if draw.random() < 0.5 else []
        if fitting:
            chosen = draw.choice(fitting)
            waiting.remove(chosen)
            found.append((chosen[1], chosen[2]))
        else:
            found.append((number, 0))
        waiting.append((request.at_ms, found[-1][0], request.prompt + request.output))
    return found


class Bill:
    """Dollars and broken promises of one rule; knows which prefixes are warm where."""

    def __init__(self, options: dict[str, Option]) -> None:
        self.options = options
        self.pico = self.slow = self.poor = 0
        self._warm: dict[tuple[int, str], int] = {}

    def cached(self, request: Request, session: tuple[int, int], number: int) -> int:
        """Tokens that a model would read from its cache."""
        warm = self._warm.get((session[0], TRUTHS[number].name), -WARM_MS)
        return session[1] if session[1] >= LEAST_CACHED and request.at_ms - warm < WARM_MS else 0

    def cost(self, request: Request, session: tuple[int, int], number: int, draw: Draw) -> int:
        """What one request costs on a model, in pico-dollars."""
        name, cached = TRUTHS[number].name, self.cached(request, session, number)
        return cost_pico(self.options[name].price, Usage(request.prompt, draw.output, cached_tokens=cached))

    def book(self, request: Request, session: tuple[int, int], number: int, draw: Draw) -> int:
        """Serve it there."""
        cost = self.cost(request, session, number, draw)
        self.pico += cost
        self.slow += draw.first_ms > LIMIT_MS
        self.poor += TRUTHS[number].quality < FLOOR
        self._warm[session[0], TRUTHS[number].name] = request.at_ms
        return cost


class Product:
    """What the product does, told of each request when its answer has ended."""

    def __init__(self, known: World) -> None:
        self._world = known
        self._observations = Observations()
        self._ended: list[tuple[int, int, Any]] = []
        self._sent: dict[int, dict[str, int]] = {}
        self._warm = 0
        self._tick = -1
        self._row = msgspec.structs.replace(blank_row(), policy="default@1", rule="all")
        self.snapshot: Snapshot = compile_snapshot("0", known, NOON, lambda _: None)
        self._wish = Wish(who=Identity(tenant="t", key="k", app="app"))

    def choose(self, request: Request, session: tuple[int, int]) -> Decision:
        """Decide as of the last tick, knowing where the session's prompt so far was sent."""
        if request.at_ms // 1_000 != self._tick:
            self._tick = request.at_ms // 1_000
            self._learn(request.at_ms)
        prefix = self._prefix(request, session) if request.prompt >= LEAST_CACHED else None
        tokens = exactly(request.prompt)
        facts = Facts(endpoint="chat", needs=Needs.CHAT.value, tokens=tokens, stream=True, prefix=prefix)
        route = self.snapshot.route(facts, self._wish)
        found = decide(route.plan, facts, route.baseline)
        assert found is not None
        self._warm = found.warm_tokens
        return found

    def _prefix(self, request: Request, session: tuple[int, int]) -> Prefix:
        """As `router.core.statistics.warmth` would tell it by the hashes of what was sent."""
        sent = self._sent.get(session[0], {})
        share = min(session[1] * 1_000_000 // request.prompt, 1_000_000)
        return Prefix(request.prompt, {name: share for name, at_ms in sent.items() if request.at_ms - at_ms < WARM_MS})

    def served(
        self, request: Request, session: tuple[int, int], number: int, draw: Draw, usage: tuple[int, int]
    ) -> None:
        """Its row comes when its answer has ended. ``usage``: its cost in pico-dollars, and tokens read from the cache."""
        cost, cached = usage
        self._sent.setdefault(session[0], {})[f"world/{TRUTHS[number].name}@world"] = request.at_ms
        total = draw.first_ms + draw.output * 10
        row = msgspec.structs.replace(
            self._row, model=f"world/{TRUTHS[number].name}", provider="world", prompt_tokens=request.prompt,
            completion_tokens=draw.output, ttft_ms=draw.first_ms, total_ms=total, cost_pico=cost, cached_tokens=cached,
            warm_tokens=self._warm,
        )  # fmt: skip  # a record
        heapq.heappush(self._ended, (request.at_ms + total, len(self._ended) + request.at_ms * 1_000, row))

    def _learn(self, now_ms: int) -> None:
        seen_any = False
        while self._ended and self._ended[0][0] <= now_ms:
            seen_any = True
            for series, value in seen(heapq.heappop(self._ended)[2]):
                self._observations.add(series, value)
        if seen_any:
            now = START_MS + now_ms
            self._observations.take(now)
            self._observations.told()
            self._observations.refresh(now)
            at = dt.datetime.fromtimestamp(now / 1000, dt.UTC)
            summary = self._observations.summary
            self.snapshot = compile_snapshot(str(now_ms), self._world, at, summary, self.snapshot)


Rule = Callable[[int, Request], int]
"""From a request's number and the request to a model's."""


def run(trace: Sequence[Request], seed: int) -> dict[str, Bill]:
    """Every rule's bill."""
    known = world()
    product = Product(known)
    options = {option.model.partition("/")[2]: option for option in product.snapshot.offered}
    place = {f"world/{truth.name}": number for number, truth in enumerate(TRUTHS)}
    does, going = draws(trace, seed), sessions(trace, seed)
    listed = sorted(range(len(TRUTHS)), key=lambda n: float(TRUTHS[n].input) * 4 + float(TRUTHS[n].output))
    quickest = min(range(len(TRUTHS)), key=lambda n: TRUTHS[n].first_ms)
    small, middle, large = listed[0], place["world/mid"], place["world/strong"]
    rules: dict[str, Rule] = {
        "costrouter": lambda number, request: place[product.choose(request, going[number]).option.model],
        "lowest list price": lambda _, __: listed[0],
        "lowest latency": lambda _, __: quickest,
        "longer prompt, stronger model": lambda _, r: (
            small if r.prompt < 512 else middle if r.prompt < 2_048 else large
        ),
        "strongest for all": lambda _, __: place["world/best"],
    }
    bills: dict[str, Bill] = {}
    for name, rule in rules.items():
        bill = bills[name] = Bill(options)
        for number, request in enumerate(trace):
            chosen = rule(number, request)
            cached = bill.cached(request, going[number], chosen)
            cost = bill.book(request, going[number], chosen, does[number][chosen])
            if name == "costrouter":
                product.served(request, going[number], chosen, does[number][chosen], (cost, cached))
    bills["hindsight"] = _hindsight(trace, does, going, options)
    return bills


def _hindsight(
    trace: Sequence[Request], does: list[list[Draw]], going: list[tuple[int, int]], options: dict[str, Option]
) -> Bill:
    """The cheapest that is good enough and quick enough, each request by itself; slow ones where most is saved."""
    good = [number for number, truth in enumerate(TRUTHS) if truth.quality >= FLOOR]
    plain, choices = Bill(options), []
    for number, request in enumerate(trace):
        costs = {n: plain.cost(request, (0, 0), n, does[number][n]) for n in good}
        quick = [n for n in good if does[number][n].first_ms <= LIMIT_MS] or good
        best, least = min(quick, key=costs.__getitem__), min(good, key=costs.__getitem__)
        choices.append((costs[best] - costs[least], best, least))
    slow = sorted(range(len(choices)), key=lambda n: -choices[n][0])[: int(ALLOWED * len(trace))]
    late = {n for n in slow if choices[n][0] > 0}
    bill = Bill(options)
    for number, request in enumerate(trace):
        _, best, least = choices[number]
        chosen = least if number in late else best
        bill.book(request, going[number], chosen, does[number][chosen])
    return bill


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, default=os.environ.get("COSTROUTER_TRACE") or None)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    trace = read_trace(Path(arguments.trace)) if arguments.trace else drawn_trace(REQUESTS, arguments.seed)
    trace = repeated(trace, REQUESTS)
    bills = run(trace, arguments.seed)
    least = bills["hindsight"].pico
    print(f"{len(trace)} requests, {trace[-1].at_ms / 60_000:.0f} minutes; "
          f"policy: quality ≥ {FLOOR} at 90 %, first token ≤ {LIMIT_MS} ms in 95 %")  # fmt: skip  # a sentence
    print(f"{'':<30}{'dollars':>10}{'of hindsight':>14}{'too slow':>10}{'not good enough':>17}")
    for name, bill in sorted(bills.items(), key=lambda pair: pair[1].pico):
        shares = bill.slow / len(trace), bill.poor / len(trace)
        print(f"{name:<30}{bill.pico / 1e12:>10.4f}{bill.pico / least:>13.1%}{shares[0]:>11.2%}{shares[1]:>16.1%}")


if __name__ == "__main__":
    main()

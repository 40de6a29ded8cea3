"""What deciding goes by and what comes of it: facts of a request, options, plans, decisions.

Belongs here: these values, and an option's figures as the inner loop reads them. Does not belong here: choosing
(decide.py), how options get their figures (snapshot.py, variants.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal

import msgspec

from router.core.forwarding.forwarding import Forwarding
from router.core.images import Image, ImageFormula
from router.core.pricing import REALTIME
from router.core.statistics.stats import Summary
from router.core.values import Price, TokenRange, Units

PPM = 1_000_000


class Fault(msgspec.Struct, frozen=True):
    """A limit that an option misses: quality in thousandths, latencies in milliseconds."""

    limit: str
    found: int | None
    """None when there is no data and the policy excludes what has none."""
    wanted: int


class Cache(msgspec.Struct, frozen=True):
    """How an option's provider keeps the beginnings of prompts (`router.core.catalog.catalog.PromptCache`)."""

    asked: bool
    """Only what carries breakpoints."""
    least: int
    """Tokens, as the provider meters them."""
    hit_ppm: int
    """How much of what should be there is read: the catalog's prior, moved by what was observed."""
    keyed: bool = False
    chosen: bool = False
    """All by itself, unless a request says otherwise."""
    late: bool = False
    """For half an hour or more."""


class Prefix(msgspec.Struct, frozen=True):
    """What is known of the beginning of a prompt that is long enough to be kept. Shares are of its tokens, in parts per
    million.
    """

    tokens: int
    """Of the texts, in the reference encoding, as they were judged when this was looked up."""
    warm: dict[str, int] = {}
    """By catalog entry: how much of it a provider should have, because it was sent there lately."""
    again_ppm: int = 0
    """How likely it is that another request begins with all of it within five minutes, in parts per million."""
    late_ppm: int = 0
    """The same within half an hour."""
    head_ppm: int = 0
    """How much of it are tools and the first message."""
    head_again_ppm: int = 0
    """How likely it is that another request begins with those within five minutes."""
    head_late_ppm: int = 0
    """The same within half an hour."""
    marked: bool = False
    """Whether the caller has set breakpoints."""
    left: bool = False
    """Whether nothing is to be asked of caches, by the policy."""
    key: str = ""
    """Requests that share a beginning share this, too; no text can be told from it."""


class Option(msgspec.Struct, frozen=True):
    """One (model, provider, tier, effort) at one instant: plain figures, compiled once per snapshot."""

    entry: str
    """The catalog entry: ``author/name@provider``."""
    model: str
    provider: str
    tier: str
    upstream_model: str
    capabilities: int
    context_window: int
    max_output: int
    ratio_ppm: int
    """The provider's metered tokens per reference token, in parts per million."""
    message_overhead: int
    image: ImageFormula | None
    price: Price
    output_mean: int
    output_p90: int
    ttft: Summary
    """Microseconds."""
    tpot: Summary
    """Microseconds a token."""
    live: bool
    """True when the latency figures were observed, False when they are the catalog's priors."""
    headroom: int = 0
    """Of a model that thinks before it answers: the least output limit that usually leaves something to say."""
    effort: str = ""
    """The reasoning effort to ask for; empty where the request goes on as it came."""
    tier_word: str = ""
    """What the provider calls the tier; empty where the request goes on as it came."""
    prices: dict[str, Price] = {}
    """What the model costs now in every tier that is sold: the bill goes by the tier that was served."""
    total: Summary | None = None
    """Microseconds of whole answers; None where too few were seen."""
    tries_ppm: int = PPM
    """Expected paid tries an answer, in parts per million."""
    dialects: tuple[str, ...] = ()
    """What it is spoken to in; empty for all that its provider speaks."""
    cache: Cache | None = None
    """None where nothing is known of one."""
    busy_milli: int | None = None
    """How busy the machines are that serve it, in thousandths; None where they are not one's own."""

    @property
    def name(self) -> str:
        """Identifies it: the entry, and tier and effort where they are not the usual."""
        tier = "" if self.tier == REALTIME else f"/{self.tier}"
        return f"{self.entry}{tier}{self.effort and '+'}{self.effort}"

    def figures(self, rank: int = 0, *, headroom: bool = True) -> Figures:
        """What the choice reads, in the order in which `cheapest` takes it apart.

        Args:
            rank: its place in the order of preference.
            headroom: whether an output limit must leave it room to think.
        """
        rates = self.price.bands[0].rates
        return (
            self,
            self.capabilities,
            self.ratio_ppm,
            self.message_overhead,
            self.context_window,
            self.max_output,
            self.output_mean,
            rates.request,
            rates.input,
            rates.output,
            len(self.price.bands) > 1,
            self.tries_ppm,
            rank,
            0,
            0,
            0,
            self.headroom if headroom else 0,
        )


Figures = tuple[Option, int, int, int, int, int, int, int, int, int, bool, int, int, int, int, int, int]
"""One tuple to unpack costs a third of as many attribute look-ups, for every option of every request. Before the last
come three floors, which nothing from this row on goes below: a reference token of the prompt in millionths of a
pico-dollar, the mean of the answers in tokens, and a token of them in pico-dollars.
"""
USUAL_PROMPT: Final = 500
"""Tokens by which options are put in order of cost: any order gives the same choice, this one mostly gives it soon."""


class Work(msgspec.Struct, frozen=True):
    """What a request orders beside text, as far as its body tells. What is bounded has a likely amount and the most."""

    images: int = 0
    """To be made."""
    quality: str = ""
    size: str = ""
    """``1024x1536``; empty, as the quality is, where the model is to choose."""
    pictures: int = 0
    """Images that come with it."""
    sound_ms: int = 0
    sound_most_ms: int = 0
    sound_read: bool = False
    """Whether the length stands in the file's own head; otherwise it is guessed by its size."""
    characters: int = 0
    """To be spoken."""
    documents: int = 0
    """To be ranked."""
    repeated: int = 0
    """Bytes of the query, once more for each document but the first: some rerankers bill it with each."""
    tools: tuple[tuple[str, int, int], ...] = ()
    """Meters of tools that the provider runs: likely calls, and the most that money is held for."""


class Facts(msgspec.Struct, frozen=True):
    """What the decision may know of a request."""

    endpoint: str
    needs: int
    tokens: TokenRange
    """Of the texts, in the reference encoding."""
    fixed_tokens: int = 0
    """Template tokens on any model."""
    messages: int = 1
    images: tuple[Image, ...] = ()
    max_output: int | None = None
    choices: int = 1
    task: str = "chat"
    stream: bool = False
    asked_model: str = "auto"
    path: str = ""
    max_cost_pico: int | None = None
    tier: str = ""
    """The tier that the caller orders; empty where they leave it to us."""
    inputs: int = 1
    """Texts that are embedded apart from each other: the window holds for each of them."""
    largest: TokenRange | None = None
    """Of the largest input alone, where there are several."""
    deadline_ms: int | None = None
    """Time that is left; None where the caller set no deadline."""
    budget_milli: int = 0
    """Of the fullest budget, what is used or held, in thousandths of its limit; known only where a rule asks for it."""
    text_bytes: int | None = None
    """No text of the prompt has more tokens than this; None where the body only points to some of it."""
    models: tuple[str, ...] = ()
    """Where the caller names several: those that may serve, the most wanted first."""
    notes: tuple[tuple[int, str], ...] = ()
    """What in the request the bits of `router.core.wire.Wire` among its needs stand for, in words."""
    prefix: Prefix | None = None
    """None where no provider would keep a prompt as short as this."""
    native: int = 0
    """The bit of the dialect that it came in (`router.core.wire.NATIVE`), once it has been read wholly."""
    work: Work | None = None
    """None where it orders text for text and nothing else."""


class Level(msgspec.Struct, frozen=True):
    """Options that satisfy the policy's request-independent limits; ``relaxed`` names what was given up for them."""

    relaxed: str
    options: tuple[Option, ...]
    """In order of preference at equal cost."""
    figures: tuple[Figures, ...]
    """By `cheapest_first`."""
    bend: int
    """The least count of tokens at which a window of these ends or a price band begins."""
    densest_ppm: int
    """The highest of their ratios, at least 1,000,000."""


def level(relaxed: str, options: Iterable[Option], *, headroom: bool = True) -> Level:
    """A level of these options; without ``headroom`` a model that thinks serves whatever the output limit is."""
    found = tuple(options)
    edges = [edge for o in found for edge in (o.context_window, *(band.above for band in o.price.bands[1:]))]
    densest = max([PPM, *(option.ratio_ppm for option in found)])
    rows = cheapest_first(option.figures(rank, headroom=headroom) for rank, option in enumerate(found))
    return Level(relaxed, found, rows, bend=min(edges, default=0), densest_ppm=densest)


def cheapest_first(figures: Iterable[Figures]) -> tuple[Figures, ...]:
    """The rows in order of what a usual prompt costs, with their floors. Rows taken out of it leave it as good."""
    rows = sorted(figures, key=_usual_cost)
    lowest: tuple[int, ...] = ()
    for place in reversed(range(len(rows))):
        row = rows[place]
        rates = [band.rates for band in row[0].price.bands]
        floors = (row[2] * min(rate.input for rate in rates), row[6], min(rate.output for rate in rates))
        token, mean, answer = lowest = tuple(map(min, floors, lowest)) if lowest else floors
        rows[place] = (*row[:13], token, mean, answer, row[16])
    return tuple(rows)


def _usual_cost(row: Figures) -> int:
    _, _, ratio, _, _, _, mean, request, input_rate, output_rate, *_ = row
    return (request + mean * output_rate) * PPM + USUAL_PROMPT * ratio * input_rate


class Hint(msgspec.Struct, frozen=True):
    """A way of calling a model that the request could have had for less."""

    words: str
    """What the caller would have to send."""
    option: Option


class Plan(msgspec.Struct, frozen=True):
    """A policy's rule for one task, compiled: levels in the order in which they may be used."""

    policy: str
    """``name@hash``"""
    rule: str
    levels: tuple[Level, ...]
    candidates: tuple[Option, ...]
    """All that the policy names and that can be called, feasible or not."""
    faults: dict[str, dict[str, Fault]]
    """Name of each candidate that misses a limit, to the limits by name."""
    max_cost_pico: int | None
    reference: Option | None
    """What savings are measured against when no known model was asked for."""
    asked: Level | None = None
    """The model whose bare name was asked for, if it may be called. It is the last of the levels, and what it would
    cost caps what takes its place."""
    clamp: bool = False
    """Whether an answer may be limited to its likely length where a hard budget has no room for the worst case."""
    exhausted: Plan | None = None
    """What is tried where a budget has no room."""
    stops_streams: bool = False
    """Whether streams that no longer fit into a budget are stopped, whatever the budget says."""
    floor_milli: int = 0
    """The quality that a candidate's bound must reach; 0 for none."""
    confidence_milli: int = 900
    bounds: dict[str, int] = {}
    """By name of a candidate: the lower bound of its quality, where anybody knows it."""
    limits: tuple[tuple[str, int, int], ...] = ()
    """``ttft``, ``tpot`` or ``total``, the percentile at which candidates are judged, and its most in milliseconds."""
    stated: dict[str, int] = {}
    """By limit: the policy's percentile, where candidates are judged at another because of how its answers were of late."""
    hint: Hint | None = None
    """What costs less by list price than any candidate, and is none."""
    forwarding: Forwarding | None = None
    """The policy's bounds on attempts and their times; None for the settings'."""
    shut: Mapping[str, str] = {}
    """Entries that may not be called now, to the reason: no level holds them."""
    whole: Plan | None = None
    """The plan with them, where there are any."""
    caches: bool = True
    """Whether what providers keep of prompts may be asked for where the caller has not."""


class Decision(msgspec.Struct, frozen=True):
    """What was chosen, and the figures that the ledger books beside it (pico-dollars)."""

    option: Option
    policy: str
    rule: str
    relaxed: str
    prompt_tokens: int
    output_tokens: int
    expected_pico: int
    hold_pico: int
    baseline: Option | None
    baseline_pico: int
    runner_up_pico: int
    """0 when there was no other feasible option."""
    certain: bool
    """False when another count of the prompt, within its likely range, would have changed the choice."""
    could_have_pico: int | None = None
    """In observe mode: the expected cost of what would have been chosen."""
    could_have: Option | None = None
    """And that itself."""
    hint: Hint | None = None
    """The plan's."""
    warm_tokens: int = 0
    """Of the prompt: what the provider should have already, as it meters."""
    keeps: Literal["", "none", "head", "all"] = ""
    """Up to where breakpoints are to be set: tools and the first message, or all of the prompt. ``none``: the provider is to
    be told that it must keep nothing.
    """
    cache_key: str = ""
    """What to send as ``prompt_cache_key`` where the caller sends none."""
    units: Units = ()
    """What is expected to be metered beside tokens."""


def at_most(plan: Plan, entries: Collection[str]) -> Plan:
    """The plan for a bare model name: what the model itself would cost is the most, and it serves where nothing else
    may. Unchanged where none of its entries is a candidate.
    """
    asked = level("the model asked for", (o for o in plan.candidates if o.entry in entries), headroom=False)
    if not asked.options:
        return plan
    return msgspec.structs.replace(plan, levels=(*plan.levels, asked), asked=asked)

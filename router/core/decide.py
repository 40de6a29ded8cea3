"""Which option serves a request: the cheapest that satisfies the policy.

Belongs here: the choice among compiled options, from facts about one request. It is a pure function, cheap enough
for every request; nothing here computes reasons (explain.py does, from the same values, when somebody asks).
Does not belong here: how options get their figures (snapshot.py), nor performing the decision.

    cost(o, r) = fees + prompt(o, r) · p_in + choices · E[out(o, r)] · p_out            in pico-dollars, integers
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from router.core.forwarding import Forwarding
from router.core.images import Image, ImageFormula, image_tokens_of
from router.core.pricing import REALTIME, rates_for, upper_cost
from router.core.stats import Summary
from router.core.values import Needs, Price, TokenRange

PPM = 1_000_000


class Fault(msgspec.Struct, frozen=True):
    """A limit that an option misses: quality in thousandths, latencies in milliseconds."""

    limit: str
    found: int | None
    """None when there is no data and the policy excludes what has none."""
    wanted: int


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

    @property
    def name(self) -> str:
        """Identifies it: the entry, and tier and effort where they are not the usual."""
        tier = "" if self.tier == REALTIME else f"/{self.tier}"
        return f"{self.entry}{tier}{self.effort and '+'}{self.effort}"

    def figures(self, *, headroom: bool = True) -> Figures:
        """What the choice reads, in the order in which `cheapest` takes it apart."""
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
            self.headroom if headroom else 0,
        )


Figures = tuple[Option, int, int, int, int, int, int, int, int, int, bool, int]
"""One tuple to unpack costs a third of as many attribute look-ups, for every option of every request."""


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
    tier: str = ""  # what the caller orders, if anything
    inputs: int = 1
    """Texts that are embedded apart from each other: the window holds for each of them."""
    largest: TokenRange | None = None
    """Of the largest input alone, where there are several."""
    deadline_ms: int | None = None  # what is left
    budget_milli: int = 0  # of the fullest budget, in thousandths of its limit; known only where a rule asks for it
    text_bytes: int | None = None
    """No text of the prompt has more tokens than this; None where the body only points to some of it."""
    notes: tuple[tuple[int, str], ...] = ()
    """What in the request the bits of `router.core.wire.Wire` among its needs stand for, in words."""


class Level(msgspec.Struct, frozen=True):
    """Options that satisfy the policy's request-independent limits; ``relaxed`` names what was given up for them."""

    relaxed: str
    options: tuple[Option, ...]
    """In order of preference at equal cost."""
    figures: tuple[Figures, ...]
    bend: int
    """The least count of tokens at which a window of these ends or a price band begins."""
    densest_ppm: int
    """The highest of their ratios, at least 1,000,000."""


def level(relaxed: str, options: Iterable[Option], *, headroom: bool = True) -> Level:
    """A level of these options; without ``headroom`` a model that thinks serves whatever the output limit is."""
    found = tuple(options)
    edges = [edge for o in found for edge in (o.context_window, *(band.above for band in o.price.bands[1:]))]
    densest = max([PPM, *(option.ratio_ppm for option in found)])
    rows = tuple(option.figures(headroom=headroom) for option in found)
    return Level(relaxed, found, rows, bend=min(edges, default=0), densest_ppm=densest)


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
    """``ttft``, ``tpot`` or ``total``, the percentile, and its most in milliseconds."""
    forwarding: Forwarding | None = None
    """The policy's bounds on attempts and their times; None for the settings'."""
    shut: Mapping[str, str] = {}
    """Entries that may not be called now, to the reason: no level holds them."""
    whole: Plan | None = None
    """The plan with them, where there are any."""


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


def decide(plan: Plan, facts: Facts, baseline: Option | None) -> Decision | None:
    """The cheapest option of the first level that has a feasible one; None when no level has (explain.py says why).

    Args:
        plan: the compiled rule that governs the request.
        facts: the request.
        baseline: what savings are measured against; without one, nothing is saved.
    """
    tokens = facts.tokens
    cap = highest_cost(plan, facts, tokens.expected)
    for number, used in enumerate(plan.levels, 1):
        best, cost, runner_up = cheapest(used.figures, facts, tokens.expected, cap)
        if best is None:
            continue
        certain = tokens.exact or _certain(plan, plan.levels[:number], facts, best, (cost, runner_up))
        prompt = prompt_tokens(best, facts, tokens.expected)
        output = expected_output(best, facts)
        return Decision(
            option=best,
            policy=plan.policy,
            rule=plan.rule,
            relaxed=used.relaxed,
            prompt_tokens=prompt,
            output_tokens=output,
            expected_pico=cost,
            hold_pico=hold(best, facts),
            baseline=baseline,
            baseline_pico=cost if baseline is None else expected_cost(baseline, facts, tokens.expected),
            runner_up_pico=runner_up,
            certain=certain,
        )
    return None


def cheapest(  # noqa: C901 - one loop without calls: every request runs it over every option
    figures: Iterable[Figures], facts: Facts, tokens: int, cap: int | None
) -> tuple[Option | None, int, int]:
    """(option, its expected cost, the next one's cost), costs in pico-dollars; (None, 0, 0) when none is feasible."""
    needs, limit, choices = facts.needs, facts.max_output, facts.choices
    fixed, messages, images = facts.fixed_tokens, facts.messages, facts.images
    largest = None if facts.largest is None else facts.largest.expected
    best: Option | None = None
    best_cost = second = -1
    for option, able, ratio, overhead, window, most, mean, request, input_rate, output_rate, banded, least in figures:
        if needs & ~able:
            continue
        prompt = -(-tokens * ratio // PPM) + fixed + messages * overhead
        if images:
            prompt += image_tokens_of(option.image, images)
        output = mean
        filled = prompt if largest is None else -(-largest * ratio // PPM)
        if limit is None:
            if filled >= window:
                continue
        elif limit > most or limit < least or filled + limit > window:
            continue
        elif limit < mean:
            output = limit
        if banded:
            rates = rates_for(option.price, prompt)
            cost = rates.request + prompt * rates.input + choices * output * rates.output
        else:
            cost = request + prompt * input_rate + choices * output * output_rate
        if cap is not None and cost > cap:
            continue
        if best is None or cost < best_cost:
            second = best_cost
            best, best_cost = option, cost
        elif second < 0 or cost < second:
            second = cost
    return best, max(best_cost, 0), max(second, 0)


def highest_cost(plan: Plan, facts: Facts, tokens: int) -> int | None:
    """The most that an option may be expected to cost: by the policy, by the caller, by the model asked for."""
    cap = _least(plan.max_cost_pico, facts.max_cost_pico)
    if plan.asked is None:
        return cap
    asked, cost, _ = cheapest(plan.asked.figures, facts, tokens, cap)
    return cap if asked is None else cost


def _certain(plan: Plan, tried: Sequence[Level], facts: Facts, best: Option, figures: tuple[int, int]) -> bool:
    """Whether no count of the prompt within its likely range would change the choice.

    Mostly the runner-up is too dear for that whoever it is: with a prompt of a share of the expected tokens, an option
    costs at least that share; with a longer one, at least as much. So one look at the best decides.
    """
    tokens = facts.tokens
    if _window_in_doubt(tried, facts):
        return False
    looked_at = tried if plan.asked is None else (*tried, plan.asked)
    # Images, frames and the answer come on top: far below the first bend, none of them reaches it.
    room = tokens.likely_high + facts.fixed_tokens + (facts.max_output or 0) + 64 * facts.messages
    if facts.images or any(room * used.densest_ppm >= used.bend * PPM for used in looked_at):
        return all(_first(plan, tried, facts, other) is best for other in _turns(looked_at, facts))
    if len(tried) == 1 and plan.asked is None and plan.max_cost_pico is None and facts.max_cost_pico is None:
        cost, runner_up = figures
        slope = best.price.bands[0].rates.input * best.ratio_ppm
        longest = cost + -(-(tokens.likely_high - tokens.expected) * slope // PPM) + 2 * best.price.bands[0].rates.input
        # A token more or less by rounding: that is what the share leaves out.
        if runner_up == 0 or (longest < runner_up and cost * tokens.expected < runner_up * (tokens.likely_low - 1)):
            return True
    return all(_first(plan, tried, facts, other) is best for other in (tokens.likely_low, tokens.likely_high))


def _first(plan: Plan, levels: Sequence[Level], facts: Facts, tokens: int) -> Option | None:
    """What would be chosen, were this the count of the prompt."""
    cap = highest_cost(plan, facts, tokens)
    found = (cheapest(tried.figures, facts, tokens, cap)[0] for tried in levels)
    return next((option for option in found if option is not None), None)


def _turns(levels: Sequence[Level], facts: Facts) -> set[int]:
    """Counts that show whether the choice holds for the whole likely range: its ends, and both sides of every price
    band and context window in between. From each to the next, costs are straight lines but for the rounding of
    tokens, so what is the cheapest at both ends is not dearer in between by more than a token's price.
    """
    low, high = facts.tokens.likely_low, facts.tokens.likely_high
    answer = 1 if facts.max_output is None else facts.max_output
    found = {low, high}
    for option in (option for tried in levels for option in tried.options):
        besides = prompt_tokens(option, facts, 0)
        for edge in (option.context_window - answer, *(band.above for band in option.price.bands[1:])):
            last = (edge - besides) * PPM // option.ratio_ppm
            if low <= last < high:
                found |= {last, last + 1}
    return found


def _window_in_doubt(levels: Sequence[Level], facts: Facts) -> bool:
    """Whether the largest of several inputs may fill a window or not, by its count."""
    if facts.largest is None:
        return False
    answer = 1 if facts.max_output is None else facts.max_output
    low, high = facts.largest.likely_low, facts.largest.likely_high
    return any(
        -(-low * option.ratio_ppm // PPM) + answer
        <= option.context_window
        < -(-high * option.ratio_ppm // PPM) + answer
        for tried in levels
        for option in tried.options
    )


def window_tokens(option: Option, facts: Facts) -> int:
    """What the prompt is expected to fill of the window: all of it, or the largest of several inputs."""
    if facts.largest is None:
        return prompt_tokens(option, facts, facts.tokens.expected)
    return -(-facts.largest.expected * option.ratio_ppm // PPM)


def prompt_tokens(option: Option, facts: Facts, tokens: int) -> int:
    """The prompt as this option's provider is expected to meter it."""
    own = -(-tokens * option.ratio_ppm // PPM) + facts.fixed_tokens + facts.messages * option.message_overhead
    return own + image_tokens_of(option.image, facts.images) if facts.images else own


def expected_output(option: Option, facts: Facts) -> int:
    """Expected completion tokens of one choice, within the caller's limit."""
    return option.output_mean if facts.max_output is None else min(option.output_mean, facts.max_output)


def expected_cost(option: Option, facts: Facts, tokens: int) -> int:
    """Expected cost of the request on this option, in pico-dollars, feasible or not."""
    prompt = prompt_tokens(option, facts, tokens)
    rates = rates_for(option.price, prompt)
    return rates.request + prompt * rates.input + facts.choices * expected_output(option, facts) * rates.output


def hold(option: Option, facts: Facts) -> int:
    """What to set aside for an attempt, in pico-dollars: the prompt at its likely upper end, the output at its p90.

    The dearest band up to that end counts, and cache writes are taken to be billed. Never less than what is expected.
    """
    prompt = prompt_tokens(option, facts, facts.tokens.likely_high)
    output = max(option.output_p90, option.output_mean)
    if facts.max_output is not None:
        output = min(output, facts.max_output)
    return upper_cost(option.price, prompt, facts.choices * output)


def missing(needs: int, option: Option) -> list[str]:
    """Names of the capabilities that a request needs and an option lacks."""
    return [need.name.lower() for need in Needs(needs & ~option.capabilities) if need.name]


def _least(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)

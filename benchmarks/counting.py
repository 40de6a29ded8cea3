"""What counting costs, in microseconds of this process's CPU: run ``python benchmarks/counting.py``.

Every prompt is new text, as in traffic; figures are medians over prompts, so one noisy neighbour does not show.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
from typing import TYPE_CHECKING

from router.adapters.counting.encoders import TiktokenCounter, load_encoding
from router.core.tokens import estimate

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 7
ROUNDS = 300
KB = 1024


def english(chars: int) -> list[str]:
    """Texts of the given length cut from the descriptions of installed packages, in random order."""
    draw = random.Random(SEED)
    source = "\n".join(str(found.metadata.get_payload()) for found in distributions())
    starts = draw.sample(range(len(source) - chars), ROUNDS)
    return [source[start : start + chars] for start in starts]


def median_us(work: Callable[[str], object], texts: list[str]) -> float:
    taken = []
    for text in texts:
        start = time.thread_time_ns()
        work(text)
        taken.append((time.thread_time_ns() - start) / 1000)
    return statistics.median(taken)


def chat(text: str) -> tuple[str, str]:
    """A short system prompt that every request shares, and a user's text."""
    return "You are a helpful assistant. Answer in one sentence.", text


def main() -> None:
    encoding = load_encoding()
    executor = ThreadPoolExecutor(1)

    def fresh() -> TiktokenCounter:
        return TiktokenCounter(encoding, executor=executor)

    short, long = english(KB), english(32 * KB)
    counter = fresh()
    bare = median_us(encoding.encode_ordinary, short[::2])
    print(f"1 KB, tiktoken alone                        {bare:8.1f} µs")
    whole = median_us(lambda text: estimate(chat(text), counter.count_now, counter.known), short[1::2])
    print(f"1 KB chat never seen, estimate (exact)      {whole:8.1f} µs")
    again = median_us(lambda text: estimate(chat(text), counter.count_now, counter.known), short[1::2])
    print(f"1 KB chat seen before: overhead alone       {again:8.1f} µs")

    counter = fresh()
    ranges = []
    sampled = median_us(lambda text: ranges.append(estimate([text], counter.count_now, counter.known)), long)
    print(f"32 KB never seen, estimate (windows)        {sampled:8.1f} µs")
    exact = median_us(lambda text: ranges.append(len(encoding.encode_ordinary(text))), long)
    print(f"32 KB, exact                                {exact:8.1f} µs")
    pairs = list(zip(ranges[:ROUNDS], ranges[ROUNDS:], strict=True))
    inside = sum(found.likely_low <= truth <= found.likely_high for found, truth in pairs)
    errors = sorted(abs(found.expected - truth) / truth for found, truth in pairs)
    print(f"    likely range held the truth: {inside / ROUNDS:.1%} of prompts")
    print(f"    error of the expectation: median {errors[ROUNDS // 2]:.1%}, p95 {errors[int(ROUNDS * 0.95)]:.1%}")

    counter = fresh()
    turns: list[str] = []
    grown = []
    for text in english(700):
        turns.append(text)
        start = time.thread_time_ns()
        found = estimate(turns, counter.count_now, counter.known)
        grown.append((len(turns), (time.thread_time_ns() - start) / 1000, found.exact))
    for number in (1, 10, 45, 150, 300):
        _, took, known = grown[number - 1]
        print(f"turn {number:3} of a chat, 700 characters each      {took:8.1f} µs{' exact' if known else ''}")

    text = "".join(long)[: 4 * KB * KB]
    start_wall, start_cpu = time.perf_counter(), time.process_time()
    tokens = asyncio.run(fresh().count([text]))[0]
    print(
        f"{len(text):,} characters in the thread: {tokens:,} tokens, "
        f"{time.perf_counter() - start_wall:.2f} s, CPU {time.process_time() - start_cpu:.2f} s"
    )
    executor.shutdown()


if __name__ == "__main__":
    main()

"""A seeded storm over one node while callers go on asking: what breaks, who asks, and what came of it.

Belongs here: the weather and the callers. Does not belong here: what must hold afterwards (test_chaos.py, books.py).

A storm hits two providers at most, and the others are well, so every request is one that some healthy candidate could serve. The
one exception are streams whose worker was killed after their first byte: they are counted by themselves. Callers are the official
SDK with its default of two retries, as applications use it; what it still raises is a failure, whosever fault it is.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import statistics
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import openai

HI = "Tell me about plans."
STORMS = ("outage", "error", "overload", "limits", "reset", "slow")
AFTER_S = 1.0
"""How long a killed process may be felt."""
A_WORKER = "a worker's end"
SLOW_S = 5.0
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Weather:
    """What has happened."""

    answered: int = 0
    cut: int = 0
    """Streams whose worker was killed after their first byte: nobody else could have served those."""
    failed: Counter = field(default_factory=Counter)
    """By cause: what the caller was told, and what had broken while it waited."""
    slow: Counter = field(default_factory=Counter)
    """Those that took longer than `SLOW_S`, by what had broken while they waited."""
    storms: Counter = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    """Of the largest worker, in bytes, once a second."""
    waits_s: list[float] = field(default_factory=list)

    @property
    def asked(self):
        return self.answered + sum(self.failed.values())

    @property
    def share(self):
        return self.answered / self.asked

    def __str__(self):
        waits = statistics.quantiles(self.waits_s, n=100)
        memory = [size >> 20 for size in (self.memory[len(self.memory) // 4], self.memory[-1])]
        return (
            f"{self.asked} asked, {self.share:.5%} answered, {self.cut} cut, storms {dict(self.storms)}, "
            f"p50 {waits[49] * 1000:.0f} ms, p99 {waits[98] * 1000:.0f} ms, memory {memory[0]} to {memory[1]} MB"
            + "".join(f"\n{count:6} failed: {cause}" for cause, count in self.failed.most_common())
            + "".join(f"\n{count:6} slow, met: {met}" for met, count in self.slow.most_common(5))
        )


def rule_of(storm, provider, draw):
    """The simulator's fault for a storm at a provider. None of them breaks an answer that has begun: after the first
    byte nobody else could serve it.
    """
    found = {
        "outage": {"kind": "status", "status": draw.choice([502, 503])},
        "error": {"kind": "status", "status": 500, "probability": draw.uniform(0.2, 1)},
        "overload": {"kind": "status", "status": draw.choice([498, 529])},
        "limits": {"kind": "rate_limit", "retry_after": draw.choice([0.5, 1, 2]), "probability": draw.uniform(0.5, 1)},
        "reset": {"kind": "reset", "after_chunks": 0, "probability": draw.uniform(0.2, 1)},
        "slow": {"kind": "slow_first_byte", "delay_ms": draw.randrange(100, 800), "probability": draw.uniform(0.3, 1)},
    }
    return {**found[storm], "provider": provider}


class Chaos:
    """Callers at a steady rate, and a storm.

    Args:
        node: it has several providers for ``auto``.
        tenant: who asks.
        seed: of everything that is drawn.
        kills: whether workers are killed.
        restarts: whether the store is.
    """

    def __init__(self, node, tenant, seed, *, kills=True, restarts=True):
        self.node, self.tenant, self.draw = node, tenant, random.Random(seed)
        self.kills, self.restarts = kills, restarts
        self.seen = Weather()
        self.providers = set()
        self.serving = ""
        self._running = set()
        self._broken = []
        """(what, since when, until when), the latest last."""

    async def capacity(self, seconds=3.0, callers=12):
        """Requests a second that the node serves when nothing breaks."""
        end, served = time.monotonic() + seconds, 0

        async def ask_on():
            nonlocal served
            while time.monotonic() < end:
                await self._one(sdk)
                served += 1

        async with self.tenant.sdk(max_retries=2) as sdk:
            await asyncio.gather(*(ask_on() for _ in range(callers)))
        self.seen = Weather()
        return served / seconds

    async def run(self, seconds, rate):
        """Ask ``rate`` times a second for that long, in bad weather."""
        end = time.monotonic() + seconds
        weather = [asyncio.ensure_future(self._storms(end)), asyncio.ensure_future(self._measure(end))]
        weather += [asyncio.ensure_future(self._kills(end))] if self.kills else []
        weather += [asyncio.ensure_future(self._restarts(end))] if self.restarts else []
        async with self.tenant.sdk(max_retries=2, timeout=30) as sdk:
            due = time.monotonic()
            while due < end and time.monotonic() < end:  # a machine that is too slow asks for less, and not for longer
                due += 1 / rate
                await asyncio.sleep(max(due - time.monotonic(), 0))
                task = asyncio.ensure_future(self._counted(sdk))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            await asyncio.gather(*weather)
            await asyncio.gather(*self._running)
        return self.seen

    async def _counted(self, sdk):
        began = time.monotonic()
        try:
            await self._one(sdk)
        except openai.APIStatusError as error:
            tries = error.response.headers.get("x-costrouter-attempts", "no")
            # Without what differs from one to the next, so that the same cause is one line.
            said = re.sub(r"\d+", "#", str((error.body or {}).get("message", "")))[:200]
            self._failed(f"{error.status_code} {error.code} after {tries}: {said}", began)
        except (openai.OpenAIError, AttributeError) as error:  # the client's own, where a socket closes as it opens
            cause = error.__cause__ or error
            where = traceback.extract_tb(cause.__traceback__)[-1]
            self._failed(f"{type(error).__name__}: {cause} in {where.name} of {Path(where.filename).name}", began)
        took = time.monotonic() - began
        self.seen.waits_s.append(took)
        if took > SLOW_S:
            self.seen.slow[", ".join(self._met(began)) or "nothing"] += 1

    def _failed(self, told, began):
        self.seen.failed[f"{told}; met: {', '.join(self._met(began)) or 'nothing'}"] += 1

    def _met(self, began):
        """What has broken since then, or was broken."""
        return list(dict.fromkeys(what for what, _, until in self._broken[-20:] if until >= began))

    def _breaks(self, what, lasts=AFTER_S):
        now = time.monotonic()
        self._broken.append((what, now, now + lasts))

    async def _one(self, sdk):
        began = time.monotonic()
        body = {"model": "auto", "messages": [{"role": "user", "content": HI}], "max_completion_tokens": 40}
        if self.draw.random() < 0.5:
            raw = await sdk.chat.completions.with_raw_response.create(**body)
            self.serving = raw.headers["x-costrouter-provider"]
            self.providers.add(self.serving)
        else:
            stream = await sdk.chat.completions.create(**body, stream=True)
            try:
                async for _ in stream:
                    pass
            except openai.APIConnectionError:
                if A_WORKER not in self._met(began):
                    raise
                self.seen.cut += 1
                return
        self.seen.answered += 1

    async def _storms(self, end):
        while time.monotonic() < end:
            await asyncio.sleep(self.draw.uniform(0.2, 1.5))
            storm = self.draw.choice(STORMS)
            # Mostly where requests go just now; what nobody asks may break unnoticed.
            hit = {self.serving if self.draw.random() < 0.8 else self.draw.choice(sorted(self.providers))}
            hit |= {self.draw.choice(sorted(self.providers))} if self.draw.random() < 0.2 else set()
            rules = [rule_of(storm, name, self.draw) for name in sorted(hit)]
            await asyncio.to_thread(self.node.faults, *rules)
            self.seen.storms[storm] += 1
            lasts = self.draw.uniform(0.5, 4)
            self._breaks(f"{storm} at {' and '.join(sorted(hit))}", lasts)
            await asyncio.sleep(lasts)
            await asyncio.to_thread(self.node.http.delete, f"{self.node.sim_url}/_sim/faults")

    async def _kills(self, end):
        while time.monotonic() + 3 < end:
            await asyncio.sleep(self.draw.uniform(3, 20) if end - time.monotonic() > 60 else 2)
            os.kill(self.draw.choice(self.node.worker_pids()), signal.SIGKILL)
            self.seen.storms["worker"] += 1
            self._breaks(A_WORKER)
            await asyncio.sleep(3)

    async def _restarts(self, end):
        while time.monotonic() + 15 < end:
            await asyncio.sleep(self.draw.uniform(10, 40))
            os.kill(self.node.store_pid(), signal.SIGKILL)
            self.seen.storms["store"] += 1
            self._breaks("the store's end")
            await asyncio.sleep(5)

    async def _measure(self, end):
        while time.monotonic() < end:
            await asyncio.sleep(1)
            sizes = [size for pid in self.node.worker_pids() if (size := resident(pid))]
            self.seen.memory += [max(sizes)] if sizes else []


def resident(pid):
    """A process's memory in bytes; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0

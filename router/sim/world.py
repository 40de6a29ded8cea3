"""What all simulated providers share: catalog, bill, faults, caches, prose, clock and seed.

Belongs here: state that outlives a call. Does not belong here: handling one.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from router.sim.bill import Bill
from router.sim.faults import Faults
from router.sim.personality import Personality, personality
from router.sim.prompt import PrefixCache
from router.sim.text import Prose

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.sim.catalog import Provider


@dataclass(slots=True)
class World:
    """``speed`` divides every waiting time and 0 removes them; ``now`` gives seconds since the epoch."""

    providers: dict[str, Provider]
    seed: int
    speed: float
    now: Callable[[], float] = time.time
    bill: Bill = field(default_factory=Bill)
    caches: defaultdict[tuple[str, str], PrefixCache] = field(default_factory=lambda: defaultdict(PrefixCache))
    faults: Faults = field(init=False)
    prose: Prose = field(init=False)
    rng: random.Random = field(init=False)
    """Times and identifiers; contents have a generator of their own, seeded by the prompt."""
    personalities: dict[str, Personality] = field(init=False)

    def __post_init__(self) -> None:
        self.faults = Faults(self.seed)
        self.prose = Prose(self.seed)
        self.rng = random.Random(self.seed)  # noqa: S311 - latencies and ids of a simulation
        self.personalities = {name: personality(name, provider.quirks) for name, provider in self.providers.items()}

    def new_id(self) -> str:
        """A request id, unique in this world."""
        return f"req_{self.rng.getrandbits(96):024x}"


WORLD = web.AppKey("world", World)

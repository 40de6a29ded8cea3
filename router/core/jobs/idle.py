"""What is left of a machine of one's own: whether it has room for what may wait, and at which price it bids.

Belongs here: both, from a model's catalog entry and its option of a tick. Does not belong here: how busy a machine is
(statistics/busy.py), and the arithmetic of its cost (catalog/self_hosted.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.catalog.self_hosted import SLACK_MILLI, marginal_usd, pico
from router.core.jobs.tiers import IDLE
from router.core.values import Band, Price, Rates

if TYPE_CHECKING:
    from router.core.catalog.catalog import Model
    from router.core.catalog.self_hosted import SelfHosted
    from router.core.deciding.choices import Option

QUEUES: Final = 2
"""How many times the catalog's 95th percentile of first tokens tells of a queue."""


def has_room(model: Model, option: Option) -> bool:
    """Whether a machine of one's own serves less than it can, and nobody waits for it: where first tokens come late there is a
    queue, such as of answers that are still under way, whatever its tokens of late come to.
    """
    if option.busy_milli is None or option.busy_milli >= SLACK_MILLI:
        return False
    return not option.live or option.ttft.at(95) <= QUEUES * 1000 * model.latency.ttft_p95_ms


def marginal_price(option: Option, machine: SelfHosted) -> Price:
    """What a token costs at the margin, at the machine's load."""
    busy = option.busy_milli or 0
    fresh, spoken = (
        pico(marginal_usd(machine, speed, busy)) for speed in (machine.prefill_tok_s, machine.decode_tok_s)
    )
    return Price(f"{option.price.version}/{IDLE}", (Band(0, Rates(fresh, spoken, fresh, fresh)),))

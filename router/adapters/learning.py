"""The listener that learns: what rows say about a model's speed and the length of its answers.

Belongs here: which observation a row gives to which series. Does not belong here: histograms (core/stats.py) and
sharing them (fleet.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.pricing import CACHED
from router.core.variants import way

if TYPE_CHECKING:
    from router.adapters.fleet import Observations
    from router.core.values import Identity, Row


class Learning:
    """Feeds the observations with every answered attempt. Times in microseconds, lengths in tokens."""

    def __init__(self, observations: Observations) -> None:
        self._observations = observations

    def on_row(self, row: Row, error: str | None) -> None:  # noqa: ARG002 - the port's shape
        """Learn from an attempt that was answered whole, or whose answer began. What was kept teaches nothing."""
        if row.tier == CACHED:
            return
        where = (row.model, row.provider, way(row.tier, row.effort) if row.effort else row.tier)
        add = self._observations.add
        if row.ttft_ms:
            add(("ttft", *where), row.ttft_ms * 1000)
        if row.outcome != "ok" or row.certainty != "metered":
            return
        length = row.completion_tokens // row.choices
        # An answer that its limit cut short does not tell how long the model would have talked.
        if not row.max_output or length * 10 < row.max_output * 9:
            add(("output", *where), length)
        if row.ttft_ms and row.completion_tokens > 1:
            add(("tpot", *where), (row.total_ms - row.ttft_ms) * 1000 // (row.completion_tokens - 1))

    def on_refusal(self, endpoint: str, code: str, identity: Identity | None) -> None:
        """A refusal says nothing about a model."""

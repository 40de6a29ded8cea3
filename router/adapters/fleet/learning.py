"""The listener that learns from rows.

Belongs here: handing a row's values on. Does not belong here: which values a row gives (core/statistics/series.py), histograms
(core/statistics/stats.py) and sharing them (statistics.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.statistics.series import seen

if TYPE_CHECKING:
    from router.adapters.fleet.statistics import Observations
    from router.core.values import Identity, Row


class Learning:
    """Feeds the observations with every attempt that has ended."""

    def __init__(self, observations: Observations) -> None:
        self._observations = observations

    def on_row(self, row: Row, error: str | None) -> None:  # noqa: ARG002 - the port's shape
        """Learn from an attempt."""
        for series, value in seen(row):
            self._observations.add(series, value)

    def on_refusal(self, endpoint: str, code: str, identity: Identity | None) -> None:
        """A refusal says nothing about a model."""

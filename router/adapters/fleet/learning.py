"""The listener that learns from rows.

Belongs here: handing a row's values on. Does not belong here: which values a row gives (core/statistics/series.py), histograms
(core/statistics/stats.py) and sharing them (statistics.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.catalog.catalog import Catalog
from router.core.pricing import CACHED
from router.core.statistics.busy import machine_us, series_of
from router.core.statistics.series import seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.adapters.fleet.statistics import Observations
    from router.core.catalog.catalog import Model
    from router.core.values import Identity, Row

_NONE: Final = Catalog((), ())


class Learning:
    """Feeds the observations with every attempt that has ended.

    Args:
        observations: of this worker.
        catalog: what tells which models run on machines of one's own.
    """

    def __init__(self, observations: Observations, catalog: Callable[[], Catalog] = lambda: _NONE) -> None:
        self._observations = observations
        self._catalog = catalog
        self._own: tuple[Catalog, dict[tuple[str, str], Model]] = (_NONE, {})

    def on_row(self, row: Row, error: str | None) -> None:  # noqa: ARG002 - the port's shape
        """Learn from an attempt."""
        for series, value in seen(row):
            self._observations.add(series, value)
        catalog = self._catalog()
        if catalog is not self._own[0]:
            self._own = (catalog, {(m.id, m.provider): m for m in catalog.models if m.self_hosted is not None})
        own = self._own[1].get((row.model, row.provider))
        if own is not None and own.self_hosted is not None and row.tier != CACHED:
            taken = machine_us(own.self_hosted, row.prompt_tokens, row.cached_tokens, row.completion_tokens)
            self._observations.add(series_of(own), taken)

    def on_refusal(self, endpoint: str, code: str, identity: Identity | None) -> None:
        """A refusal says nothing about a model."""

"""How good models are: scores by model and task, each with its doubt, and who is asked for them.

Belongs here: finding a model's score on a task, and what stands in where nobody measured it. Does not belong here: the
files (`quality_schema`, `router.adapters.policies.files`), floors (`policy`, `judge`), what a request's task is (`task`).

`Quality` is what the rest of the project asks, once per plan and never per request. A learned predictor is another
implementation of it: it may answer from feedback, from groups of similar prompts that it gave names of their own as
tasks, or from a file; what it must give is an estimate, its deviation and what it rests on.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from router.core.catalog.catalog import Model


class Score(msgspec.Struct, frozen=True):
    """Quality on one task, in thousandths of the scale that all models share (policies/quality/README.md)."""

    milli: int
    sd_milli: int
    source: str
    date: dt.date
    n: int = 0
    """Trials it rests on; 0 where the source does not say."""
    inferred: bool = False
    """Not measured on this task: chat's score, carried over."""


class Transfer(msgspec.Struct, frozen=True):
    """What chat's score says of another task: how scores on it differ from chat's, over models that have both."""

    shift_milli: int
    sd_milli: int
    source: str


class Quality(Protocol):
    """Whoever knows how good models are. Pure: the same question has the same answer until it is replaced."""

    def score(self, model: Model, task: str) -> Score | None:
        """The score of a model, as its provider serves it, on a task.

        None means that nobody knows; the policy's ``without_data`` then says what happens. It is never made up for.
        """


STATED: Final = Transfer(0, 60, "costrouter prior: no transfer to this task is stated, unverified")
"""Where no file says how a task goes with chat. Nearly twice the widest that was measured (vision, 0.032)."""

Layer = Mapping[tuple[str, str], Score]
"""By (``author/name`` or ``author/name@provider``, task)."""


class Scores:
    """Scores from files.

    Args:
        team: the platform team's own; they take the place of all others.
        shipped: what comes with the product. Between the two stands what a catalog entry says of itself.
        transfers: by task.
    """

    __slots__ = ("_shipped", "_team", "_transfers")

    def __init__(
        self, team: Layer | None = None, shipped: Layer | None = None, transfers: Mapping[str, Transfer] | None = None
    ) -> None:
        self._team: Layer = team or {}
        self._shipped: Layer = shipped or {}
        self._transfers: Mapping[str, Transfer] = transfers or {}

    def score(self, model: Model, task: str) -> Score | None:
        """The task's own score; else chat's, shifted and with both doubts; None without either.

        A score for ``author/name@provider`` comes before one for the model wherever it is served.
        """
        own = self._own(model, task)
        if own is not None or task == "chat":
            return own
        chat = self._own(model, "chat")
        return None if chat is None else carried(chat, self._transfers.get(task, STATED))

    def _own(self, model: Model, task: str) -> Score | None:
        named, anywhere = (model.name, task), (model.id, task)
        return (
            self._team.get(named)
            or self._team.get(anywhere)
            or model.quality.get(task)
            or self._shipped.get(named)
            or self._shipped.get(anywhere)
        )


def carried(chat: Score, transfer: Transfer) -> Score:
    """Chat's score as a score on another task. Deviations add in squares, rounded up."""
    return Score(
        milli=min(max(chat.milli + transfer.shift_milli, 0), 1000),
        sd_milli=ceil_root(chat.sd_milli**2 + transfer.sd_milli**2),
        source=f"{chat.source}; carried over from chat by {transfer.source}",
        date=chat.date,
        inferred=True,
    )


def of_trials(passed: int, of: int, source: str, date: dt.date) -> Score:
    """A score from counts: the mean and deviation of Beta(passed + 1, failed + 1), so that 20 of 20 is not certainty."""
    mean = (passed + 1) * 1000 // (of + 2)
    # sd² = m (1 - m) / (of + 3), all in thousandths.
    return Score(mean, ceil_root(-(-mean * (1000 - mean) // (of + 3))), source, date, n=of)


def ceil_root(value: int) -> int:
    """The least whole number whose square is at least this one (≥ 0)."""
    return math.isqrt(value - 1) + 1 if value else 0


def fitted(pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(shift, sd) in thousandths of a task's scores against chat's: the mean difference and its root mean square about
    it, rounded away from 0.

    Args:
        pairs: at least one (score on chat, score on the task).
    """
    differences = [task - chat for chat, task in pairs]
    total = sum(differences)
    shift = -(-total // len(differences)) if total > 0 else total // len(differences)
    return shift, ceil_root(-(-sum((d - shift) ** 2 for d in differences) // len(differences)))

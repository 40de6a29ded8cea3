"""Quality files (policies/quality/*.yaml): what they may say, and from there to scores.

Does not belong here: finding a score (`quality`), reading files (`router.adapters.policies.files`).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from pydantic import Field

from router.core.catalog.catalog import Task, did_you_mean
from router.core.schema import Path, Problem, SchemaError, SignedThousandths, Strict, Thousandths, plain_schema
from router.core.statistics.quality import Score, Scores, Transfer, of_trials
from router.core.values import Needs

if TYPE_CHECKING:
    from router.core.catalog.catalog import Catalog

OLD: Final = dt.timedelta(days=365)
"""Models are changed behind their names; a score that is older than this is doubted."""


class ScoreSchema(Strict):
    """Quality on one task, 0 to 1: ``score`` and ``sd``, or the counts of an evaluation, ``passed`` and ``of``."""

    score: Annotated[Thousandths, Field(le=1000)] | None = None
    sd: Annotated[Thousandths, Field(le=1000)] | None = None
    passed: int | None = Field(default=None, ge=0)
    of: int | None = Field(default=None, ge=1, le=10_000_000)
    source: str = Field(min_length=1)
    date: dt.date


class TransferSchema(Strict):
    """What chat's score says of a task."""

    shift: SignedThousandths
    sd: Annotated[Thousandths, Field(le=1000)]
    source: str = Field(min_length=1)


class QualitySchema(Strict):
    """One quality file."""

    version: Literal[1]
    origin: Literal["shipped", "team"]
    """team: these take the place of those that are shipped."""
    transfer: dict[Task, TransferSchema] = Field(default_factory=dict)
    models: dict[str, dict[Task, ScoreSchema]] = Field(default_factory=dict)


class CompiledQuality(msgspec.Struct, frozen=True):
    """One file, compiled. Warnings do not stand in the way."""

    origin: Literal["shipped", "team"]
    scores: dict[tuple[str, str], Score]
    transfers: dict[str, Transfer]
    warnings: tuple[Problem, ...]


def compile_quality(file: QualitySchema, catalog: Catalog, today: dt.date) -> CompiledQuality:
    """A quality file as scores.

    Raises:
        SchemaError: a score that is stated neither way or in both, more passed than tried.
    """
    errors: list[Problem] = []
    warnings: list[Problem] = []
    scores: dict[tuple[str, str], Score] = {}
    known = frozenset(catalog.ids) | {model.name for model in catalog.models}
    for name, tasks in file.models.items():
        if name not in known:
            hint = did_you_mean(name, known)
            warnings.append(Problem(("models", name), f"the catalog has no model {name!r}{hint}"))
        for task, entry in tasks.items():
            path: Path = ("models", name, task)
            found = _score(entry)
            if isinstance(found, str):
                errors.append(Problem(path, found))
            else:
                scores[name, task] = found
    if errors:
        raise SchemaError(errors)
    old = [score.date for score in scores.values() if score.date < today - OLD]
    if old:
        message = f"{len(old)} scores are older than a year, the oldest of {min(old)}; models change behind their names"
        warnings.append(Problem(("models",), message))
    return CompiledQuality(
        origin=file.origin,
        scores=scores,
        transfers={task: Transfer(t.shift, t.sd, t.source) for task, t in file.transfer.items()},
        warnings=tuple(warnings),
    )


def _score(entry: ScoreSchema) -> Score | str:
    """The score, or what is wrong with it."""
    estimate, counts = (entry.score, entry.sd), (entry.passed, entry.of)
    if entry.score is not None and entry.sd is not None and counts == (None, None):
        return Score(milli=entry.score, sd_milli=entry.sd, source=entry.source, date=entry.date)
    if entry.passed is not None and entry.of is not None and estimate == (None, None):
        if entry.passed > entry.of:
            return f"{entry.passed} passed of {entry.of} tried"
        return of_trials(entry.passed, entry.of, entry.source, entry.date)
    return "write score and sd, or passed and of: an estimate without its doubt cannot be held to a confidence"


def merged(files: Iterable[CompiledQuality]) -> Scores:
    """The scores of all files.

    Raises:
        ValueError: two files of one origin state the same; it says what.
    """
    layers: dict[str, dict[tuple[str, str], Score]] = {"team": {}, "shipped": {}}
    transfers: dict[str, dict[str, Transfer]] = {"team": {}, "shipped": {}}
    for file in files:
        twice = [f"{name} on {task}" for name, task in file.scores.keys() & layers[file.origin].keys()]
        twice += [f"the transfer to {task}" for task in file.transfers.keys() & transfers[file.origin].keys()]
        if twice:
            raise ValueError(f"another file of origin {file.origin} states {min(twice)} already")
        layers[file.origin] |= file.scores
        transfers[file.origin] |= file.transfers
    return Scores(layers["team"], layers["shipped"], transfers["shipped"] | transfers["team"])


def unscored(catalog: Catalog) -> list[str]:
    """Entries that chat and have no score for it, so that no floor can be held against them."""
    return [
        model.name
        for model in catalog.models
        if model.capabilities & Needs.CHAT and catalog.quality.score(model, "chat") is None
    ]


def json_schema() -> str:
    """The JSON Schema of a quality file, for editors: text as ``policies/quality/schema.json`` holds it."""
    return json.dumps(plain_schema("costrouter quality file", QualitySchema), indent=2, ensure_ascii=False) + "\n"

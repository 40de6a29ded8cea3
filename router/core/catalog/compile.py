"""From a catalog file's schema to the frozen catalog: checks across fields, warnings, plain figures.

Belongs here: what cannot be said field by field (a model listed twice, price rows that contradict each other) and
figures that look wrong. Does not belong here: the fields themselves (`schema.py`).
"""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import TYPE_CHECKING, Final, get_args

import msgspec

from router.core.catalog.catalog import (
    TASKS,
    Effort,
    Latency,
    Model,
    OutputPrior,
    PriceRow,
    Provider,
    Window,
    did_you_mean,
)
from router.core.catalog.columns_schema import derived_row, machine, meters, prompt_cache, variant
from router.core.catalog.schema import Day
from router.core.schema import Path, Problem, SchemaError
from router.core.statistics.quality import Score
from router.core.values import CAPABILITIES, SERVED, Needs, Rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.catalog.schema import CatalogSchema, ModelSchema, PriceSchema, WhenSchema

_DAYS: Final = get_args(Day)
_WHOLE_DAY: Final = ((0, 1440),)


class Compiled(msgspec.Struct, frozen=True):
    """One file, compiled. Warnings do not stand in the way."""

    provider: Provider
    models: tuple[Model, ...]
    warnings: tuple[Problem, ...]


def compile_catalog(file: CatalogSchema) -> Compiled:
    """A catalog file as provider and models.

    Raises:
        SchemaError: a model listed twice, an unknown capability or task, price rows that contradict each other.
    """
    errors: list[Problem] = []
    warnings: list[Problem] = []
    models: list[Model] = []
    seen: set[tuple[str, str]] = set()
    for index, entry in enumerate(file.models):
        path: Path = ("models", index)
        for key, value in (("id", entry.id), ("upstream", entry.upstream)):
            if (key, value) in seen:
                errors.append(Problem((*path, key), f"{file.provider} lists the {key} {value!r} twice"))
            seen.add((key, value))
        model, wrong = _model(file, entry, path)
        errors += wrong
        warnings += _suspicious(model, path)
        models.append(model)
    if errors:
        raise SchemaError(errors)
    variable = file.base_url.removeprefix("env:") if file.base_url.startswith("env:") else ""
    provider = Provider(
        name=file.provider,
        title=file.name,
        base_url="" if variable else file.base_url,
        base_url_env=variable,
        key_env=file.key_env or "",
        dialect=file.dialect,
        bills_after_disconnect=file.bills_after_disconnect,
        quirks=frozenset(file.quirks),
        timeouts=file.timeouts.model_dump(exclude_none=True),
        also=file.also,
        service_tiers={str(tier): word for tier, word in file.service_tiers.items()},
        region=file.region or "",
        passthrough=file.auth == "passthrough",
        key_prefix=file.key_prefix,
        callers=(file.callers.tenant, file.callers.team, file.callers.app),
    )
    return Compiled(provider=provider, models=tuple(models), warnings=tuple(warnings))


def _model(file: CatalogSchema, entry: ModelSchema, path: Path) -> tuple[Model, list[Problem]]:
    wrong: list[Problem] = []
    capabilities = Needs(0)
    for index, name in enumerate(entry.capabilities):
        if name not in CAPABILITIES:
            hint = did_you_mean(name, CAPABILITIES)
            wrong.append(Problem((*path, "capabilities", index), f"{entry.id}: unknown capability {name!r}{hint}"))
        capabilities |= CAPABILITIES.get(name, Needs(0))
    if not entry.fixed_sampling:
        capabilities |= Needs.SAMPLING
    if not wrong and not any(capabilities & bit for bit in SERVED.values()):
        message = f"{entry.id}: capabilities must name one of {', '.join(SERVED)}"
        wrong.append(Problem((*path, "capabilities"), message))
    wrong += _unspoken(file, entry, path)
    for task in entry.quality:
        if task not in TASKS:
            hint = did_you_mean(task, TASKS)
            wrong.append(Problem((*path, "quality", task), f"{entry.id}: unknown task {task!r}{hint}"))
    for ordered, place, message in (
        (entry.max_output <= entry.context_window, "max_output", "max_output is above context_window"),
        (entry.latency.ttft_p50_ms <= entry.latency.ttft_p95_ms, "latency", "ttft_p95_ms is below ttft_p50_ms"),
        (entry.output.mean <= entry.output.p90, "output", "p90 is below mean"),
    ):
        if not ordered:
            wrong.append(Problem((*path, place), f"{entry.id}: {message}"))
    rows, contradictions = _rows(entry, path)
    wrong += contradictions
    try:
        cache = prompt_cache(file.prompt_cache, entry.prompt_cache)
    except ValueError as error:
        cache = None
        wrong.append(Problem((*path, "prompt_cache"), f"{entry.id}: {error}"))
    model = Model(
        id=entry.id,
        provider=file.provider,
        upstream=entry.upstream,
        context_window=entry.context_window,
        max_output=entry.max_output,
        tokenizer=entry.tokenizer,
        token_ratio_ppm=entry.token_ratio,
        message_overhead=entry.message_overhead,
        image=entry.image,
        capabilities=capabilities,
        tags=entry.tags,
        weights=entry.weights,
        quality={
            task: Score(milli=score.score, sd_milli=score.sd, source=score.source, date=score.date)
            for task, score in entry.quality.items()
        },
        latency=Latency(
            ttft_p50_ms=entry.latency.ttft_p50_ms,
            ttft_p95_ms=entry.latency.ttft_p95_ms,
            tpot_us=int(entry.latency.tpot_ms * 1000),
            source=entry.latency.source,
            date=entry.latency.date,
        ),
        output=OutputPrior(mean=entry.output.mean, p90=entry.output.p90),
        retired=entry.retired,
        prices=rows,
        quantization=entry.quantization or "",
        base=entry.base.id if entry.base else "",
        made_by=entry.base.by if entry.base else "",
        accelerator=entry.accelerator or "",
        pool=entry.pool or "",
        region=file.region or "",
        modalities=tuple(sorted(entry.modalities)),
        dialects=entry.dialects,
        self_hosted=None if entry.self_hosted is None else machine(entry.self_hosted),
        efforts={
            str(name): Effort(
                output_ppm=effort.output,
                quality_ppm=effort.quality,
                sd_milli=effort.sd,
                source=effort.source,
                date=effort.date,
            )
            for name, effort in entry.efforts.items()
        },
        prompt_cache=cache,
    )
    return model, wrong


def _unspoken(file: CatalogSchema, entry: ModelSchema, path: Path) -> list[Problem]:
    """What a model is to be spoken to in, and its provider does not speak."""
    foreign = [dialect for dialect in entry.dialects if dialect not in (file.dialect, *file.also)]
    message = f"{entry.id}: {file.provider} does not speak {', '.join(foreign)}; say so in dialect or also"
    return [Problem((*path, "dialects"), message)] if foreign else []


def _rows(entry: ModelSchema, path: Path) -> tuple[tuple[PriceRow, ...], list[Problem]]:
    """The rows of the file, or the one that follows from the machine's figures."""
    if entry.prices is not None:
        rows = tuple(_row(row) for row in entry.prices)
        return rows, _contradictions(entry.id, rows, (*path, "prices"))
    if entry.self_hosted is not None:
        return (_digested(derived_row(entry.self_hosted)),), []
    message = "the key 'prices' is missing; a model on a machine of your own may give self_hosted instead"
    return (), [Problem(path, message)]


def _row(row: PriceSchema) -> PriceRow:
    rates = Rates(
        input=row.input,
        output=row.output,
        cached_input=row.input if row.cached_input is None else row.cached_input,
        cache_write=row.input if row.cache_write is None else row.cache_write,
        request=row.request,
    )
    when = None if row.when is None else _window(row.when)
    an_hour = rates.cache_write if row.cache_write_1h is None else row.cache_write_1h
    return _digested(
        PriceRow(
            valid_from=row.valid_from,
            valid_to=row.valid_to,
            above=row.above_input_tokens,
            when=when,
            rates=rates,
            source=row.source,
            checked=row.checked,
            digest="",
            cache_write_1h=an_hour,
            tiers={tier: variant(text, rates, an_hour) for tier, text in row.tiers.items()},
            regions=dict(row.regions),
            tools=dict(row.tools),
            audio=meters(row.audio),
            images=meters(row.images),
            search=row.search,
        )
    )


def _digested(row: PriceRow) -> PriceRow:
    when = row.when
    contents: tuple[object, ...] = (
        row.valid_from,
        row.above,
        row.rates,
        when and (when.spans, sorted(when.days), when.offset_minutes),
    )
    tiers = {name: {"rates": sold.rates, "cache_write_1h": sold.cache_write_1h} for name, sold in row.tiers.items()}
    extra = (tiers, row.regions, row.tools, row.audio, row.images)
    # A row without such columns keeps the version under which it has been booked.
    if any(extra) or row.cache_write_1h != row.rates.cache_write or row.search is not None:
        contents = (*contents, row.cache_write_1h, *extra)
    if row.search is not None:
        contents = (*contents, row.search)
    digest = hashlib.sha256(msgspec.json.encode(contents, order="sorted")).hexdigest()
    return msgspec.structs.replace(row, digest=digest)


def _window(when: WhenSchema) -> Window:
    return Window(
        spans=when.hours or _WHOLE_DAY,
        days=frozenset(_DAYS.index(day) for day in when.days) or frozenset(range(7)),
        offset_minutes=when.timezone,
    )


def _contradictions(model: str, rows: Sequence[PriceRow], path: Path) -> list[Problem]:
    """Rows of which nobody could say which one holds."""
    wrong: list[Problem] = []
    for index, row in enumerate(rows):
        if row.valid_to is not None and row.valid_to <= row.valid_from:
            wrong.append(Problem((*path, index, "valid_to"), f"{model}: valid_to is not after valid_from"))
    for (_, first), (index, second) in combinations(enumerate(rows), 2):
        if first.above != second.above:
            continue
        older, newer = sorted((first, second), key=lambda row: row.valid_from)
        if older.valid_to is not None and older.valid_to <= newer.valid_from:
            continue
        if older.valid_from == newer.valid_from and _meet(older.when, newer.when):
            message = f"{model}: two price rows from {newer.valid_from:%Y-%m-%d} hold for the same prompts and times"
            wrong.append(Problem((*path, index), message))
        elif older.when is not None and newer.when is None and older.valid_from < newer.valid_from:
            message = (
                f"{model}: the row with `when` from {older.valid_from:%Y-%m-%d} would outlive the plain row from "
                f"{newer.valid_from:%Y-%m-%d}; end it with valid_to, or state it anew from that day"
            )
            wrong.append(Problem((*path, index), message))
    return wrong


def _meet(one: Window | None, other: Window | None) -> bool:
    """Whether two windows share a minute of the week. A row with a window beats one without, so those never clash."""
    if one is None or other is None:
        return one is other
    return not _minutes(one).isdisjoint(_minutes(other))


def _minutes(window: Window) -> set[int]:
    return {
        (day * 1440 + minute - window.offset_minutes) % 10_080
        for day in window.days
        for start, end in window.spans
        for minute in range(start, end)
    }


def _suspicious(model: Model, path: Path) -> list[Problem]:
    """Figures that are possible but mostly mistakes."""
    doubts: list[tuple[Path, str]] = []
    chat = bool(model.capabilities & Needs.CHAT)
    if not any(row.above == 0 for row in model.prices):
        doubts.append(((*path, "prices"), "has no price for short prompts, so it can never be chosen"))
    for index, row in enumerate(model.prices):
        rates = row.rates
        base = next((other.rates for other in model.prices if other.above == 0 and other.when is None), rates)
        doubts += [
            ((*path, "prices", index, key), message)
            for doubtful, key, message in (
                (rates.cached_input > rates.input, "cached_input", "cached input costs more than fresh input"),
                (chat and 0 < 2 * rates.output < rates.input, "output", "output costs less than half of input"),
                (rates.cache_write > 4 * rates.input > 0, "cache_write", "a cache write costs over 4 times the input"),
                (rates.input > 10 * base.input > 0, "input", "input costs over 10 times the model's base price"),
                (rates.output > 10 * base.output > 0, "output", "output costs over 10 times the model's base price"),
            )
            if doubtful
        ]
    return [Problem(place, f"{model.name}: {message}; is that right?") for place, message in doubts]

"""The simulator's own reading of the catalog files: who serves which model, how fast, at which list price.

Belongs here: YAML to frozen facts, as far as a provider needs them. Does not belong here: choosing a price row
(bill.py), and every rule about quality or policy. Shares nothing with the router's reader on purpose.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is ten times faster; not every build has it
_MILLION = 10**6
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class CatalogError(ValueError):
    """A catalog file that cannot be played: names the file, the model and the field."""


@dataclass(frozen=True, slots=True)
class When:
    """The hours a price row holds. ``hours`` are minutes of the day, half-open; empty means all day."""

    hours: tuple[tuple[int, int], ...]
    days: frozenset[int]
    """Weekdays, Monday 0; empty means every day."""
    timezone: str


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One dated list price. Rates in dollars per token, ``request`` in dollars per call."""

    valid_from: dt.datetime
    valid_to: dt.datetime | None
    above: int
    """The row holds for prompts of more tokens than this."""
    when: When | None
    input: Fraction
    cached_input: Fraction
    cache_write: Fraction
    output: Fraction
    request: Fraction
    cache_write_1h: Fraction
    caches: bool
    """The row names a rate of its own for cached input."""
    tiers: dict[str, PriceRow]
    """What this row is in each tier that is sold besides."""
    units: dict[str, Fraction] = field(default_factory=dict)
    """Dollars by unit: ``web_search`` and other tools a call, ``search``, ``second``, ``character``, ``image`` or
    ``image hd/1024x1024``; ``sound``, ``picture``, ``cached picture``, ``spoken`` and ``painted`` a token."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds: time to first token at two quantiles, and time per output token."""

    ttft_p50_ms: float
    ttft_p95_ms: float
    tpot_ms: float


@dataclass(frozen=True, slots=True)
class Image:
    """How many tokens an image costs. The formula says which of the numbers count."""

    formula: str
    base: int = 0
    tile: int = 0
    per_token: int = 1
    max: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """One model as one provider serves it."""

    id: str
    upstream: str
    context_window: int
    max_output: int
    ratio: Fraction
    """Metered tokens per token of our own count."""
    message_overhead: int
    image: Image | None
    capabilities: frozenset[str]
    reasoning: bool
    fixed_sampling: bool
    latency: Latency
    output_mean: float
    output_p90: float
    retired: dt.datetime | None
    prices: tuple[PriceRow, ...]
    dialects: tuple[str, ...] = ()
    """What alone it answers in; empty for all that its provider speaks."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider and its models by upstream name."""

    name: str
    needs_key: bool
    bills_after_disconnect: bool
    quirks: frozenset[str]
    dialect: str
    models: dict[str, Model]
    also: tuple[str, ...] = ()

    @property
    def dialects(self) -> tuple[str, ...]:
        """All that it speaks."""
        return (self.dialect, *self.also)


def load(folder: Path) -> dict[str, Provider]:
    """Every provider of a catalog folder (``*.yaml``), by name.

    Raises:
        CatalogError: no file, a missing field, a price finer than a pico-dollar per token.
    """
    providers: dict[str, Provider] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            provider = _provider(yaml.load(path.read_bytes(), Loader=_LOADER))  # noqa: S506 - a safe loader, in C
        except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
            raise CatalogError(f"{path.name}: {type(error).__name__}: {error}") from error
        providers[provider.name] = provider
    if not providers:
        raise CatalogError(f"no *.yaml file in the catalog folder {folder}")
    return providers


def _provider(raw: dict[str, Any]) -> Provider:
    models = [_model(entry) for entry in raw["models"]]
    return Provider(
        name=raw["provider"],
        needs_key="key_env" in raw,
        bills_after_disconnect=bool(raw.get("bills_after_disconnect", False)),
        quirks=frozenset(raw.get("quirks") or ()),
        dialect=str(raw.get("dialect", "openai")),
        models={model.upstream: model for model in models},
        also=tuple(raw.get("also") or ()),
    )


def _model(raw: dict[str, Any]) -> Model:
    latency, output = raw["latency"], raw.get("output") or {"mean": 1, "p90": 1}
    retired = raw.get("retired")
    return Model(
        id=raw["id"],
        upstream=raw["upstream"],
        context_window=int(raw["context_window"]),
        max_output=int(raw["max_output"]),
        ratio=Fraction(str(raw.get("token_ratio", "1"))),
        message_overhead=int(raw.get("message_overhead", 0)),
        image=Image(**raw["image"]) if raw.get("image") else None,
        capabilities=frozenset(raw["capabilities"]),
        reasoning="reasoning" in (raw.get("tags") or ()),
        fixed_sampling=bool(raw.get("fixed_sampling")),
        latency=Latency(float(latency["ttft_p50_ms"]), float(latency["ttft_p95_ms"]), float(latency["tpot_ms"])),
        output_mean=float(output["mean"]),
        output_p90=float(output["p90"]),
        retired=_instant(retired) if retired else None,
        prices=tuple(_price(row, raw["id"]) for row in raw.get("prices") or [_own_price(raw["self_hosted"])]),
        dialects=tuple(raw.get("dialects") or ()),
    )


def _own_price(machine: dict[str, Any]) -> dict[str, Any]:
    """The row that follows from a machine's figures: its hours and energy over the tokens that it serves."""

    def per_million(speed: str) -> Fraction:
        def number(name: str, default: str) -> Fraction:
            return Fraction(str(machine.get(name, default)))

        hour = number("gpu_usd_per_hour", "0") * number("gpus", "1") / number("load", "1")
        energy = number("watts", "0") / 1000 * number("usd_per_kwh", "0")
        pico = (hour + energy) * 10**12 / (3600 * number(speed, "0"))
        return Fraction(-(-pico.numerator // pico.denominator), 10**6)

    start = machine.get("valid_from") or machine["checked"]
    return {"valid_from": start, "input": per_million("prefill_tok_s"), "output": per_million("decode_tok_s")}


def _price(raw: dict[str, Any], model: str) -> PriceRow:
    def rate(name: str, default: Fraction) -> Fraction:
        value = Fraction(str(raw[name])) / _MILLION if name in raw else default
        if value < 0 or (value * 10**12).denominator != 1:
            raise ValueError(f"{model}: price {name} = {raw[name]} is negative or finer than a pico-dollar per token")
        return value

    fresh = rate("input", Fraction(-1))
    valid_to = raw.get("valid_to")
    request = Fraction(str(raw.get("request", "0")))
    if request < 0 or (request * 10**12).denominator != 1:
        raise ValueError(f"{model}: request = {raw['request']} is negative or finer than a pico-dollar")
    return PriceRow(
        valid_from=_instant(raw["valid_from"]),
        valid_to=_instant(valid_to) if valid_to else None,
        above=int(raw.get("above_input_tokens", 0)),
        when=_when(raw["when"]) if raw.get("when") else None,
        input=fresh,
        cached_input=rate("cached_input", fresh),
        cache_write=rate("cache_write", fresh),
        cache_write_1h=rate("cache_write_1h", rate("cache_write", fresh)),
        output=rate("output", Fraction(-1)),
        request=request,
        caches="cached_input" in raw,
        units=_units(raw),
        tiers={name: _price(_in_tier(raw, tier), model) for name, tier in (raw.get("tiers") or {}).items()},
    )


def _units(raw: dict[str, Any]) -> dict[str, Fraction]:
    def exact(value: Any) -> Fraction:
        return Fraction(str(value))

    audio, images = raw.get("audio") or {}, raw.get("images") or {}
    found = {name: exact(value) for name, value in (raw.get("tools") or {}).items()}
    tokens = (
        ("sound", audio.get("input")),
        ("spoken", audio.get("output")),
        ("character", audio.get("characters")),
        ("picture", images.get("input")),
        ("cached picture", images.get("cached_input")),
        ("painted", images.get("output")),
    )
    found |= {name: exact(value) / _MILLION for name, value in tokens if value is not None}
    if "input_minute" in audio:
        found["second"] = exact(audio["input_minute"]) / 60
    if "output_each" in images:
        found["image"] = exact(images["output_each"])
    if raw.get("search") is not None:
        found["search"] = exact(raw["search"])
    return found | {f"image {kind}": exact(value) for kind, value in (images.get("each") or {}).items()}


def _in_tier(raw: dict[str, Any], tier: dict[str, Any]) -> dict[str, Any]:
    """A row as one tier sells it: rates of the tier's own, or all of them times its factor, up to a whole pico-dollar."""
    if "factor" not in tier:
        return raw | tier | {"tiers": {}}
    factor = Fraction(str(tier["factor"]))

    def scaled(rate: str) -> Fraction:
        pico = Fraction(str(rate)) * factor * _MILLION
        return Fraction(-(-pico.numerator // pico.denominator), _MILLION)

    rates = ("input", "cached_input", "cache_write", "cache_write_1h", "output")
    return raw | {name: scaled(raw[name]) for name in rates if name in raw} | {"tiers": {}}


def _when(raw: dict[str, Any]) -> When:
    def minute(clock: str) -> int:
        hour, minutes = clock.split(":")
        return int(hour) * 60 + int(minutes)

    hours = []
    for span in raw.get("hours") or ():
        start, end = str(span).split("-")
        hours.append((minute(start), minute(end)))
    days = frozenset(_DAYS.index(day) for day in raw.get("days") or ())
    return When(hours=tuple(hours), days=days, timezone=str(raw.get("timezone", "UTC")))


def _instant(value: dt.date | dt.datetime | str) -> dt.datetime:
    """A date is its first instant in UTC; a time without a zone is UTC."""
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    if not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    return value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)

"""The optional columns of a price row and of a self-hosted model: their schema, and their plain figures.

Belongs here: what a row may say beyond fresh input, cached input and output (tiers, regions, fees, sound, images), and
what a machine of one's own costs. Does not belong here: the row itself (`schema.py`), arithmetic over a machine's
figures (`self_hosted`).
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from router.core.catalog.catalog import PriceRow, PromptCache, Variant, did_you_mean
from router.core.catalog.self_hosted import SelfHosted, average_usd, pico
from router.core.pricing import scaled, share
from router.core.schema import ExactDecimal, Instant, Millionths, RatePerMillion, Strict, Thousandths, Usd
from router.core.units import milliseconds
from router.core.values import Rates

_TIERS: Final = re.compile(r"^(batch|flex|priority|window-[1-9][0-9]{0,2}h)$")


def _tier(name: object) -> object:
    if isinstance(name, str) and _TIERS.match(name):
        return name
    near = did_you_mean(str(name), ("batch", "flex", "priority", "window-2h", "window-8h"))
    raise ValueError(
        f"no tier is called {name!r}{near or '.'} There are batch, flex, priority, and windows such as window-8h"
    )


Tier = Annotated[str, BeforeValidator(_tier), WithJsonSchema({"type": "string", "pattern": _TIERS.pattern})]
"""Tiers besides realtime. ``window-8h``: answered in the background, within eight hours."""
OnDemand = Literal["flex", "priority"]
"""Tiers besides realtime that a single request can ask for."""
EffortName = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Modality = Literal["audio_in", "audio_out", "image_out", "video_in"]
"""What a model can do, but is not offered for: no meter of ours prices it yet."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


class VariantSchema(Strict):
    """What a tier changes: every rate by one factor, or rates of its own. A rate left out costs what realtime costs."""

    factor: Millionths | None = Field(default=None, ge=1, le=100_000_000)
    input: RatePerMillion | None = None
    cached_input: RatePerMillion | None = None
    cache_write: RatePerMillion | None = None
    cache_write_1h: RatePerMillion | None = None
    output: RatePerMillion | None = None

    @model_validator(mode="after")
    def _one_way(self) -> VariantSchema:
        rates = self.model_fields_set - {"factor"}
        if bool(rates) == ("factor" in self.model_fields_set):
            raise ValueError("a tier states either a factor or rates of its own, not both, and not neither")
        return self


class EffortSchema(Strict):
    """What one reasoning effort changes, as factors on what the model's own default gives."""

    output: Millionths = Field(ge=1, le=100_000_000)
    quality: Millionths = Field(ge=1, le=2_000_000)
    sd: Thousandths = Field(le=1000)
    source: str = Field(min_length=1)
    date: dt.date


class AudioSchema(Strict):
    """Sound: dollars per million audio tokens, per minute, or per million characters that are spoken."""

    input: RatePerMillion | None = None
    cached_input: RatePerMillion | None = None
    output: RatePerMillion | None = None
    input_minute: Usd | None = None
    output_minute: Usd | None = None
    characters: RatePerMillion | None = None


class ImagesSchema(Strict):
    """Images: dollars per million image tokens, for each image, or for each of a quality and size."""

    input: RatePerMillion | None = None
    cached_input: RatePerMillion | None = None
    output: RatePerMillion | None = None
    input_each: Usd | None = None
    output_each: Usd | None = None
    each: dict[Annotated[str, StringConstraints(pattern=r"^[a-z]{1,16}/[1-9]\d{1,4}x[1-9]\d{1,4}$")], Usd] = Field(
        default_factory=dict
    )
    """By ``quality/widthxheight``, such as ``hd/1024x1792``."""

    @model_validator(mode="after")
    def _one_way(self) -> ImagesSchema:
        if self.each and self.output_each is not None:
            raise ValueError(
                "images cost output_each whatever they are, or each by quality and size: state one of them"
            )
        return self


class BaseSchema(Strict):
    """``base``: the model that this one was made from."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*/[A-Za-z0-9][A-Za-z0-9_.:-]*$")
    by: Literal["lora", "fine-tuning", "distillation", "quantization", "merge"]


def _seconds(text: object) -> int:
    return milliseconds(str(text)) // 1000


_Seconds = Annotated[int, BeforeValidator(_seconds), WithJsonSchema({"type": "string"})]


Kept = Literal["by itself", "on request", "unless told"]


class PromptCacheSchema(Strict):
    """``prompt_cache``: how a provider keeps the beginnings of prompts."""

    kept: Kept
    """``on request``: only prompts that carry breakpoints. ``unless told``: all by themselves, but where a request's
    ``prompt_cache_options`` say otherwise.
    """
    min_tokens: int = Field(ge=0)
    ttl: _Seconds = Field(ge=1)
    """For how long from the last use, such as 5m."""
    hit_rate: Millionths = Field(default=900_000, le=1_000_000)
    """Prior: how much of what should be there is read; what is observed takes its place."""
    keyed: bool = False
    """Takes ``prompt_cache_key``."""
    source: str = Field(min_length=1)
    checked: dt.date


class PromptCacheChangeSchema(Strict):
    """``prompt_cache`` of a model: what is different from its provider's."""

    kept: Kept | None = None
    min_tokens: int | None = Field(default=None, ge=0)
    ttl: _Seconds | None = None
    hit_rate: Millionths | None = Field(default=None, le=1_000_000)


class SelfHostedSchema(Strict):
    """``self_hosted``: what a machine of one's own costs and does. The price is derived from it where no row is given."""

    gpu_usd_per_hour: Usd
    gpus: int = Field(default=1, ge=1, le=100_000)
    load: Thousandths = Field(default=1000, ge=1, le=1000)
    prefill_tok_s: ExactDecimal = Field(gt=0)
    decode_tok_s: ExactDecimal = Field(gt=0)
    watts: ExactDecimal = Field(default=Decimal(0), ge=0)
    usd_per_kwh: ExactDecimal = Field(default=Decimal(0), ge=0)
    watts_source: str = ""
    source: str = Field(min_length=1)
    checked: dt.date
    valid_from: Instant | None = None

    @model_validator(mode="after")
    def _energy(self) -> SelfHostedSchema:
        given = (self.watts > 0, self.usd_per_kwh > 0, bool(self.watts_source))
        if any(given) and not all(given):
            raise ValueError("watts, usd_per_kwh and watts_source belong together: state all three, or none")
        return self


def variant(schema: VariantSchema, rates: Rates, cache_write_1h: int) -> Variant:
    """A tier's rates. A fee for a request is not reduced."""
    if schema.factor is not None:
        return Variant(scaled(rates, schema.factor), share(cache_write_1h, schema.factor), schema.factor)

    def own(value: int | None, otherwise: int) -> int:
        return otherwise if value is None else value

    return Variant(
        rates=Rates(
            input=own(schema.input, rates.input),
            output=own(schema.output, rates.output),
            cached_input=own(schema.cached_input, rates.cached_input),
            cache_write=own(schema.cache_write, rates.cache_write),
            request=rates.request,
        ),
        cache_write_1h=own(schema.cache_write_1h, cache_write_1h),
    )


def meters(schema: AudioSchema | ImagesSchema | None) -> dict[str, int]:
    """The meters that are priced: pico-dollars a token, a minute, a character or an image."""
    if schema is None:
        return {}
    said = schema.model_dump(exclude_none=True)
    each: dict[str, int] = said.pop("each", {})
    return said | {f"output_each/{kind}": rate for kind, rate in each.items()}


def prompt_cache(provider: PromptCacheSchema | None, model: PromptCacheChangeSchema | None) -> PromptCache | None:
    """The provider's, with what the model says of its own.

    Raises:
        ValueError: only the model says anything.
    """
    if provider is None:
        if model is not None:
            raise ValueError("prompt_cache of a model changes what its provider's says, and that says nothing")
        return None
    said = provider.model_copy(update={} if model is None else model.model_dump(exclude_none=True))
    return PromptCache(
        asked=said.kept == "on request",
        chosen=said.kept == "unless told",
        least=said.min_tokens,
        ttl_s=said.ttl,
        hit_ppm=said.hit_rate,
        keyed=said.keyed,
        source=said.source,
        date=said.checked,
    )


def machine(schema: SelfHostedSchema) -> SelfHosted:
    """The machine's figures."""
    return SelfHosted(
        usd_per_hour=Decimal(schema.gpu_usd_per_hour) / 10**12 * schema.gpus,
        prefill_tok_s=schema.prefill_tok_s,
        decode_tok_s=schema.decode_tok_s,
        load_milli=schema.load,
        watts=schema.watts,
        usd_per_kwh=schema.usd_per_kwh,
        watts_source=schema.watts_source,
    )


def derived_row(schema: SelfHostedSchema) -> PriceRow:
    """The average price of a self-hosted model: it is booked, so it has to pay for idle hours too."""
    figures = machine(schema)
    fresh = pico(average_usd(figures, figures.prefill_tok_s))
    start = dt.datetime(schema.checked.year, schema.checked.month, schema.checked.day, tzinfo=dt.UTC)
    return PriceRow(
        valid_from=schema.valid_from or start,
        valid_to=None,
        above=0,
        when=None,
        rates=Rates(
            input=fresh,
            output=pico(average_usd(figures, figures.decode_tok_s)),
            cached_input=fresh,
            cache_write=fresh,
        ),
        source=f"derived from self_hosted: {schema.source}",
        checked=schema.checked,
        digest="",
        cache_write_1h=fresh,
    )

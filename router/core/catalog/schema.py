"""The schema of a catalog file (policies/catalog/<provider>.yaml): what one may say, field by field.

Does not belong here: checks across fields and the compiled form (`compile.py`), reading files
(`router.adapters.policies.files`).
"""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from router.core.catalog.catalog import OWN_TENANT, TASKS
from router.core.catalog.columns_schema import (
    AudioSchema,
    BaseSchema,
    EffortName,
    EffortSchema,
    ImagesSchema,
    Modality,
    Name,
    OnDemand,
    PromptCacheChangeSchema,
    PromptCacheSchema,
    SelfHostedSchema,
    Tier,
    VariantSchema,
)
from router.core.images import image_formula
from router.core.schema import Instant, Millionths, RatePerMillion, Strict, Thousandths, Usd, plain_schema
from router.core.values import CAPABILITIES

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Quirk = Literal[
    "azure",
    "vertex",
    "max_tokens_name",
    "max_completion_tokens_name",
    "no_stream_options",
    "reasoning_content",
    "versioned_rerank",
]
"""azure: Azure's deployments, versions and keys; vertex: Anthropic's dialect by Google's paths and tokens (docs/clouds.md). max_tokens_name: knows max_tokens only; max_completion_tokens_name: the other way round.
no_stream_options: answers 400 to it, and sends usage by itself. reasoning_content: wants what its model thought back,
between a call of a tool and the answer that follows (DeepSeek's guide to thinking). versioned_rerank: its address has no
version, the path has (Cohere)."""

Quantization = Literal["fp32", "bf16", "fp16", "fp8", "int8", "mxfp4", "nvfp4", "fp4", "int4", "int3", "int2"]
Dialect = Literal["openai", "anthropic", "bedrock", "gemini", "responses", "vertex", "other"]
"""The provider's wire format. Of `other`, which is none that is spoken here, models are priced, but not offered."""

_SPAN: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|(24):(00))")
_OFFSET: Final = re.compile(r"([+-])(0\d|1[0-4]):([0-5]\d)")
_LABEL: Final = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
_ENV: Final = re.compile(r"env:[A-Z][A-Z0-9_]*")


def _address(value: str) -> str:
    if _ENV.fullmatch(value):
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        raise ValueError(f"{value!r} must be an http(s) URL without user or query, or env:NAME for one in a variable")
    return value.rstrip("/")


def _span(value: str) -> tuple[int, int]:
    match = _SPAN.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not a span of the day, such as 06:00-10:00")
    hour, minute, to_hour, to_minute = (int(group) for group in match.groups() if group is not None)
    start, end = hour * 60 + minute, to_hour * 60 + to_minute
    if start >= end:
        raise ValueError(f"{value!r} ends before it starts; split a span at midnight (22:00-24:00 and 00:00-02:00)")
    return start, end


def _offset(value: str) -> int:
    match = _OFFSET.fullmatch(value)
    if match is None and value != "UTC":
        raise ValueError(f"{value!r} must be UTC or a fixed offset such as +08:00")
    minutes = 0 if match is None else int(match[2]) * 60 + int(match[3])
    return -minutes if value.startswith("-") else minutes


def _text_like(pattern: re.Pattern[str], also: str = "") -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({also}{pattern.pattern})$"})


class WhenSchema(Strict):
    """``when``: the hours and weekdays at which a price row holds."""

    hours: tuple[Annotated[tuple[int, int], BeforeValidator(_span), _text_like(_SPAN)], ...] = ()
    days: frozenset[Day] = frozenset()
    timezone: Annotated[int, BeforeValidator(_offset), _text_like(_OFFSET, "UTC|")] = 0


class PriceSchema(Strict):
    """One price row: dollars per million tokens."""

    valid_from: Instant
    valid_to: Instant | None = None
    above_input_tokens: int = Field(default=0, ge=0)
    when: WhenSchema | None = None
    input: RatePerMillion
    cached_input: RatePerMillion | None = None
    cache_write: RatePerMillion | None = None
    cache_write_1h: RatePerMillion | None = None
    output: RatePerMillion
    request: Usd = 0
    tiers: dict[Tier, VariantSchema] = Field(default_factory=dict)
    regions: dict[Name, Annotated[Millionths, Field(ge=1, le=100_000_000)]] = Field(default_factory=dict)
    tools: dict[Name, Usd] = Field(default_factory=dict)
    audio: AudioSchema | None = None
    images: ImagesSchema | None = None
    search: Usd | None = None
    """A search of a reranker: one query with up to a hundred documents."""
    source: str = Field(min_length=1)
    checked: dt.date


class ScoreSchema(Strict):
    """Quality on one task, 0 to 1."""

    score: Thousandths = Field(le=1000)
    sd: Thousandths = Field(le=1000)
    source: str = Field(min_length=1)
    date: dt.date


class LatencySchema(Strict):
    """Prior for speed."""

    ttft_p50_ms: int = Field(ge=1)
    ttft_p95_ms: int = Field(ge=1)
    tpot_ms: Annotated[Decimal, BeforeValidator(str)] = Field(ge=0)
    source: str = Field(min_length=1)
    date: dt.date


class OutputSchema(Strict):
    """Prior for completion tokens."""

    mean: int = Field(ge=0)
    p90: int = Field(ge=0)


class ModelSchema(Strict):
    """One model of a provider."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*/[A-Za-z0-9][A-Za-z0-9_.:-]*$")
    upstream: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./:@-]{0,199}$")
    context_window: int = Field(ge=1)
    max_output: int = Field(ge=0)
    tokenizer: str = ""
    token_ratio: Millionths = Field(default=1_000_000, ge=100_000, le=10_000_000)
    message_overhead: int = Field(default=3, ge=0, le=1000)
    image: Annotated[Any, BeforeValidator(image_formula), WithJsonSchema({"type": "object"})] = None
    capabilities: tuple[Annotated[str, WithJsonSchema({"enum": sorted(CAPABILITIES)})], ...]
    fixed_sampling: bool = False
    """Refuses a temperature, top_p or penalty other than the usual, as OpenAI's reasoning models do."""
    tags: frozenset[str] = frozenset()
    weights: Literal["open", "closed"]
    quality: dict[str, ScoreSchema] = Field(
        default_factory=dict, json_schema_extra={"propertyNames": {"enum": list(TASKS)}}
    )
    latency: LatencySchema
    output: OutputSchema
    retired: dt.date | None = None
    quantization: Quantization | None = None
    base: BaseSchema | None = None
    accelerator: Name | None = None
    pool: Name | None = None
    modalities: frozenset[Modality] = frozenset()
    dialects: tuple[Dialect, ...] = ()
    """What it is spoken to in, of all that its provider speaks, such as ``[responses]``; everything where it is left out."""
    efforts: dict[EffortName, EffortSchema] = Field(default_factory=dict)
    self_hosted: SelfHostedSchema | None = None
    prompt_cache: PromptCacheChangeSchema | None = None
    prices: tuple[PriceSchema, ...] | None = None
    """May be left out where `self_hosted` is given."""


class TimeoutsSchema(Strict):
    """``timeouts``: bounds on one exchange with the provider, in seconds. What is left out keeps its default."""

    connect: float | None = Field(default=None, gt=0, le=60)
    first_byte: float | None = Field(default=None, gt=0, le=3600)
    between_chunks: float | None = Field(default=None, gt=0, le=3600)
    total: float | None = Field(default=None, gt=0, le=7200)


class CallersSchema(Strict):
    """``callers``: whose books are kept of callers who bring their own key of the provider."""

    tenant: Annotated[str, Field(pattern=_LABEL)] = OWN_TENANT
    team: Annotated[str, Field(pattern=_LABEL)] = ""
    app: Annotated[str, Field(pattern=_LABEL)] = ""


class CatalogSchema(Strict):
    """One catalog file."""

    version: Literal[1]
    provider: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    name: str
    base_url: Annotated[str, AfterValidator(_address)]
    key_env: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]*$")
    auth: Literal["passthrough"] | None = None
    """``passthrough``: callers may bring a key of this provider's instead of one of ours; it travels on."""
    key_prefix: str = Field(default="", pattern=r"^[!-~]{0,32}$")
    """How the provider's keys begin: by that, one that a caller brings is known."""
    callers: CallersSchema = CallersSchema()
    dialect: Dialect
    also: tuple[Dialect, ...] = ()
    bills_after_disconnect: bool
    quirks: frozenset[Quirk] = frozenset()
    timeouts: TimeoutsSchema = TimeoutsSchema()
    service_tiers: dict[OnDemand, Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]] = Field(default_factory=dict)
    """The provider's words for tiers that a request can ask for."""
    region: Name | None = None
    """Where it answers requests; left out where that is not known or may be anywhere."""
    prompt_cache: PromptCacheSchema | None = None
    """Left out where it has none, or nobody knows how it works: then nothing is expected of it."""
    models: tuple[ModelSchema, ...]


def json_schema() -> str:
    """The JSON Schema of a catalog file, for editors: text as ``policies/catalog/schema.json`` holds it.

    It knows each field; what reaches across fields only the loader checks.
    """
    return json.dumps(plain_schema("costrouter catalog file", CatalogSchema), indent=2, ensure_ascii=False) + "\n"

"""The catalog: which provider serves which model, what it can do, how good and fast it is, and its dated prices.

Belongs here: the compiled, frozen form that the rest of the project reads, and finding things in it. Does not
belong here: the files' schema and its checks (`schema.py`), reading files (`router.adapters.policies.files`),
choosing a price (`pricing`).
"""

from __future__ import annotations

import datetime as dt
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec

from router.core.catalog.self_hosted import SelfHosted
from router.core.images import ImageFormula
from router.core.statistics.quality import Score, Scores
from router.core.values import Needs, Rates
from router.core.wire import EXPRESSES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.statistics.quality import Quality

Task = Literal[
    "chat",
    "extraction",
    "summarisation",
    "code",
    "maths",
    "reasoning",
    "long_context",
    "vision",
    "tools",
    "multilingual",
]
TASKS: Final[tuple[Task, ...]] = get_args(Task)
"""What quality scores are kept for."""

OWN_TENANT: Final = "own-keys"
"""The tenant of callers who bring a provider's key of their own, unless the catalog names another."""

SPOKEN: Final = frozenset(EXPRESSES)
"""Dialects in which providers can be called. Models of others are known and priced, but not offered."""


QUANTIZATIONS: Final = ("fp32", "bf16", "fp16", "fp8", "int8", "mxfp4", "nvfp4", "fp4", "int4", "int3", "int2")
"""What the catalog may say of weights."""


class Provider(msgspec.Struct, frozen=True):
    """A company or server that answers requests. Secrets stay in the environment; here are only their names."""

    name: str
    title: str
    base_url: str
    """Empty when `base_url_env` names the variable that holds it."""
    base_url_env: str
    """The provider exists only where this variable is set; empty for a fixed address."""
    key_env: str
    """Variable with the API key; empty when none is needed. Optional for a provider with `base_url_env`."""
    dialect: str
    bills_after_disconnect: bool
    """True: a client's leaving does not stop the bill, so the stream is drained to its usage."""
    quirks: frozenset[str]
    timeouts: dict[str, float] = {}
    """Seconds, by the names of `router.ports.Timeouts`; empty where its defaults hold."""
    also: tuple[str, ...] = ()
    """Further dialects that it speaks at the same address: requests in one of these go through to the letter."""
    service_tiers: dict[str, str] = {}
    """Tiers besides realtime that a single request can ask for, each with the provider's word for it."""
    region: str = ""
    """Where its address serves; a price row's factor for it is applied."""
    passthrough: bool = False
    """Whether callers may bring a key of its own, which travels on."""
    key_prefix: str = ""
    """How its keys begin; empty where nobody has said."""
    callers: tuple[str, str, str] = ("", "", "")
    """Tenant, team and app of those who bring a key of its own."""

    @property
    def dialects(self) -> tuple[str, ...]:
        """All that it speaks, the one that others are put into first."""
        return (self.dialect, *(name for name in self.also if name in SPOKEN)) if self.also else (self.dialect,)

    @property
    def spoken(self) -> bool:
        """Whether its models can be offered: its dialect is one of `SPOKEN`."""
        return self.dialect in SPOKEN


class Latency(msgspec.Struct, frozen=True):
    """Prior for speed, used until live statistics exist. Milliseconds; ``tpot_us`` microseconds a token."""

    ttft_p50_ms: int
    ttft_p95_ms: int
    tpot_us: int
    source: str
    date: dt.date


class OutputPrior(msgspec.Struct, frozen=True):
    """Prior for completion tokens of one choice."""

    mean: int
    p90: int


class PromptCache(msgspec.Struct, frozen=True):
    """How a provider keeps the beginnings of prompts. What reading and writing cost says the price."""

    asked: bool
    """Only prompts that carry breakpoints are kept; else all are, by themselves."""
    least: int
    """Tokens, as the provider meters them, under which nothing is kept."""
    ttl_s: int
    """For how long, from the last use."""
    hit_ppm: int
    """Prior: how much of a prefix that should be there is read, in parts per million."""
    keyed: bool
    """Whether it takes ``prompt_cache_key``, by which requests of one prefix come to one machine."""
    chosen: bool
    """All are kept by themselves, unless a request says otherwise (OpenAI's ``prompt_cache_options``)."""
    source: str
    date: dt.date


class Window(msgspec.Struct, frozen=True):
    """Times at which a price row holds: minutes of the local day, half-open; weekdays with Monday 0."""

    spans: tuple[tuple[int, int], ...]
    days: frozenset[int]
    offset_minutes: int
    """Local time minus UTC. Fixed: a price list in a place with summer time needs a row for each half-year."""


class Variant(msgspec.Struct, frozen=True):
    """What one tier pays instead of a row's rates."""

    rates: Rates
    cache_write_1h: int
    factor_ppm: int = 1_000_000
    """On rates of sound and images, in parts per million."""


class Effort(msgspec.Struct, frozen=True):
    """What a reasoning effort changes, compared with the model's own default."""

    output_ppm: int
    """Factor on completion tokens, in parts per million."""
    quality_ppm: int
    """Factor on every score, in parts per million."""
    sd_milli: int
    """How uncertain that factor makes a score, in thousandths, beside the score's own deviation."""
    source: str
    date: dt.date


class PriceRow(msgspec.Struct, frozen=True):
    """One dated list price. Valid from ``valid_from`` until before ``valid_to``."""

    valid_from: dt.datetime
    valid_to: dt.datetime | None
    above: int
    """Holds for prompts with more tokens than this; 0 for every prompt."""
    when: Window | None
    rates: Rates
    source: str
    checked: dt.date
    digest: str
    """Hex of the row's rates and conditions; provenance is not part of it."""
    cache_write_1h: int = 0
    """Pico-dollars a token written for an hour; ``rates.cache_write`` is for five minutes."""
    tiers: dict[str, Variant] = {}
    """By tier; one that is not listed is not sold at this row's time and size."""
    regions: dict[str, int] = {}
    """Factor on every rate by region, in parts per million; others pay the row's rates."""
    tools: dict[str, int] = {}
    """Pico-dollars a call of a tool that the provider runs."""
    audio: dict[str, int] = {}
    images: dict[str, int] = {}
    """Pico-dollars by meter: ``input``, ``output`` a token; ``…_minute``, ``…_each``, ``characters``."""
    search: int | None = None
    """Pico-dollars a search of a reranker; None where it sells none."""


class Model(msgspec.Struct, frozen=True):
    """A model as one provider serves it. Several providers may serve one ``id``."""

    id: str
    """Canonical: ``author/name``."""
    provider: str
    upstream: str
    """The provider's own name for it."""
    context_window: int
    max_output: int
    tokenizer: str
    token_ratio_ppm: int
    """The provider's metered tokens per o200k token of ours, in parts per million."""
    message_overhead: int
    image: ImageFormula | None
    capabilities: Needs
    tags: frozenset[str]
    weights: Literal["open", "closed"]
    quality: dict[str, Score]
    """What its own entry says; ask the catalog's `quality`."""
    latency: Latency
    output: OutputPrior
    retired: dt.date | None
    """First day (UTC) on which the provider no longer serves it."""
    prices: tuple[PriceRow, ...]
    quantization: str = ""
    """Of the weights as served, such as fp8; empty when not known."""
    base: str = ""
    """The model that this one was made from; empty when it stands for itself."""
    made_by: str = ""
    """How: lora, fine-tuning, distillation, quantization, merge."""
    accelerator: str = ""
    """What it runs on, such as trainium2; empty when not known."""
    pool: str = ""
    """Models of one pool share their accelerators."""
    region: str = ""
    """Where requests are answered, such as eu; empty when not known or anywhere. Prices are those of the region."""
    modalities: tuple[str, ...] = ()
    """What it can do but is not offered for."""
    dialects: tuple[str, ...] = ()
    """What it is spoken to in, of all that its provider speaks; empty for everything."""
    self_hosted: SelfHosted | None = None
    efforts: dict[str, Effort] = {}
    """By the word that is sent as ``reasoning_effort``; empty where nobody knows what they change."""
    prompt_cache: PromptCache | None = None
    """None where it has none, or nobody knows how it works."""

    @property
    def name(self) -> str:
        """Identifies the entry: ``author/name@provider``."""
        return f"{self.id}@{self.provider}"

    def retired_at(self, instant: dt.datetime) -> bool:
        """Whether the provider has taken the model away by then."""
        return self.retired is not None and instant.astimezone(dt.UTC).date() >= self.retired


class Catalog:
    """Providers by name and models in the files' order, and who knows how good they are. Immutable once built."""

    __slots__ = ("_by_id", "_selected", "models", "providers", "quality", "vocabulary")

    def __init__(self, providers: Iterable[Provider], models: Iterable[Model], quality: Quality | None = None) -> None:
        self.quality: Quality = quality or Scores()
        self.providers = {provider.name: provider for provider in providers}
        self.models = tuple(models)
        self._by_id: dict[str, list[Model]] = {}
        for model in self.models:
            self._by_id.setdefault(model.id, []).append(model)
        self._selected: dict[str, frozenset[str]] = {}
        self.vocabulary: dict[str, tuple[str, ...]] = {
            "tag": tuple(sorted(self.tags)),
            "provider": tuple(sorted(self.providers)),
            "region": tuple(sorted({model.region for model in self.models} - {""})),
            "weights": ("open", "closed"),
            "quantization": QUANTIZATIONS,
        }
        """What may stand after each selector of a policy. A quantization that no model has is none the less one."""

    def by_id(self, model_id: str) -> tuple[Model, ...]:
        """Every provider's entry of a canonical id, empty when unknown."""
        return tuple(self._by_id.get(model_id, ()))

    def selected(self, pattern: str) -> frozenset[str]:
        """Names of the entries that a policy's pattern means (`selects`). Many policies write the same, so it is kept."""
        found = self._selected.get(pattern)
        if found is None:
            found = self._selected[pattern] = frozenset(model.name for model in self.models if selects(pattern, model))
        return found

    @property
    def ids(self) -> tuple[str, ...]:
        """Every canonical id, in the files' order."""
        return tuple(self._by_id)

    @property
    def tags(self) -> frozenset[str]:
        """Every tag in use."""
        return frozenset(tag for model in self.models for tag in model.tags)


def selects(pattern: str, model: Model) -> bool:
    """Whether a pattern of a policy means this model: ``tag:chat``, ``provider:groq``, ``region:eu``, ``weights:open``,
    ``quantization:int4``, or a glob on the canonical id (``deepseek/*``), which may name the provider too
    (``*@together``).
    """
    kind, _, value = pattern.partition(":")
    match kind if value else "":
        case "tag":
            return value in model.tags
        case "provider":
            return value == model.provider
        case "region":
            return value == model.region
        case "weights":
            return value == model.weights
        case "quantization":
            return value == model.quantization
        case _:
            return fnmatchcase(model.name if "@" in pattern else model.id, pattern)


def near(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that look like this one, best first; case and the part before a slash count little."""
    names = list(known)
    found = get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    if found:
        return found
    bare = {known_name.rpartition("/")[2]: known_name for known_name in reversed(names)}
    return [bare[match] for match in get_close_matches(name.lower().rpartition("/")[2], bare, n=3, cutoff=0.6)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean x or y?`` for the near misses, or nothing."""
    found = near(name, known)
    return f"; did you mean {' or '.join(found)}?" if found else ""

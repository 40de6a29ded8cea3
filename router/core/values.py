"""The nouns of the project: frozen facts that stages hand to each other.

Belongs here: values that more than one module speaks of. Does not belong here: anything that computes.
Amounts are integers (pico-dollars or nano-dollars, the name says which); times are milliseconds since the
epoch (`*_ms` with `at`) or durations (`ttft_ms`, `total_ms`).
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final, Literal, get_args

import msgspec

from router.core.access.rights import Role
from router.core.budgets.budget import NO_TERMS, Terms

Endpoint = Literal[
    "chat", "embeddings", "moderation", "images", "image_edits", "transcription", "translation", "speech", "rerank",
]  # fmt: skip  # a line a name would hide that it is one choice
"""What a request asks for; but for chat, the capability that a model must have for it has the same name."""
Certainty = Literal["metered", "counted", "estimated"]
"""metered: the provider's own usage; counted: our count of what was streamed; estimated: neither was to be had."""

Units = tuple[tuple[str, int], ...]
"""Amounts by meter beside tokens, as `router.core.meters` names and counts them; a meter stands once, in order of names."""

Outcome = Literal[
    "ok",
    "client_left",
    "upstream_error",
    "upstream_interrupted",
    "budget_stopped",
    "node_stopped",
    "outrun",
    "released",
]
"""How an attempt ended. ``node_stopped``: by us, because the node was told to stop and could wait no longer. ``outrun``: another attempt of the same request had answered before. ``released`` attempts were never sent and cost nothing."""


class Needs(IntFlag):
    """What a request asks of a model, and what a model can do: feasible means request & ~model == 0."""

    CHAT = 1
    EMBEDDINGS = 2
    TOOLS = 4
    JSON_OBJECT = 8
    JSON_SCHEMA = 16
    VISION = 32
    AUDIO_IN = 64
    AUDIO_OUT = 128
    LOGPROBS = 256
    MULTIPLE_CHOICES = 512
    REASONING_EFFORT = 1024
    FILES = 2048
    WEB_SEARCH = 4096
    PREDICTION = 8192
    SAMPLING = 16384
    """A temperature, top_p or penalty of the caller's own; OpenAI's reasoning models refuse it."""
    THINKING_BUDGET = 32768
    """Anthropic's `thinking.budget_tokens`; its newer models take an effort only."""
    MODERATION = 1 << 16
    IMAGES = 1 << 17
    """Makes images from words."""
    IMAGE_EDITS = 1 << 18
    """Makes images from images."""
    TRANSCRIPTION = 1 << 19
    # Bits from 20 on are `router.core.wire.Wire`'s, up to 41.
    TRANSLATION = 1 << 42
    """Of speech, into English words."""
    SPEECH = 1 << 43
    RERANK = 1 << 44


CAPABILITIES: Final[dict[str, Needs]] = {need.name.lower(): need for need in Needs if need.name}
"""The catalog's spelling of each capability (``json_schema``) to its bit."""
SERVED: Final[dict[str, int]] = {name: CAPABILITIES[name].value for name in get_args(Endpoint)}
"""Each endpoint to the capability that it asks for."""
IN_TEXT: Final = SERVED["chat"] | SERVED["embeddings"]
"""The capabilities of models whose requests are texts and their answers tokens."""


class Usage(msgspec.Struct, frozen=True):
    """Token meters of one attempt, in one normal form for every provider.

    ``prompt_tokens`` includes cached and cache-written tokens; ``completion_tokens`` includes reasoning.
    """

    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    tier: str = ""
    """The tier that was served, in our words; empty where the provider does not say."""
    cache_write_1h_tokens: int = 0
    """Of the written ones, those that are kept for an hour instead of minutes."""
    units: Units = ()
    """What is metered otherwise: calls of tools, images, sound; and what of the tokens has rates of its own."""


class Rates(msgspec.Struct, frozen=True):
    """What one attempt pays: pico-dollars per token, and per request."""

    input: int
    output: int
    cached_input: int
    cache_write: int
    request: int = 0


class Band(msgspec.Struct, frozen=True):
    """Rates that hold for every token once the prompt has more than ``above`` tokens (a cliff, not a slice)."""

    above: int
    rates: Rates
    cache_write_1h: int | None = None
    """For tokens that are written for an hour; None where that costs what writing costs."""
    units: dict[str, int] = {}
    """Pico-dollars by meter (`router.core.meters`)."""


class Price(msgspec.Struct, frozen=True):
    """A model's price at one instant: bands in ascending order, the first with ``above == 0``."""

    version: str
    """Identifies the catalog row the rates came from; booked with every attempt."""
    bands: tuple[Band, ...]


class Identity(msgspec.Struct, frozen=True):
    """Who calls, as the key says. Headers can set only what the key delegates."""

    tenant: str
    key: str
    """The key's id, never the secret."""
    name: str = ""
    team: str = ""
    app: str = ""
    role: Role = "app"
    delegates: tuple[str, ...] = ()
    """What the key lets its callers set by header: ``user``, ``team``, ``app`` (any value), or ``team=search``."""


class TokenRange(msgspec.Struct, frozen=True):
    """Tokens of the prompt in the reference encoding, before a model's own ratio.

    ``low`` ≤ truth ≤ ``high`` is certain; ``likely_low`` ≤ truth ≤ ``likely_high`` holds for natural text;
    ``expected`` is the best single guess. All five agree when the count is exact.
    """

    low: int
    likely_low: int
    expected: int
    likely_high: int
    high: int

    @property
    def exact(self) -> bool:
        """True when the text was really counted."""
        return self.low == self.high


class Hold(msgspec.Struct, frozen=True):
    """Money set aside for one attempt before it is sent."""

    attempt: str
    """``request-id/n``"""
    tenant: str
    amount_nano: int
    """Held against hard budgets; against all, if ``likely_nano`` is None."""
    not_after_ms: int
    """The store refuses a reservation that reaches it later than this (store clock)."""
    likely_nano: int | None = None
    """Held against statistical budgets."""
    terms: Terms = NO_TERMS
    """The budgets that must have room for it, each with the period that it is asked for in."""
    dims: tuple[str, ...] = ()
    """Team, app, key, user, policy, rule, model, provider, tier, endpoint: what is left to say of the attempt if its
    worker and its disk are lost."""
    grows: bool = False
    """True where the attempt is held already and needs more: limits are checked for the difference, in the periods of
    its admission."""
    tokens: int = 0
    """What it adds to limits on tokens: as expected."""

    @property
    def budgets(self) -> tuple[str, ...]:
        """The budget periods, as the store names them."""
        return self.terms.names


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One ledger row: one attempt, at its own price. Written once, never changed.

    Field order is the stored layout (array-like): new fields go to the end with a default.
    """

    attempt: str
    at_ms: int
    """Admission, in the store's time: the period that the attempt belongs to."""
    tenant: str
    team: str
    app: str
    key: str
    user: str
    tags: tuple[str, ...]
    endpoint: str
    policy: str
    rule: str
    requested_model: str
    model: str
    provider: str
    tier: str
    outcome: str
    status: int
    certainty: str
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    price_version: str
    cost_pico: int
    cost_nano: int
    estimated_nano: int
    baseline_nano: int
    runner_up_nano: int
    ttft_ms: int
    total_ms: int
    snapshot: str
    unit: str = ""
    choices: int = 1
    max_output: int = 0
    """The caller's output limit; 0 for none."""
    budgets: tuple[str, ...] = ()
    """Budget periods the attempt was held against, as the store names them: they get its cost."""
    correction_of: str = ""
    """The attempt that this row corrects, by signed differences; "" for an attempt's own row."""
    effort: str = ""
    """The reasoning effort that was chosen here; "" where the caller's, or the model's own, was left alone."""
    limits: tuple[str, ...] = ()
    """What it added to limits on rates when it was admitted (`router.core.budgets.limits.counted`)."""
    task: str = ""
    """What it was routed as."""
    cache_write_1h_tokens: int = 0
    """Of the written ones, those that are kept for an hour."""
    warm_tokens: int = 0
    """Of the prompt: what the provider should have had already, by what was known when it was decided."""
    cache_saved_nano: int = 0
    """What reading from the provider's cache saved, less what writing to it cost beyond fresh input."""
    would_save_nano: int = 0
    """Where the policy only observes: by how much its own choice would have cost less, for the same meters."""
    units: Units = ()
    """What was metered beside tokens."""

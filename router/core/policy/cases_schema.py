"""The schema of a file of policy tests (policies/tests/*.yaml): a world, requests, and where they must go.

Does not belong here: running them (`cases.py`), reading files (`router.adapters.policies.cases`).
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from router.core.catalog.catalog import Task
from router.core.money import parse_usd
from router.core.policy import words
from router.core.policy.schema import known_capability, without_null
from router.core.schema import Instant, Strict, Usd, one_or_more, plain_schema, written
from router.core.units import milli, milliseconds
from router.core.values import Endpoint

_BOUND: Final = re.compile(r"(<=|>=)\s*(\S+)")
_LISTED: Final = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
_Texts = Annotated[tuple[str, ...], BeforeValidator(one_or_more), _LISTED]


def _bound(text: str) -> tuple[str, int]:
    match = _BOUND.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a bound; write one such as <= 0.0002")
    return match[1], parse_usd(match[2])


def _count(text: str) -> int:
    return words.counts([f">= {text}"]).low


def _share(text: str) -> int:
    return words.fullness([f">= {text}"]).low


_AS_TEXT: Final = WithJsonSchema({"type": ["string", "integer", "number"]})
_Count = Annotated[int, written(_count), _AS_TEXT]
_Time = Annotated[int, written(milliseconds), _AS_TEXT]


class SeenSchema(Strict):
    """What was observed of one way to call a model: as long as that in every quantile."""

    n: int = Field(default=100, ge=1)
    ttft: _Time | None = None
    tpot: _Time | None = None
    output: int | None = Field(default=None, ge=0)


class GivenSchema(Strict):
    """``given``: who asks, when, and what is known of models."""

    at: Instant
    tenant: str = "home"
    team: str = ""
    app: str = ""
    key: str = "test"
    user: str = ""
    providers: _Texts = ()
    """Those that can be called; empty for all."""
    budget_used: Annotated[int, written(_share), _AS_TEXT] = 0
    stats: dict[str, SeenSchema] | Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+\.json$")] = Field(
        default_factory=dict
    )
    """By catalog entry, ``deepseek/deepseek-flash@deepseek``; or the name of a file of JSON beside the tests that says so."""
    gpu_load: dict[str, Annotated[int, written(_share), _AS_TEXT]] = Field(default_factory=dict)
    """By self-hosted model, with its provider or without: how busy its accelerators are, and so all models' of its pool."""


class RequestSchema(Strict):
    """``request``."""

    model: str = "auto"
    input_tokens: _Count = 1000
    max_output: _Count | None = None
    endpoint: Endpoint = "chat"
    path: str = "/v1/chat/completions"
    task: Task | None = None
    """What the caller says that it is for; left out, the policy's, or chat."""
    capability: Annotated[
        tuple[Annotated[str, AfterValidator(known_capability)], ...], BeforeValidator(one_or_more), _LISTED
    ] = ()
    tags: _Texts = ()
    policy: str | None = None
    deadline: _Time | None = None
    may_wait: bool = Field(default=False, alias="async")
    """Whether it may be answered later: then batches bid too. Without a deadline within an hour."""
    quality: Annotated[int, written(milli), _AS_TEXT] | None = None
    max_cost_usd: Usd | None = None
    session: str = ""
    warm: dict[str, _Count] = Field(default_factory=dict)
    """By model, with its provider or without: how many of the prompt's tokens its cache has."""


class ExpectSchema(Strict):
    """``expect``: what must hold; what is left out may be anything."""

    policy: str | None = None
    rule: str | None = None
    model: str | None = None
    """The id, or with its provider."""
    tier: str | None = None
    effort: str | None = None
    relaxed: str | None = None
    cost_usd: Annotated[tuple[str, int], written(_bound), WithJsonSchema({"type": "string"})] | None = None
    rejected: dict[str, str] = Field(default_factory=dict)
    """Model to a word of the reason."""
    refused: str | None = None
    """The error's code."""


class CaseSchema(Strict):
    """One case. Its ``given`` adds to the file's."""

    name: str = Field(min_length=1)
    given: GivenSchema | None = None
    request: RequestSchema = RequestSchema()
    expect: ExpectSchema


class CasesSchema(Strict):
    """One file of tests."""

    given: GivenSchema
    cases: Annotated[tuple[CaseSchema, ...], Field(min_length=1)]


def json_schema() -> str:
    """The JSON Schema of a file of tests, for editors: text as ``policies/tests/schema.json`` holds it."""
    return json.dumps(without_null(plain_schema("costrouter policy tests", CasesSchema)), indent=2) + "\n"

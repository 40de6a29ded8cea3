"""``POST /v1/rerank`` and ``/v2/rerank``: documents by how well they answer a query.

Cohere bills searches and says how many (``meta.billed_units.search_units``, its API reference); Together and Jina speak the
same shape and bill tokens (``usage``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from router.core.deciding.choices import Work
from router.core.deciding.decide import Decision
from router.core.errors import RouterError
from router.core.meters import SEARCH
from router.core.tokens import PromptShape
from router.core.values import SERVED, Usage
from router.dialects.contract import Inbound
from router.dialects.endpoints.passing import (
    EventScanner,
    has,
    inbound,
    loaded,
    model_of,
    outbound,
    part,
    replaced,
)
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Order
from router.dialects.openai.usage import a_count
from router.dialects.request import Request, decode

MOST_DOCUMENTS: Final = 10_000
"""Of one request (Cohere, best practices for rerank)."""


class _Rerank(msgspec.Struct):
    query: str
    documents: list[str | dict[str, Any]]
    model: str | None = None


_BODY: Final = msgspec.json.Decoder(_Rerank)


def read(body: bytes, headers: Mapping[str, str]) -> Request:  # noqa: ARG001 - one shape for all
    """Documents to be ranked.

    Raises:
        RouterError: ``invalid_request`` naming the field.
    """
    top, asked = TopLevel(body), decode(_BODY, body)
    count = len(asked.documents)
    if not 1 <= count <= MOST_DOCUMENTS:
        message = f"documents must be a list of 1 to {MOST_DOCUMENTS:,} documents, not {count:,}."
        raise RouterError("invalid_request", message, param="documents")
    if not asked.query:
        raise RouterError("invalid_request", "query must be a text that is not empty.", param="query")
    texts = [document if isinstance(document, str) else _text(document) for document in asked.documents]
    query_bytes = len(asked.query.encode("utf-8", "replace"))
    return Request(
        top=top,
        model=model_of(asked.model),
        needs=SERVED["rerank"],
        shape=PromptShape(texts=(asked.query, *texts), messages=0),
        # The window holds a query and one document, and what is longer is cut or divided by the provider.
        inputs=count + 1,
        text_bytes=len(body),
        work=Work(documents=count, repeated=query_bytes * (count - 1)),
    )


def _passed(version: str) -> Callable[[Request, Decision, frozenset[str]], Order]:
    def passed(request: Request, decision: Decision, quirks: frozenset[str]) -> Order:
        path = f"{version}/rerank" if "versioned_rerank" in quirks else "/rerank"
        return Order(path, replaced(request, decision.option.upstream_model))

    return passed


def meters(body: bytes) -> Usage | None:
    """Searches, or tokens; None where an answer tells neither."""
    document = loaded(body)
    if document is None:
        return None
    told, meta = document.get("usage"), document.get("meta")
    if isinstance(told, dict):
        prompt = a_count(told.get("prompt_tokens"))
        total = a_count(told.get("total_tokens"))
        found = total if prompt is None else prompt
        return None if found is None else Usage(found)
    billed = meta.get("billed_units") if isinstance(meta, dict) else None
    searches = part(billed, "search_units")
    return Usage(0, units=((SEARCH, searches),)) if searches else None


class _Events(EventScanner):
    __slots__ = ()
    meters = meters


def _text(document: dict[str, Any]) -> str:
    return msgspec.json.encode(document).decode()


_ANSWERS: Final = outbound(meters, is_answer=has("results"), scanner=_Events)
RERANK: Final[Inbound] = inbound("rerank", "rerank", "/rerank", read, _passed("/v1"), _ANSWERS)
RERANK_2: Final[Inbound] = msgspec.structs.replace(RERANK, api="rerank-2", passed=_passed("/v2"), root="/v2")

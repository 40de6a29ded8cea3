"""Moderation and reranking: ``POST /{provider}/v1/moderations`` and ``/rerank``.

Cohere answers with searches that it bills, Together and Jina with tokens, each in its published shape.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from router.sim.bill import Meters
from router.sim.endpoints.served import Answer, Asked, as_json
from router.sim.refusal import Refusal

_CATEGORIES: Final = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
_A_SEARCH: Final = 100
_A_CHUNK: Final = 500


def moderated(asked: Asked) -> Answer:
    """Every input is judged: what speaks of violence is flagged."""
    given = asked.fields.get("input")
    if not given or not isinstance(given, str | list):
        raise Refusal.missing("input")
    entries = [given] if isinstance(given, str) else given
    texts = [entry if isinstance(entry, str) else str(entry.get("text", "")) for entry in entries]
    results = []
    for text in texts:
        flagged = "kill" in text.lower()
        judged = {name: flagged and name == "violence" for name in _CATEGORIES}
        results.append(
            {
                "flagged": flagged,
                "categories": judged,
                "category_scores": {name: 0.9 if hit else 0.001 for name, hit in judged.items()},
                "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
            }
        )
    document = {"id": f"modr-{asked.world.new_id()[4:16]}", "model": asked.model.upstream, "results": results}
    return Answer(as_json(document))


def ranked(asked: Asked) -> Answer:
    """The documents by how many words they share with the query."""
    fields = asked.fields
    query, documents = fields.get("query"), fields.get("documents")
    if not isinstance(query, str) or not query:
        raise Refusal.missing("query")
    if not isinstance(documents, list) or not documents:
        raise Refusal.missing("documents")
    texts = [document if isinstance(document, str) else str(document.get("text", "")) for document in documents]
    scored = sorted(((_score(query, text), -index) for index, text in enumerate(texts)), reverse=True)
    top = fields.get("top_n") or len(texts)
    results: list[dict[str, Any]] = [{"index": -place, "relevance_score": score} for score, place in scored[:top]]
    if fields.get("return_documents"):
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    tokens = [asked.tokens(text) for text in texts]
    asking = asked.tokens(query)
    if asked.provider.name == "cohere":
        chunks = sum(max(1, -(-count // max(_A_CHUNK - asking, 1))) for count in tokens)
        searches = -(-chunks // _A_SEARCH)
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": searches}}
        document = {"id": asked.world.new_id(), "results": results, "meta": meta if asked.tells_usage else {}}
        return Answer(as_json(document), units={"search": searches})
    prompt = sum(tokens) + asking * len(tokens)
    usage = {"prompt_tokens": prompt, "completion_tokens": 0, "total_tokens": prompt}
    document = {"object": "rerank", "id": asked.world.new_id(), "model": asked.model.upstream, "results": results}
    if asked.tells_usage:
        document["usage"] = usage if asked.provider.name != "jina" else {"total_tokens": prompt}
    return Answer(as_json(document), meters=Meters(prompt=prompt))


def _score(query: str, text: str) -> float:
    shared = set(query.lower().split()) & set(text.lower().split())
    return round(min(len(shared) / 10, 0.9) + zlib.crc32(text.encode()) % 1000 / 10_000, 6)

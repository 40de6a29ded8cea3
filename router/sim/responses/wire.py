"""Answers as OpenAI sends them over Responses: the response object and its stream of events.

Belongs here: the shape of an answer. Does not belong here: what it says and when it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.sim.responses.check import sealed
from router.sim.text import pieces
from router.sim.wire import Event, runs

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from router.sim.bill import Meters
    from router.sim.plan import Answer

ERROR: Final = (
    b'event: error\ndata: {"type":"error","sequence_number":3,"error":{"type":"server_error","code":"server_error",'
    b'"message":"The server had an error while processing your request. Sorry about that!","param":null}}\n\n'
)
ERROR_BODY: Final = (
    b'{"error":{"message":"The server had an error while processing your request. Sorry about that!",'
    b'"type":"server_error","param":null,"code":null}}'
)
_PADDING: Final = "kT3vQ9xLw2RbZ7mC"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all of one response has in common, and what its caller asked for."""

    id: str
    created: int
    model: str
    body: dict[str, Any]
    reasons: bool
    """Whether the model thinks first, so that its answer begins with a reasoning item."""
    obfuscate: bool
    called: dict[str, int] = field(default_factory=dict)
    """Calls of tools that the provider runs."""


def usage(meters: Meters) -> dict[str, Any]:
    """The usage object."""
    return {
        "input_tokens": meters.prompt,
        "input_tokens_details": {"cached_tokens": meters.cached, "cache_write_tokens": meters.cache_write},
        "output_tokens": meters.completion,
        "output_tokens_details": {"reasoning_tokens": meters.reasoning},
        "total_tokens": meters.prompt + meters.completion,
    }


def lie(openai: dict[str, object]) -> dict[str, object]:
    """A usage object that no meter may believe, in this shape."""
    details = openai.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return {
        "input_tokens": openai["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": openai["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
    }


def response(envelope: Envelope, answer: Answer, told: dict[str, Any] | None) -> dict[str, Any]:
    """The response at its end."""
    finish = answer.choices[0].finish
    whole = finish != "length"
    return head(envelope) | {
        "status": "completed" if whole else "incomplete",
        "completed_at": envelope.created if whole else None,
        "incomplete_details": None if whole else {"reason": "max_output_tokens"},
        "output": _items(envelope, answer),
        "usage": told,
    }


def stream(envelope: Envelope, answer: Answer, told: dict[str, Any] | None, rng: random.Random) -> Iterator[Event]:
    """The events of a streamed response."""
    number = 0

    def event(kind: str, document: dict[str, Any], shown: int = 0, *, finishes: bool = False) -> Event:
        nonlocal number
        body = orjson.dumps({"type": kind, "sequence_number": number, **document})
        number += 1
        return Event(b"event: %b\ndata: %b\n\n" % (kind.encode(), body), shown, finishes=finishes)

    def padded(document: dict[str, Any]) -> dict[str, Any]:
        if not envelope.obfuscate:
            return document
        return document | {"obfuscation": _PADDING[: 1 + int(rng.random() * len(_PADDING))]}

    begun, choice = head(envelope), answer.choices[0]
    yield event("response.created", {"response": begun})
    yield event("response.in_progress", {"response": begun})
    calls = iter(choice.calls)
    for at, item in enumerate(_items(envelope, answer)):
        where: dict[str, Any] = {"item_id": item["id"], "output_index": at}
        if item["type"] == "message":
            empty = item | {"status": "in_progress", "content": []}
            yield event("response.output_item.added", {"output_index": at, "item": empty})
            part, text = item["content"][0], "".join(choice.content)
            within = where | {"content_index": 0}
            yield event("response.content_part.added", within | {"part": part | {"text": ""}})
            for cut in runs(choice.content, rng):
                delta = within | {"delta": "".join(cut), "logprobs": []}
                yield event("response.output_text.delta", padded(delta), len(cut))
            yield event("response.output_text.done", within | {"text": text, "logprobs": []})
            yield event("response.content_part.done", within | {"part": part})
        elif item["type"] == "function_call":
            _, arguments = next(calls)
            opened = item | {"status": "in_progress", "arguments": ""}
            yield event(
                "response.output_item.added", {"output_index": at, "item": opened}, len(pieces(str(item["name"])))
            )
            for cut in runs(arguments, rng):
                delta = where | {"delta": "".join(cut)}
                yield event("response.function_call_arguments.delta", padded(delta), len(cut))
            done = where | {"arguments": item["arguments"], "name": item["name"]}
            yield event("response.function_call_arguments.done", done)
        else:
            begun = {"summary": []} if "summary" in item else {"status": "in_progress"}
            yield event("response.output_item.added", {"output_index": at, "item": item | begun})
            for index, summary in enumerate(item.get("summary", ())):
                within = where | {"summary_index": index}
                yield event("response.reasoning_summary_part.added", within | {"part": summary | {"text": ""}})
                yield event("response.reasoning_summary_text.delta", padded(within | {"delta": summary["text"]}))
                yield event("response.reasoning_summary_text.done", within | {"text": summary["text"]})
                yield event("response.reasoning_summary_part.done", within | {"part": summary})
        yield event("response.output_item.done", {"output_index": at, "item": item})
    end = response(envelope, answer, told)
    yield event(f"response.{end['status']}", {"response": end}, finishes=True)


def _items(envelope: Envelope, answer: Answer) -> list[dict[str, Any]]:
    choice, suffix = answer.choices[0], envelope.id.removeprefix("resp_")
    status = "incomplete" if choice.finish == "length" else "completed"
    found: list[dict[str, Any]] = []
    if envelope.reasons:
        found.append(_reasoning(envelope, f"rs_{suffix}"))
    found += _run(envelope, suffix)
    if choice.content:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "".join(choice.content)}
        message = {"id": f"msg_{suffix}", "type": "message", "status": status, "role": "assistant"}
        found.append(message | {"content": [part]})
    for place, (call, arguments) in enumerate(choice.calls):
        item = {"id": f"fc_{suffix}{place}", "type": "function_call", "status": status, "call_id": call.id}
        found.append(item | {"name": call.name, "arguments": "".join(arguments)})
    return found


def _run(envelope: Envelope, suffix: str) -> list[dict[str, Any]]:
    """Items of tools that ran here. A page that is opened after a search is an item too, and costs nothing."""
    found: list[dict[str, Any]] = []
    for name, count in envelope.called.items():
        for number in range(count):
            head = {"id": f"{name[:2]}_{suffix}{number}", "type": f"{name}_call", "status": "completed"}
            if name == "web_search":
                found.append(head | {"action": {"type": "search", "query": "a plan", "queries": ["a plan"]}})
                opened = {"type": "open_page", "url": "https://example.com/"}
                found.append(head | {"id": f"op_{suffix}{number}", "action": opened})
            elif name == "file_search":
                found.append(head | {"queries": ["a plan"], "results": None})
            else:
                code = {"container_id": f"cntr_{suffix}", "code": "1 + 1", "outputs": None}
                found.append(head | code)
    return found


def _reasoning(envelope: Envelope, item_id: str) -> dict[str, Any]:
    asked = envelope.body.get("reasoning") or {}
    words = "**Weighing it up**\n\nI looked at what was asked and at what would answer it."
    item: dict[str, Any] = {
        "id": item_id,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": words}] if asked.get("summary") else [],
    }
    if "reasoning.encrypted_content" in (envelope.body.get("include") or ()):
        item["encrypted_content"] = sealed(item_id)
    return item


def head(envelope: Envelope) -> dict[str, Any]:
    """What a response says from its beginning on."""
    body = envelope.body
    reasoning, text = body.get("reasoning") or {}, body.get("text") or {}
    filled = {"description": None, "parameters": None, "strict": True}
    return {
        "id": envelope.id,
        "object": "response",
        "created_at": envelope.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": None,
        "metadata": body.get("metadata") or {},
        "model": envelope.model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": body.get("store") is not False,
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}} | text,
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [filled | tool if tool["type"] == "function" else tool for tool in body.get("tools") or ()],
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation") or "disabled",
        "usage": None,
        "user": body.get("user"),
    }

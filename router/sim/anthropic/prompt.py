"""A Messages body as the model sees it: the shared chat form, and what its breakpoints cache.

Belongs here: putting the body into the form that metering and answering share, and Anthropic's cache. Does not belong
here: refusing it (check.py).

Rules: at most four breakpoints; what lies before the last one is written, what of it is known is read; nothing under the
model's minimum; five minutes, renewed by use, or an hour (Anthropic, "Prompt caching").
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.sim.anthropic.check import blocks
from router.sim.prompt import metered
from router.sim.text import pieces

if TYPE_CHECKING:
    from router.sim.catalog import Model

MINIMUM: Final = 1024
"""Tokens under which nothing is cached; Anthropic's differ by model, from 512 to 4096."""
_SECONDS: Final = {"5m": 300.0, "1h": 3600.0}


def as_chat(body: dict[str, Any]) -> dict[str, Any]:
    """The body in the form that metering and answering share: OpenAI's."""
    chat: dict[str, Any] = {"model": body["model"], "max_tokens": body["max_tokens"], "messages": []}
    system = body.get("system")
    if system:
        text = system if isinstance(system, str) else "".join(block["text"] for block in system)
        chat["messages"].append({"role": "system", "content": text})
    for message in body["messages"]:
        chat["messages"] += _messages(message)
    if any("input_schema" in tool for tool in body.get("tools") or ()):
        chat["tools"] = [
            {"type": "function", "function": {"name": tool["name"], "parameters": tool["input_schema"]}}
            for tool in body["tools"]
            if "input_schema" in tool
        ]
        choice = body.get("tool_choice") or {"type": "auto"}
        named = {"type": "function", "function": {"name": choice.get("name")}}
        chat["tool_choice"] = {"auto": "auto", "any": "required", "none": "none"}.get(choice["type"], named)
        if choice.get("disable_parallel_tool_use"):
            chat["parallel_tool_calls"] = False
    if body.get("stop_sequences"):
        chat["stop"] = body["stop_sequences"]
    config = body.get("output_config") or {}
    if config.get("format"):
        chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": config["format"]["schema"]}}
    thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    chat["reasoning_effort"] = config.get("effort") or "medium" if thinks else "none"
    return chat


def _messages(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    if isinstance(content, str):
        return [{"role": message["role"], "content": content}]
    found: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for block in content:
        kind = block["type"]
        if kind == "tool_result":
            said = block.get("content") or ""
            text = said if isinstance(said, str) else "".join(part.get("text", "") for part in said)
            found.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": text})
        elif kind == "tool_use":
            function = {"name": block["name"], "arguments": orjson.dumps(block["input"]).decode()}
            calls.append({"id": block["id"], "type": "function", "function": function})
        elif kind == "image":
            source = block["source"]
            url = source.get("url") or f"data:{source['media_type']};base64,{source['data']}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        else:
            parts.append({"type": "text", "text": _words(block)})
    if parts or calls:
        found.append({"role": message["role"], "content": parts} | ({"tool_calls": calls} if calls else {}))
    return found


def _words(block: dict[str, Any]) -> str:
    if block["type"] == "document":
        return str(block["source"].get("data") or block["source"].get("url"))[:20_000]
    return str(block.get("text") or block.get("thinking") or block.get("data") or orjson.dumps(block).decode())


@dataclass(frozen=True, slots=True)
class Hit:
    """What a call reads from and writes to the cache, in tokens."""

    read: int = 0
    written: int = 0
    written_1h: int = 0


@dataclass(slots=True)
class Caches:
    """Prefixes of one model that were written, by their digest, with the time until which they are kept."""

    known: dict[bytes, float] = field(default_factory=dict)

    def use(self, body: dict[str, Any], model: Model, total: int, now: float) -> Hit:
        """Read and write as the body's breakpoints say; ``total`` is the prompt's size."""
        hasher = hashlib.blake2b(model.id.encode(), digest_size=16)
        count, read = 0, 0
        marks: list[tuple[bytes, int, str]] = []
        for block in blocks(body):
            bare = {name: value for name, value in block.items() if name != "cache_control"}
            rendered = orjson.dumps(bare, option=orjson.OPT_SORT_KEYS)
            hasher.update(rendered)
            count += len(pieces(_words(block) if "type" in block else rendered.decode()))
            tokens = min(metered(count, model), total)
            if tokens >= MINIMUM and self.known.get(hasher.digest(), 0.0) > now:
                read = tokens
            control = block.get("cache_control")
            if control is not None:
                marks.append((hasher.digest(), tokens, control.get("ttl") or "5m"))
        own = body.get("cache_control")
        if own is not None and not (marks and marks[-1][0] == hasher.digest()):
            # One of the body's own is the last block's.
            marks.append((hasher.digest(), min(metered(count, model), total), own.get("ttl") or "5m"))
        if not marks:
            return Hit()
        read = min(read, marks[-1][1])
        written = hour = 0
        last = read
        for digest, tokens, ttl in marks:
            if tokens < MINIMUM:
                continue
            if tokens > last:
                written += tokens - last
                hour += tokens - last if ttl == "1h" else 0
                last = tokens
            self.known[digest] = max(self.known.get(digest, 0.0), now + _SECONDS[ttl])
        return Hit(read, written, hour)

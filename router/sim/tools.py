"""Whether a model calls tools, which ones, and with what arguments.

Belongs here: reading tool_choice and the last user message. Does not belong here: making JSON (structured.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.sim.structured import instance

if TYPE_CHECKING:
    import random

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_ASKING: Final = re.compile(r"\b(?:weather|call|tools?)\b", re.IGNORECASE)
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_GENERIC: Final = frozenset({"get", "set", "the", "for", "and", "tool", "call", "make", "find", "with", "from"})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call to make; ``arguments`` is JSON valid for the tool's declared parameters."""

    id: str
    name: str
    arguments: str


def tool_calls(body: dict[str, Any], rng: random.Random) -> list[ToolCall]:
    """The calls that answer this (validated) body; none when the model answers in text."""
    functions, mode, forced = _choice(body)
    if not functions or mode == "none":
        return []
    if forced is not None:
        chosen = [forced]
    else:
        last = body["messages"][-1]
        asked = _plain(last.get("content")) if last["role"] == "user" else ""
        chosen = [function for function in functions if _named(function["name"], asked)]
        if not chosen and (mode == "required" or _ASKING.search(asked)):
            chosen = functions[:1]
        if body.get("parallel_tool_calls") is False:
            chosen = chosen[:1]
    return [
        ToolCall(
            id="call_" + "".join(rng.choices(_ALPHABET, k=24)),
            name=function["name"],
            arguments=orjson.dumps(instance({"type": "object", **(function.get("parameters") or {})}, rng)).decode(),
        )
        for function in chosen[:4]
    ]


def _choice(body: dict[str, Any]) -> tuple[list[dict[str, Any]], str, dict[str, Any] | None]:
    """The functions on offer, the mode, and the one that is forced."""
    functions = [tool["function"] for tool in body.get("tools") or () if tool["type"] == "function"]
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, str):
        return functions, choice, None
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools") or {}
        names = [(tool.get("function") or {}).get("name") for tool in allowed.get("tools") or ()]
        return [function for function in functions if function["name"] in names], allowed.get("mode", "auto"), None
    wanted = (choice.get("function") or {}).get("name")
    return functions, "required", next((function for function in functions if function["name"] == wanted), None)


def _named(name: str, asked: str) -> bool:
    words = {word.lower() for word in _WORD.findall(name)} - _GENERIC
    lowered = asked.lower()
    return any(len(word) >= 3 and re.search(rf"\b{word}", lowered) for word in words)


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content or () if part["type"] == "text")

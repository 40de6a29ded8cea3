"""A conversation as an Anthropic Messages request: for whoever asked in another dialect.

Belongs here: writing every field that a conversation can have, in the form that version 2023-06-01 takes. Does not belong
here: bodies that are passed on (request.py).

What has to be said here and not elsewhere: a limit (the model's own, where the caller set none), and thinking either by
a budget or by an effort, whichever the model takes. With a budget there is no thinking where Anthropic would refuse it:
a tool is forced, the limit leaves no room, or the model's last calls of tools come without what it thought.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from router.core.deciding.decide import Decision, Option
from router.core.values import Needs
from router.dialects.anthropic.breakpoints import in_body
from router.dialects.anthropic.request import VERSION
from router.dialects.effort import BUDGETS, LEAST_BUDGET, an_effort
from router.dialects.neutral import (
    Block,
    Conversation,
    Kept,
    Media,
    Order,
    Text,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)
from router.dialects.request import Request
from router.dialects.signatures import foreign

_HEADERS: Final = ((b"anthropic-version", VERSION),)
_CHOICES: Final = {"": "auto", "auto": "auto", "required": "any", "tool": "tool", "none": "none"}
_NO_INPUT: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
_MEDIA: Final = {"image": "image", "file": "document"}
"""No model of this dialect is offered for sound."""
ROOM: Final = 1024
"""Tokens of the window that are left free between our count of a prompt and a limit of our own making."""


def order(request: Request, decision: Decision, quirks: frozenset[str]) -> Order:  # noqa: ARG001 - one shape for all
    """The request for the chosen model; its ``conversation`` must be known."""
    said = request.conversation or Conversation()
    option = decision.option
    limit = request.max_output or _own_limit(decision)
    body: dict[str, Any] = {
        "model": option.upstream_model,
        "max_tokens": limit,
        "messages": _messages(said.turns),
    }
    system = _content(said.system)
    if system:
        body["system"] = system
    if said.tools:
        body["tools"] = [_tool(tool) for tool in said.tools]
        if said.choice or said.one_tool:
            body["tool_choice"] = _choice(said)
    body |= _sampling(said) | thinking(said, option, limit)
    more = {
        "stop_sequences": list(said.stops) or None,
        "service_tier": option.tier_word or None,
        "metadata": {"user_id": said.user} if said.user else None,
        "stream": request.stream or None,
    }
    body |= {name: value for name, value in more.items() if value is not None}
    in_body(body, decision)
    return Order("/messages", msgspec.json.encode(body), _HEADERS)


def _own_limit(decision: Decision) -> int:
    """The model's own limit, or what the window has room for: it is refused where prompt and limit do not fit in."""
    window, prompt = decision.option.context_window, decision.prompt_tokens
    return max(1, min(decision.option.max_output, window - prompt - prompt // 10 - ROOM))


def _sampling(said: Conversation) -> dict[str, Any]:
    given = {"temperature": said.temperature, "top_p": said.top_p, "top_k": said.top_k}
    return {name: value for name, value in given.items() if value is not None}


def thinking(said: Conversation, option: Option, limit: int) -> dict[str, Any]:
    """How hard to think, and the form of the answer, as Claude takes it: ``thinking`` and ``output_config``."""
    effort = an_effort(option.effort) or said.effort
    config: dict[str, Any] = {}
    if said.format is not None:
        config["format"] = {"type": "json_schema", "schema": msgspec.Raw(said.format.schema.encode())}
    how: dict[str, Any] = {}
    if effort == "none":
        how = {"type": "disabled"}
    elif effort and option.capabilities & Needs.THINKING_BUDGET.value:
        budget = min(BUDGETS[effort], limit - LEAST_BUDGET)
        if budget >= LEAST_BUDGET and said.choice not in ("required", "tool") and not _calls_without_thought(said):
            how = {"type": "enabled", "budget_tokens": budget}
    elif effort:
        config["effort"] = "low" if effort == "minimal" else effort
        how = {"type": "adaptive"}
    return ({"thinking": how} if how else {}) | ({"output_config": config} if config else {})


def _calls_without_thought(said: Conversation) -> bool:
    for turn in reversed(said.turns):
        if turn.role == "assistant":
            calls = any(isinstance(block, ToolUse) for block in turn.blocks)
            return calls and not any(isinstance(block, Thought) and signed(block) for block in turn.blocks)
        if not any(isinstance(block, ToolResult) for block in turn.blocks):
            return False
    return False


def signed(thought: Thought) -> bool:
    """Whether Anthropic signed it, so that Claude will believe it."""
    return bool(thought.signature) and not foreign(thought.signature)


def _choice(said: Conversation) -> dict[str, Any]:
    choice: dict[str, Any] = {"type": _CHOICES[said.choice]}
    if said.choice == "tool":
        choice["name"] = said.tool_name
    if said.one_tool and said.choice != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _tool(tool: Tool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": tool.name}
    if tool.description:
        found["description"] = tool.description
    found["input_schema"] = _schema(tool.schema)
    if tool.strict:
        found["strict"] = True
    return found | _kept(tool.kept)


def _schema(text: str) -> Any:
    """As it is written, but that Anthropic wants to be told that it is an object's."""
    schema = msgspec.json.decode(text) if text else {}
    if "type" in schema:
        return msgspec.Raw(text.encode())
    return {"type": "object", **schema} if schema else _NO_INPUT


def _messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The turns. One of which nothing is left is left out: Anthropic refuses messages that are empty."""
    return [said for said in map(_turn, turns) if said["content"]]


def _turn(turn: Turn) -> dict[str, Any]:
    """A turn. Thoughts that nobody signed are left out: Anthropic takes none but its own."""
    blocks = [block for block in turn.blocks if not isinstance(block, Thought) or signed(block)]
    return {"role": turn.role, "content": _content(blocks)}


def _content(blocks: Sequence[Block]) -> str | list[dict[str, Any]]:
    if len(blocks) == 1 and isinstance(blocks[0], Text) and not blocks[0].kept:
        return "" if _empty(blocks[0]) else blocks[0].text
    return [_block(block) for block in blocks if not _empty(block)]


def _empty(block: Block) -> bool:
    """Whether it is a text that Anthropic would refuse: it wants something other than white space."""
    return isinstance(block, Text) and not block.text.strip()


def _block(block: Block) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text} | _kept(block.kept)
    if isinstance(block, Media):
        return _media(block)
    if isinstance(block, Thought):
        if block.hidden:
            return {"type": "redacted_thinking", "data": block.signature}
        return {"type": "thinking", "thinking": block.text, "signature": block.signature}
    if isinstance(block, ToolUse):
        arguments = msgspec.Raw(block.arguments.encode()) if block.arguments.strip() else {}
        return {"type": "tool_use", "id": _id(block.id), "name": block.name, "input": arguments} | _kept(block.kept)
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(block.id)}
    if block.content:
        result["content"] = [_block(part) for part in block.content if not _empty(part)]
    if block.failed:
        result["is_error"] = True
    return result | _kept(block.kept)


def _media(block: Media) -> dict[str, Any]:
    kind = _MEDIA[block.kind]
    if block.url:
        source = {"type": "url", "url": block.url}
    else:
        source = {"type": "base64", "media_type": block.mime, "data": block.data}
    title = {"title": block.name} if block.name and kind == "document" else {}
    return {"type": kind, "source": source} | title | _kept(block.kept)


def _id(given: str) -> str:
    """Other providers' ids may hold what Anthropic's must not; what a call and its result say stays the same."""
    return _NOT_IN_IDS.sub("_", given) or "_"


def _kept(kept: Kept) -> dict[str, Any]:
    if not kept:
        return {}
    return {"cache_control": {"type": "ephemeral"} | ({"ttl": kept} if kept == "1h" else {})}

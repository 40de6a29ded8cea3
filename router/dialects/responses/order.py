"""A conversation as a Responses request: for whoever asked in another dialect.

Belongs here: writing every field that a conversation can have. Does not belong here: bodies that are passed on
(request.py). What has no place in it never gets here: `router.core.wire.EXPRESSES` keeps it away.

Left out on purpose: breakpoints of prompt caches, because such providers cache by themselves, and what a model thought
before, which nobody but its provider could open. Nothing is stored: nobody has asked for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from router.core.deciding.decide import Decision
from router.dialects.neutral import Conversation, Format, Media, Order, Text, Tool, ToolResult, ToolUse, Turn
from router.dialects.openai.breakpoints import EXPLICIT
from router.dialects.openai.order import FAILED
from router.dialects.request import Request

_CHOICES: Final = {"auto": "auto", "none": "none", "required": "required"}
_NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')


def order(request: Request, decision: Decision, quirks: frozenset[str]) -> Order:  # noqa: ARG001 - one shape for all
    """The request for the chosen model; its ``conversation`` must be known."""
    said = request.conversation or Conversation()
    option = decision.option
    body: dict[str, Any] = {"model": option.upstream_model, "store": False}
    items = _items(said.turns)
    if len(said.system) == 1:
        body["instructions"] = said.system[0].text
    elif said.system:
        items.insert(
            0, {"type": "message", "role": "system", "content": [_part(text, "system") for text in said.system]}
        )
    body["input"] = items
    if said.tools:
        body["tools"] = [_tool(tool) for tool in said.tools]
        if said.choice:
            body["tool_choice"] = _CHOICES.get(said.choice, {"type": "function", "name": said.tool_name})
        if said.one_tool:
            body["parallel_tool_calls"] = False
    if request.max_output is not None:
        body["max_output_tokens"] = request.max_output
    text = ({} if said.format is None else {"format": _format(said.format)}) | (
        {"verbosity": said.verbosity} if said.verbosity else {}
    )
    effort = option.effort or said.effort
    reasoning = ({"effort": effort} if effort else {}) | ({"summary": "auto"} if said.shows_thoughts else {})
    more = {
        "temperature": said.temperature,
        "top_p": said.top_p,
        "text": text or None,
        "reasoning": reasoning or None,
        "service_tier": option.tier_word or None,
        "user": said.user or None,
        "prompt_cache_key": said.cache_key or decision.cache_key or None,
        "prompt_cache_options": EXPLICIT if decision.keeps == "none" else None,
        "stream": request.stream or None,
    }
    body |= {name: value for name, value in more.items() if value is not None}
    return Order("/responses", msgspec.json.encode(body))


def _items(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for turn in turns:
        said: list[dict[str, Any]] = []
        for block in turn.blocks:
            if isinstance(block, ToolUse):
                said = _said(turn, said, found)
                call = {"type": "function_call", "call_id": block.id, "name": block.name}
                found.append(call | {"arguments": block.arguments or "{}"})
            elif isinstance(block, ToolResult):
                said = _said(turn, said, found)
                found.append({"type": "function_call_output", "call_id": block.id, "output": _result(block)})
            elif isinstance(block, Text | Media):
                said.append(_part(block, turn.role))
        _said(turn, said, found)
    return found


def _said(turn: Turn, said: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Puts what has been said so far into a message of its own; nothing is said since."""
    if said:
        plain = len(said) == 1 and "text" in said[0]
        found.append({"type": "message", "role": turn.role, "content": said[0]["text"] if plain else said})
    return []


def _result(block: ToolResult) -> str | list[dict[str, Any]]:
    failed = FAILED if block.failed else ""
    if all(isinstance(part, Text) for part in block.content) and len(block.content) <= 1:
        return failed + "".join(part.text for part in block.content if isinstance(part, Text))
    told = [{"type": "input_text", "text": FAILED.rstrip()}] if failed else []
    return told + [_part(part, "user") for part in block.content]


def _part(block: Text | Media, role: str) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "output_text" if role == "assistant" else "input_text", "text": block.text}
    if block.kind == "audio":
        audio = {"data": block.data, "format": block.mime.partition("/")[2]}
        return {"type": "input_audio", "input_audio": audio}
    if block.kind == "file":
        if block.url:
            return {"type": "input_file", "file_url": block.url}
        data = f"data:{block.mime};base64,{block.data}"
        return {"type": "input_file", "filename": block.name or "document.pdf", "file_data": data}
    url = block.url or f"data:{block.mime};base64,{block.data}"
    return {"type": "input_image", "image_url": url, "detail": block.detail or "auto"}


def _tool(tool: Tool) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "function", "name": tool.name, "strict": tool.strict}
    if tool.description:
        found["description"] = tool.description
    return found | {"parameters": msgspec.Raw(tool.schema.encode()) if tool.schema else _NO_PARAMETERS}


def _format(form: Format) -> dict[str, Any]:
    if not form.schema:
        return {"type": "json_object"}
    said: dict[str, Any] = {"type": "json_schema", "name": form.name or "answer"}
    if form.description:
        said["description"] = form.description
    return said | {"schema": msgspec.Raw(form.schema.encode()), "strict": form.strict}

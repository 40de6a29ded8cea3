"""A conversation as an OpenAI chat completion request: for whoever asked in another dialect.

Belongs here: writing every field that a conversation can have. Does not belong here: bodies that are passed on
(chat.py). What has no place in it never gets here: `router.core.wire.EXPRESSES` keeps it away.

Left out on purpose: a caller's breakpoints of prompt caches, because such providers cache by themselves; and what a model thought
before, which only those want back that have the quirk ``reasoning_content``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.core.deciding.decide import Decision
from router.dialects.neutral import Conversation, Format, Media, Order, Text, Thought, Tool, ToolResult, ToolUse, Turn
from router.dialects.openai.breakpoints import in_body
from router.dialects.request import Request

_CHOICES: Final = {"auto": "auto", "none": "none", "required": "required"}
_NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
FAILED: Final = "Error: "
"""Before what a tool gave back, where it failed: chat completions have no other place to say so."""


def order(request: Request, decision: Decision, quirks: frozenset[str]) -> Order:
    """The request for the chosen model; its ``conversation`` must be known."""
    said = request.conversation or Conversation()
    body: dict[str, Any] = {"model": decision.option.upstream_model, "messages": _messages(said, quirks)}
    if said.tools:
        body["tools"] = [_tool(tool) for tool in said.tools]
        if said.choice:
            named = {"type": "function", "function": {"name": said.tool_name}}
            body["tool_choice"] = _CHOICES.get(said.choice, named)
        if said.one_tool:
            body["parallel_tool_calls"] = False
    if request.max_output is not None:
        body["max_tokens" if "max_tokens_name" in quirks else "max_completion_tokens"] = request.max_output
    if said.format is not None:
        body["response_format"] = _format(said.format)
    more = {
        "stop": list(said.stops) or None,
        "temperature": said.temperature,
        "top_p": said.top_p,
        "presence_penalty": said.presence_penalty,
        "frequency_penalty": said.frequency_penalty,
        "seed": said.seed,
        "reasoning_effort": decision.option.effort or said.effort or None,
        "service_tier": decision.option.tier_word or None,
        "verbosity": said.verbosity or None,
        "user": said.user or None,
        "prompt_cache_key": said.cache_key or decision.cache_key or None,
    }
    body |= {name: value for name, value in more.items() if value is not None}
    if request.stream:
        body["stream"] = True
        if "no_stream_options" not in quirks:
            body["stream_options"] = {"include_usage": True}
    return Order("/chat/completions", msgspec.json.encode(in_body(body, decision.keeps)))


def _messages(said: Conversation, quirks: frozenset[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if said.system:
        found.append({"role": "system", "content": _content(said.system)})
    for turn in said.turns:
        found += _assistant(turn, quirks) if turn.role == "assistant" else _user(turn)
    return found


def _user(turn: Turn) -> list[dict[str, Any]]:
    """Results of tools as messages of their own, and what else the user says after them."""
    found: list[dict[str, Any]] = []
    rest: list[Text | Media] = []
    for block in turn.blocks:
        if isinstance(block, ToolResult):
            found.append({"role": "tool", "tool_call_id": block.id, "content": _result(block)})
        elif isinstance(block, Text | Media):
            rest.append(block)
    if rest:
        found.append({"role": "user", "content": _content(rest)})
    return found


def _result(block: ToolResult) -> str | list[dict[str, Any]]:
    content = _content(block.content)
    if not block.failed:
        return content
    if isinstance(content, str):
        return FAILED + content
    return [{"type": "text", "text": FAILED.rstrip()}, *content]


def _assistant(turn: Turn, quirks: frozenset[str]) -> list[dict[str, Any]]:
    texts = [block for block in turn.blocks if isinstance(block, Text)]
    message: dict[str, Any] = {"role": "assistant", "content": _content(texts) if texts else None}
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": block.arguments or "{}"}}
        for block in turn.blocks
        if isinstance(block, ToolUse)
    ]
    if calls:
        message["tool_calls"] = calls
    thoughts = "".join(block.text for block in turn.blocks if isinstance(block, Thought))
    if thoughts and "reasoning_content" in quirks:
        message["reasoning_content"] = thoughts
    if not texts and not calls:
        message["content"] = ""
    return [message]


def _content(blocks: list[Text | Media] | list[Text] | tuple[Text | Media, ...]) -> str | list[dict[str, Any]]:
    """One text as it is, which every server understands; else a list of parts."""
    if not blocks:
        return ""
    if len(blocks) == 1 and isinstance(blocks[0], Text):
        return blocks[0].text
    return [_part(block) for block in blocks]


def _part(block: Text | Media) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    if block.kind == "audio":
        return {"type": "input_audio", "input_audio": {"data": block.data, "format": block.mime.partition("/")[2]}}
    url = block.url or f"data:{block.mime};base64,{block.data}"
    if block.kind == "file":
        return {"type": "file", "file": {"filename": block.name or "document.pdf", "file_data": url}}
    return {"type": "image_url", "image_url": {"url": url} | ({"detail": block.detail} if block.detail else {})}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = msgspec.Raw(tool.schema.encode()) if tool.schema else _NO_PARAMETERS
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _format(form: Format) -> dict[str, Any]:
    if not form.schema:
        return {"type": "json_object"}
    said: dict[str, Any] = {"name": form.name or "answer", "schema": msgspec.Raw(form.schema.encode())}
    if form.description:
        said["description"] = form.description
    return {"type": "json_schema", "json_schema": said | ({"strict": True} if form.strict else {})}

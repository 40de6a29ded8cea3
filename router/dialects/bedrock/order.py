"""A conversation as a Converse request: for whoever asked in another dialect.

Belongs here: writing every field that a conversation can have. Does not belong here: addresses, keys and signatures. What has
no place in it never gets here: `router.core.wire.EXPRESSES` keeps it away.

Claude's own fields, thinking and which stop sequence it met, travel in ``additionalModelRequestFields``. Thoughts go back
to Claude only, whose signatures are Anthropic's. Breakpoints of caches are written for models that have them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from router.core.deciding.decide import Decision, Option
from router.dialects.anthropic.order import signed, thinking
from router.dialects.effort import an_effort
from router.dialects.neutral import (
    Block,
    Conversation,
    Format,
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

_CHOICES: Final = {"": "auto", "auto": "auto", "required": "any"}
_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9\-()\[\]]+")
_LONGEST_ID: Final = 64
_CLAUDE: Final = "anthropic."
_CACHES: Final = (_CLAUDE, "amazon.nova")
_NO_INPUT: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
_JPEG: Final = {"jpg": "jpeg"}


class _Writer:
    """What of the writing depends on the model."""

    __slots__ = ("caches", "claude")

    def __init__(self, model: str) -> None:
        self.claude = _CLAUDE in model
        self.caches = any(name in model for name in _CACHES)

    def messages(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        """The turns. One of which nothing is left is left out: Bedrock refuses messages that are empty."""
        said = [{"role": turn.role, "content": self.content(turn.blocks)} for turn in turns]
        return [message for message in said if message["content"]]

    def content(self, blocks: Sequence[Block]) -> list[dict[str, Any]]:
        """Blocks, each with the breakpoint behind it that it asks for."""
        found: list[dict[str, Any]] = []
        for block in blocks:
            written = self._block(block)
            if written is not None:
                found.append(written)
                found += self.kept("" if isinstance(block, Thought) else getattr(block, "kept", ""))
        if any("document" in block for block in found) and not any("text" in block for block in found):
            # A paper alone is refused: words must come with it.
            found.append({"text": "(see the document)"})
        return found

    def kept(self, kept: Kept) -> list[dict[str, Any]]:
        """A breakpoint of the prompt's cache."""
        if not kept or not self.caches:
            return []
        return [{"cachePoint": {"type": "default"} | ({"ttl": kept} if kept == "1h" else {})}]

    def _block(self, block: Block) -> dict[str, Any] | None:
        if isinstance(block, Text):
            return {"text": block.text} if block.text else None
        if isinstance(block, Media):
            return _media(block)
        if isinstance(block, ToolUse):
            arguments = msgspec.Raw(block.arguments.encode()) if block.arguments.strip() else {}
            return {"toolUse": {"toolUseId": _id(block.id), "name": block.name, "input": arguments}}
        if isinstance(block, Thought):
            return _thought(block) if self.claude and signed(block) else None
        return {"toolResult": self._result(block)}

    def _result(self, block: ToolResult) -> dict[str, Any]:
        content = [part for part in map(self._block, block.content) if part is not None]
        result: dict[str, Any] = {"toolUseId": _id(block.id), "content": content}
        return result | ({"status": "error"} if block.failed else {})


def order(request: Request, decision: Decision, quirks: frozenset[str]) -> Order:  # noqa: ARG001 - one shape for all
    """The request for the chosen model; its ``conversation`` must be known."""
    said = request.conversation or Conversation()
    option = decision.option
    writer = _Writer(option.upstream_model)
    body: dict[str, Any] = {"messages": writer.messages(said.turns)}
    if said.system:
        body["system"] = writer.content(said.system)
    if said.tools:
        body["toolConfig"] = _tools(said, writer)
    limits = {
        "maxTokens": request.max_output,
        "temperature": said.temperature,
        "topP": said.top_p,
        "stopSequences": list(said.stops) or None,
    }
    config = {name: value for name, value in limits.items() if value is not None}
    own = thinking(said, option, request.max_output or option.max_output) if writer.claude else _effort(said, option)
    effort = own.get("output_config", {}).get("effort")
    output = _format(said.format) | ({"effort": effort} if effort else {})
    if writer.claude and said.stops:
        body["additionalModelResponseFieldPaths"] = ["/stop_sequence"]
    more = {
        "inferenceConfig": config or None,
        "outputConfig": output or None,
        "additionalModelRequestFields": {"thinking": own["thinking"]} if "thinking" in own else None,
        "serviceTier": {"type": option.tier_word} if option.tier_word else None,
    }
    body |= {name: value for name, value in more.items() if value is not None}
    verb = "converse-stream" if request.stream else "converse"
    return Order(f"/model/{quote(option.upstream_model, safe='')}/{verb}", msgspec.json.encode(body))


def _effort(said: Conversation, option: Option) -> dict[str, Any]:
    """How hard a model that is not Claude is to think: low at least."""
    effort = an_effort(option.effort) or said.effort
    return {"output_config": {"effort": "low" if effort in ("none", "minimal") else effort}} if effort else {}


def _tools(said: Conversation, writer: _Writer) -> dict[str, Any]:
    tools: list[dict[str, Any]] = []
    for tool in said.tools:
        tools.append({"toolSpec": _spec(tool)})
        tools += writer.kept(tool.kept)
    named = {"tool": {"name": said.tool_name}}
    choice = named if said.choice == "tool" else {_CHOICES[said.choice]: {}}
    return {"tools": tools} | ({"toolChoice": choice} if said.choice else {})


def _spec(tool: Tool) -> dict[str, Any]:
    schema: Any = msgspec.Raw(tool.schema.encode()) if tool.schema else _NO_INPUT
    found: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": schema}}
    if tool.description:
        found["description"] = tool.description
    return found | ({"strict": True} if tool.strict else {})


def _format(form: Format | None) -> dict[str, Any]:
    if form is None:
        return {}
    schema = {"schema": form.schema} | ({"name": form.name} if form.name else {})
    described = schema | ({"description": form.description} if form.description else {})
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": described}}}


def _media(block: Media) -> dict[str, Any]:
    form = block.mime.partition("/")[2]
    source = {"bytes": block.data}
    if block.kind == "image":
        return {"image": {"format": _JPEG.get(form, form), "source": source}}
    name = _NOT_IN_NAMES.sub(" ", block.name.rpartition(".")[0] or block.name).strip() or "document"
    return {"document": {"format": form, "name": name, "source": source}}


def _thought(block: Thought) -> dict[str, Any]:
    if block.hidden:
        return {"reasoningContent": {"redactedContent": block.signature}}
    return {"reasoningContent": {"reasoningText": {"text": block.text, "signature": block.signature}}}


def _id(given: str) -> str:
    """Other providers' ids may hold what Bedrock's must not; what a call and its result say stays the same."""
    return _NOT_IN_IDS.sub("_", given)[-_LONGEST_ID:] or "_"

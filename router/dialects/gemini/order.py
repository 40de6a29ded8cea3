"""A conversation as a generateContent request: for whoever asked in another dialect.

Belongs here: writing every field that a conversation can have. Does not belong here: addresses and keys. What has no place
in it never gets here: `router.core.wire.EXPRESSES` keeps it away.

Left out on purpose: breakpoints of prompt caches, because Google caches by itself; thoughts that are not Google's; and who
the user is, which has no place in a request.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from router.core.deciding.decide import Decision, Option
from router.core.values import Needs
from router.dialects.effort import BUDGETS, an_effort
from router.dialects.neutral import (
    Block,
    Conversation,
    Effort,
    Format,
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
from router.dialects.signatures import GEMINI

_MODES: Final = {"": "AUTO", "auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}
_ROLES: Final = {"user": "user", "assistant": "model"}
_BY_BUDGET: Final = re.compile(r"gemini-[12]\b")
"""Models that think by a budget; from Gemini 3 on they take a level (ai.google.dev/gemini-api/docs/thinking)."""
_LEAST_PRO: Final = 128
MOST_BUDGET: Final = 24_576
"""Bounds of thinking budgets: Pro models cannot be told not to think, and Flash takes no more than this (the same page)."""
_LEVELS: Final[dict[Effort, str]] = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_EMPTY: Final = frozenset({"type", "properties", "required", "additionalProperties", "$schema", "title"})
"""What says nothing of an object that has no properties."""
UNCHECKED: Final = "skip_thought_signature_validator"
"""Stands for the signature of a call that Gemini 3 has not made, or whose signature did not come back: without one it
answers 400 (ai.google.dev/gemini-api/docs/thought-signatures)."""


def order(request: Request, decision: Decision, quirks: frozenset[str], *, before: str) -> Order:  # noqa: ARG001 - one shape for all
    """The request for the chosen model; its ``conversation`` must be known.

    Args:
        request: the caller's.
        decision: which model.
        quirks: the provider's, as the catalog spells them.
        before: what stands before a model's name in a path.
    """
    said = request.conversation or Conversation()
    option = decision.option
    body: dict[str, Any] = {"contents": _contents(said.turns, option.upstream_model)}
    if said.system:
        body["systemInstruction"] = {"parts": [{"text": block.text} for block in said.system]}
    if said.tools:
        body["tools"] = [{"functionDeclarations": [_declared(tool) for tool in said.tools]}]
        body["toolConfig"] = {"functionCallingConfig": _choice(said)}
    config = _config(said, option, request.max_output)
    if config:
        body["generationConfig"] = config
    if option.tier_word:
        body["serviceTier"] = option.tier_word
    verb = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
    return Order(f"{before}{quote(option.upstream_model, safe='')}:{verb}", msgspec.json.encode(body))


def _config(said: Conversation, option: Option, limit: int | None) -> dict[str, Any]:
    given = {
        "maxOutputTokens": limit,
        "temperature": said.temperature,
        "topP": said.top_p,
        "topK": said.top_k,
        "presencePenalty": said.presence_penalty,
        "frequencyPenalty": said.frequency_penalty,
        "seed": said.seed,
        "stopSequences": list(said.stops) or None,
        "thinkingConfig": _thinking(said, option) or None,
    }
    found = {name: value for name, value in given.items() if value is not None}
    return found if said.format is None else found | _format(said.format)


def _format(form: Format) -> dict[str, Any]:
    shape: dict[str, Any] = {"responseMimeType": "application/json"}
    return shape | ({"responseJsonSchema": msgspec.Raw(form.schema.encode())} if form.schema else {})


def _thinking(said: Conversation, option: Option) -> dict[str, Any]:
    if not option.capabilities & Needs.REASONING_EFFORT.value:
        return {}
    chosen = an_effort(option.effort)
    effort = chosen or said.effort
    pro = "-pro" in option.upstream_model
    found: dict[str, Any] = {}
    if effort and _BY_BUDGET.match(option.upstream_model):
        asked = said.thinking_budget if chosen is None else None
        budget = BUDGETS.get(effort, 0) if asked is None else asked
        found["thinkingBudget"] = max(min(budget, MOST_BUDGET), _LEAST_PRO if pro else 0)
    elif effort:
        level = _LEVELS[effort]
        found["thinkingLevel"] = "LOW" if pro and level == "MINIMAL" else level
    return found | ({"includeThoughts": True} if said.shows_thoughts else {})


def _choice(said: Conversation) -> dict[str, Any]:
    mode = _MODES[said.choice]
    if mode == "AUTO" and any(tool.strict for tool in said.tools):
        mode = "VALIDATED"
    return {"mode": mode} | ({"allowedFunctionNames": [said.tool_name]} if said.choice == "tool" else {})


def _declared(tool: Tool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": tool.name}
    if tool.description:
        found["description"] = tool.description
    schema = msgspec.json.decode(tool.schema) if tool.schema else {}
    if schema.get("properties") or not _EMPTY.issuperset(schema):
        # An object without properties is refused; a tool that takes nothing has no parameters.
        found["parametersJsonSchema"] = msgspec.Raw(tool.schema.encode())
    return found


def _contents(turns: Sequence[Turn], model: str) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    found = []
    for turn in turns:
        parts = _parts(turn.blocks, names, model)
        if parts or turn.role == "user":
            found.append({"role": _ROLES[turn.role], "parts": parts or [{"text": ""}]})
    return found


def _parts(blocks: Sequence[Block], names: dict[str, str], model: str) -> list[dict[str, Any]]:
    """A turn's parts. A signature goes back with what follows it, or at the end with what came before.

    ``names`` are those of the tools that were called, by the call's id: a result says both.
    """
    parts: list[dict[str, Any]] = []
    signature = ""
    first = True
    for block in blocks:
        if isinstance(block, Thought):
            signature = _unmarked(block.signature) or signature
            continue
        part = _part(block, names)
        if part is None:
            continue
        if isinstance(block, ToolUse):
            names[block.id] = block.name
            signature = _unmarked(block.signature) or signature
            # Of calls made at once only the first is signed.
            if not signature and first and not _BY_BUDGET.match(model):
                signature = UNCHECKED
            first = False
        if signature:
            part["thoughtSignature"] = signature
            signature = ""
        parts.append(part)
    if signature and parts:
        parts[-1]["thoughtSignature"] = signature
    return parts


def _unmarked(signature: str) -> str:
    return signature.removeprefix(GEMINI) if signature.startswith(GEMINI) else ""


def _part(block: Block, names: dict[str, str]) -> dict[str, Any] | None:
    if isinstance(block, Text):
        return {"text": block.text} if block.text else None
    if isinstance(block, Media):
        return {"inlineData": {"mimeType": block.mime, "data": block.data}}
    if isinstance(block, ToolUse):
        arguments = msgspec.Raw(block.arguments.encode()) if block.arguments.strip() else {}
        return {"functionCall": {"id": block.id, "name": block.name, "args": arguments}}
    return {"functionResponse": _result(block, names)} if isinstance(block, ToolResult) else None


def _result(block: ToolResult, names: dict[str, str]) -> dict[str, Any]:
    text = "".join(part.text for part in block.content if isinstance(part, Text))
    place = "error" if block.failed else "output"
    return {"id": block.id, "name": names.get(block.id, block.id), "response": {place: text}}

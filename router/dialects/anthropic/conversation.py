"""Anthropic Messages requests in neutral form.

Belongs here: reading every field of a Messages body, and noting those that other dialects have no place for. Does not
belong here: what routing needs of a body that is passed on (request.py).

Left to the router, because it is advice about money, form or identity and no part of the conversation: ``cache_control``
(where a target has breakpoints, they are kept), ``service_tier``, betas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from router.core.wire import SHORT_TOKENS, Wire
from router.dialects.effort import an_effort, effort_of
from router.dialects.neutral import (
    Block,
    Conversation,
    Effort,
    Format,
    Kept,
    Media,
    Role,
    Text,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)
from router.dialects.reading import Notes, a_list, a_text, an_object, json_text, members, optional_text, wrong
from router.dialects.request import Request
from router.dialects.signatures import UNSIGNED, foreign

_ONLY: Final = Wire.MESSAGES_ONLY
_FIELDS: Final = frozenset(
    {
        "model", "messages", "max_tokens", "system", "metadata", "stop_sequences", "stream", "temperature", "top_p", "top_k",
        "tools", "tool_choice", "thinking", "output_config", "service_tier", "cache_control", "speed", "inference_geo",
    }
)  # fmt: skip  # one line a field would fill the page
_TTLS: Final[dict[Any, Kept]] = {None: "5m", "5m": "5m", "1h": "1h"}
_MOST_STOPS: Final = 4
_LONGEST_NAME: Final = 64
"""Characters of a tool's name in other dialects."""
_CHOICES: Final[dict[Any, Literal["auto", "required", "tool", "none"]]] = {
    "auto": "auto",
    "any": "required",
    "tool": "tool",
    "none": "none",
}


def understood(request: Request) -> Conversation:
    """The whole request.

    Raises:
        RouterError: ``invalid_request`` naming a field that cannot be read.
    """
    given = members(request.top)
    notes = Notes()
    notes.others(_ONLY, given, _FIELDS)
    if request.max_output is not None and request.max_output < SHORT_TOKENS:
        notes.add(Wire.SHORT, f"a limit of less than {SHORT_TOKENS} tokens")
    turns = _turns(a_list(given["messages"], "messages"), notes)
    output = an_object(given.get("output_config") or {}, "output_config")
    notes.others(_ONLY, output, ("effort", "format"), "output_config.")
    choice, tool_name, one_tool = _choice(given.get("tool_choice"), notes)
    effort, budget, shows = _thinking(an_object(given.get("thinking") or {}, "thinking"), notes)
    asked = an_effort(output.get("effort"))
    if output.get("effort") is not None:
        notes.add(Wire.EFFORT if asked else _ONLY, "output_config.effort")
    temperature, top_p, top_k = (given.get(name) for name in ("temperature", "top_p", "top_k"))
    if top_k is not None:
        notes.add(Wire.TOP_K, "top_k")
    return Conversation(
        system=_system(given.get("system"), notes),
        turns=turns,
        tools=tuple(
            tool for raw in a_list(given.get("tools"), "tools") if (tool := _tool(an_object(raw, "tools"), notes))
        ),
        choice=choice,
        tool_name=tool_name,
        one_tool=one_tool,
        format=_format(output.get("format"), notes),
        stops=_stops(given.get("stop_sequences"), notes),
        temperature=None if temperature == 1 else temperature,
        top_p=None if top_p == 1 else top_p,
        top_k=top_k,
        effort=asked or effort,
        thinking_budget=budget,
        shows_thoughts=shows,
        user=request.user,
        wire=notes.wire,
        notes=notes.notes,
    )


def _kept(given: Mapping[str, Any], where: str) -> Kept:
    control = given.get("cache_control")
    if control is None:
        return ""
    ttl = an_object(control, f"{where}.cache_control").get("ttl")
    return _TTLS[ttl] if ttl in (None, "5m", "1h") else wrong(f"{where}.cache_control.ttl", "5m or 1h")


def _thinking(given: dict[str, Any], notes: Notes) -> tuple[Effort, int | None, bool]:
    kind = given.get("type", "disabled")
    shows = given.get("display") != "omitted"
    if kind == "enabled":
        budget = given.get("budget_tokens")
        if not isinstance(budget, int):
            wrong("thinking.budget_tokens", "a whole number")
        return effort_of(budget), budget, shows
    if kind == "adaptive":
        return "", None, shows
    if kind != "disabled":
        notes.add(_ONLY, "thinking of this type")
    return "", None, False


def _stops(given: object, notes: Notes) -> tuple[str, ...]:
    stops = tuple(a_text(stop, "stop_sequences") for stop in a_list(given, "stop_sequences"))
    if stops:
        notes.add(Wire.STOP, "stop_sequences")
    if len(stops) > _MOST_STOPS:
        notes.add(Wire.MANY_STOPS, f"more than {_MOST_STOPS} stop sequences")
    return stops


def _format(given: object, notes: Notes) -> Format | None:
    if given is None:
        return None
    form = an_object(given, "output_config.format")
    if form.get("type") != "json_schema":
        notes.add(_ONLY, "this output_config.format")
        return None
    return Format(schema=json_text(an_object(form.get("schema"), "output_config.format.schema")))


def _choice(given: object, notes: Notes) -> tuple[Literal["", "auto", "none", "required", "tool"], str, bool]:
    if given is None:
        return "", "", False
    said = an_object(given, "tool_choice")
    kind = said.get("type")
    choice = _CHOICES.get(kind) if isinstance(kind, str) else None
    if choice is None:
        return wrong("tool_choice.type", "auto, any, tool or none")
    if choice == "none":
        notes.add(Wire.NO_TOOL, "tool_choice: none")
    one = bool(said.get("disable_parallel_tool_use"))
    if one:
        notes.add(Wire.ONE_TOOL, "disable_parallel_tool_use")
    return choice, a_text(said.get("name"), "tool_choice.name") if choice == "tool" else "", one


def _tool(given: dict[str, Any], notes: Notes) -> Tool | None:
    if given.get("type") not in (None, "custom"):
        notes.add(_ONLY, f"the tool {str(given['type'])[:_LONGEST_NAME]}")
        return None
    notes.others(
        _ONLY,
        {name: value for name, value in given.items() if value is not False},
        ("type", "name", "description", "input_schema", "strict", "cache_control", "eager_input_streaming"),
        "tools.",
    )
    name = a_text(given.get("name"), "tools.name")
    if len(name) > _LONGEST_NAME:
        notes.add(_ONLY, f"a tool's name of more than {_LONGEST_NAME} characters")
    if given.get("strict"):
        notes.add(Wire.STRICT_TOOLS, "a strict tool")
    return Tool(
        name=name,
        description=optional_text(given.get("description"), "tools.description"),
        schema=json_text(an_object(given.get("input_schema"), "tools.input_schema")),
        strict=bool(given.get("strict")),
        kept=_kept(given, "tools"),
    )


def _system(given: object, notes: Notes) -> tuple[Text, ...]:
    if given is None or isinstance(given, str):
        return (Text(given),) if given else ()
    found: list[Text] = []
    for item in a_list(given, "system"):
        block = an_object(item, "system")
        if block.get("type") != "text":
            wrong("system.type", "text")
        found.append(_text(block, "system", notes))
    return tuple(found)


def _text(block: dict[str, Any], where: str, notes: Notes) -> Text:
    # An SDK's own answers hold `citations: null`; some clients send an empty list.
    notes.others(_ONLY, {k: v for k, v in block.items() if v != []}, ("type", "text", "cache_control"), f"{where}.")
    return Text(a_text(block.get("text"), f"{where}.text"), _kept(block, where))


def _turns(given: list[Any], notes: Notes) -> tuple[Turn, ...]:
    turns: list[tuple[Role, list[Block]]] = []
    for item in given:
        message = an_object(item, "messages")
        role = message.get("role")
        notes.others(_ONLY, message, ("role", "content"), "messages.")
        if role not in ("user", "assistant"):
            notes.add(_ONLY, "a message of this role")
            continue
        blocks = _content(message.get("content"), notes)
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    if turns and turns[-1][0] == "assistant":
        notes.add(Wire.PREFILL, "a last message that is the assistant's")
    return tuple(Turn(role, tuple(blocks)) for role, blocks in turns)


def _content(given: object, notes: Notes) -> list[Block]:
    if isinstance(given, str):
        return [Text(given)] if given else []
    found = [_block(an_object(item, "messages.content"), notes) for item in a_list(given, "messages.content")]
    return [block for block in found if block is not None]


def _block(block: dict[str, Any], notes: Notes) -> Block | None:
    kind = block.get("type")
    where = "messages.content"
    if kind == "text":
        return _text(block, where, notes)
    if kind == "image":
        return _image(block, notes)
    if kind == "document":
        return _document(block, notes)
    if kind in ("thinking", "redacted_thinking"):
        hidden = kind == "redacted_thinking"
        signature = a_text(block.get("data" if hidden else "signature"), f"{where}.signature")
        if signature == UNSIGNED:
            return Thought(optional_text(block.get("thinking"), f"{where}.thinking"))
        if not foreign(signature):
            notes.add(Wire.SIGNED_THOUGHT, "thinking that its provider signed")
        return Thought(optional_text(block.get("thinking"), f"{where}.thinking"), signature, hidden)
    if kind == "tool_use":
        plain = {k: v for k, v in block.items() if k != "caller" or v != {"type": "direct"}}
        notes.others(_ONLY, plain, ("type", "id", "name", "input", "cache_control"), f"{where}.")
        return ToolUse(
            a_text(block.get("id"), f"{where}.id"),
            a_text(block.get("name"), f"{where}.name"),
            json_text(an_object(block.get("input"), f"{where}.input")),
            _kept(block, where),
        )
    if kind == "tool_result":
        return _result(block, notes)
    notes.add(_ONLY, f"the block {str(kind)[:_LONGEST_NAME]}")
    return None


def _result(block: dict[str, Any], notes: Notes) -> ToolResult:
    where = "messages.content"
    notes.others(_ONLY, block, ("type", "tool_use_id", "content", "is_error", "cache_control"), f"{where}.")
    content: list[Text | Media] = []
    for part in _content(block.get("content"), notes):
        if isinstance(part, Media):
            notes.add(Wire.TOOL_MEDIA, "an image or file in what a tool gave back")
        if isinstance(part, Text | Media):
            content.append(part)
        else:
            wrong(f"{where}.content", "texts, images and documents")
    name = a_text(block.get("tool_use_id"), f"{where}.tool_use_id")
    return ToolResult(name, tuple(content), bool(block.get("is_error")), _kept(block, where))


def _image(block: dict[str, Any], notes: Notes) -> Media | None:
    where = "messages.content.source"
    notes.others(_ONLY, block, ("type", "source", "cache_control"), "messages.content.")
    source = an_object(block.get("source"), where)
    kept = _kept(block, where)
    if source.get("type") == "base64":
        mime = a_text(source.get("media_type"), f"{where}.media_type")
        return Media("image", mime=mime, data=a_text(source.get("data"), f"{where}.data"), kept=kept)
    if source.get("type") == "url":
        notes.add(Wire.LINKED_IMAGE, "an image by its URL")
        return Media("image", url=a_text(source.get("url"), f"{where}.url"), kept=kept)
    notes.add(_ONLY, "an image by its id")
    return None


def _document(block: dict[str, Any], notes: Notes) -> Text | Media | None:
    where = "messages.content.source"
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        notes.add(_ONLY, "citations")
    notes.others(_ONLY, block, ("type", "source", "cache_control", "title", "citations"), "messages.content.")
    source = an_object(block.get("source"), where)
    title = optional_text(block.get("title"), "messages.content.title")
    kept = _kept(block, where)
    kind = source.get("type")
    if kind == "base64":
        mime = a_text(source.get("media_type"), f"{where}.media_type")
        return Media("file", mime=mime, data=a_text(source.get("data"), f"{where}.data"), name=title, kept=kept)
    if kind == "text":
        text = a_text(source.get("data"), f"{where}.data")
        return Text(f"{title}\n\n{text}" if title else text, kept)
    if kind == "url":
        notes.add(Wire.LINKED_FILE, "a document by its URL")
        return Media("file", url=a_text(source.get("url"), f"{where}.url"), name=title, kept=kept)
    notes.add(_ONLY, f"a document of the kind {str(kind)[:_LONGEST_NAME]}")
    return None

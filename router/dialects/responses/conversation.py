"""OpenAI's Responses requests in neutral form.

Belongs here: reading every field of a body and every item of its input, and noting those that other dialects have no place
for. Does not belong here: what routing needs of a body that is passed on (request.py).

Left to the router, because it is advice about money, identity or form and no part of the conversation: ``metadata``,
``store``, ``background``, ``prompt_cache_retention`` and ``prompt_cache_options``, ``service_tier``, ``stream_options``, and
``strict`` of a function that does not say: what OpenAI makes of its schema there, nobody else does.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from router.core.wire import Wire
from router.dialects.effort import an_effort
from router.dialects.neutral import (
    Block,
    Conversation,
    Effort,
    Format,
    Media,
    Role,
    Text,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)
from router.dialects.openai.extra import signature_of
from router.dialects.reading import (
    Notes,
    a_list,
    a_text,
    an_object,
    json_object,
    json_text,
    media_at,
    members,
    optional_text,
)
from router.dialects.request import Request
from router.dialects.signatures import OURS, foreign

_ONLY: Final = Wire.RESPONSES_ONLY
_FIELDS: Final = frozenset(
    {
        "model", "input", "instructions", "stream", "stream_options", "max_output_tokens", "max_tool_calls", "tools",
        "tool_choice", "parallel_tool_calls", "text", "temperature", "top_p", "top_logprobs", "reasoning", "include",
        "user", "safety_identifier", "metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention",
        "prompt_cache_options", "store", "background", "background_options", "truncation", "previous_response_id",
    }
)  # fmt: skip  # one line a field would fill the page
SIGNED: Final = f"{OURS}signed:"
HIDDEN: Final = f"{OURS}hidden:"
"""Before what stands in ``encrypted_content`` of thoughts that came from a provider of another dialect: its signature,
or a thought that it hides."""
ENCRYPTED: Final = "reasoning.encrypted_content"
_SHOWN: Final = 60


def understood(request: Request) -> Conversation:
    """The whole request.

    Raises:
        RouterError: ``invalid_request`` naming a field that cannot be read.
    """
    given = members(request.top)
    notes = Notes()
    notes.others(_ONLY, given, _FIELDS)
    _rarely(given, notes)
    system, turns = _items(given.get("input"), notes)
    instructions = optional_text(given.get("instructions"), "instructions")
    text = an_object(given.get("text") or {}, "text")
    notes.others(_ONLY, text, ("format", "verbosity"), "text.")
    verbosity = optional_text(text.get("verbosity"), "text.verbosity")
    if verbosity:
        notes.add(Wire.VERBOSITY, "text.verbosity")
    choice, tool_name = _choice(given.get("tool_choice"), notes)
    tools = tuple(tool for raw in a_list(given.get("tools"), "tools") if (tool := _tool(raw, notes)) is not None)
    one_tool = given.get("parallel_tool_calls") is False
    if one_tool and tools:
        notes.add(Wire.ONE_TOOL, "parallel_tool_calls: false")
    effort, shows = _reasoning(an_object(given.get("reasoning") or {}, "reasoning"), notes)
    include = a_list(given.get("include"), "include")
    return Conversation(
        system=((Text(instructions),) if instructions else ()) + system,
        turns=turns,
        tools=tools,
        choice=choice,
        tool_name=tool_name,
        one_tool=one_tool,
        format=_format(text.get("format"), notes),
        **_sampling(given, notes),
        effort=effort,
        shows_thoughts=shows or ENCRYPTED in include,
        verbosity=verbosity,
        user=optional_text(given.get("safety_identifier"), "safety_identifier") or request.user,
        cache_key=optional_text(given.get("prompt_cache_key"), "prompt_cache_key"),
        wire=notes.wire,
        notes=notes.notes,
    )


def _rarely(given: dict[str, Any], notes: Notes) -> None:
    """Fields that have no counterpart elsewhere unless they say what holds anyway."""
    for name, usual in (("truncation", "disabled"), ("max_tool_calls", None), ("top_logprobs", 0)):
        if given.get(name) not in (None, usual):
            notes.add(_ONLY, name)
    if given.get("previous_response_id"):
        notes.add(_ONLY, "previous_response_id")
    for name in a_list(given.get("include"), "include"):
        # What else may be included belongs to tools that the provider runs.
        if name == "message.output_text.logprobs":
            notes.add(_ONLY, "include: message.output_text.logprobs")


def _sampling(given: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """Sampling as it is set; 1, which holds anyway, counts as not set."""
    temperature, top_p = (None if given.get(name) == 1 else given.get(name) for name in ("temperature", "top_p"))
    if temperature is not None and temperature > 1:
        notes.add(Wire.HOT, "a temperature above 1")
    if temperature is not None and top_p is not None:
        notes.add(Wire.TWO_SAMPLERS, "temperature and top_p together")
    return {"temperature": temperature, "top_p": top_p}


def _reasoning(given: dict[str, Any], notes: Notes) -> tuple[Effort, bool]:
    effort = given.get("effort")
    if effort is not None and an_effort(effort) is None:
        notes.add(_ONLY, "this reasoning.effort")
    notes.others(_ONLY, given, ("effort", "summary", "generate_summary"), "reasoning.")
    return an_effort(effort) or "", (given.get("summary") or given.get("generate_summary")) is not None


def _format(given: object, notes: Notes) -> Format | None:
    if given is None:
        return None
    form = an_object(given, "text.format")
    kind = form.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Format()
    if kind != "json_schema":
        notes.add(_ONLY, "this text.format")
        return None
    return Format(
        schema=json_text(an_object(form.get("schema"), "text.format.schema")),
        name=optional_text(form.get("name"), "text.format.name"),
        description=optional_text(form.get("description"), "text.format.description"),
        strict=bool(form.get("strict")),
    )


def _tool(given: object, notes: Notes) -> Tool | None:
    tool = an_object(given, "tools")
    if tool.get("type") != "function":
        notes.add(_ONLY, f"the tool {str(tool.get('type'))[:_SHOWN]}")
        return None
    schema = tool.get("parameters")
    if schema is not None and (not isinstance(schema, dict) or schema.get("type", "object") != "object"):
        notes.add(_ONLY, "a tool whose parameters are no object")
    if tool.get("strict"):
        notes.add(Wire.STRICT_TOOLS, "a strict tool")
    told = {name: value for name, value in tool.items() if value is not False}
    notes.others(_ONLY, told, ("type", "name", "description", "parameters", "strict"), "tools.")
    return Tool(
        name=a_text(tool.get("name"), "tools.name"),
        description=optional_text(tool.get("description"), "tools.description"),
        schema="" if schema is None else json_text(schema),
        strict=bool(tool.get("strict")),
    )


def _choice(given: object, notes: Notes) -> tuple[Literal["", "auto", "none", "required", "tool"], str]:
    if given is None or given == "auto":
        return "" if given is None else "auto", ""
    if given == "required":
        return "required", ""
    if given == "none":
        notes.add(Wire.NO_TOOL, "tool_choice: none")
        return "none", ""
    if isinstance(given, dict) and given.get("type") == "function":
        return "tool", a_text(given.get("name"), "tool_choice.name")
    notes.add(_ONLY, "this tool_choice")
    return "", ""


def _items(given: object, notes: Notes) -> tuple[tuple[Text, ...], tuple[Turn, ...]]:
    system: list[Text] = []
    turns: list[tuple[Role, list[Block]]] = []
    items = [{"role": "user", "content": given}] if isinstance(given, str) else a_list(given, "input")
    for raw in items:
        item = an_object(raw, "input")
        kind = item.get("type") or "message"
        role = item.get("role")
        if kind == "message" and role in ("system", "developer"):
            if turns:
                notes.add(_ONLY, f"a {role} message after the conversation has begun")
            system += [part for part in _parts(item.get("content"), "input.content", notes) if isinstance(part, Text)]
            continue
        side, blocks = _item(item, kind, role, notes)
        if side is None:
            continue
        if turns and turns[-1][0] == side:
            turns[-1][1].extend(blocks)
        else:
            turns.append((side, blocks))
    if not turns or turns[-1][0] == "assistant":
        notes.add(_ONLY, "a last item that is the assistant's")
    if any(side == "user" and not any(map(_says_something, blocks)) for side, blocks in turns):
        notes.add(_ONLY, "a user's turn that says nothing")
    return tuple(system), tuple(Turn(side, tuple(blocks)) for side, blocks in turns)


def _says_something(block: Block) -> bool:
    return not isinstance(block, Text) or bool(block.text.strip())


def _item(item: dict[str, Any], kind: object, role: object, notes: Notes) -> tuple[Role | None, list[Block]]:
    """Whose it is, and what it says."""
    if kind == "message" and role in ("user", "assistant"):
        notes.others(_ONLY, item, ("type", "id", "role", "content", "status", "phase"), "input.")
        side: Role = "assistant" if role == "assistant" else "user"
        return side, list(_parts(item.get("content"), "input.content", notes))
    if kind == "function_call":
        plain = {k: v for k, v in item.items() if k != "caller" or v != {"type": "direct"}}
        told = {name: value for name, value in plain.items() if value is not False}
        known = ("type", "id", "call_id", "name", "arguments", "status", "extra_content")
        notes.others(_ONLY, told, known, "input.")
        arguments = optional_text(item.get("arguments"), "input.arguments")
        if json_object(arguments) is None:
            notes.add(_ONLY, "a function call whose arguments are no JSON object")
        name = a_text(item.get("name"), "input.name")
        call_id = a_text(item.get("call_id"), "input.call_id")
        return "assistant", [ToolUse(call_id, name, arguments, signature=signature_of(item))]
    if kind == "function_call_output":
        notes.others(_ONLY, item, ("type", "id", "call_id", "output", "status", "name"), "input.")
        parts = tuple(_parts(item.get("output"), "input.output", notes))
        if any(isinstance(part, Media) for part in parts):
            notes.add(Wire.TOOL_MEDIA, "an image or file in what a tool gave back")
        return "user", [ToolResult(a_text(item.get("call_id"), "input.call_id"), parts)]
    if kind == "reasoning":
        return "assistant", _thought(item, notes)
    notes.add(_ONLY, f"the item {str(kind if role is None else role)[:_SHOWN]}")
    return None, []


def _thought(item: dict[str, Any], notes: Notes) -> list[Block]:
    sealed = optional_text(item.get("encrypted_content"), "input.encrypted_content")
    if sealed.startswith(HIDDEN):
        notes.add(Wire.SIGNED_THOUGHT, "thinking that its provider signed")
        return [Thought("", sealed.removeprefix(HIDDEN), hidden=True)]
    said = thought_of(item)
    if sealed.startswith(SIGNED):
        signature = sealed.removeprefix(SIGNED)
        if not foreign(signature):
            notes.add(Wire.SIGNED_THOUGHT, "thinking that its provider signed")
        return [Thought(said, signature)]
    if sealed:
        notes.add(_ONLY, "reasoning that its provider sealed")
    return [Thought(said)] if said else []


def thought_of(item: dict[str, Any]) -> str:
    """What a reasoning item tells: its summary, or all of it."""
    told = [*a_list(item.get("summary"), "summary"), *a_list(item.get("content"), "content")]
    return "\n\n".join(a_text(an_object(part, "summary").get("text"), "summary.text") for part in told)


def _parts(content: object, where: str, notes: Notes) -> list[Text | Media]:
    if content is None or isinstance(content, str):
        return [Text(content)] if content else []
    found = [_part(an_object(part, where), where, notes) for part in a_list(content, where)]
    return [part for part in found if part is not None]


def _part(part: dict[str, Any], where: str, notes: Notes) -> Text | Media | None:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "refusal"):
        field = "refusal" if kind == "refusal" else "text"
        told = {name: value for name, value in part.items() if value != []}
        notes.others(_ONLY, told, ("type", field, "prompt_cache_breakpoint"), f"{where}.")
        text = a_text(part.get(field), f"{where}.{field}")
        return Text(text) if text else None
    if kind == "input_image":
        return _image(part, where, notes)
    if kind == "input_file":
        return _file(part, where, notes)
    if kind == "input_audio":
        audio = an_object(part.get("input_audio"), f"{where}.input_audio")
        form = a_text(audio.get("format"), f"{where}.input_audio.format")
        return Media("audio", mime=f"audio/{form}", data=a_text(audio.get("data"), f"{where}.input_audio.data"))
    notes.add(_ONLY, f"the part {str(kind)[:_SHOWN]}")
    return None


def _image(part: dict[str, Any], where: str, notes: Notes) -> Media | None:
    detail = optional_text(part.get("detail"), f"{where}.detail")
    if detail not in ("", "auto"):
        notes.add(Wire.DETAIL, "an image's detail")
    if part.get("image_url") is None:
        notes.add(_ONLY, "an image by its id")
        return None
    found = media_at(
        "image", a_text(part["image_url"], f"{where}.image_url"), detail="" if detail == "auto" else detail
    )
    if found.url:
        notes.add(Wire.LINKED_IMAGE, "an image by its URL")
    return found


def _file(part: dict[str, Any], where: str, notes: Notes) -> Media | None:
    name = optional_text(part.get("filename"), f"{where}.filename")
    if part.get("file_url") is not None:
        notes.add(Wire.LINKED_FILE, "a file by its URL")
        return Media("file", url=a_text(part["file_url"], f"{where}.file_url"), name=name)
    if not isinstance(part.get("file_data"), str):
        notes.add(_ONLY, "a file by its id")
        return None
    found = media_at("file", part["file_data"], name=name)
    # Bare base64 without saying of what is OpenAI's own; elsewhere a file has a type.
    if found.url or found.mime != "application/pdf":
        notes.add(_ONLY, "a file that is no PDF in a data URL")
    return found

"""OpenAI chat completion requests in neutral form.

Belongs here: reading every field of a chat body, and noting those that other dialects have no place for. Does not belong
here: what routing needs of a body that is passed on (chat.py).

Left to the router, because it is advice about money or identity and no part of the conversation: ``metadata`` of a
request that is not stored, ``prompt_cache_retention`` and ``prompt_cache_options``, ``stream_options``.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from router.core.wire import SHORT_TOKENS, Wire
from router.dialects.effort import an_effort
from router.dialects.neutral import (
    Block,
    Conversation,
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
    wrong,
)
from router.dialects.request import Request

_ONLY: Final = Wire.CHAT_ONLY
_FIELDS: Final = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "tools", "tool_choice",
        "parallel_tool_calls", "response_format", "stop", "temperature", "top_p", "presence_penalty", "frequency_penalty",
        "seed", "reasoning_effort", "user", "safety_identifier", "metadata", "service_tier", "verbosity", "prompt_cache_key",
        "prompt_cache_retention", "prompt_cache_options", "store", "logprobs", "modalities", "logit_bias",
    }
)  # fmt: skip  # one line a field would fill the page
_THOUGHTS: Final = ("reasoning_content", "reasoning")
"""What models of several providers thought before they spoke; OpenAI's own never shows it."""
_MESSAGE: Final = frozenset({"role", "content", "refusal", "tool_calls", "tool_call_id", "annotations", *_THOUGHTS})
_MOST_STOPS: Final = 4


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
    _rarely(given, notes)
    system, turns = _messages(a_list(given["messages"], "messages"), notes)
    choice, tool_name = _choice(given.get("tool_choice"), notes)
    if given.get("parallel_tool_calls") is False and given.get("tools"):
        notes.add(Wire.ONE_TOOL, "parallel_tool_calls: false")
    effort = given.get("reasoning_effort")
    if effort is not None and an_effort(effort) is None:
        notes.add(_ONLY, "this reasoning_effort")
    verbosity = optional_text(given.get("verbosity"), "verbosity")
    if verbosity:
        notes.add(Wire.VERBOSITY, "verbosity")
    return Conversation(
        system=system,
        turns=turns,
        tools=tuple(_tool(tool, notes) for tool in a_list(given.get("tools"), "tools")),
        choice=choice,
        tool_name=tool_name,
        one_tool=given.get("parallel_tool_calls") is False,
        format=_format(given.get("response_format"), notes),
        stops=_stops(given.get("stop"), notes),
        **_sampling(given, notes),
        effort=an_effort(effort) or "",
        shows_thoughts=effort is not None,
        verbosity=verbosity,
        user=optional_text(given.get("safety_identifier"), "safety_identifier") or request.user,
        cache_key=optional_text(given.get("prompt_cache_key"), "prompt_cache_key"),
        wire=notes.wire,
        notes=notes.notes,
    )


def _rarely(given: dict[str, Any], notes: Notes) -> None:
    """Fields that have no counterpart elsewhere unless they say what holds anyway."""
    for name, usual in (("n", 1), ("store", False), ("logprobs", False), ("logit_bias", {}), ("modalities", ["text"])):
        if given.get(name) not in (None, usual):
            notes.add(_ONLY, name)


def _sampling(given: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """Sampling as it is set; 1 and 0, which hold anyway, count as not set."""
    temperature, top_p = (_unusual(given.get(name), 1) for name in ("temperature", "top_p"))
    presence, frequency = (_unusual(given.get(name), 0) for name in ("presence_penalty", "frequency_penalty"))
    if temperature is not None and temperature > 1:
        notes.add(Wire.HOT, "a temperature above 1")
    if temperature is not None and top_p is not None:
        notes.add(Wire.TWO_SAMPLERS, "temperature and top_p together")
    if presence is not None or frequency is not None:
        notes.add(Wire.PENALTIES, "a presence or frequency penalty")
    seed = given.get("seed")
    if seed is not None:
        if not isinstance(seed, int) or isinstance(seed, bool):
            wrong("seed", "a whole number")
        notes.add(Wire.SEED, "seed")
    return {
        "temperature": temperature,
        "top_p": top_p,
        "presence_penalty": presence,
        "frequency_penalty": frequency,
        "seed": seed,
    }


def _unusual(given: Any, usual: int) -> Any:
    return None if given is None or given == usual else given


def _stops(given: object, notes: Notes) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else a_list(given, "stop")
    stops = tuple(a_text(stop, "stop") for stop in texts)
    if stops:
        notes.add(Wire.STOP, "stop")
    if len(stops) > _MOST_STOPS:
        notes.add(Wire.MANY_STOPS, f"more than {_MOST_STOPS} stop sequences")
    if any(not stop.strip() for stop in stops):
        notes.add(_ONLY, "a stop sequence of white space only")
    return stops


def _format(given: object, notes: Notes) -> Format | None:
    if given is None:
        return None
    form = an_object(given, "response_format")
    kind = form.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return Format()
    if kind != "json_schema":
        notes.add(_ONLY, "this response_format")
        return None
    said = an_object(form.get("json_schema"), "response_format.json_schema")
    schema = said.get("schema")
    if schema is None:
        notes.add(_ONLY, "a response_format without a schema")
    return Format(
        schema=json_text(schema if schema is not None else {}),
        name=optional_text(said.get("name"), "response_format.json_schema.name"),
        description=optional_text(said.get("description"), "response_format.json_schema.description"),
        strict=bool(said.get("strict")),
    )


def _tool(given: object, notes: Notes) -> Tool:
    tool = an_object(given, "tools")
    if tool.get("type") != "function":
        notes.add(_ONLY, "a tool that is no function")
        return Tool("")
    function = an_object(tool.get("function"), "tools.function")
    schema = function.get("parameters")
    if schema is not None and (not isinstance(schema, dict) or schema.get("type", "object") != "object"):
        notes.add(_ONLY, "a tool whose parameters are no object")
    if function.get("strict"):
        notes.add(Wire.STRICT_TOOLS, "a strict tool")
    notes.others(_ONLY, function, ("name", "description", "parameters", "strict"), "tools.function.")
    return Tool(
        name=a_text(function.get("name"), "tools.function.name"),
        description=optional_text(function.get("description"), "tools.function.description"),
        schema="" if schema is None else json_text(schema),
        strict=bool(function.get("strict")),
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
        named = an_object(given.get("function"), "tool_choice.function")
        return "tool", a_text(named.get("name"), "tool_choice.function.name")
    notes.add(_ONLY, "this tool_choice")
    return "", ""


def _messages(given: list[Any], notes: Notes) -> tuple[tuple[Text, ...], tuple[Turn, ...]]:
    system: list[Text] = []
    turns: list[tuple[Role, list[Block]]] = []
    for item in given:
        message = an_object(item, "messages")
        role = message.get("role")
        notes.others(_ONLY, message, _MESSAGE, "messages.")
        if role in ("system", "developer"):
            if turns:
                notes.add(_ONLY, f"a {role} message after the conversation has begun")
            system += [block for block in _parts(message.get("content"), notes) if isinstance(block, Text)]
            continue
        if role not in ("user", "assistant", "tool"):
            notes.add(_ONLY, "a message of this role")
            continue
        blocks = _assistant(message, notes) if role == "assistant" else _other(message, notes)
        side: Role = "assistant" if role == "assistant" else "user"
        if turns and turns[-1][0] == side:
            turns[-1][1].extend(blocks)
        else:
            turns.append((side, blocks))
    if not turns or turns[-1][0] == "assistant":
        notes.add(_ONLY, "a last message that is the assistant's")
    if any(side == "user" and not any(map(_says_something, blocks)) for side, blocks in turns):
        notes.add(_ONLY, "a user's turn that says nothing")
    return tuple(system), tuple(Turn(side, tuple(blocks)) for side, blocks in turns)


def _says_something(block: Block) -> bool:
    return not isinstance(block, Text) or bool(block.text.strip())


def _other(message: dict[str, Any], notes: Notes) -> list[Block]:
    parts = _parts(message.get("content"), notes)
    if message["role"] == "user":
        return list(parts)
    name = a_text(message.get("tool_call_id"), "messages.tool_call_id")
    if any(isinstance(part, Media) for part in parts):
        notes.add(Wire.TOOL_MEDIA, "an image in what a tool gave back")
    return [ToolResult(name, tuple(parts))]


def _assistant(message: dict[str, Any], notes: Notes) -> list[Block]:
    thought = next((message[name] for name in _THOUGHTS if isinstance(message.get(name), str)), "")
    blocks: list[Block] = [Thought(thought)] if thought else []
    blocks += _parts(message.get("content"), notes)
    refusal = optional_text(message.get("refusal"), "messages.refusal")
    if refusal:
        blocks.append(Text(refusal))
    for given in a_list(message.get("tool_calls"), "messages.tool_calls"):
        call = an_object(given, "messages.tool_calls")
        if call.get("type", "function") != "function":
            notes.add(_ONLY, "a call of a tool that is no function")
            continue
        function = an_object(call.get("function"), "messages.tool_calls.function")
        arguments = optional_text(function.get("arguments"), "messages.tool_calls.function.arguments")
        if json_object(arguments) is None:
            notes.add(_ONLY, "a tool call whose arguments are no JSON object")
        blocks.append(
            ToolUse(
                a_text(call.get("id"), "messages.tool_calls.id"),
                a_text(function.get("name"), "messages.tool_calls.function.name"),
                arguments,
                signature=signature_of(call),
            )
        )
    return blocks


def _parts(content: object, notes: Notes) -> list[Text | Media]:
    if content is None or isinstance(content, str):
        return [Text(content)] if content else []
    found = [_part(an_object(part, "messages.content"), notes) for part in a_list(content, "messages.content")]
    return [part for part in found if part is not None]


def _part(part: dict[str, Any], notes: Notes) -> Text | Media | None:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = a_text(part.get(kind), f"messages.content.{kind}")
        notes.others(_ONLY, part, ("type", kind), "messages.content.")
        return Text(text) if text else None
    if kind == "image_url":
        image = part.get("image_url")
        image = {"url": image} if isinstance(image, str) else an_object(image, "messages.content.image_url")
        detail = optional_text(image.get("detail"), "messages.content.image_url.detail")
        if detail not in ("", "auto"):
            notes.add(Wire.DETAIL, "an image's detail")
        found = media_at("image", a_text(image.get("url"), "messages.content.image_url.url"), detail=detail)
        if found.url:
            notes.add(Wire.LINKED_IMAGE, "an image by its URL")
        return found
    if kind == "file":
        file = an_object(part.get("file"), "messages.content.file")
        if not isinstance(file.get("file_data"), str):
            notes.add(_ONLY, "a file by its id")
            return None
        name = optional_text(file.get("filename"), "messages.content.file.filename")
        found = media_at("file", file["file_data"], name=name)
        # Bare base64 without saying of what is OpenAI's own; elsewhere a file has a type.
        if found.url or found.mime != "application/pdf":
            notes.add(_ONLY, "a file that is no PDF in a data URL")
        return found
    if kind == "input_audio":
        audio = an_object(part.get("input_audio"), "messages.content.input_audio")
        form = a_text(audio.get("format"), "messages.content.input_audio.format")
        return Media("audio", mime=f"audio/{form}", data=a_text(audio.get("data"), "messages.content.input_audio.data"))
    notes.add(_ONLY, "a content part of this type")
    return None

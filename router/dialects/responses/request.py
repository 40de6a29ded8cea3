"""OpenAI's Responses as requests: what routing reads from them, and how they go on to a provider that speaks the same.

Belongs here: reading the fields that a decision needs, and passing a body on to the letter. What is not read passes
through untouched. Does not belong here: the whole conversation (conversation.py), which only a translation needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from router.core.deciding.decide import Decision, Work
from router.core.deciding.work import LIKELY_CALLS, MOST_CALLS
from router.core.errors import RouterError
from router.core.images import Detail, Image, data_url_dimensions
from router.core.meters import CODE_INTERPRETER, FILE_SEARCH, WEB_SEARCH
from router.core.tokens import PromptShape
from router.core.values import Needs
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Order
from router.dialects.openai.breakpoints import OPTIONS
from router.dialects.reading import whole
from router.dialects.request import USER_CHARS, Request, decode, foreign_metadata, own_metadata, with_effort
from router.dialects.signatures import foreign


class _Part(msgspec.Struct):
    type: str = ""
    text: Any = None
    refusal: Any = None
    image_url: Any = None
    detail: Any = None


class _Item(msgspec.Struct):
    type: str | None = None
    role: Any = None
    content: Any = None
    name: Any = None
    arguments: Any = None
    output: Any = None
    summary: Any = None
    encrypted_content: Any = None
    extra_content: Any = None


class _Format(msgspec.Struct):
    type: str = ""


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _BackgroundOptions(msgspec.Struct):
    completion_window: Literal["soonest", "2h", "8h"] | None = None


class _Responses(msgspec.Struct):
    model: str
    input: str | list[_Item] | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    max_tool_calls: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    include: list[str] | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None
    service_tier: str | None = None
    previous_response_id: str | None = None
    background: bool | None = None
    background_options: _BackgroundOptions | None = None
    store: bool | None = None
    conversation: Any = None
    prompt: Any = None


_BODY: Final = msgspec.json.Decoder(_Responses)
_PARTS: Final = list[_Part]
_FORMATS: Final = {"json_object": Needs.JSON_OBJECT.value, "json_schema": Needs.JSON_SCHEMA.value}
_PART_NEEDS: Final = {
    "input_image": Needs.VISION.value,
    "input_file": Needs.FILES.value,
    "input_audio": Needs.AUDIO_IN.value,
}
_CLOSED_PARTS: Final = frozenset({"", "input_text", "output_text", "refusal", "reasoning_text", "summary_text"})
_DETAILS: Final[dict[Any, Detail]] = {"low": "low", "high": "high"}
_USUAL_SAMPLING: Final = (None, 1)
_LOGPROBS: Final = "message.output_text.logprobs"
_ORDERS: Final = {"auto": "", "default": "realtime", "flex": "flex", "priority": "priority", "fast": "priority"}
_FEES: Final = ("image_generation",)
"""Beginnings of the types of tools that the provider runs for fees that are not known here."""
_METERS: Final = {"web_search": WEB_SEARCH, "file_search": FILE_SEARCH, "code_interpreter": CODE_INTERPRETER}
"""By the beginning of a tool's type: the meter of its calls."""
_PLAIN_CONTAINER: Final = {"type", "file_ids"}
"""Members of a container of the usual size; larger ones cost more (OpenAI pricing)."""


class _Seen:
    """What a walk over all input gathers."""

    __slots__ = ("audio", "closed", "images", "needs", "strange", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.images: list[Image] = []
        self.needs = 0
        self.audio = 0
        self.closed = True
        self.strange = False

    def item(self, item: _Item) -> None:
        kind = item.type or "message"
        self.strange = self.strange or item.extra_content is not None or foreign(item.encrypted_content)
        if kind == "message":
            self.content(item.content, "input.content")
        elif kind == "function_call":
            self.texts += [said for said in (item.name, item.arguments) if isinstance(said, str)]
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self.content(item.output, "input.output")
        elif kind == "reasoning":
            self.content(item.summary, "input.summary")
            self.content(item.content, "input.content")
        else:
            self.texts.append(msgspec.json.encode(item).decode())
            self.closed = False

    def content(self, given: Any, where: str) -> None:
        if given is None or isinstance(given, str):
            self.texts += [given] if given else []
            return
        try:
            parts = msgspec.convert(given, _PARTS)
        except msgspec.ValidationError:
            message = f"{where} must be a text or a list of parts."
            raise RouterError("invalid_request", message, param=where) from None
        for part in parts:
            self._part(part)

    def _part(self, part: _Part) -> None:
        self.needs |= _PART_NEEDS.get(part.type, 0)
        self.texts += [said for said in (part.text, part.refusal) if isinstance(said, str)]
        if part.type == "input_image":
            url = part.image_url
            width, height = (data_url_dimensions(url) if isinstance(url, str) else None) or (0, 0)
            self.images.append(Image(width=width, height=height, detail=_DETAILS.get(part.detail, "auto")))
            self.closed = self.closed and isinstance(url, str)
        elif part.type == "input_audio":
            self.audio += 1
        elif part.type not in _CLOSED_PARTS:
            self.closed = False


def read_responses(body: bytes, headers: Mapping[str, str]) -> Request:  # noqa: ARG001 - one shape for all
    """A Responses request.

    Raises:
        RouterError: ``invalid_request`` naming the field, what it holds and what it must hold.
    """
    top = TopLevel(body)
    asked: _Responses = decode(_BODY, body)
    _refuse(asked)
    seen = _Seen()
    if asked.instructions:
        seen.texts.append(asked.instructions)
    items = asked.input if isinstance(asked.input, list) else []
    seen.content(asked.input if isinstance(asked.input, str) else None, "input")
    for item in items:
        seen.item(item)
    if seen.strange:
        # What is written anew must be readable; what routing passes over has not been looked at.
        whole("input", top.members["input"])
    tools = asked.tools or []
    seen.texts += (msgspec.json.encode(tool).decode() for tool in tools)
    needs = _needs(asked) | seen.needs
    if needs & Needs.JSON_SCHEMA.value:
        # What was skipped has not been checked for being UTF-8.
        seen.texts.append((top.get("text") or b"").decode(errors="replace"))
    work = _work(asked)
    closed = seen.closed and not asked.previous_response_id and work is None
    messages = len(items) + isinstance(asked.input, str) + bool(asked.instructions)
    return Request(
        top=top,
        model=asked.model,
        needs=needs,
        shape=PromptShape(
            texts=tuple(seen.texts),
            messages=max(messages, 1),
            tools=len(tools),
            images=tuple(seen.images),
            audio_clips=seen.audio,
        ),
        stream=bool(asked.stream),
        wants_usage=True,
        max_output=asked.max_output_tokens,
        user=(asked.user or "")[:USER_CHARS],
        work=work,
        text_bytes=len(body) if closed else None,
        tier=_ORDERS[asked.service_tier] if asked.service_tier else "",
        own=own_metadata(asked.metadata) if asked.metadata else {},
        strange=seen.strange,
        follows=asked.previous_response_id or "",
        stored=asked.store is not False,
        recalls=asked.store is not False or bool(asked.previous_response_id),
        background=bool(asked.background),
    )


def pass_responses(request: Request, decision: Decision, quirks: frozenset[str]) -> Order:  # noqa: ARG001 - one shape for all
    """A Responses request on its way to a provider that speaks the same."""
    option = decision.option
    changes: dict[str, bytes | None] = {"model": msgspec.json.encode(option.upstream_model)}
    if option.tier_word:
        changes["service_tier"] = msgspec.json.encode(option.tier_word)
    if option.effort:
        changes["reasoning"] = with_effort(request.top.get("reasoning"), option.effort)
    if decision.cache_key and "prompt_cache_key" not in request.top.members:
        changes["prompt_cache_key"] = msgspec.json.encode(decision.cache_key)
    if decision.keeps == "none":
        # Instructions can have no breakpoint behind them, so what is kept of others is what OpenAI keeps by itself.
        changes["prompt_cache_options"] = OPTIONS
    if request.own:
        changes["metadata"] = foreign_metadata(request.top.get("metadata"))
    if request.clamped:
        changes["max_output_tokens"] = msgspec.json.encode(request.max_output)
    if request.strange:
        changes["input"] = _own_only(request.top.get("input") or b"[]")
    if request.top.members.keys() & {"background", "background_options"}:
        # What may be answered later is queued here, and sent by whoever takes it up.
        changes |= {"background": None, "background_options": None}
    return Order("/responses", request.top.edited(changes))


def _own_only(raw: bytes) -> bytes:
    """The input without what other providers have signed: this one would refuse it."""
    kept = [item for item in msgspec.json.decode(raw) if not foreign(item.get("encrypted_content"))]
    return msgspec.json.encode([{k: v for k, v in item.items() if k != "extra_content"} for item in kept])


def _needs(asked: _Responses) -> int:
    needs = Needs.CHAT.value
    if asked.tools:
        needs |= Needs.TOOLS.value
    if asked.text is not None and asked.text.format is not None:
        needs |= _FORMATS.get(asked.text.format.type, 0)
    if asked.top_logprobs or _LOGPROBS in (asked.include or ()):
        needs |= Needs.LOGPROBS.value
    if asked.reasoning is not None and asked.reasoning.effort is not None:
        needs |= Needs.REASONING_EFFORT.value
    if asked.temperature not in _USUAL_SAMPLING or asked.top_p not in _USUAL_SAMPLING:
        needs |= Needs.SAMPLING.value
    return needs


def _work(asked: _Responses) -> Work | None:
    """The tools among those allowed that the provider runs for a fee."""
    if not asked.tools:
        return None
    kinds = [str(tool.get("type", "")) for tool in asked.tools]
    meters = sorted({meter for kind in kinds for head, meter in _METERS.items() if kind.startswith(head)})
    if not meters:
        return None
    limit = asked.max_tool_calls
    most = MOST_CALLS if limit is None else max(limit, 0)
    return Work(tools=tuple((meter, min(LIKELY_CALLS, most), most) for meter in meters))


def _refuse(asked: _Responses) -> None:
    """What cannot be, and what is kept or billed in ways that are not known here."""
    if asked.service_tier is not None and asked.service_tier not in _ORDERS:
        message = f"service_tier must be {', '.join(_ORDERS)}, or left out: other tiers have no price here."
        raise RouterError("invalid_request", message, param="service_tier")
    if asked.max_output_tokens is not None and asked.max_output_tokens < 1:
        message = f"max_output_tokens must be at least 1, not {asked.max_output_tokens}."
        raise RouterError("invalid_request", message, param="max_output_tokens")
    window = None if asked.background_options is None else asked.background_options.completion_window
    if window not in (None, "soonest") and not asked.background:
        param = "background_options.completion_window"
        message = (
            f"{param}: {window} needs background: true; who waits for the answer says x-costrouter-deadline: {window}."
        )
        raise RouterError("invalid_request", message, param=param)
    if asked.conversation is not None:
        message = "conversation: no conversations are kept here; go on from an answer with previous_response_id."
        raise RouterError("invalid_request", message, param="conversation")
    if asked.prompt is not None:
        message = "prompt: templates that a provider keeps cannot be used here; send instructions and input."
        raise RouterError("invalid_request", message, param="prompt")
    if not asked.input and not asked.previous_response_id:
        raise RouterError("invalid_request", "input must be a text or a list of items, not empty.", param="input")
    for tool in asked.tools or ():
        kind = str(tool.get("type", ""))
        where = tool.get("environment")
        elsewhere = kind == "shell" and not (isinstance(where, dict) and where.get("type") == "local")
        if kind.startswith("code_interpreter"):
            container = tool.get("container")
            elsewhere = not isinstance(container, dict) or bool(container.keys() - _PLAIN_CONTAINER)
        if kind.startswith(_FEES) or elsewhere:
            message = f"The tool {kind[:60]!r} runs at the provider for a fee that is not known here."
            raise RouterError("invalid_request", message, param="tools")

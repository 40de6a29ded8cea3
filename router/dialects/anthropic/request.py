"""Anthropic Messages as requests: what routing reads from them, and how they go on to a provider that speaks the same.

Belongs here: reading the fields that a decision needs, and passing a body on to the letter. What is not read passes
through untouched. Does not belong here: the whole conversation (conversation.py), which only a translation needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from router.core.deciding.decide import Decision, Work
from router.core.deciding.work import LIKELY_CALLS, MOST_CALLS
from router.core.errors import RouterError
from router.core.images import Image, base64_dimensions
from router.core.meters import WEB_SEARCH
from router.core.tokens import PromptShape
from router.core.values import Needs
from router.core.wire import Wire
from router.dialects.anthropic.breakpoints import in_members
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Order
from router.dialects.reading import whole
from router.dialects.request import USER_CHARS, Request, decode, foreign_metadata, own_metadata, with_effort
from router.dialects.signatures import foreign

VERSION: Final = b"2023-06-01"
"""The version of bodies that are written here: it still has sampling parameters, which 2026-10-21 took away."""
_VERSION: Final = re.compile(r"\d{4}-\d\d-\d\d")
_BETAS: Final = re.compile(r"[A-Za-z0-9_., -]{1,2000}")
_ELSEWHERE: Final = frozenset({"url", "file"})
_SERVER_TOOLS: Final = ("web_search_", "web_fetch_", "code_execution_", "tool_search_tool_", "mcp_toolset")
"""Tools that Anthropic runs itself."""
_UNPRICED: Final = ("code_execution_",)
_SEARCHES: Final = "web_search_"


class _Source(msgspec.Struct):
    type: str = ""
    media_type: str = ""
    data: str = ""


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    input: Any = None
    content: Any = None
    source: _Source | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Block]


class _Thinking(msgspec.Struct):
    type: str = ""
    budget_tokens: int | None = None


class _Output(msgspec.Struct):
    effort: str | None = None
    format: Any = None


class _Messages(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_tokens: int
    system: str | list[_Block] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    tools: list[dict[str, Any]] | None = None
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None


_BODY: Final = msgspec.json.Decoder(_Messages)
_BLOCKS: Final = list[_Block]


class _Seen:
    """What a walk over all blocks gathers."""

    __slots__ = ("audio", "closed", "images", "needs", "strange", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.images: list[Image] = []
        self.needs = 0
        self.closed = True
        self.strange = False

    def content(self, given: str | list[_Block] | None) -> None:
        if isinstance(given, str):
            self.texts.append(given)
            return
        for block in given or ():
            self.block(block)

    def block(self, block: _Block) -> None:
        kind, source = block.type, block.source
        if block.text is not None:
            self.texts.append(block.text)
        elif kind == "image":
            self.needs |= Needs.VISION.value
            self.images.append(_image(source))
            self.closed = self.closed and (source is None or source.type not in _ELSEWHERE)
        elif kind == "document":
            plain = source is not None and source.type == "text"
            self.needs |= 0 if plain else Needs.FILES.value
            self.closed = self.closed and plain
            if plain and source is not None:
                self.texts.append(source.data)
        elif kind == "tool_use":
            self.texts.append(msgspec.json.encode(block.input).decode())
        elif kind == "tool_result":
            self.content(_nested(block.content))
        elif kind in ("thinking", "redacted_thinking"):
            self.texts.append(block.thinking or block.data or "")
            self.strange = self.strange or foreign(block.signature)
        elif kind:
            self.texts.append(msgspec.json.encode(block.content).decode())
            self.closed = False


def _nested(given: object) -> str | list[_Block] | None:
    try:
        return given if isinstance(given, str) or given is None else msgspec.convert(given, _BLOCKS)
    except msgspec.ValidationError:
        field = "messages.content.content"
        raise RouterError("invalid_request", f"{field} must be a text or a list of blocks.", param=field) from None


def _image(source: _Source | None) -> Image:
    width, height = (base64_dimensions(source.data) if source is not None and source.type == "base64" else None) or (
        0,
        0,
    )
    return Image(width=width, height=height)


def read_messages(body: bytes, headers: Mapping[str, str]) -> Request:
    """A Messages request.

    Raises:
        RouterError: ``invalid_request`` naming the field or header, what it holds and what it must hold.
    """
    top = TopLevel(body)
    asked: _Messages = decode(_BODY, body)
    _refuse_unpriced(asked)
    if asked.max_tokens < 1:
        message = (
            f"max_tokens must be at least 1, not {asked.max_tokens}: a prompt is never sent only to be cached here."
        )
        raise RouterError("invalid_request", message, param="max_tokens")
    seen = _Seen()
    seen.content(asked.system)
    for said in asked.messages:
        seen.content(said.content)
    if seen.strange:
        # What is written anew must be readable; what routing passes over has not been looked at.
        whole("messages", top.members["messages"])
    tools = asked.tools or []
    seen.texts += (msgspec.json.encode(tool).decode() for tool in tools)
    form = None if asked.output_config is None else asked.output_config.format
    if form is not None:
        seen.texts.append(msgspec.json.encode(form).decode())
    needs = _needs(asked) | seen.needs
    metadata = asked.metadata or {}
    return Request(
        top=top,
        model=asked.model,
        needs=needs,
        shape=PromptShape(
            texts=tuple(seen.texts), messages=len(asked.messages), tools=len(tools), images=tuple(seen.images)
        ),
        stream=bool(asked.stream),
        wants_usage=True,
        max_output=asked.max_tokens,
        user=_user(metadata),
        text_bytes=len(body) if seen.closed and not any(_looks_around(tool) for tool in tools) else None,
        own=own_metadata(metadata) if metadata else {},
        passed=_passed(headers),
        strange=seen.strange,
        work=_work(tools),
    )


def _looks_around(tool: dict[str, Any]) -> bool:
    """Whether what it finds is billed as a part of the prompt that nobody has seen."""
    return str(tool.get("type", "")).startswith((_SEARCHES, "web_fetch_"))


def _work(tools: Sequence[dict[str, Any]]) -> Work | None:
    """The searches of the web that the request allows."""
    searching = [tool for tool in tools if str(tool.get("type", "")).startswith(_SEARCHES)]
    if not searching:
        return None
    limits = [tool.get("max_uses") for tool in searching]
    most = sum(MOST_CALLS if not isinstance(limit, int) else max(limit, 0) for limit in limits)
    return Work(tools=((WEB_SEARCH, min(LIKELY_CALLS, most), most),))


def pass_messages(request: Request, decision: Decision, quirks: frozenset[str]) -> Order:  # noqa: ARG001 - one shape for all
    """A Messages request on its way to a provider that speaks the same."""
    changes: dict[str, bytes | None] = {"model": msgspec.json.encode(decision.option.upstream_model)}
    if request.own:
        changes["metadata"] = foreign_metadata(request.top.get("metadata"))
    if request.clamped:
        changes["max_tokens"] = msgspec.json.encode(request.max_output)
    option = decision.option
    if option.tier_word:
        changes["service_tier"] = msgspec.json.encode(option.tier_word)
    if option.effort:
        changes["output_config"] = with_effort(request.top.get("output_config"), option.effort)
    if request.strange:
        changes["messages"] = _signed_only(request.top.get("messages") or b"[]")
    if decision.keeps:
        changes |= in_members(request, decision)
    return Order("/messages", request.top.edited(changes), request.passed)


def _needs(asked: _Messages) -> int:
    needs = Needs.CHAT.value
    if asked.tools:
        needs |= Needs.TOOLS.value
    if asked.temperature not in (None, 1) or asked.top_p not in (None, 1) or asked.top_k is not None:
        needs |= Needs.SAMPLING.value
    thinking, output = asked.thinking, asked.output_config
    if thinking is not None and thinking.type == "enabled":
        needs |= Needs.THINKING_BUDGET.value
    if output is not None and output.effort is not None:
        needs |= Needs.REASONING_EFFORT.value | Wire.EFFORT.value
    if output is not None and output.format is not None:
        needs |= Needs.JSON_SCHEMA.value
    return needs


def _refuse_unpriced(asked: _Messages) -> None:
    """What is billed at rates that are not known here is not passed on."""
    if asked.service_tier not in (None, "auto", "standard_only"):
        _unpriced("service_tier", "auto or standard_only")
    if asked.speed not in (None, "standard"):
        _unpriced("speed", "standard")
    if asked.inference_geo not in (None, "global"):
        _unpriced("inference_geo", "global")
    for tool in asked.tools or ():
        if str(tool.get("type", "")).startswith(_UNPRICED):
            message = f"The tool {tool['type'][:60]!r} runs at Anthropic for a fee that is not known here."
            raise RouterError("invalid_request", message, param="tools")


def _unpriced(field: str, wanted: str) -> None:
    message = f"{field} must be {wanted}, or left out: others have no price here."
    raise RouterError("invalid_request", message, param=field)


def _user(metadata: Mapping[str, Any]) -> str:
    user = metadata.get("user_id")
    return user[:USER_CHARS] if isinstance(user, str) else ""


def _passed(headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    """The version that the body is written for, and betas that it uses."""
    version = headers.get("anthropic-version", "")
    if version and _VERSION.fullmatch(version) is None:
        message = "anthropic-version must be a date, such as 2023-06-01."
        raise RouterError("invalid_request", message, param="anthropic-version")
    found = [(b"anthropic-version", version.encode() or VERSION)]
    betas = headers.get("anthropic-beta", "")
    if betas:
        if _BETAS.fullmatch(betas) is None:
            message = "anthropic-beta must be names of betas, separated by commas."
            raise RouterError("invalid_request", message, param="anthropic-beta")
        found.append((b"anthropic-beta", betas.encode()))
    return tuple(found)


def _signed_only(raw: bytes) -> bytes:
    """The messages without thoughts that Anthropic has not signed; a message that has nothing else is left out."""
    kept = []
    for message in msgspec.json.decode(raw):
        content = message["content"]
        if isinstance(content, list):
            blocks = [block for block in content if not foreign(block.get("signature"))]
            if content and not blocks:
                continue
            kept.append({**message, "content": blocks})
        else:
            kept.append(message)
    return msgspec.json.encode(kept)

"""OpenAI chat completions and embeddings, as requests: what routing reads from them and how they go on.

Belongs here: reading fields, and putting the body together for the chosen model. What is not read passes through
untouched, so a field that OpenAI invents tomorrow works tomorrow. Does not belong here: responses
(stream.py, usage.py) and errors (errors.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from router.core.deciding.decide import Decision
from router.core.errors import RouterError
from router.core.images import Detail, Image, data_url_dimensions
from router.core.names import AUTO
from router.core.tokens import PromptShape
from router.core.values import Needs
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Order
from router.dialects.openai.breakpoints import in_members
from router.dialects.openai.extra import EXTRA, without_extra
from router.dialects.reading import whole
from router.dialects.request import USER_CHARS, Request, decode, foreign_metadata, own_metadata

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_ASK_FOR_USAGE: Final = b'{"include_usage":true}'


class _Part(msgspec.Struct):
    type: str = ""
    text: Any = None
    image_url: Any = None
    refusal: Any = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_calls: Any = None
    function_call: Any = None


class _Typed(msgspec.Struct):
    type: str = ""


class _Chat(msgspec.Struct):
    messages: list[_Message]
    model: str = ""
    models: list[str] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_format: _Typed | None = None
    logprobs: bool | None = None
    reasoning_effort: str | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None
    modalities: list[str] | None = None
    web_search_options: Any = None
    prediction: Any = None
    service_tier: str | None = None


class _Embeddings(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    metadata: dict[str, Any] | None = None
    user: str | None = None


_CHAT: Final = msgspec.json.Decoder(_Chat)
_EMBEDDINGS: Final = msgspec.json.Decoder(_Embeddings)
_PART_NEEDS: Final = {
    "image_url": Needs.VISION.value,
    "input_audio": Needs.AUDIO_IN.value,
    "file": Needs.FILES.value,
}
_CLOSED_PARTS: Final = frozenset({"", "text", "refusal", "image_url", "input_audio"})
"""Parts whose tokens stand in the body or are counted by formula."""
_ELSEWHERE: Final = (Needs.FILES | Needs.WEB_SEARCH).value
_ORDERS: Final = {"auto": "", "default": "realtime", "flex": "flex", "priority": "priority", "fast": "priority"}
"""What a caller may write as ``service_tier``, in our words. ``scale`` is reserved capacity without a list price."""
MOST_MODELS: Final = 16
"""That one request may name."""
_USUAL_SAMPLING: Final = (None, 1)
_USUAL_PENALTIES: Final = (None, 0)
"""As they are when nobody sets them: accepted even where they are fixed."""
_DETAILS: Final[dict[Any, Detail]] = {"low": "low", "high": "high"}
_LIMIT_NAMES: Final = (
    ("max_tokens_name", "max_tokens", "max_completion_tokens"),
    ("max_completion_tokens_name", "max_completion_tokens", "max_tokens"),
)
"""Quirk, the name that the provider takes for the output limit, the name that it refuses."""
# Plain integers: arithmetic on enum flags takes a microsecond a piece.
_CHAT_BIT: Final = Needs.CHAT.value
_JSON_SCHEMA: Final = Needs.JSON_SCHEMA.value
_SAMPLING: Final = Needs.SAMPLING.value
_FORMAT_NEEDS: Final = {"json_object": Needs.JSON_OBJECT.value, "json_schema": Needs.JSON_SCHEMA.value}


def read_chat(body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> Request:  # noqa: ARG001 - one shape for all
    """A chat completion request.

    Args:
        body: as it came.
        headers: the caller's; none of them belongs to the body.

    Raises:
        RouterError: ``invalid_request`` naming the field, what it holds and what it must hold.
    """
    top = TopLevel(body)
    chat = decode(_CHAT, body)
    if chat.service_tier is not None and chat.service_tier not in _ORDERS:
        message = f"service_tier must be {', '.join(_ORDERS)}, or left out: other tiers have no price here."
        raise RouterError("invalid_request", message, param="service_tier")
    top, models = _listed(top, chat) if chat.models is not None or not chat.model else (top, ())
    needs = _chat_needs(chat)
    texts: list[str] = []
    images: list[Image] = []
    audio = 0
    closed = True
    strange = False
    for message in chat.messages:
        content = message.content
        if isinstance(content, str):
            texts.append(content)
        elif content is not None:
            for part in content:
                needs |= _PART_NEEDS.get(part.type, 0)
                audio += part.type == "input_audio"
                closed = closed and part.type in _CLOSED_PARTS
                texts += [text for text in (part.text, part.refusal) if isinstance(text, str)]
                if part.type == "image_url":
                    images.append(_image(part.image_url))
        if message.tool_calls is not None or message.function_call is not None:
            calls = _calls(message)
            strange = strange or EXTRA in "".join(calls)
            texts += calls
    if strange:
        # What is written anew must be readable; what routing passes over has not been looked at.
        whole("messages", top.members["messages"])
    definitions = (chat.tools or []) + (chat.functions or [])
    texts += map(_text, definitions)
    if needs & _JSON_SCHEMA:
        # What was skipped has not been checked for being UTF-8.
        texts.append((top.get("response_format") or b"").decode(errors="replace"))
    return Request(
        top=top,
        model=chat.model or models[0],
        models=models,
        needs=needs,
        shape=PromptShape(
            texts=tuple(texts),
            messages=len(chat.messages),
            tools=len(definitions),
            images=tuple(images),
            audio_clips=audio,
        ),
        stream=bool(chat.stream),
        wants_usage=_wants_usage(chat),
        max_output=_output_limit(chat),
        choices=_choices(chat),
        user=(chat.user or "")[:USER_CHARS],
        text_bytes=len(body) if closed and not needs & _ELSEWHERE else None,
        tier=_ORDERS[chat.service_tier] if chat.service_tier else "",
        own=own_metadata(chat.metadata) if chat.metadata else {},
        strange=strange,
    )


def read_embeddings(body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> Request:  # noqa: ARG001 - as above
    """An embeddings request.

    Args:
        body: as it came.
        headers: the caller's; none of them belongs to the body.

    Raises:
        RouterError: ``invalid_request`` naming the field.
    """
    top = TopLevel(body)
    asked = decode(_EMBEDDINGS, body)
    given = asked.input
    texts = [given] if isinstance(given, str) else [row for row in given if isinstance(row, str)]
    rows = [] if isinstance(given, str) else [row for row in given if not isinstance(row, str)]
    apart = [len(row) for row in rows if not isinstance(row, int)]
    numbers = len(rows) - len(apart)
    if not given:
        raise RouterError("invalid_request", "input must not be empty.", param="input")
    return Request(
        top=top,
        model=asked.model,
        needs=Needs.EMBEDDINGS.value,
        shape=PromptShape(texts=tuple(texts), messages=0),
        ready_tokens=sum(apart) + numbers,
        inputs=len(texts) + len(apart) + bool(numbers),
        longest_ready=max([numbers, *apart]),
        text_bytes=len(body),
        max_output=0,
        user=(asked.user or "")[:USER_CHARS],
        own=own_metadata(asked.metadata) if asked.metadata else {},
    )


def pass_chat(request: Request, decision: Decision, quirks: frozenset[str]) -> Order:
    """A chat completion request on its way to a provider that speaks the same."""
    option = decision.option
    key = decision.cache_key
    body = outgoing(
        request,
        option.upstream_model,
        quirks,
        tier=option.tier_word,
        effort=option.effort,
        cache_key=key,
        keeps=decision.keeps,
    )
    return Order("/chat/completions", body)


def pass_embeddings(request: Request, decision: Decision, quirks: frozenset[str]) -> Order:
    """An embeddings request on its way."""
    return Order("/embeddings", outgoing(request, decision.option.upstream_model, quirks))


def outgoing(
    request: Request,
    upstream_model: str,
    quirks: frozenset[str],
    *,
    tier: str = "",
    effort: str = "",
    cache_key: str = "",
    keeps: str = "",
) -> bytes:
    """The body for the chosen provider: its name for the model, usage asked for in streams, our metadata taken out.

    Args:
        request: the caller's request.
        upstream_model: the provider's name for the chosen model.
        quirks: the provider's, as the catalog spells them.
        tier: the provider's word for the chosen tier; empty leaves the caller's.
        effort: the chosen reasoning effort; empty leaves the caller's.
        cache_key: what brings requests of one prefix to one machine, where the caller has no such key.
        keeps: of the decision: what the provider is told to keep.
    """
    changes: dict[str, bytes | None] = {"model": msgspec.json.encode(upstream_model)}
    members = request.top.members
    own_key = "" if "prompt_cache_key" in members else cache_key
    for name, word in (("service_tier", tier), ("reasoning_effort", effort), ("prompt_cache_key", own_key)):
        if word:
            changes[name] = msgspec.json.encode(word)
    if request.stream and not request.wants_usage and "no_stream_options" not in quirks:
        changes["stream_options"] = _with_usage(request.top.get("stream_options"))
    if request.own:
        changes["metadata"] = foreign_metadata(request.top.get("metadata"))
    if request.clamped:
        name = "max_tokens" if "max_tokens" in members or "max_tokens_name" in quirks else "max_completion_tokens"
        changes |= {"max_tokens": None, "max_completion_tokens": None, name: msgspec.json.encode(request.max_output)}
    for quirk, wanted, other in _LIMIT_NAMES:
        if quirk in quirks and other in members:
            # The limit that was decided and held by, whichever of the two names it came under.
            changes[wanted] = msgspec.json.encode(request.max_output) if request.max_output else None
            changes[other] = None
    if request.strange or keeps:
        changes |= _anew(request, keeps)
    if "no_stream_options" in quirks and "stream_options" in members:
        changes["stream_options"] = None
    return request.top.edited(changes)


def _anew(request: Request, keeps: str) -> dict[str, bytes]:
    """What of the messages is no longer the caller's to the letter, and what belongs to it."""
    messages = request.top.get("messages") or b"[]"
    bare = {"messages": without_extra(messages)} if request.strange else {}
    return bare | in_members(bare.get("messages", messages), keeps)


def _chat_needs(chat: _Chat) -> int:
    needs = _CHAT_BIT
    if chat.tools or chat.functions:
        needs |= Needs.TOOLS.value
    if chat.response_format is not None:
        needs |= _FORMAT_NEEDS.get(chat.response_format.type, 0)
    if chat.logprobs:
        needs |= Needs.LOGPROBS.value
    if chat.reasoning_effort is not None:
        needs |= Needs.REASONING_EFFORT.value
    if chat.modalities and "audio" in chat.modalities:
        needs |= Needs.AUDIO_OUT.value
    if chat.web_search_options is not None:
        needs |= Needs.WEB_SEARCH.value
    if chat.prediction is not None:
        needs |= Needs.PREDICTION.value
    if (
        chat.temperature not in _USUAL_SAMPLING
        or chat.top_p not in _USUAL_SAMPLING
        or chat.presence_penalty not in _USUAL_PENALTIES
        or chat.frequency_penalty not in _USUAL_PENALTIES
    ):
        needs |= _SAMPLING
    if chat.n is not None and chat.n > 1:
        needs |= Needs.MULTIPLE_CHOICES.value
    return needs


def _listed(top: TopLevel, chat: _Chat) -> tuple[TopLevel, tuple[str, ...]]:
    """The body without ``models`` and ``route``, which no provider knows, and the models that are named; the caller's ``model``
    is the first of them, unless it is `auto`, which leaves the choice among them to us.
    """
    named = chat.models
    if named is None:
        raise RouterError("invalid_request", "model is missing; `auto` lets the policy choose.", param="model")
    if not 0 < len(named) <= MOST_MODELS:
        raise RouterError("invalid_request", f"models must name 1 to {MOST_MODELS} models.", param="models")
    first = [chat.model] if chat.model not in ("", AUTO) else []
    models = tuple(dict.fromkeys([*first, *named]))
    model = msgspec.json.encode(chat.model or models[0])
    return TopLevel(top.edited({"models": None, "route": None, "model": model})), models


def _wants_usage(chat: _Chat) -> bool:
    if not chat.stream_options:
        return False
    wanted = chat.stream_options.get("include_usage")
    if wanted is not None and not isinstance(wanted, bool):
        field = "stream_options.include_usage"
        raise RouterError("invalid_request", f"{field} must be true or false.", param=field)
    return bool(wanted)


def _calls(message: _Message) -> list[str]:
    return [_text(call) for call in (message.tool_calls, message.function_call) if call is not None]


def _text(given: Any) -> str:
    return msgspec.json.encode(given).decode()


def _output_limit(chat: _Chat) -> int | None:
    field: Literal["max_completion_tokens", "max_tokens"] = (
        "max_completion_tokens" if chat.max_completion_tokens is not None else "max_tokens"
    )
    limit = chat.max_completion_tokens if chat.max_completion_tokens is not None else chat.max_tokens
    if limit is not None and limit < 1:
        raise RouterError("invalid_request", f"{field} must be at least 1, not {limit}.", param=field)
    return limit


def _choices(chat: _Chat) -> int:
    choices = 1 if chat.n is None else chat.n
    if not 1 <= choices <= 128:
        raise RouterError("invalid_request", f"n must be between 1 and 128, not {choices}.", param="n")
    return choices


def _image(given: Any) -> Image:
    url = given if isinstance(given, str) else given.get("url") if isinstance(given, dict) else None
    if not isinstance(url, str):
        raise RouterError("invalid_request", "image_url must be an object with a url.", param="messages.content")
    detail = given.get("detail") if isinstance(given, dict) else None
    width, height = data_url_dimensions(url) or (0, 0)
    return Image(width=width, height=height, detail=_DETAILS.get(detail, "auto"))


def _with_usage(raw: bytes | None) -> bytes:
    if raw is None or raw == b"null":
        return _ASK_FOR_USAGE
    options = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**options, "include_usage": True})

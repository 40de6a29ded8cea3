"""Refusals of a chat request, in the provider's words: OpenAI is strict, the compatible providers are lenient.

Belongs here: the shape and ranges of a chat body, and the error every other module raises. Does not belong here:
metering, or what a model answers. The messages and codes follow OpenAI's published errors; where a compatible
provider's own words are not known it speaks OpenAI's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.sim.messages import check_messages
from router.sim.refusal import Refusal
from router.sim.schemas import check_response_format, check_tools

if TYPE_CHECKING:
    from router.sim.catalog import Model, Provider

CHAT_FIELDS: Final = frozenset({
    "messages", "model", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "metadata", "modalities", "moderation", "n", "parallel_tool_calls",
    "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
    "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream",
    "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
    "web_search_options",
})  # fmt: skip
"""Every documented field of OpenAI's chat request (its SDK 3.54's typed parameters, November 2026)."""

_BOUNDS: Final = {
    "temperature": (0, 2, False),
    "top_p": (0, 1, False),
    "frequency_penalty": (-2, 2, False),
    "presence_penalty": (-2, 2, False),
    "n": (1, 128, True),
    "max_tokens": (1, None, True),
    "max_completion_tokens": (1, None, True),
    "top_logprobs": (0, 20, True),
    "seed": (-(2**63), 2**63 - 1, True),
}
_TYPES: Final[dict[str, tuple[type, str]]] = {
    "stream": (bool, "a boolean"),
    "logprobs": (bool, "a boolean"),
    "store": (bool, "a boolean"),
    "parallel_tool_calls": (bool, "a boolean"),
    "user": (str, "a string"),
    "prompt_cache_key": (str, "a string"),
    "safety_identifier": (str, "a string"),
    "stream_options": (dict, "an object"),
    "metadata": (dict, "an object"),
    "logit_bias": (dict, "an object"),
    "response_format": (dict, "an object"),
    "prediction": (dict, "an object"),
    "web_search_options": (dict, "an object"),
    "tools": (list, "an array of objects"),
    "modalities": (list, "an array of strings"),
}
_ENUMS: Final = {
    "service_tier": ("auto", "default", "flex", "scale", "priority", "fast"),
    "reasoning_effort": ("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "verbosity": ("low", "medium", "high"),
}
_FIXED_WHEN_REASONING: Final = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}


def check_chat(body: dict[str, Any], provider: Provider, model: Model, *, strict: bool) -> None:
    """Refuse what the provider refuses. ``strict`` adds OpenAI's own rules to those every provider shares.

    Raises:
        Refusal: 400 with the provider's message, param and code; 404 for a model that cannot chat.
    """
    if "chat" not in model.capabilities:
        message = "This is not a chat model and thus not supported in the v1/chat/completions endpoint."
        raise Refusal(404, message, param="model")
    if strict:
        unknown = sorted(set(body) - CHAT_FIELDS)
        if unknown:
            plural = "s" if len(unknown) > 1 else ""
            raise Refusal(400, f"Unrecognized request argument{plural} supplied: {', '.join(unknown)}")
    _fields(body)
    check_messages(body.get("messages"), model)
    _combinations(body, provider)
    _limits(body, model)
    _capabilities(body, model, strict=strict)
    check_tools(body, strict=strict)
    check_response_format(body, strict=strict)
    if strict and model.reasoning:
        _reasoning_model(body)


def output_limit(body: dict[str, Any], model: Model) -> int:
    """The most completion tokens a choice may have."""
    asked = body.get("max_completion_tokens") or body.get("max_tokens")
    return min(int(asked), model.max_output) if asked else model.max_output


def check_window(body: dict[str, Any], prompt_tokens: int, model: Model) -> None:
    """Refuse a prompt that, with the output asked for, is longer than the model's window.

    Raises:
        Refusal: 400 ``context_length_exceeded``.
    """
    asked = body.get("max_completion_tokens") or body.get("max_tokens") or 0
    if prompt_tokens + asked <= model.context_window:
        return
    head = f"This model's maximum context length is {model.context_window} tokens. However, "
    if prompt_tokens >= model.context_window or not asked:
        tail = f"your messages resulted in {prompt_tokens} tokens. Please reduce the length of the messages."
    else:
        tail = (
            f"you requested {prompt_tokens + asked} tokens ({prompt_tokens} in the messages, {asked} in the completion). "
            "Please reduce the length of the messages or completion."
        )
    raise Refusal(400, head + tail, param="messages", code="context_length_exceeded")


def _fields(body: dict[str, Any]) -> None:
    for name, (kind, wanted) in _TYPES.items():
        value = body.get(name)
        if value is not None and not isinstance(value, kind):
            raise Refusal.of_type(name, wanted, value)
    for name, (low, high, whole) in _BOUNDS.items():
        value = body.get(name)
        if value is not None:
            _number(name, value, low, high, whole=whole)
    for name, allowed in _ENUMS.items():
        value = body.get(name)
        if value is not None and value not in allowed:
            raise Refusal.of_value(name, value, allowed)
    stop = body.get("stop")
    if stop is not None and not isinstance(stop, str):
        if not isinstance(stop, list) or not all(isinstance(entry, str) for entry in stop):
            raise Refusal.of_type("stop", "a string or an array of strings", stop)
        if len(stop) > 4:
            message = f"Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length {len(stop)} instead."
            raise Refusal(400, message, param="stop", code="array_above_max_length")


def _number(name: str, value: Any, low: int, high: int | None, *, whole: bool) -> None:
    kind = "integer" if whole else "decimal"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise Refusal.of_type(name, "an integer" if whole else "a decimal", value)
    if value < low:
        message = f"Invalid '{name}': {kind} below minimum value. Expected a value >= {low}, but got {value} instead."
        raise Refusal(400, message, param=name, code=f"{kind}_below_min_value")
    if high is not None and value > high:
        message = f"Invalid '{name}': {kind} above maximum value. Expected a value <= {high}, but got {value} instead."
        raise Refusal(400, message, param=name, code=f"{kind}_above_max_value")


def _combinations(body: dict[str, Any], provider: Provider) -> None:
    if body.get("stream_options") is not None:
        if "no_stream_options" in provider.quirks:
            raise Refusal.unsupported("stream_options")
        if not body.get("stream"):
            message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            raise Refusal(400, message, param="stream_options")
    if body.get("max_completion_tokens") is not None:
        if "max_tokens_name" in provider.quirks:
            raise Refusal.unsupported("max_completion_tokens", "max_tokens")
        if body.get("max_tokens") is not None:
            message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
            raise Refusal(400, message, param="max_tokens", code="invalid_parameter_combination")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise Refusal(
            400, "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs"
        )
    if body.get("tool_choice") is not None and not body.get("tools"):
        raise Refusal(
            400,
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            param="tool_choice",
        )


def _limits(body: dict[str, Any], model: Model) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        asked = body.get(name)
        if asked is not None and asked > model.max_output:
            message = (
                f"{name} is too large: {asked}. This model supports at most {model.max_output} completion tokens, "
                f"whereas you provided {asked}."
            )
            raise Refusal(400, message, param=name, code="invalid_value")


def _capabilities(body: dict[str, Any], model: Model, *, strict: bool) -> None:
    able = model.capabilities
    if body.get("tools") and "tools" not in able:
        raise Refusal.unsupported("tools")
    if body.get("logprobs") and "logprobs" not in able:
        raise Refusal.unsupported("logprobs")
    if (body.get("n") or 1) > 1 and "multiple_choices" not in able:
        raise Refusal.unsupported("n")
    if strict and body.get("reasoning_effort") is not None and "reasoning_effort" not in able:
        raise Refusal(400, "Unrecognized request argument supplied: reasoning_effort")
    if "audio" in (body.get("modalities") or ()):
        raise Refusal(400, "This model does not support the requested output modality 'audio'.", param="modalities")
    for name in ("functions", "function_call"):
        if body.get(name) is not None:
            raise Refusal.unsupported(name, "tools" if name == "functions" else "tool_choice")
    form = body.get("response_format") or {}
    kind = form.get("type")
    if kind in ("json_object", "json_schema") and kind not in able:
        message = f"Invalid parameter: 'response_format' of type '{kind}' is not supported with this model."
        raise Refusal(400, message, param="response_format")


def _reasoning_model(body: dict[str, Any]) -> None:
    if body.get("max_tokens") is not None:
        raise Refusal.unsupported("max_tokens", "max_completion_tokens")
    if body.get("reasoning_effort") == "none":
        return
    for name, only in _FIXED_WHEN_REASONING.items():
        value = body.get(name)
        if value is not None and value != only:
            message = (
                f"Unsupported value: '{name}' does not support {value} with this model. "
                f"Only the default ({only}) value is supported."
            )
            raise Refusal(400, message, param=name, code="unsupported_value")

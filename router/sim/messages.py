"""Refusals of the message list: roles, contents, parts, and tool results that answer tool calls.

Belongs here: what OpenAI's chat protocol demands of `messages`. Does not belong here: every other field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.sim.refusal import Refusal, kind_of

if TYPE_CHECKING:
    from router.sim.catalog import Model

_ROLES: Final = ("system", "assistant", "user", "function", "tool", "developer")
_PARTS: Final = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
    "system": ("text",),
    "developer": ("text",),
    "tool": ("text",),
    "function": ("text",),
}
_NEEDS: Final = {"image_url": "vision", "input_audio": "audio_in", "file": "files"}


def check_messages(messages: Any, model: Model) -> None:
    """Refuse a malformed conversation.

    Raises:
        Refusal: 400, naming the message at fault by its index.
    """
    if messages is None:
        raise Refusal.missing("messages")
    if not isinstance(messages, list):
        raise Refusal.of_type("messages", "an array of objects", messages)
    if not messages:
        message = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        )
        raise Refusal(400, message, param="messages", code="empty_array")
    waiting: list[str] = []
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        if not isinstance(message, dict):
            raise Refusal.of_type(at, "an object", message)
        role = message.get("role")
        if role is None:
            raise Refusal.missing(f"{at}.role")
        if not isinstance(role, str) or role not in _ROLES:
            raise Refusal.of_value(f"{at}.role", role, _ROLES)
        if role == "tool":
            _tool_result(message, index, waiting)
        else:
            _all_answered(waiting)
            waiting = _calls(message, at) if role == "assistant" else []
        _content(message, role, index, model)
    _all_answered(waiting)


def _tool_result(message: dict[str, Any], index: int, waiting: list[str]) -> None:
    call = message.get("tool_call_id")
    if call is None:
        raise Refusal.missing(f"messages[{index}].tool_call_id")
    if call not in waiting:
        text = (
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
        )
        raise Refusal(400, text, param=f"messages.[{index}].role")
    waiting.remove(call)


def _all_answered(waiting: list[str]) -> None:
    if waiting:
        text = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
            f"The following tool_call_ids did not have response messages: {', '.join(waiting)}"
        )
        raise Refusal(400, text, param="messages")


def _calls(message: dict[str, Any], at: str) -> list[str]:
    calls = message.get("tool_calls")
    if calls is None:
        return []
    if not isinstance(calls, list) or not calls:
        raise Refusal.of_type(f"{at}.tool_calls", "an array of objects", calls)
    ids = []
    for number, call in enumerate(calls):
        where = f"{at}.tool_calls[{number}]"
        if not isinstance(call, dict):
            raise Refusal.of_type(where, "an object", call)
        if not isinstance(call.get("id"), str):
            raise Refusal.missing(f"{where}.id")
        inner = call.get("function", call.get("custom"))
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise Refusal.missing(f"{where}.function.name")
        if "function" in call and not isinstance(inner.get("arguments"), str):
            raise Refusal.missing(f"{where}.function.arguments")
        ids.append(call["id"])
    return ids


def _content(message: dict[str, Any], role: str, index: int, model: Model) -> None:
    at = f"messages.[{index}].content"
    content = message.get("content")
    if content is None:
        if role == "assistant" and (
            message.get("tool_calls") or message.get("function_call") or message.get("refusal")
        ):
            return
        raise Refusal(400, "Invalid value for 'content': expected a string, got null.", param=at)
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise Refusal(
            400, f"Invalid value for 'content': expected a string or an array, got {kind_of(content)}.", param=at
        )
    for number, part in enumerate(content):
        _part(part, role, f"messages[{index}].content[{number}]", model)


def _part(part: Any, role: str, at: str, model: Model) -> None:
    if not isinstance(part, dict):
        raise Refusal.of_type(at, "an object", part)
    kind = part.get("type")
    if kind is None:
        raise Refusal.missing(f"{at}.type")
    if not isinstance(kind, str) or kind not in _PARTS[role]:
        raise Refusal.of_value(f"{at}.type", kind, _PARTS[role])
    if kind in ("text", "refusal"):
        if not isinstance(part.get(kind), str):
            raise Refusal.missing(f"{at}.{kind}")
        return
    if _NEEDS[kind] not in model.capabilities:
        raise Refusal(400, f"Invalid content type. {kind} is only supported by certain models.", param=at)
    if not isinstance(part.get(kind), dict):
        raise Refusal.of_type(f"{at}.{kind}", "an object", part.get(kind))
    if kind == "image_url":
        _image(part["image_url"], f"{at}.image_url")


def _image(image: dict[str, Any], at: str) -> None:
    url = image.get("url")
    if not isinstance(url, str) or not url.startswith(("https://", "http://", "data:image/")):
        text = f"Invalid '{at}.url'. Expected a valid URL, but got a value with an invalid format."
        raise Refusal(400, text, param=f"{at}.url", code="invalid_image_url")
    detail = image.get("detail", "auto")
    if detail not in ("auto", "low", "high", "original"):
        raise Refusal.of_value(f"{at}.detail", detail, ("auto", "low", "high"))

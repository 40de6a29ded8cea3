"""Refusals of tools and response formats: names, schemas, and OpenAI's rule for strict schemas.

Belongs here: what a provider demands of a schema it is given. Does not belong here: making an instance of one.
"""

from __future__ import annotations

import re
from typing import Any, Final

from router.sim.refusal import Refusal, kind_of

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def check_tools(body: dict[str, Any], *, strict: bool) -> None:
    """Refuse malformed tools, and a choice of a tool that is not among them.

    Raises:
        Refusal: 400, naming the tool by its index.
    """
    names = set()
    for index, tool in enumerate(body.get("tools") or ()):
        at = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise Refusal.of_type(at, "an object", tool)
        kind = tool.get("type")
        if kind not in ("function", "custom"):
            raise Refusal.of_value(f"{at}.type", kind, ("function", "custom"))
        inner = tool.get(kind)
        if not isinstance(inner, dict):
            raise Refusal.missing(f"{at}.{kind}")
        name = inner.get("name")
        if name is None:
            raise Refusal.missing(f"{at}.{kind}.name")
        if not isinstance(name, str) or not _NAME.match(name):
            message = f"Invalid '{at}.{kind}.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            raise Refusal(400, message, param=f"{at}.{kind}.name", code="invalid_value")
        names.add(name)
        if kind == "function":
            _parameters(inner, f"{at}.function.parameters", strict=strict)
    _tool_choice(body.get("tool_choice"), names)


def _parameters(function: dict[str, Any], at: str, *, strict: bool) -> None:
    parameters, name = function.get("parameters"), function["name"]
    if parameters is None:
        return
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        message = f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got '{kind_of(parameters)}'."
        raise Refusal(400, message, param=at, code="invalid_function_parameters")
    if strict and function.get("strict"):
        _strict_schema(parameters, f"function '{name}'", at, "invalid_function_parameters")


def _tool_choice(choice: Any, names: set[str]) -> None:
    if choice is None or choice in ("none", "auto", "required"):
        return
    if not isinstance(choice, dict):
        raise Refusal.of_value("tool_choice", choice, ("none", "auto", "required"))
    kind = choice.get("type")
    if kind == "allowed_tools":
        return
    inner = choice.get(kind) if kind in ("function", "custom") else None
    name = inner.get("name") if isinstance(inner, dict) else None
    if name is None:
        raise Refusal.missing("tool_choice.function.name")
    if name not in names:
        message = f"Invalid value for 'tool_choice': no function named '{name}' was specified in the 'tools' parameter."
        raise Refusal(400, message, param="tool_choice", code="invalid_value")


def check_response_format(body: dict[str, Any], *, strict: bool) -> None:
    """Refuse a malformed or unknown response format.

    Raises:
        Refusal: 400.
    """
    form = body.get("response_format")
    if form is None:
        return
    kind = form.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise Refusal.of_value("response_format.type", kind, ("json_object", "json_schema", "text"))
    if kind == "json_object" and strict and "json" not in str(body["messages"]).lower():
        message = (
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )
        raise Refusal(400, message, param="messages")
    if kind == "json_schema":
        inner = form.get("json_schema")
        if not isinstance(inner, dict):
            raise Refusal.missing("response_format.json_schema")
        if not isinstance(inner.get("name"), str) or not _NAME.match(inner["name"]):
            raise Refusal.missing("response_format.json_schema.name")
        if not isinstance(inner.get("schema", {}), dict):
            raise Refusal.of_type("response_format.json_schema.schema", "an object", inner["schema"])
        if strict and inner.get("strict"):
            _strict_schema(inner.get("schema", {}), f"response_format '{inner['name']}'", "response_format", None)


def _strict_schema(schema: Any, owner: str, param: str, code: str | None, path: tuple[str, ...] = ()) -> None:
    """OpenAI's rule for strict schemas: objects are closed and every property is required."""
    if not isinstance(schema, dict) or len(path) > 60:
        return
    if schema.get("type") == "object" or "properties" in schema:
        problem = None
        if schema.get("additionalProperties") is not False:
            problem = "'additionalProperties' is required to be supplied and to be false."
        elif set(schema.get("properties") or {}) - set(schema.get("required") or []):
            problem = "'required' is required to be supplied and to be an array including every key in properties."
        if problem:
            raise Refusal(400, f"Invalid schema for {owner}: In context={path}, {problem}", param=param, code=code)
    for key in ("properties", "$defs", "definitions"):
        group = schema.get(key)
        for name, inner in group.items() if isinstance(group, dict) else ():
            _strict_schema(inner, owner, param, code, (*path, key, name))
    _strict_schema(schema.get("items"), owner, param, code, (*path, "items"))
    options = schema.get("anyOf")
    for option in options if isinstance(options, list) else ():
        _strict_schema(option, owner, param, code, (*path, "anyOf"))

"""Refusals of a generateContent body: what Google's API reference and the types of its SDK (google-genai) demand.

Belongs here: every rule about the fields and the conversation. Does not belong here: metering and answering.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from router.sim.gemini.refusal import unknown, wrong
from router.sim.refusal import Refusal

if TYPE_CHECKING:
    from router.sim.catalog import Model

_FIELDS: Final = frozenset(
    {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "cachedContent"}
    | {"serviceTier", "labels", "model", "store"}
)
_CONFIG: Final[dict[str, tuple[type, ...]]] = {
    "maxOutputTokens": (int,),
    "temperature": (int, float),
    "topP": (int, float),
    "topK": (int, float),
    "presencePenalty": (int, float),
    "frequencyPenalty": (int, float),
    "seed": (int,),
    "stopSequences": (list,),
    "candidateCount": (int,),
    "responseMimeType": (str,),
    "responseJsonSchema": (dict,),
    "responseSchema": (dict,),
    "responseModalities": (list,),
    "thinkingConfig": (dict,),
    "responseLogprobs": (bool,),
    "logprobs": (int,),
    "mediaResolution": (str,),
}
_PART: Final[dict[str, type]] = {
    "text": str,
    "inlineData": dict,
    "fileData": dict,
    "functionCall": dict,
    "functionResponse": dict,
}
_BESIDE: Final = frozenset({"thought", "thoughtSignature"})
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_MIMES: Final = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "application/pdf", "text/plain")
_LEVELS: Final = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
_BY_BUDGET: Final = re.compile(r"gemini-[12]\b")
_MOST_STOPS: Final = 5
_STANDARD: Final = str.maketrans("-_", "+/")
UNCHECKED: Final = "skip_thought_signature_validator"


def check(body: dict[str, Any], model: Model) -> None:
    """Refuse what Google refuses.

    Raises:
        Refusal: 400 with the field at fault.
    """
    _known(body, _FIELDS, "")
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise Refusal(400, "* GenerateContentRequest.contents: contents is not specified")
    system = body.get("systemInstruction")
    if system is not None:
        _known(system, ("role", "parts"), "system_instruction")
        if any("text" not in part for part in system.get("parts") or [{}]):
            raise wrong("system_instruction", "only text is supported")
    _contents(contents, model)
    _tools(body, model)
    _config(body.get("generationConfig") or {}, model)
    if body.get("serviceTier") not in (None, "standard", "flex", "priority"):
        raise wrong("service_tier", str(body["serviceTier"]))


def _known(given: Any, names: Any, where: str) -> None:
    if not isinstance(given, dict):
        raise wrong(where, "expected an object")
    for name in given:
        if name not in names:
            raise unknown(name, where)


def _contents(contents: list[Any], model: Model) -> None:
    waiting: list[tuple[str, str]] = []
    for number, content in enumerate(contents):
        at = f"contents[{number}]"
        _known(content, ("role", "parts"), at)
        role, parts = content.get("role", "user"), content.get("parts")
        if role not in ("user", "model"):
            raise Refusal(400, "Please use a valid role: user, model.")
        if not isinstance(parts, list) or not parts:
            raise Refusal(400, f"* GenerateContentRequest.{at}.parts: contents.parts must not be empty.")
        for place, part in enumerate(parts):
            _part(part, f"{at}.parts[{place}]", role, model)
        answers = [_pair(part["functionResponse"]) for part in parts if "functionResponse" in part]
        if (answers or waiting) and sorted(answers) != sorted(waiting):
            raise Refusal(
                400,
                "Please ensure that the number of function response parts is equal to the number of function call parts "
                "of the function call turn.",
            )
        waiting = [_pair(part["functionCall"]) for part in parts if "functionCall" in part]
        if waiting and not _BY_BUDGET.match(model.upstream):
            _signed(parts, at)
    if waiting or contents[-1].get("role") == "model":
        raise Refusal(400, "Please ensure that a single turn request ends with a user role.")


def _pair(call: dict[str, Any]) -> tuple[str, str]:
    return str(call.get("id") or ""), str(call.get("name"))


def _signed(parts: list[Any], at: str) -> None:
    """Of calls made at once the first carries a signature: the one that it came with, or the word for none."""
    first = next(part for part in parts if "functionCall" in part)
    given = first.get("thoughtSignature")
    if not given:
        message = f"Function call is missing a thought_signature in functionCall parts. {at}"
        raise Refusal(400, message)
    # Base64 of either alphabet.
    if given != UNCHECKED and given.translate(_STANDARD) != signature(first["functionCall"]["name"]):
        raise Refusal(400, "Thought signature is not valid.")


def _part(part: Any, at: str, role: str, model: Model) -> None:
    _known(part, {*_PART, *_BESIDE}, at)
    kinds = [name for name in _PART if name in part]
    if len(kinds) != 1:
        raise wrong(at, "oneof field 'data' must be set once")
    if not isinstance(part[kinds[0]], _PART[kinds[0]]):
        raise wrong(f"{at}.{kinds[0]}", "wrong type")
    _data(kinds[0], part[kinds[0]], at, role, model)


def _data(kind: str, value: Any, at: str, role: str, model: Model) -> None:
    if kind == "inlineData":
        _known(value, ("mimeType", "data"), at)
        if value.get("mimeType") not in _MIMES:
            raise Refusal(400, f"Unsupported MIME type: {value.get('mimeType')}")
        base64.b64decode(value["data"])
        if "vision" not in model.capabilities:
            raise Refusal(400, "Image input modality is not enabled for this model")
    elif kind == "fileData":
        raise wrong(at, "files by their URI are not simulated")
    elif kind == "functionCall":
        _known(value, ("id", "name", "args"), f"{at}.function_call")
        if role != "model" or not isinstance(value.get("args", {}), dict):
            raise wrong(f"{at}.function_call", "a call is the model's, and its args are an object")
    elif kind == "functionResponse":
        _known(value, ("id", "name", "response", "parts"), f"{at}.function_response")
        if role != "user" or not isinstance(value.get("response"), dict) or not value.get("name"):
            raise wrong(f"{at}.function_response", "name and response are required")


def _tools(body: dict[str, Any], model: Model) -> None:
    names: set[Any] = set()
    for number, tool in enumerate(body.get("tools") or ()):
        at = f"tools[{number}]"
        _known(tool, ("functionDeclarations",), at)
        for declared in tool["functionDeclarations"]:
            _known(declared, ("name", "description", "parameters", "parametersJsonSchema"), at)
            name = declared.get("name")
            if not isinstance(name, str) or _NAME.fullmatch(name) is None:
                raise Refusal(400, f"* GenerateContentRequest.{at}: Invalid function name.")
            if name in names:
                raise Refusal(400, f"* GenerateContentRequest.{at}: Duplicate function declaration found: {name}")
            schema = declared.get("parametersJsonSchema")
            if schema is not None and schema.get("type", "object") != "object":
                raise wrong(f"{at}.parameters_json_schema", "must describe an object")
            names.add(name)
    if names and "tools" not in model.capabilities:
        raise Refusal(400, "Function calling is not enabled for this model")
    if body.get("toolConfig") is not None:
        _choice(body["toolConfig"], names)


def _choice(choice: Any, names: set[Any]) -> None:
    _known(choice, ("functionCallingConfig", "retrievalConfig"), "tool_config")
    config = choice.get("functionCallingConfig") or {}
    _known(config, ("mode", "allowedFunctionNames"), "tool_config.function_calling_config")
    mode = config.get("mode", "AUTO")
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED"):
        raise wrong("tool_config.function_calling_config.mode", str(mode))
    allowed = config.get("allowedFunctionNames")
    if not names:
        raise Refusal(400, "Function calling config is set without function_declarations.")
    if allowed and (mode != "ANY" or not names.issuperset(allowed)):
        raise Refusal(400, "allowed_function_names should only be set, to declared names, when mode is ANY")


def _config(config: Any, model: Model) -> None:
    _known(config, _CONFIG, "generation_config")
    for name, value in config.items():
        if not isinstance(value, _CONFIG[name]) or (isinstance(value, bool) and bool not in _CONFIG[name]):
            raise wrong(f"generation_config.{name}", "wrong type")
    _between(config, "temperature", 0, 2)
    _between(config, "topP", 0, 1)
    _between(config, "maxOutputTokens", 1, model.max_output)
    if len(config.get("stopSequences") or ()) > _MOST_STOPS:
        raise Refusal(400, "Only 5 stop sequences are allowed.")
    for name in ("presencePenalty", "frequencyPenalty"):
        if model.fixed_sampling and config.get(name):
            raise Refusal(400, "Penalty is not enabled for this model")
    if config.get("responseJsonSchema") is not None and config.get("responseMimeType") != "application/json":
        raise Refusal(400, "response_json_schema requires response_mime_type application/json")
    thinking = config.get("thinkingConfig")
    if thinking is not None:
        _thinking(thinking, model)


def _between(config: dict[str, Any], name: str, low: int, high: int) -> None:
    if name in config and not low <= config[name] <= high:
        message = (
            f"Unable to submit request because it has a {name} value of {config[name]}; supported: {low} to {high}."
        )
        raise Refusal(400, message)


def _thinking(thinking: dict[str, Any], model: Model) -> None:
    _known(thinking, ("includeThoughts", "thinkingBudget", "thinkingLevel"), "generation_config.thinking_config")
    if not {"reasoning_effort", "thinking_budget"} & model.capabilities:
        raise Refusal(400, "Thinking is not enabled for this model")
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    if level is not None and (level not in _LEVELS or _BY_BUDGET.match(model.upstream)):
        raise Refusal(400, "Thinking level is not supported for this model.")
    if level == "MINIMAL" and "-pro" in model.upstream:
        raise Refusal(400, "Thinking level MINIMAL is not supported for this model.")
    least = 128 if "-pro" in model.upstream else 0
    if budget is not None and not (budget == -1 or least <= budget <= 32_768):
        raise Refusal(400, f"The thinking budget {budget} is invalid. Please choose a value between {least} and 32768.")
    if budget is not None and level is not None:
        raise Refusal(400, "You can only set only one of thinking budget and thinking level.")


def signature(name: str) -> str:
    """What this simulator signs a call of a tool with."""
    return base64.b64encode(b"sim" + hashlib.blake2b(name.encode(), digest_size=30).digest()).decode()

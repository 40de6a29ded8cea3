"""JSON that satisfies a JSON Schema: what structured output and tool arguments look like.

Belongs here: objects, arrays, strings, numbers, booleans, enum, const, required, $ref, anyOf/oneOf/allOf and the
usual bounds and formats. Does not belong here: `pattern` and other assertions that need a solver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random

_WORDS: Final = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island", "juniper")
_FORMATS: Final = {
    "date-time": "2026-03-14T09:30:00Z",
    "date": "2026-03-14",
    "time": "09:30:00Z",
    "duration": "PT15M",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
    "uri": "https://example.com/page",
    "uuid": "3f2b8c1e-7d44-4a6b-9c1f-5e8d2a7b6c90",
}
_SHALLOW: Final = 6
"""From this depth on optional fields are left out and the shortest alternative is taken."""
_DEEPEST: Final = 40
"""A schema that requires itself has no finite instance; the answer is cut here."""


def instance(schema: dict[str, Any], rng: random.Random) -> Any:
    """A value that is valid for the schema (draft 2020-12, the keywords named above)."""
    return _make(schema, schema, rng, 0)


def _make(schema: Any, root: dict[str, Any], rng: random.Random, depth: int) -> Any:
    schema = _resolve(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][rng.randrange(len(schema["enum"]))]
    for keyword in ("anyOf", "oneOf"):
        if schema.get(keyword):
            return _make(_alternative(schema[keyword], root, depth), root, rng, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        named = [name for name in kind if name != "null"]
        kind = named[0] if named and depth < _SHALLOW else ("null" if "null" in kind else kind[0])
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    if kind == "object":
        return _object(schema, root, rng, depth)
    return _array(schema, root, rng, depth) if kind == "array" else _scalar(kind, schema, rng)


def _scalar(kind: str, schema: dict[str, Any], rng: random.Random) -> Any:
    if kind == "boolean":
        return rng.random() < 0.5
    if kind in ("integer", "number"):
        return _number(schema, rng, whole=kind == "integer")
    return None if kind == "null" else _string(schema, rng)


def _resolve(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """Follow $ref and merge allOf. ``true`` and anything malformed allow every value."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, dict):
            return {}
        if "$ref" in schema:
            target: Any = root
            for step in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
                target = target.get(step.replace("~1", "/").replace("~0", "~"), {}) if step else target
            schema = target
        elif schema.get("allOf"):
            merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                for key, value in _resolve(part, root).items():
                    if key == "properties":
                        merged["properties"] = {**merged.get("properties", {}), **value}
                    elif key == "required":
                        merged["required"] = [*merged.get("required", []), *value]
                    else:
                        merged.setdefault(key, value)
            schema = merged
        else:
            return schema
    return {}


def _alternative(options: list[Any], root: dict[str, Any], depth: int) -> Any:
    null = [option for option in options if _resolve(option, root).get("type") == "null"]
    if null and depth >= _SHALLOW:
        return null[0]
    return next((option for option in options if option not in null), options[0])


def _object(schema: dict[str, Any], root: dict[str, Any], rng: random.Random, depth: int) -> dict[str, Any]:
    if depth >= _DEEPEST:
        return {}
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    names = [name for name in properties if depth < _SHALLOW or name in required]
    names += [name for name in required if name not in properties]
    return {name: _make(properties.get(name, {}), root, rng, depth + 1) for name in names}


def _array(schema: dict[str, Any], root: dict[str, Any], rng: random.Random, depth: int) -> list[Any]:
    low = int(schema.get("minItems", 0))
    high = int(schema.get("maxItems", max(low, 3)))
    if depth >= _DEEPEST:
        return []
    count = low if depth >= _SHALLOW else rng.randint(max(low, min(1, high)), max(low, min(high, low + 2)))
    fixed = schema.get("prefixItems") or []
    made: list[Any] = []
    for index in range(max(count, len(fixed))):
        item = _make(fixed[index] if index < len(fixed) else schema.get("items", {}), root, rng, depth + 1)
        for _ in range(20):
            if not (schema.get("uniqueItems") and item in made):
                break
            item = _make(schema.get("items", {}), root, rng, depth + 1)
        made.append(item)
    return made


def _number(schema: dict[str, Any], rng: random.Random, *, whole: bool) -> int | float:
    step = schema.get("multipleOf") or (1 if whole else 0.5)
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    upper = high if high is not None else below
    lower = low if low is not None else above
    floor = lower if lower is not None else 1 if upper is None else min(1, upper - step)
    ceiling = upper if upper is not None else floor + 50 * step
    first = -(-floor // step)
    if above is not None and first * step <= above:
        first += 1
    last = ceiling // step
    if below is not None and last * step >= below:
        last -= 1
    if last < first:  # no multiple of the default step fits in
        return int(floor) if whole else (floor + ceiling) / 2
    value = step * rng.randint(int(first), int(min(last, first + 50)))
    return int(value) if whole else value


def _string(schema: dict[str, Any], rng: random.Random) -> str:
    text = _FORMATS.get(str(schema.get("format")))
    if text is not None:
        return text
    text = f"{_WORDS[rng.randrange(len(_WORDS))]} {_WORDS[rng.randrange(len(_WORDS))]}"
    low, high = int(schema.get("minLength", 0)), schema.get("maxLength")
    while len(text) < low:
        text += f" {_WORDS[rng.randrange(len(_WORDS))]}"
    return text if high is None else text[: int(high)]

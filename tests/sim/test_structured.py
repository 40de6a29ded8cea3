import json
import random
import re

import pytest

from router.sim.structured import instance

NODE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 3, "maxLength": 20},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]},
            },
            "required": ["name", "children", "next"],
        }
    },
    "$ref": "#/$defs/node",
}


def made(schema):
    return [instance(schema, random.Random(seed)) for seed in range(40)]


def valid(value, schema, root):
    """A reader of its own for the keywords that the cases use."""
    if "$ref" in schema:
        return valid(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "anyOf" in schema:
        return any(valid(value, option, root) for option in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema.get("type")
    if isinstance(kind, list):
        return any(valid(value, {**schema, "type": one}, root) for one in kind)
    if kind == "object":
        inner = schema.get("properties", {})
        return (
            isinstance(value, dict)
            and set(schema.get("required", [])) <= set(value) <= set(inner)
            and all(valid(item, inner[name], root) for name, item in value.items())
        )
    if kind == "array":
        return (
            isinstance(value, list)
            and schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**6)
            and all(valid(item, schema["items"], root) for item in value)
        )
    if kind == "string":
        return isinstance(value, str) and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**6)
    if kind in ("integer", "number"):
        return (
            isinstance(value, int if kind == "integer" else (int, float))
            and not isinstance(value, bool)
            and schema.get("minimum", value) <= value <= schema.get("maximum", value)
            and schema.get("exclusiveMinimum", value - 1) < value < schema.get("exclusiveMaximum", value + 1)
            and value % schema.get("multipleOf", 1 if kind == "integer" else value or 1) == 0
        )
    return value is None if kind == "null" else isinstance(value, bool)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}}, "required": ["a"]},
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        {"type": "array", "items": {"type": "string"}, "minItems": 7},
        {"type": "string", "enum": ["red", "green"]},
        {"type": ["string", "null"]},
        {"type": "integer", "minimum": 18, "maximum": 20},
        {"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6},
        {"type": "integer", "maximum": -10},
        {"type": "integer", "multipleOf": 5, "minimum": 3},
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.25},
        {"type": "string", "minLength": 100, "maxLength": 101},
        {"type": "string", "maxLength": 1},
        NODE,
    ],
)
def test_what_is_made_satisfies_the_schema(schema):
    for value in made(schema):
        assert valid(value, schema, schema), value


def test_all_of_is_merged():
    schema = {
        "allOf": [
            {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
            {"properties": {"b": {"const": 2}}, "required": ["b"]},
        ]
    }
    assert made(schema)[0] == {"a": 1, "b": 2}


def test_formats_look_like_themselves():
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made({"type": "string", "format": "date"})[0])


def test_unique_items_are_unique():
    schema = {"type": "array", "items": {"enum": ["a", "b", "c", "d", "e"]}, "minItems": 3, "uniqueItems": True}
    assert all(len(set(value)) == len(value) for value in made(schema))


def test_a_schema_that_requires_itself_ends():
    schema = {
        "$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}},
        "$ref": "#/$defs/a",
    }
    assert "a" in made(schema)[0]


@pytest.mark.parametrize("schema", [{}, {"$ref": "#/$defs/none"}, {"$ref": "#"}, {"allOf": [True]}])
def test_a_schema_that_says_nothing_is_satisfied_by_anything_that_json_can_say(schema):
    assert json.loads(json.dumps(made(schema))) == made(schema)

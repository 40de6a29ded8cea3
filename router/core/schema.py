"""What the schemas of policies and catalog share: strict models, field types, and problems with a place and a hint.

Belongs here: turning pydantic's errors into sentences, and field types that both schemas use. Does not belong
here: files, lines and columns (`router.adapters.policies.files` adds them to a problem's path).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar, get_args

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema

from router.core.catalog.catalog import did_you_mean
from router.core.money import parse_usd, pico_per_token

Path = tuple[str | int, ...]

_PLAIN: Final = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, at a path of keys and indexes into the document."""

    path: Path
    message: str


class SchemaError(Exception):
    """A document that cannot be used. Carries every problem found, not only the first.

    Args:
        problems: at least one.
    """

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


class Strict(BaseModel):
    """A frozen mapping with a closed set of keys."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", arbitrary_types_allowed=True)


Schema = TypeVar("Schema", bound=Strict)


def validate(schema: type[Schema], document: object) -> Schema:
    """The document as its schema.

    Raises:
        SchemaError: unknown keys (with the near miss), missing keys, bad values.
    """
    if not isinstance(document, Mapping):
        raise SchemaError([Problem((), "the file must hold a mapping of keys to values")])
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        raise SchemaError([problem_of(schema, dict(detail)) for detail in error.errors(include_url=False)]) from None


def problem_of(schema: type[BaseModel], detail: dict[str, Any]) -> Problem:
    """One of pydantic's errors about a document of this schema, as a sentence with its near misses."""
    path: Path = detail["loc"]
    name = str(path[-1])
    match detail["type"]:
        case "extra_forbidden":
            known = _keys(schema, path[:-1])
            message = f"unknown key {name!r}{did_you_mean(name, known)}"
            return Problem(path, message if "did you mean" in message else f"{message}; known are {', '.join(known)}")
        case "missing":
            return Problem(path[:-1], f"the key {name!r} is missing")
        case "value_error":
            return Problem(path, f"{name}: {detail['ctx']['error']}")
        case "literal_error":
            allowed = [part.strip("'") for part in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            hint = did_you_mean(str(detail["input"]), allowed)
            return Problem(path, f"{name}: {detail['input']!r} is not one of {', '.join(allowed)}{hint}")
        case _:
            return Problem(path, f"{name}: {detail['msg'][0].lower()}{detail['msg'][1:]}")


def _keys(schema: type[BaseModel], path: Path) -> list[str]:
    """The keys of the mapping at a path: walks the annotations, through lists, mappings and optional values."""
    for part in path:
        if isinstance(part, int) or part not in schema.model_fields:
            continue
        annotation: Any = schema.model_fields[part].annotation
        schema = next(kind for kind in _leaves(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(schema.model_fields)


def _leaves(annotation: Any) -> list[Any]:
    inner = [leaf for part in get_args(annotation) for leaf in _leaves(part)]
    return inner or [annotation]


def _text(value: object) -> str:
    """A number as it was written. A binary float is refused where money is meant."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f'{value!r} is not an exact decimal; write it in quotes, such as "0.40"')  # noqa: TRY004 - pydantic reports ValueError only
    return str(value)


def _decimal(value: object) -> Decimal:
    text = _text(value)
    if not _PLAIN.fullmatch(text):
        raise ValueError(f"{text!r} is not a plain decimal number, such as 0.40")
    return Decimal(text)


def _instant(value: object) -> dt.datetime:
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise ValueError("the time has no zone; write it in UTC with a Z, such as 2026-08-16T16:00:00Z")
        return value.astimezone(dt.UTC)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    raise ValueError(f"{value!r} is not a date, such as 2026-11-22")


def written(parse: Callable[[str], object]) -> BeforeValidator:
    """A validator for text with a unit. YAML reads ``0.8`` and ``90`` as numbers, so those are taken as written."""

    def read(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"{value!r} must be text")  # noqa: TRY004 - pydantic reports ValueError only
        return parse(str(value))

    return BeforeValidator(read)


def one_or_more(value: object) -> object:
    """A single value where a list is meant as well."""
    return [value] if isinstance(value, str) else value


_EXACT: Final = WithJsonSchema({"type": ["string", "integer"], "pattern": r"^\d+(\.\d+)?$"})
_SIGNED: Final = WithJsonSchema({"type": ["string", "integer"], "pattern": r"^-?\d+(\.\d+)?$"})
_DAY_OR_TIME: Final = WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}([T ].+)?$"})

RatePerMillion = Annotated[int, BeforeValidator(lambda value: pico_per_token(_decimal(value))), _EXACT]
"""Dollars per million tokens in the file, pico-dollars per token once read."""
Usd = Annotated[int, BeforeValidator(lambda value: parse_usd(_text(value))), _EXACT]
"""Dollars in the file, pico-dollars once read."""
Thousandths = Annotated[int, BeforeValidator(lambda value: _scaled(value, 1000)), _EXACT]
"""A decimal of at most three places, in thousandths."""
SignedThousandths = Annotated[int, BeforeValidator(lambda value: _scaled(value, 1000, signed=True)), _SIGNED]
"""As before, and it may be below zero."""
Millionths = Annotated[int, BeforeValidator(lambda value: _scaled(value, 1_000_000)), _EXACT]
"""A decimal of at most six places, in millionths."""
ExactDecimal = Annotated[Decimal, BeforeValidator(_decimal), _EXACT]
"""A decimal as it was written."""
Instant = Annotated[dt.datetime, BeforeValidator(_instant), _DAY_OR_TIME]
"""A date (its first instant in UTC) or a time with a zone."""


def _scaled(value: object, scale: int, *, signed: bool = False) -> int:
    number = _decimal(value) * scale
    if (number < 0 and not signed) or number != number.to_integral_value():
        raise ValueError(f"{value!r} must not be negative, nor finer than 1/{scale}")
    return int(number)


def plain_schema(title: str, schema: type[Strict]) -> dict[str, Any]:
    """The JSON Schema of a file, for editors. It knows each field; what reaches across fields only the loader checks."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return {**head, **_plain(schema.model_json_schema())}


def _plain(node: Any, *, names: bool = False) -> Any:
    """Without what pydantic adds for its own sake: titles, and defaults that are no text of a file."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _plain(value, names=key in ("properties", "$defs") and not names)
        for key, value in node.items()
        if names or key not in ("title", "default")
    }

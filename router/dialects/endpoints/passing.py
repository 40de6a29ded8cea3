"""What the endpoints beside chat share: bodies that pass through, answers that are read for their meters alone.

Belongs here: putting the model's name in, telling an answer, the stream of typed events. Does not belong here: what any
endpoint's body or usage means.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Final

import msgspec

from router.core.names import AUTO
from router.core.values import Endpoint, Usage
from router.dialects.contract import Cost, Inbound, Ordering, Outbound, Scanner
from router.dialects.form import Form
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Order
from router.dialects.openai import CHAT, OPENAI
from router.dialects.openai.usage import a_count
from router.dialects.passing import PassingScanner
from router.dialects.request import Request, foreign_metadata

UsageOf = Callable[[bytes], "Usage | None"]
NO_BODY: Final = TopLevel(b"{}")


def outbound(usage_of: UsageOf, *, is_answer: Callable[[bytes], bool], scanner: type[EventScanner]) -> Outbound:
    """How answers of an endpoint are read: nothing of them is counted, so what has no meters goes by what was ordered."""

    def make(request: Request, cost: Cost) -> Scanner:  # noqa: ARG001 - the shape of a scanner's maker
        return scanner()

    return msgspec.structs.replace(
        OPENAI,
        usage_of=usage_of,
        is_answer=is_answer,
        answered_text=_nothing,
        streamed_text=_nothing,
        said_so_far=lambda _: "",
        scanner=make,
    )


def inbound(  # noqa: PLR0917 - an entry's columns
    api: str, endpoint: Endpoint, path: str, read: Callable[..., Request], passed: Ordering, answers: Outbound
) -> Inbound:
    """The entry of an endpoint that speaks OpenAI's dialect."""
    return msgspec.structs.replace(
        CHAT, api=api, endpoint=endpoint, path=path, read=read, passed=passed, hearing=None, outbound=answers
    )


def as_json(path: str) -> Ordering:
    """Passes a JSON body on to a path: the model replaced, our metadata taken out."""

    def passed(request: Request, decision: Any, quirks: frozenset[str]) -> Order:  # noqa: ARG001 - one shape for all
        return Order(path, replaced(request, decision.option.upstream_model))

    return passed


def as_form(path: str) -> Ordering:
    """Passes a form on to a path, the model replaced."""

    def passed(request: Request, decision: Any, quirks: frozenset[str]) -> Order:  # noqa: ARG001 - one shape for all
        return in_form(request, path, decision.option.upstream_model)

    return passed


def in_form(request: Request, path: str, model: str) -> Order:
    """A form on its way.

    Raises:
        TypeError: the request is none.
    """
    if not isinstance(request.form, Form):
        raise TypeError("this request came without a form")
    content_type = (b"content-type", request.form.content_type.encode("latin-1", "replace"))
    return Order(path, request.form.edited({"model": model.encode()}), (content_type,))


def replaced(request: Request, model: str, **more: bytes | None) -> bytes:
    """A JSON body with the provider's name for the model, and what else is to be there."""
    changes: dict[str, bytes | None] = {"model": msgspec.json.encode(model), **more}
    if request.own:
        changes["metadata"] = foreign_metadata(request.top.get("metadata"))
    return request.top.edited(changes)


def model_of(given: str | None) -> str:
    """The model that is named; `auto` where none is."""
    return given or AUTO


def has(*names: str) -> Callable[[bytes], bool]:
    """Tells an answer: a JSON object with one of these members."""

    def found(body: bytes) -> bool:
        document = loaded(body)
        return document is not None and any(name in document for name in names)

    return found


def loaded(body: bytes) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def part(given: Any, name: str) -> int:
    """A count in an object of details; 0 where there is none."""
    return (a_count(given.get(name)) or 0) if isinstance(given, dict) else 0


class EventScanner(PassingScanner):
    """Reads a stream of events with types while it passes: ``….done`` and ``….completed`` end what they speak of, and carry
    the meters.
    """

    __slots__ = ()
    telling = re.compile(rb'"(?:usage|error)"|\.(?:done|completed)"')
    answering = re.compile(rb'"type"')
    meters: ClassVar[UsageOf]

    def goes_on(self, event: bytes, data: bytes) -> bool:  # noqa: ARG002 - the contract's shape
        """All of it goes on but an error, which its caller is told in our words."""
        document = loaded(data)
        if document is None:
            return True
        if document.get("error") or document.get("type") == "error":
            self.failed, self.error = True, data
            return False
        self.usage = type(self).meters(data) or self.usage
        if str(document.get("type", "")).endswith((".done", ".completed")):
            self.finished = True
        return True


def _nothing(answer: bytes) -> list[str]:  # noqa: ARG001 - the contract's shape
    return []

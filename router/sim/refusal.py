"""An answer that is an error, in the shape of OpenAI's error body.

Belongs here: the exception and the phrases that several checks share. Does not belong here: any check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_KINDS: Final = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a decimal"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)
_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Refusal(Exception):  # noqa: N818 - it is an answer of the provider, not a failure of the simulator
    """One error answer: HTTP status and OpenAI's four fields, with headers if the case has some."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type_: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        kind = type_ or _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    @classmethod
    def missing(cls, param: str) -> Refusal:
        """A required field is not there."""
        return cls(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")

    @classmethod
    def of_type(cls, param: str, wanted: str, value: Any) -> Refusal:
        """A field of the wrong JSON type."""
        message = f"Invalid type for '{param}': expected {wanted}, but got {kind_of(value)} instead."
        return cls(400, message, param=param, code="invalid_type")

    @classmethod
    def of_value(cls, param: str, value: Any, allowed: Iterable[str]) -> Refusal:
        """A value outside a closed set."""
        names = [f"'{name}'" for name in allowed]
        supported = f"{', '.join(names[:-1])}, and {names[-1]}" if len(names) > 1 else names[0]
        shown = f"'{value[:40]}'" if isinstance(value, str) else kind_of(value)
        return cls(
            400, f"Invalid value: {shown}. Supported values are: {supported}.", param=param, code="invalid_value"
        )

    @classmethod
    def unsupported(cls, param: str, instead: str | None = None) -> Refusal:
        """A documented field that this model or provider does not take."""
        message = f"Unsupported parameter: '{param}' is not supported with this model."
        if instead:
            message += f" Use '{instead}' instead."
        return cls(400, message, param=param, code="unsupported_parameter")


def kind_of(value: Any) -> str:
    """A JSON value's type with its article, as OpenAI's messages name it."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")

"""The one error family that reaches a caller, and the table that gives each code its status.

Belongs here: what went wrong in terms a caller can act on. Does not belong here: the body's shape, which is
the dialect's affair, and any foreign exception, which the adapters translate at their edge.
"""

from __future__ import annotations

from typing import Final


class ErrorKind:
    """How one error code is reported: HTTP status, the dialect's error type, and whether a retry can help."""

    __slots__ = ("retryable", "status", "type")

    def __init__(self, status: int, type_: str, *, retryable: bool) -> None:
        self.status = status
        self.type = type_
        self.retryable = retryable


CODES: Final[dict[str, ErrorKind]] = {
    "invalid_request": ErrorKind(400, "invalid_request_error", retryable=False),
    "invalid_api_key": ErrorKind(401, "authentication_error", retryable=False),
    "budget_exceeded": ErrorKind(402, "budget_error", retryable=False),
    "model_not_allowed": ErrorKind(403, "permission_error", retryable=False),
    "not_allowed": ErrorKind(403, "permission_error", retryable=False),
    "unknown_model": ErrorKind(404, "invalid_request_error", retryable=False),
    "unknown_policy": ErrorKind(404, "invalid_request_error", retryable=False),
    "not_found": ErrorKind(404, "invalid_request_error", retryable=False),
    "method_not_allowed": ErrorKind(405, "invalid_request_error", retryable=False),
    "idempotency_conflict": ErrorKind(409, "idempotency_error", retryable=False),
    "idempotency_answer_not_kept": ErrorKind(409, "idempotency_error", retryable=False),
    "request_timeout": ErrorKind(408, "invalid_request_error", retryable=True),
    "request_too_large": ErrorKind(413, "invalid_request_error", retryable=False),
    "no_feasible_model": ErrorKind(422, "invalid_request_error", retryable=False),
    "request_cancelled": ErrorKind(409, "invalid_request_error", retryable=False),
    "rate_limited": ErrorKind(429, "rate_limit_error", retryable=True),
    "internal_error": ErrorKind(500, "server_error", retryable=True),
    "upstream_refused_credentials": ErrorKind(502, "upstream_error", retryable=False),
    "upstream_billing": ErrorKind(502, "upstream_error", retryable=False),
    "upstream_error": ErrorKind(502, "upstream_error", retryable=True),
    "upstream_bad_response": ErrorKind(502, "upstream_error", retryable=False),
    "upstream_interrupted": ErrorKind(502, "upstream_error", retryable=True),
    "upstream_unreachable": ErrorKind(502, "upstream_error", retryable=True),
    "upstream_unavailable": ErrorKind(503, "upstream_error", retryable=True),
    "archive_unavailable": ErrorKind(503, "server_error", retryable=False),
    "store_unavailable": ErrorKind(503, "server_error", retryable=True),
    "node_stopping": ErrorKind(503, "server_error", retryable=True),
    "journal_unavailable": ErrorKind(503, "server_error", retryable=True),
    "upstream_timeout": ErrorKind(504, "upstream_error", retryable=True),
}
"""Every code that a caller can see. Stable: applications match on them."""


class RouterError(Exception):
    """A refusal or failure, in words for the caller.

    Args:
        code: a key of `CODES`.
        message: what is wrong and what would be right. Never prompt text, never a secret.
        param: the request field at fault, if one is.
        retry_after_s: seconds after which a retry makes sense; sent as Retry-After.
        status: overrides the table's status where the upstream's own status must survive (a provider's 400).
        details: further machine-readable facts, added to the body's error object.

    Raises:
        KeyError: the code is not in `CODES`.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        status: int | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        kind = CODES[code]
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.status = status if status is not None else kind.status
        self.type = kind.type
        self.retryable = kind.retryable
        self.details = details or {}
        self.headers: list[tuple[str, str]] = []
        """Further headers of the answer that it becomes."""
        self.attempts: int | None = None
        """How many attempts were made, where any was."""

"""Errors in OpenAI's shape: ours on their way out, a provider's on their way in.

Belongs here: bodies and the table from a provider's status to our codes. Does not belong here: what to do about an
error (retry, fall back): that is the pipeline's.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from router.core.errors import RouterError

_PROVIDER_SAYS_NO: Final = frozenset({400, 409, 413, 415, 422})
"""The request itself is refused: the provider's own words help the caller most, and no retry will."""
_NO_CREDIT: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_error",
        "enforced_spend_limit_reached",
    }
)
"""Codes and types by which providers say that the account is out of money (OpenAI and Anthropic error references)."""
_API_KEY: Final = re.compile(r"api[ _-]?key", re.IGNORECASE)
_ACCOUNT: Final = re.compile(
    r"api[ _-]?key|credential|organi[sz]ation|account|billing|credit|quota|\b(?:org|proj|sk)[-_]", re.IGNORECASE
)
MOST_WORDS: Final = 1_000
"""Characters of a provider's message that are passed on from inside a stream."""
_OVERLOADED: Final = frozenset({498, 503, 529})
"""498 is Groq's capacity_exceeded, 529 Anthropic's overloaded_error."""


def error_body(error: RouterError) -> bytes:
    """``{"error": {message, type, param, code, …}}`` as OpenAI's SDKs read it."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.type,
                "param": error.param,
                "code": error.code,
                **error.details,
            }
        }
    )


def error_event(error: RouterError) -> bytes:
    """The same inside a stream whose status has already gone out: the SDKs raise APIError on it."""
    return b"data: " + error_body(error) + b"\n\n"


def reported_error(data: bytes, *, provider: str) -> RouterError:
    """What an error that a provider put into its stream means to our caller.

    Its words are passed on unless they seem to speak of our account there: our keys, our organisation, our credit.
    """
    said = _error_object(data)
    words = said.get("message")
    broke = any(isinstance(kind, str) and kind in _NO_CREDIT for kind in (said.get("code"), said.get("type")))
    if not isinstance(words, str) or not words or broke or _ACCOUNT.search(words):
        return RouterError("upstream_error", f"{provider} reported an error instead of (the rest of) an answer.")
    return RouterError("upstream_error", f"{provider} reported: {words[:MOST_WORDS]}")


def provider_error(status: int, body: bytes, retry_after: str | None, *, provider: str, model: str) -> RouterError:
    """What a provider's error answer means to our caller.

    A provider's bodies to 401 and 403 are never passed on: they can name our account and key. Nor is a 400 that
    speaks of API keys, which is how Google answers one that it does not know ("API key not valid").
    """
    said = _error_object(body)
    words = said.get("message")
    broke = any(isinstance(kind, str) and kind in _NO_CREDIT for kind in (said.get("code"), said.get("type")))
    details: dict[str, object] = {"provider": provider, "upstream_status": status}
    if status in (401, 403) or (status == 400 and isinstance(words, str) and _API_KEY.search(words)):
        message = f"{provider} refused the credentials that this router has for it."
        return RouterError("upstream_refused_credentials", message, details=details)
    if status == 402 or broke:
        return RouterError("upstream_billing", f"The account at {provider} has no credit left.", details=details)
    if status == 429:
        return RouterError(
            "rate_limited",
            f"{provider} limits the rate of requests to {model}.",
            retry_after_s=_seconds(retry_after),
            details=details,
        )
    if status in _PROVIDER_SAYS_NO:
        if not isinstance(words, str) or not words:
            words = f"{provider} refused this request to {model} ({status}) and did not say why."
        return _refusal(words, said, status, details)
    if status in _OVERLOADED:
        return RouterError(
            "upstream_unavailable",
            f"{provider} has no capacity for {model} ({status}).",
            retry_after_s=_seconds(retry_after),
            details=details,
        )
    if status == 404:
        return RouterError("upstream_bad_response", f"{provider} does not know {model} (404).", details=details)
    return RouterError("upstream_error", f"{provider} answered {status} for {model}.", details=details)


def _refusal(words: str, said: dict[str, Any], status: int, details: dict[str, object]) -> RouterError:
    param = said.get("param")
    details |= {key: said[key] for key in ("type", "code") if isinstance(said.get(key), str)}
    return RouterError(
        "invalid_request",
        words,
        param=param if isinstance(param, str) else None,
        status=status,
        details=details,
    )


def _error_object(body: bytes) -> dict[str, Any]:
    """What a provider says, as OpenAI's error object, whichever way it says it.

    OpenAI wraps it in ``error``, Google in a list besides; Ollama gives ``error`` as words. Mistral and older vLLM put
    its members at the top level; Mistral's and FastAPI's checks answer ``detail`` (their API references).
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return {}
    error = document.get("error", document)
    said = error if isinstance(error, dict) else {"message": error}
    return {**said, "message": _words(said.get("message")) or _words(said.get("detail"))}


def _words(given: object) -> str | None:
    """Words as they are, or those of a list of failed checks: ``{"loc": ["body", "n"], "msg": "…"}`` each."""
    if isinstance(given, dict):
        given = given.get("detail")
    if isinstance(given, str):
        return given
    checks = [check for check in given if isinstance(check, dict)] if isinstance(given, list) else []
    told = [f"{_place(check.get('loc'))}{check['msg']}" for check in checks if isinstance(check.get("msg"), str)]
    return "; ".join(told) or None


def _place(location: object) -> str:
    steps = [str(step) for step in location if step != "body"] if isinstance(location, list) else []
    return f"{'.'.join(steps)}: " if steps else ""


def _seconds(retry_after: str | None) -> float | None:
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None

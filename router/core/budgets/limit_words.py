"""What a limit says to people: its state for bodies, the refusal, and the headers that SDK users look for.

Belongs here: texts and bodies. Does not belong here: what is counted (limits.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.budgets.limits import PER_MS
from router.core.errors import RouterError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.budgets.limits import Limit

_SHOWN: Final = 80


def what(limit: Limit) -> str:
    """``100 requests per minute``, ``8 at a time``."""
    return f"{limit.limit} at a time" if limit.kind == "concurrency" else f"{limit.limit} {limit.kind} per {limit.per}"


def whose(limit: Limit) -> str:
    """``team=search, model=openai/gpt-4o`` or, of a limit for all of it, ``tenant=acme``."""
    return ", ".join(f"{field}={value[:_SHOWN]}" for field, value in limit.scope) or f"tenant={limit.tenant}"


def limit_body(limit: Limit) -> dict[str, Any]:
    """The body that sets this limit."""
    body: dict[str, Any] = {"scope": dict(limit.scope), "kind": limit.kind, "limit": limit.limit}
    return body if limit.kind == "concurrency" else body | {"per": limit.per}


def limit_state(limit: Limit, current: int) -> dict[str, Any]:
    """A limit and where it stands, for bodies."""
    return {
        "id": limit.id,
        "tenant": limit.tenant,
        "scope": dict(limit.scope),
        "kind": limit.kind,
        "limit": limit.limit,
        "per": None if limit.kind == "concurrency" else limit.per,
        "current": current,
        "remaining": max(limit.limit - current, 0),
    }


def limit_refusal(limit: Limit, current: int, amount: int, wait_ms: int) -> RouterError:
    """429 ``rate_limited``: which limit, its figures, and when to come back.

    Args:
        limit: the one without room.
        current: counted by it now.
        amount: what the refused request would have added.
        wait_ms: until there is room for it, as far as can be told.
    """
    details: dict[str, Any] = {"limit": limit_state(limit, current) | {"needed": amount}}
    if amount > limit.limit:
        message = f"The limit of {whose(limit)}, {what(limit)}, is less than the {amount} {limit.kind} of this request."
        error = RouterError("rate_limited", message, details=details)
        error.retryable = False
        error.headers = limit_headers([(limit, current)])
        return error
    now = f"{current} now" if limit.kind == "concurrency" else f"{current} in the last {limit.per}"
    message = f"The limit of {whose(limit)}, {what(limit)}, is reached: {now}, and this request needs {amount} more."
    error = RouterError("rate_limited", message, retry_after_s=max(wait_ms, 1) / 1000, details=details)
    error.headers = limit_headers([(limit, current)])
    return error


def limit_headers(found: Iterable[tuple[Limit, int]]) -> list[tuple[str, str]]:
    """``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, of the tightest limit of each kind, as OpenAI has them.

    Args:
        found: limits with what they count by now, this request among it.
    """
    tightest: dict[str, tuple[Limit, int]] = {}
    for limit, current in found:
        if limit.kind != "concurrency":
            had = tightest.get(limit.kind)
            if had is None or limit.limit - current < had[0].limit - had[1]:
                tightest[limit.kind] = (limit, current)
    headers = []
    for kind, (limit, current) in sorted(tightest.items()):
        headers += [
            (f"x-ratelimit-limit-{kind}", str(limit.limit)),
            (f"x-ratelimit-remaining-{kind}", str(max(limit.limit - current, 0))),
            (f"x-ratelimit-reset-{kind}", f"{PER_MS[limit.per] // 1000 if current else 0}s"),
        ]
    return headers

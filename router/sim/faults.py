"""Faults on demand: rules that say which call misbehaves, how, and how often.

Belongs here: reading, matching and counting rules, and the error answers they stand for. Does not belong here:
breaking a connection or a stream, which the one who owns the socket does (provider.py).
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from router.sim.refusal import Refusal, kind_of

KINDS: Final = frozenset({
    "status", "rate_limit", "quota", "unauthorized", "reset", "stall", "truncate", "no_usage", "lying_usage",
    "slow_first_byte", "error_event", "garbage",
})  # fmt: skip
CUTS: Final = frozenset({"reset", "stall", "truncate", "error_event"})
"""Kinds that interrupt an answer, after `after_chunks` events; where that is negative, after all but ``[DONE]``."""
LIES: Final[tuple[dict[str, Any], ...]] = (
    {"prompt_tokens": -5, "completion_tokens": -7, "total_tokens": -12},
    {"prompt_tokens": "12", "completion_tokens": "many", "total_tokens": None},
    {"prompt_tokens": 10**18, "completion_tokens": 10**18, "total_tokens": 2 * 10**18},
    {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 10**6},
    },
    {"prompt_tokens": 1.5, "completion_tokens": True, "total_tokens": [2]},
)
"""Usage objects no meter may believe; a rule's hits go through them in turn."""
_MESSAGES: Final = {
    500: "The server had an error while processing your request. Sorry about that!",
    502: "Bad gateway.",
    503: "The engine is currently overloaded, please try again later.",
    504: "The request timed out.",
    498: "Flex tier capacity exceeded.",
    403: "You do not have access to this resource.",
}
_CODES: Final = {498: "capacity_exceeded"}


@dataclass(slots=True)
class Rule:
    """One fault. No provider or model means any; ``model`` is the upstream's name or the canonical id.

    ``times`` None never wears out; ``probability`` is of each matching call; ``delay_ms`` and ``retry_after``
    (seconds) are real time, whatever the simulator's speed.
    """

    kind: str
    provider: str | None = None
    model: str | None = None
    times: int | None = None
    probability: float = 1.0
    after_chunks: int = 0
    status: int = 500
    retry_after: float = 1.0
    delay_ms: float | None = None
    hits: int = 0


_FIELDS: Final[dict[str, tuple[type, ...]]] = {
    "kind": (str,),
    "provider": (str,),
    "model": (str,),
    "times": (int,),
    "probability": (int, float),
    "after_chunks": (int,),
    "status": (int,),
    "retry_after": (int, float),
    "delay_ms": (int, float),
}


class Faults:
    """The rules in force, in the order they came; the first that matches a call is the one it suffers."""

    def __init__(self, seed: int) -> None:
        self._rules: list[Rule] = []
        self._rng = random.Random(seed)  # noqa: S311 - reproducible faults, not a secret

    def add(self, raw: Any) -> None:
        """Append rules, all or none of them.

        Raises:
            Refusal: 400, naming the rule's field and what it may be.
        """
        entries = raw if isinstance(raw, list) else [raw]
        self._rules += [_rule(entry) for entry in entries]

    def clear(self) -> None:
        """Forget every rule."""
        self._rules.clear()

    def report(self) -> list[dict[str, Any]]:
        """Every rule with its hits."""
        return [asdict(rule) for rule in self._rules]

    def pick(self, provider: str, names: tuple[str, str]) -> Rule | None:
        """The fault this call suffers, its hit counted."""
        for rule in self._rules:
            if (
                (rule.provider is None or rule.provider == provider)
                and (rule.model is None or rule.model in names)
                and (rule.times is None or rule.hits < rule.times)
                and (rule.probability >= 1 or self._rng.random() < rule.probability)
            ):
                rule.hits += 1
                return rule
        return None


def answer_of(rule: Rule) -> Refusal | None:
    """The error answer a rule stands for; None for the kinds that spoil an answer instead."""
    if rule.kind == "rate_limit":
        headers = {
            "retry-after": f"{rule.retry_after:g}",
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": f"{rule.retry_after:g}s",
        }
        message = f"Rate limit reached for requests. Please try again in {rule.retry_after:g}s."
        return Refusal(429, message, type_="requests", code="rate_limit_exceeded", headers=headers)
    if rule.kind == "quota":
        message = "You exceeded your current quota, please check your plan and billing details."
        return Refusal(429, message, type_="insufficient_quota", code="insufficient_quota")
    if rule.kind == "unauthorized":
        return wrong_key()
    if rule.kind == "status":
        message = _MESSAGES.get(rule.status, f"The request failed with status {rule.status}.")
        return Refusal(rule.status, message, code=_CODES.get(rule.status))
    return None


def wrong_key() -> Refusal:
    """The answer to a key the provider does not know."""
    return Refusal(401, "Incorrect API key provided.", type_="invalid_request_error", code="invalid_api_key")


def _rule(raw: Any) -> Rule:
    if not isinstance(raw, dict):
        raise Refusal.of_type("rule", "an object", raw)
    unknown = sorted(set(raw) - set(_FIELDS))
    if unknown:
        known = ", ".join(entry.name for entry in fields(Rule) if entry.name in _FIELDS)
        raise Refusal(400, f"A fault rule has no {', '.join(unknown)}; it may have {known}.", param=unknown[0])
    for name, value in raw.items():
        if value is not None and (not isinstance(value, _FIELDS[name]) or isinstance(value, bool)):
            raise Refusal(400, f"A fault rule's {name} cannot be {kind_of(value)}.", param=name, code="invalid_type")
    if raw.get("kind") not in KINDS:
        raise Refusal.of_value("kind", raw.get("kind"), sorted(KINDS))
    rule = Rule(**{name: value for name, value in raw.items() if value is not None})
    if rule.kind == "status" and not 400 <= rule.status <= 599:
        raise Refusal(400, f"A fault's status must be from 400 to 599, not {rule.status}.", param="status")
    return rule

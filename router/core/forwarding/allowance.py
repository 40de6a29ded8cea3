"""What a provider says is left of our rate there, from the headers of its answers.

Belongs here: reading those headers, and whether a request still fits. Does not belong here: who remembers it
(adapters/upstream/breakers.py).

    x-ratelimit-{remaining,reset}-{requests,tokens}               OpenAI and who follows it; reset as `6m0s` or seconds
    anthropic-ratelimit-{requests,tokens,…}-{remaining,reset}     Anthropic; reset as RFC 3339
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.forwarding.retry_after import duration_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUESTS: Final = ("x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining")
_NAMES: Final[tuple[tuple[str, str, str], ...]] = (
    ("requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("requests", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("tokens", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("tokens", "anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
)
_MOST_MS: Final = 3_600_000
"""A reset that lies further away is not waited for: some providers count days, and their next answer tells anew."""


class Allowance(msgspec.Struct):
    """What is left, and until when that holds; times in ms since the epoch. Counted down as requests are sent."""

    requests: int = 2**53
    requests_until_ms: int = 0
    tokens: int = 2**53
    tokens_until_ms: int = 0

    def fits(self, tokens: int, now_ms: int) -> bool:
        """Whether the provider would take one more request of so many tokens."""
        if self.requests < 1 and now_ms < self.requests_until_ms:
            return False
        return self.tokens >= tokens or now_ms >= self.tokens_until_ms

    def sent(self, tokens: int) -> None:
        """One more is on its way."""
        self.requests -= 1
        self.tokens -= tokens

    @property
    def until_ms(self) -> int:
        """When there is more again, at the latest."""
        return max(self.requests_until_ms, self.tokens_until_ms)


def speaks_of_limits(headers: Mapping[str, str]) -> bool:
    """Whether it is worth a closer look: for every answer of every provider."""
    return _REQUESTS[0] in headers or _REQUESTS[1] in headers


def allowance(headers: Mapping[str, str], now_ms: int) -> Allowance | None:
    """What an answer says is left; None where it says nothing of use.

    Args:
        headers: by lower-case names.
        now_ms: the machine's time in ms since the epoch.
    """
    found = Allowance()
    told = False
    for kind, remaining, reset in _NAMES:
        left, until_ms = _whole(headers.get(remaining)), _instant(headers.get(reset, ""), now_ms)
        if left is None or until_ms is None:
            continue
        told = True
        if left < getattr(found, kind):
            setattr(found, kind, left)
            setattr(found, f"{kind}_until_ms", until_ms)
    return found if told else None


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None


def _instant(text: str, now_ms: int) -> int | None:
    after_ms = duration_ms(text)
    if after_ms is None:
        try:
            at = dt.datetime.fromisoformat(text)
        except ValueError:
            return None
        if at.tzinfo is None:
            return None
        after_ms = int(at.timestamp() * 1000) - now_ms
    return now_ms + min(max(after_ms, 0), _MOST_MS)

"""What is known of long prompts' beginnings: looked up before a decision, remembered when an answer has ended.

Belongs here: which requests are looked at, under which key their texts are hashed, and what a row tells of the provider's
cache. Part of the pipeline's layer. Does not belong here: the memory (core/statistics/warmth.py), what it means for a cost
(core/deciding/prefixes.py), and telling other workers (adapters/fleet/warmth.py).

A prompt shorter than any provider keeps is not looked at. Pictures, sound and files are not hashed, so of a request with
any nothing is known.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.pricing import CACHED
from router.core.statistics.warmth import PPM, Asked, Warmth, chain
from router.core.values import Needs

if TYPE_CHECKING:
    from router.core.catalog.catalog import PromptCache
    from router.core.deciding.decide import Facts
    from router.core.deciding.snapshot import World
    from router.core.policy.governing import Wish
    from router.core.values import Identity, Row
    from router.dialects.request import Request
    from router.ports import Clock

LEAST: Final = 512
"""Tokens (reference) under which a prompt is not worth looking at, whatever a provider keeps."""
MOST_UNDER_WAY: Final = 4_096
_UNSEEN: Final = (Needs.VISION | Needs.AUDIO_IN | Needs.FILES).value
_FORM: Final = Needs.JSON_SCHEMA.value
_MARKS: Final = (b'"cache_control"', b'"prompt_cache_breakpoint"')
_MARKED: Final = ("cache_control", "tools", "system", "messages", "input")
_TOLD: Final = "prompt_cache_options"
_HOUR_MS: Final = 3_600_000


class Prefixes:
    """One worker's knowledge of what providers keep.

    Args:
        secret: the node's; no link can be made without it.
        clock: the machine's.
    """

    def __init__(self, secret: str, clock: Clock) -> None:
        self._secret = secret.encode()
        self._clock = clock
        self.memory = Warmth()
        self._keys: dict[str, bytes] = {}
        self._under_way: dict[str, Asked] = {}
        self._world: World | None = None
        self._caches: dict[str, PromptCache] = {}
        self.least = LEAST
        """Tokens (reference) from which on prompts are looked at."""

    def seen(self, facts: Facts, request: Request, world: World, wish: Wish, request_id: str) -> Facts:
        """The facts with what is known of the prompt's beginning.

        Args:
            facts: of the request.
            request: as it was read.
            world: what is offered now.
            wish: whose it is, and whether it belongs to a session.
            request_id: empty where it will not be sent.
        """
        if facts.tokens.expected < LEAST or facts.needs & _UNSEEN or wish.who is None or facts.endpoint != "chat":
            return facts
        if world is not self._world:
            self._learn(world)
        if facts.tokens.expected < self.least:
            return facts
        shape, members = request.shape, request.top.members
        found = chain(self._key(wish.who.tenant), shape.texts, shape.tools + bool(facts.needs & _FORM))
        said = [bytes(members[name]) for name in _MARKED if name in members]
        marked = _TOLD in members or any(mark in text for text in said for mark in _MARKS)
        asker = (wish.who.tenant, wish.who.app)
        prefix, asked = self.memory.asks(
            found, facts.tokens.expected, asker, self._clock.now_ms(), session=wish.session, marked=marked
        )
        if request_id:
            if len(self._under_way) >= MOST_UNDER_WAY:
                del self._under_way[next(iter(self._under_way))]
            self._under_way[request_id] = asked
        return msgspec.structs.replace(facts, prefix=prefix)

    def on_row(self, row: Row, error: str | None) -> None:  # noqa: ARG002 - the port's shape
        """Remember what an answered request leaves with its provider."""
        if not self._under_way:
            return
        asked = self._under_way.pop(row.attempt.partition("/")[0], None) if row.outcome == "ok" else None
        if asked is None or row.tier == CACHED:
            return
        entry = f"{row.model}@{row.provider}"
        cache = self._caches.get(entry)
        ttl_ms, kept_ppm, on_request = 0, PPM, False
        if cache is not None and row.prompt_tokens >= cache.least:
            ttl_ms = _HOUR_MS if row.cache_write_1h_tokens else cache.ttl_s * 1000
            if cache.asked or cache.chosen:
                kept_ppm = min((row.cached_tokens + row.cache_write_tokens) * PPM // row.prompt_tokens, PPM)
                on_request = True
        self.memory.answered(asked, entry, self._clock.now_ms(), ttl_ms, kept_ppm=kept_ppm, on_request=on_request)

    def on_refusal(self, endpoint: str, code: str, identity: Identity | None) -> None:
        """A refusal leaves nothing anywhere."""

    def _learn(self, world: World) -> None:
        """Which entries that can be called keep prompts, and how short a one is worth looking at."""
        self._world = world
        offered = [model for model in world.catalog.models if model.provider in world.offered]
        self._caches = {model.name: model.prompt_cache for model in offered if model.prompt_cache is not None}
        least = [model.prompt_cache.least * PPM // model.token_ratio_ppm for model in offered if model.prompt_cache]
        self.least = max(min(least, default=1 << 60), LEAST)

    def _key(self, tenant: str) -> bytes:
        key = self._keys.get(tenant)
        if key is None:
            if len(self._keys) >= MOST_UNDER_WAY:
                self._keys.clear()
            key = self._keys[tenant] = hmac.digest(self._secret, b"prefix\0" + tenant.encode(), hashlib.sha256)
        return key

"""Is an external store fit to keep books in? Asked once at start, before any worker.

Belongs here: what must and what should be set on a Redis or Valkey that is not ours. Does not belong here: the
embedded store, which is started with the right options.
"""

from __future__ import annotations

from typing import Any

import redis

_BOUND_S = 5.0


class StoreUnfitError(Exception):
    """The store cannot be reached, or would lose money; the message says what to set."""


def check_store(url: str) -> list[str]:
    """Warnings about the store at a URL (``redis://``, ``rediss://``, ``unix://``).

    Raises:
        StoreUnfitError: it does not answer, or evicts keys when memory is short. The URL is not repeated: it may hold
            a password.
    """
    try:
        with redis.Redis.from_url(
            url, socket_timeout=_BOUND_S, socket_connect_timeout=_BOUND_S, decode_responses=True
        ) as client:
            client.ping()
            settings = _settings(client)
    except (redis.RedisError, ValueError, OSError) as error:
        raise StoreUnfitError(f"the store of REDIS_URL cannot be used: {error}") from None
    if settings is None:
        return ["the store hides its configuration; make sure of maxmemory-policy noeviction and appendonly yes"]
    policy = settings.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        raise StoreUnfitError(
            f"the store's maxmemory-policy is {policy}: it would drop holds and rows when memory is short; "
            "set it to noeviction"
        )
    if settings.get("appendonly", "yes") != "yes":
        return ["the store keeps no append-only file: what it booked since its last snapshot dies with it; set it"]
    return []


def _settings(client: redis.Redis) -> dict[Any, Any] | None:
    try:
        return dict(client.config_get("maxmemory-policy", "appendonly"))
    except redis.ResponseError:
        return None

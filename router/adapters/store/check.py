"""Is an external store fit to keep books in? Asked once at start, before any worker.

Belongs here: what must and what should be set on a Redis or Valkey that is not ours, in each of its modes. Does not
belong here: the embedded store, which is started with the right options.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from router.adapters.store.cluster_slots import SLOTS, read_slots
from router.adapters.store.url import ClusterAddress, SentinelAddress, StoreAddress, parse_store_url

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOUND_S: Final = 5.0
_NEEDED: Final = ("maxmemory-policy", "appendonly", "min-replicas-to-write", "min-replicas-max-lag")
_MOST_LAG_S: Final = 2
"""Batches are sent again to a new primary if they were booked in the last 3 s before the old one was lost."""
_SENTINELS: Final = 3


class StoreUnfitError(Exception):
    """The store cannot be reached, or would lose money; the message says what to set."""


def check_store(url: str) -> list[str]:
    """Warnings about the store at a URL of any form that `parse_store_url` knows; no warning is given twice.

    Raises:
        StoreUnfitError: it does not answer, evicts keys when memory is short, or is a cluster without all its slots.
            The URL is not repeated: it may hold a password.
    """
    try:
        place = parse_store_url(url)
        if isinstance(place, ClusterAddress):
            found = _cluster(place)
        elif isinstance(place, SentinelAddress):
            found = _sentinels(place)
        else:
            found = _node(place, replicated=False)
        return list(dict.fromkeys(found))
    except (redis.RedisError, ValueError, OSError) as error:
        raise StoreUnfitError(f"the store of REDIS_URL cannot be used: {error}") from None


def _node(address: StoreAddress, *, replicated: bool) -> Iterator[str]:
    with _client(address) as client:
        client.ping()
        settings = _settings(client)
    if settings is None:
        yield "the store hides its configuration; make sure of maxmemory-policy noeviction and appendonly yes"
        return
    policy = settings.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        raise StoreUnfitError(
            f"the store's maxmemory-policy is {policy}: it would drop holds and rows when memory is short; "
            "set it to noeviction"
        )
    if settings.get("appendonly", "yes") != "yes":
        yield "the store keeps no append-only file: what it booked since its last snapshot dies with it; set it"
    guarded = settings.get("min-replicas-to-write") != "0" and int(settings.get("min-replicas-max-lag", 0)) in range(
        1, _MOST_LAG_S + 1
    )
    if replicated and not guarded:
        yield (
            "the store's primary takes writes that no replica has, and a failover may lose them; set "
            f"min-replicas-to-write 1 and min-replicas-max-lag {_MOST_LAG_S}, with two replicas or more"
        )


def _sentinels(place: SentinelAddress) -> Iterator[str]:
    if len(place.sentinels) < _SENTINELS:
        yield f"REDIS_URL names {len(place.sentinels)} sentinels; name all, and have {_SENTINELS} or more"
    failures = []
    for sentinel in place.sentinels:
        try:
            with _client(sentinel) as client:
                found = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", place.service)
                known = client.sentinel_slaves(place.service) if found else []
        except (redis.RedisError, OSError) as error:
            failures.append(f"{sentinel}: {error}")
            continue
        if not found:
            failures.append(f"{sentinel} knows no primary {place.service!r}")
            continue
        yield from _node(place.node.at(str(found[0]), int(found[1])), replicated=bool(known))
        if not known:
            yield "the store's primary has no replica: nothing can take over when it fails"
        for replica in known:
            yield from _replica(place.node.at(str(replica["ip"]), int(replica["port"])))
        return
    raise ValueError(f"no sentinel names the primary: {'; '.join(failures)}")


def _cluster(place: ClusterAddress) -> Iterator[str]:
    failures = []
    for seed in place.seeds:
        try:
            with _client(seed, decode=False) as client:
                # As sent, not as redis-py would sort it: one reader of this reply is enough.
                client.set_response_callback("CLUSTER SLOTS", lambda reply, **_: reply)
                reply = client.execute_command("CLUSTER SLOTS")
        except (redis.RedisError, OSError) as error:
            failures.append(f"{seed}: {error}")
            continue
        served = dict(read_slots(reply, seed.host))
        missing = SLOTS - sum(map(len, served))
        if missing:
            raise ValueError(f"{missing} of the cluster's {SLOTS} slots are served by no node")
        alone = not all(replicas for _, _, _, *replicas in reply)
        if alone:
            yield "a primary of the cluster has no replica: nothing can take over when it fails"
        for primary in dict.fromkeys(served.values()):
            yield from _node(seed.at(*primary), replicated=not alone)
        replicas = [(first, last, replica) for first, last, _, *rest in reply for replica in rest]
        for replica in dict.fromkeys(place for _, place in read_slots(replicas, seed.host)):
            yield from _replica(seed.at(*replica))
        return
    raise ValueError(f"no node of the cluster answers: {'; '.join(failures)}")


def _replica(address: StoreAddress) -> Iterator[str]:
    # It may be the primary soon. One that is down is its primary's trouble, not a reason not to start.
    with contextlib.suppress(redis.RedisError, OSError):
        yield from _node(address, replicated=True)


def _client(address: StoreAddress, *, decode: bool = True) -> redis.Redis:
    return redis.Redis(
        **address.client_options(),
        socket_timeout=_BOUND_S,
        socket_connect_timeout=_BOUND_S,
        decode_responses=decode,
        retry=Retry(NoBackoff(), 0),
    )


def _settings(client: redis.Redis) -> dict[Any, Any] | None:
    try:
        return dict(client.config_get(*_NEEDED))
    except redis.ResponseError:
        return None

from __future__ import annotations

import asyncio

import msgspec
import pytest
from fakes import FakeClock, FakeKeys

from router.adapters.keys import keys as redis_keys
from router.adapters.keys.keys import Key, RedisKeys
from router.adapters.store.resp import RespConnection
from router.adapters.store.url import StoreAddress
from router.core.values import Identity
from router.ports import StoreUnavailable


async def lookups(connection):
    stats = (await connection.call("INFO", "commandstats")).decode()
    return next((line for line in stats.splitlines() if line.startswith("cmdstat_hget:")), "calls=0,")


@pytest.fixture
def keys(connection):
    return RedisKeys(connection, FakeClock(), {"cr-dev": Identity(tenant="dev", key="dev")})


async def test_a_created_key_is_known_to_every_worker(connection, keys):
    secret, identity = await keys.create("laptop", "acme", "search", "faq", "admin")
    assert secret.startswith("cr-")
    assert identity == Identity(tenant="acme", key=identity.key, name="laptop", team="search", app="faq", role="admin")
    assert await keys.identify(secret) == identity
    assert await RedisKeys(connection, FakeClock()).identify(secret) == identity


async def test_an_unknown_secret_is_nobody(keys):
    for secret in ("cr-guess", "", "x" * 10_000, "\ud800"):
        assert await keys.identify(secret) is None


async def test_both_fakes_and_real_keys_tell_known_from_unknown(keys):
    fake = FakeKeys({"cr-dev": Identity(tenant="dev", key="dev")})
    for each in (fake, keys):
        assert (await each.identify("cr-dev")).tenant == "dev"
        assert await each.identify("cr-other") is None


async def test_the_store_never_sees_a_secret(connection, keys):
    secret, identity = await keys.create("laptop", "acme")
    await keys.identify(secret)
    stored = await connection.call("HGETALL", "cr:{@}:keys")
    assert [stored[0].decode(), secret.encode() in stored[1]] == [identity.key, False]


async def test_fixed_keys_need_no_store():
    keys = RedisKeys(RespConnection(StoreAddress(path="nowhere")), FakeClock(), {"cr-dev": Identity("dev", "dev")})
    assert (await keys.identify("cr-dev")).tenant == "dev"
    with pytest.raises(StoreUnavailable):
        await keys.identify("cr-other")


async def test_a_key_is_asked_for_once_a_second_whether_known_or_not(connection):
    clock = FakeClock()
    keys = RedisKeys(connection, clock)
    secret, _ = await keys.create("laptop", "acme")
    await connection.call("CONFIG", "RESETSTAT")
    for _ in range(2):
        for _ in range(5):
            await keys.identify(secret)
            await keys.identify("cr-guess")
        clock.advance(1.0)
    assert "calls=4," in await lookups(connection)


async def test_a_revoked_key_is_refused_here_at_once_and_everywhere_within_a_second(connection, keys):
    secret, identity = await keys.create("laptop", "acme")
    clock = FakeClock()
    elsewhere = RedisKeys(connection, clock)
    assert await keys.identify(secret) == await elsewhere.identify(secret) == identity
    assert await keys.revoke(identity.key)
    assert await keys.identify(secret) is None
    clock.advance(1.0)
    assert await elsewhere.identify(secret) is None
    assert not await keys.revoke(identity.key)


async def test_a_secret_that_only_shares_the_id_is_nobody(connection, keys, monkeypatch):
    _, identity = await keys.create("laptop", "acme")
    monkeypatch.setattr(redis_keys, "_key_id", lambda digest: identity.key)
    assert await keys.identify("cr-guess") is None


async def test_an_id_already_taken_is_drawn_again(connection, keys, monkeypatch):
    ids = iter(["key-1", "key-1", "key-1", "key-1", "key-2", "key-2"])
    monkeypatch.setattr(redis_keys, "_key_id", lambda digest: next(ids))
    _, first = await keys.create("one", "acme")
    _, second = await keys.create("two", "acme")
    assert (first.key, second.key) == ("key-1", "key-2")


async def test_created_keys_are_listed_oldest_first(connection):
    clock = FakeClock()
    keys = RedisKeys(connection, clock)
    for name in ("b", "a", "c"):
        await keys.create(name, "acme")
        clock.advance(1)
    assert [key.identity.name for key in await keys.created()] == ["b", "a", "c"]


async def test_a_rotated_key_keeps_its_id_and_its_old_secret_for_the_grace(connection):
    clock = FakeClock()
    keys = RedisKeys(connection, clock)
    old, identity = await keys.create("laptop", "acme", "search", delegates=("user",))
    new, same = await keys.rotate(identity.key, 60_000)
    assert same == identity
    assert await keys.identify(old) == await keys.identify(new) == identity
    clock.advance(59.5)
    assert await keys.identify(old) == identity
    clock.advance(0.5)
    assert await keys.identify(old) is None
    assert await keys.identify(new) == identity
    assert await keys.clear() == 1
    assert await connection.call("HLEN", "cr:{@}:keys") == 1
    assert await keys.rotate("key-0", 0) is None


async def test_a_second_rotation_does_not_lengthen_the_first_ones_grace(connection):
    clock = FakeClock()
    keys = RedisKeys(connection, clock)
    first, identity = await keys.create("laptop", "acme")
    second, _ = await keys.rotate(identity.key, 1_000)
    await keys.rotate(identity.key, 60_000)
    clock.advance(1)
    assert await keys.identify(first) is None
    assert await keys.identify(second) == identity


async def test_a_key_expires_to_the_millisecond_whatever_is_remembered(connection):
    clock = FakeClock()
    keys = RedisKeys(connection, clock)
    secret, identity = await keys.create("laptop", "acme", expires_ms=clock.now_ms() + 300)
    assert await keys.identify(secret) == identity
    clock.advance(0.3)
    assert await keys.identify(secret) is None
    assert await keys.change(identity.key, identity, 0)
    assert await keys.identify(secret) == identity


async def test_all_secrets_of_a_revoked_key_end(connection, keys):
    old, identity = await keys.create("laptop", "acme")
    new, _ = await keys.rotate(identity.key, 60_000)
    assert await keys.revoke(identity.key)
    assert await keys.identify(old) is None
    assert await keys.identify(new) is None
    assert await connection.call("HLEN", "cr:{@}:keys") == 0


async def test_a_changed_key_is_who_it_is_now(connection, keys):
    secret, identity = await keys.create("laptop", "acme", "search")
    await keys.rotate(identity.key, 60_000)
    moved = Identity(tenant="acme", key="whatever", name="desk", team="ads", delegates=("user",))
    assert await keys.change(identity.key, moved)
    assert await keys.identify(secret) == Identity(
        tenant="acme", key=identity.key, name="desk", team="ads", delegates=("user",)
    )
    assert not await keys.change("key-0", moved)


async def test_a_rotation_that_meets_a_revocation_gives_nobody_a_key(connection, keys):
    _, identity = await keys.create("laptop", "acme")
    results = await asyncio.gather(*(keys.rotate(identity.key, 0) for _ in range(5)), keys.revoke(identity.key))
    assert results[-1]
    assert await connection.call("HLEN", "cr:{@}:keys") == 0
    assert await keys.created() == []


async def test_a_key_is_put_as_it_stands_unless_a_secret_is_taken(connection, keys):
    _, identity = await keys.create("laptop", "acme")
    await keys.rotate(identity.key, 60_000)
    found = await keys.find(identity.key)
    await keys.put(Key(found.records[:1]))
    assert (await keys.find(identity.key)).records == found.records[:1]
    foreign = msgspec.structs.replace(found.current, identity=Identity(tenant="other", key="key-1"))
    with pytest.raises(ValueError, match="another key"):
        await keys.put(Key((foreign,)))


async def test_a_flood_of_junk_leaves_memory_flat(connection, keys, monkeypatch):
    monkeypatch.setattr(redis_keys, "MOST_KNOWN", 10)
    for number in range(50):
        await keys.identify(f"junk {number}")
    assert len(keys._known) == 10

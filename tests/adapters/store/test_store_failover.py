"""Primaries that die, slots that move and nodes that start anew, while a ledger is at work: no row is lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections import Counter

import pytest
from store import ONE_HOLD, Machine, make_hold, make_row, stored_holds, stored_rows, until
from store_modes import Elsewhere, connected
from store_servers import Cluster, SentinelSet, Server

from router.adapters.journal.journal import Journal
from router.adapters.ledger import ledger as redis_ledger
from router.adapters.ledger import settle as ledger_settle
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.reports.spend import spend
from router.adapters.store import sentinel as store_sentinel
from router.adapters.store.cluster_slots import slot_of
from router.adapters.store.connection import connection_to
from router.adapters.store.resp import Script
from router.adapters.store.url import parse_store_url
from router.ports import StoreUnavailable

HOUR = 1_800_000_000_000 // 3_600_000
TENANTS = [f"tenant-{number}" for number in range(6)]
GUARD = {"min_replicas_to_write": 1, "min_replicas_max_lag": 2}


class Load:
    """Tenants who reserve and settle without a pause; knows which rows must be there in the end."""

    def __init__(self, connection, journal=None):
        self.connection = connection
        self.ledger = RedisLedger(connection, "w1", Machine(), journal=journal, flush_s=30)
        self.settled = Counter()
        self.refused = []
        self._stopped = False
        self._tasks = []

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._ask(tenant)) for tenant in TENANTS]
        await self.more()
        return self

    async def __aexit__(self, *error):
        self._stopped = True
        await asyncio.gather(*self._tasks)
        await self.ledger.flush()
        if not any(error):
            await self._check()
        await self.ledger.close()

    async def _ask(self, tenant):
        for number in itertools.count():
            if self._stopped:
                return
            attempt = f"r{number}/1"
            try:
                hold = make_hold(attempt, tenant=tenant, not_after_ms=self.ledger.store_ms() + 500)
                await self.ledger.reserve(hold)
            except StoreUnavailable as failure:
                self.refused.append(str(failure))
                await asyncio.sleep(0.02)
            else:
                self.ledger.settle(make_row(attempt, tenant=tenant))
                self.settled[tenant] += 1
            await asyncio.sleep(0.003)

    async def more(self, rows=30):
        """Until every tenant has settled so many more, and the store has all of them."""
        wanted = {tenant: self.settled[tenant] + rows for tenant in TENANTS}
        await until(lambda: all(self.settled[tenant] >= wanted[tenant] for tenant in TENANTS), 20)
        await until(lambda: self.ledger.waiting < 10 * len(TENANTS), 20)

    async def _check(self):
        await until(self._nothing_is_held, 10)
        for tenant in TENANTS:
            rows = [row.attempt for row in await stored_rows(self.connection, tenant)]
            assert (len(rows), len(set(rows))) == (self.settled[tenant],) * 2
            (total,) = await spend(self.connection, tenant, HOUR, HOUR + 1)
            assert (total.requests, total.cost_nano) == (len(rows), 1_000 * len(rows))

    async def _nothing_is_held(self):
        return not [held for tenant in TENANTS for held in await stored_holds(self.connection, tenant)]


async def die_alone(primary, load):
    """The replica takes over without the primary's last rows: they are sent again, before any that came later."""
    await in_thread(primary.cut_off_replicas)
    await load.more()
    await in_thread(primary.end, signal.SIGKILL)


async def in_thread(*work):
    return await asyncio.to_thread(*work)


@pytest.fixture
def cluster(store_of):
    """The session's, whole and empty."""
    store = store_of("cluster")
    store.flush()
    return store


# Sentinel.


async def test_a_primary_that_is_killed_loses_no_row(tmp_path):
    with SentinelSet(tmp_path / "set") as store:
        store.settled()
        async with connected(store, timeout_s=1) as connection, Load(connection) as load:
            await die_alone(store.nodes[0], load)
            await load.more()
            assert store.primary() is store.nodes[1]
            assert load.refused


async def test_what_a_primary_took_alone_for_longer_than_memory_lasts_is_read_back(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(ledger_settle, "_KEPT_S", 0.1)
    monkeypatch.setattr(redis_ledger, "_STRAY_MS", 0)
    journal = Journal(tmp_path / "journal", "w1", segment_bytes=50_000, kept_s=60)
    with SentinelSet(tmp_path / "set") as store:
        store.settled()
        async with connected(store, timeout_s=1) as connection, Load(connection, journal) as load:
            await load.ledger.reserve(make_hold("called-off/1", tenant=TENANTS[0]))
            assert await connection.call("WAIT", 1, 5_000) == 1
            await in_thread(store.nodes[0].cut_off_replicas)
            load.ledger.settle(make_row("called-off/1", tenant=TENANTS[0], outcome="released", cost_nano=0))
            await load.more(100)
            lanes = [settle for _, settle in load.ledger._lanes.values()]
            await until(lambda: all(lane._forgotten for lane in lanes))
            await in_thread(store.nodes[0].end, signal.SIGKILL)
            await load.more()
            assert store.primary() is store.nodes[1]
            assert await stored_holds(connection, TENANTS[0])
            await load.ledger.tidy()
    assert "rows_read_back" in capfd.readouterr().out


@pytest.mark.soak
async def test_a_primary_that_is_frozen_for_a_failover_and_thaws_as_a_replica_loses_no_row(tmp_path):
    with SentinelSet(tmp_path / "set", replicas=2, **GUARD) as store:
        store.settled()
        async with connected(store, timeout_s=1) as connection, Load(connection) as load:
            store.nodes[0].freeze()
            await load.more()
            store.nodes[0].thaw()
            await until(lambda: store.nodes[0].info("replication")["role"] == "slave", 20)
            await load.more()


@pytest.mark.soak
async def test_a_switch_that_an_operator_orders_is_followed(tmp_path):
    with SentinelSet(tmp_path / "set") as store:
        store.settled()
        async with connected(store, timeout_s=1) as connection, Load(connection) as load:
            await in_thread(store.sentinels[0].ask, "SENTINEL FAILOVER", store.NAME)
            await until(lambda: connection.up and connection.address.port == store.nodes[1].port, 20)
            await load.more()


async def test_sentinels_that_know_no_primary_or_do_not_answer_are_named(store_of):
    url = store_of("sentinel").url
    with pytest.raises(StoreUnavailable, match=r"other of sentinels .*they know no primary 'other'"):
        async with connected(Elsewhere(url.replace("/books", "/other")), wait_s=0.4):
            pass
    with pytest.raises(StoreUnavailable, match=r"no sentinel names the primary: .*Connect"):
        async with connected(Elsewhere("redis+sentinel://127.0.0.1:1/books"), wait_s=0.4):
            pass


async def test_one_sentinel_that_answers_is_enough(store_of):
    store = store_of("sentinel")
    hosts = f"127.0.0.1:{store.sentinels[0].port}"
    given = store.url.partition("@")[2].partition("/")[0]
    async with connected(Elsewhere(store.url.replace(given, f"127.0.0.1:1,{hosts},127.0.0.1:2"))) as connection:
        assert await connection.call("PING") == b"PONG"


async def test_a_sentinel_that_was_away_is_heard_again_and_a_silent_one_is_not_bothered(store_of, monkeypatch):
    monkeypatch.setattr(store_sentinel, "CHECK_S", 0.05)
    monkeypatch.setattr(store_sentinel, "_PAUSE_S", 0.05)
    looks = []
    monkeypatch.setattr(store_sentinel.SentinelConnection, "_look_again", lambda _: asyncio.sleep(0, looks.append(1)))
    store = store_of("sentinel")
    async with connected(store):
        await until(lambda: len(looks) == 3)
        await asyncio.sleep(0.3)
        assert len(looks) == 3
        store.sentinels[0].freeze()
        await asyncio.sleep(0.3)
        store.sentinels[0].thaw()
        await until(lambda: len(looks) == 4)


# Cluster.


@pytest.mark.soak
async def test_a_clusters_primary_that_is_killed_loses_no_row(tmp_path):
    with Cluster(tmp_path, replicas=3) as store:
        async with connected(store, timeout_s=1) as connection, Load(connection) as load:
            await die_alone(store.owner("cr:{tenant-0}:holds"), load)
            await until(lambda: not connection.up, 5)
            await until(lambda: connection.up, 20)
            await load.more()
            assert load.refused


@pytest.mark.soak
async def test_a_failover_that_an_operator_orders_and_one_back_are_followed(tmp_path):
    with Cluster(tmp_path, replicas=1) as store:
        (replica,), primary = store.replicas, store.primaries[0]
        async with connected(store, timeout_s=1) as connection, Load(connection) as load:
            for node in (replica, primary):
                await in_thread(node.ask, "CLUSTER FAILOVER")
                await until(lambda n=node: n.info("replication")["role"] == "master", 10)
                await load.more()
            await until(lambda: connection.up)


async def test_a_slot_moves_under_load_and_no_call_fails(cluster):
    async with connected(cluster) as connection, Load(connection) as load:
        for target in cluster.primaries:
            source = await in_thread(cluster.owner, "cr:{tenant-0}:holds")
            if source is target:
                continue
            await in_thread(cluster.begin_move, "cr:{tenant-0}:holds", target)
            await asyncio.sleep(0.05)
            await in_thread(cluster.end_move, "cr:{tenant-0}:holds", source, target)
            await load.more()
        assert load.refused == []


@pytest.mark.soak
async def test_a_slot_moves_to_a_node_that_was_not_there_before(tmp_path):
    with Cluster(tmp_path / "old", primaries=3) as store, Server(tmp_path / "new", cluster_enabled="yes") as new:
        async with connected(store) as connection, Load(connection) as load:
            await in_thread(new.ask, "CLUSTER", "MEET", "127.0.0.1", store.nodes[0].port)
            await until(lambda: "cluster_state:ok" in new.cluster_info() and "nodes:4\r" in new.cluster_info(), 20)
            await until(lambda: all("nodes:4\r" in node.cluster_info() for node in store.nodes), 20)
            source = await in_thread(store.begin_move, "cr:{tenant-1}:holds", new)
            await in_thread(store.end_move, "cr:{tenant-1}:holds", source, new)
            await load.more()
            assert load.refused == []
            assert await in_thread(new.ask, "EXISTS", "cr:{tenant-1}:applied") == 1


@pytest.mark.soak
async def test_a_node_that_is_killed_and_started_again_is_found_again(cluster):
    async with connected(cluster, timeout_s=1) as connection, Load(connection) as load:
        node = await in_thread(cluster.owner, "cr:{tenant-2}:holds")
        await in_thread(node.end, signal.SIGKILL)
        await until(lambda: not connection.up, 5)
        await in_thread(node.start)
        await until(lambda: connection.up, 20)
        await load.more()
        assert load.refused


@contextlib.contextmanager
def moving(cluster, key):
    """While the key's slot moves; its end is asked for by calling what is given."""
    target = next(node for node in cluster.primaries if node is not cluster.owner(key))
    source = cluster.begin_move(key, target)
    ended = []

    def end():
        ended.append(True)
        cluster.end_move(key, source, target)

    yield end
    if not ended:
        end()


async def test_while_a_slot_moves_what_is_new_is_kept_at_its_new_place(cluster):
    async with connected(cluster) as connection:
        await connection.call("SET", "cr:{moves}:old", 1)
        with moving(cluster, "cr:{moves}:old"):
            assert await connection.call("INCR", "cr:{moves}:old") == 2
            assert await connection.call("INCR", "cr:{moves}:new") == 1
            # By its text, as the node may not know the script, and admits a stranger's one call only.
            for _ in range(2):
                assert len(await connection.script(Script("reserve"), ["cr:{moves}:h"], ONE_HOLD)) == 1
        assert await connection.call("MGET", "cr:{moves}:old", "cr:{moves}:new") == [b"2", b"1"]


async def test_what_needs_keys_of_both_places_waits_for_the_move_and_no_longer_than_allowed(cluster):
    async with connected(cluster, timeout_s=0.3) as connection:
        await connection.call("SET", "cr:{moves}:a", 1)
        with moving(cluster, "cr:{moves}:a") as end:
            await connection.call("SET", "cr:{moves}:b", 2)
            with pytest.raises(StoreUnavailable, match="does not settle who serves a key: TRYAGAIN"):
                await connection.call("MGET", "cr:{moves}:a", "cr:{moves}:b")
            waiting = connection.call("MGET", "cr:{moves}:a", "cr:{moves}:b")
            await asyncio.sleep(0.05)
            await in_thread(end)
            assert await waiting == [b"1", b"2"]


async def test_keys_of_two_tags_in_one_call_are_refused_by_the_store(cluster):
    one, other = "cr:{a}:x", "cr:{b}:x"
    assert slot_of(one) != slot_of(other)
    async with connected(cluster) as connection:
        with pytest.raises(StoreUnavailable, match="CROSSSLOT"):
            await connection.call("MGET", one, other)


async def test_a_cluster_that_is_not_there_is_named():
    with pytest.raises(StoreUnavailable, match=r"cluster 127\.0\.0\.1:1 in 0\.3 s: 127\.0\.0\.1:1: .*refused"):
        async with connected(Elsewhere("redis+cluster://127.0.0.1:1"), wait_s=0.3):
            pass


@pytest.mark.soak
async def test_a_cluster_that_is_not_there_is_found_when_it_comes(tmp_path):
    store = Cluster(tmp_path, primaries=1)
    connection = connection_to(parse_store_url(store.url))
    with pytest.raises(StoreUnavailable):
        await connection.start(0.3)
    with store:
        await connection.start()
        assert await connection.call("SET", "a", 1) == b"OK"
        await connection.close()

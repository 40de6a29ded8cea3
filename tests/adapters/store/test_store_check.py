import pytest
import redis
from store_modes import MODES
from store_servers import Server

from router.adapters.store.check import StoreUnfitError, check_store


@pytest.fixture
def url(store_socket):
    return f"unix://{store_socket}"


@pytest.fixture
def client(url):
    with redis.Redis.from_url(url) as client:
        before = client.config_get("maxmemory-policy", "appendonly")
        yield client
        for name, value in before.items():
            client.config_set(name, value)


def test_the_embedded_store_is_fit(url):
    assert check_store(url) == []


def test_a_store_that_evicts_is_refused(url, client):
    client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreUnfitError, match=r"allkeys-lru.*noeviction"):
        check_store(url)


def test_a_store_without_a_file_is_a_warning(url, client):
    client.config_set("appendonly", "no")
    assert "append-only" in check_store(url)[0]


def test_a_store_that_hides_its_settings_is_a_warning(url, client):
    client.acl_setuser("shy", enabled=True, nopass=True, categories=["+@all"], commands=["-config"], keys=["*"])
    try:
        found = check_store(url.replace("unix://", "unix://shy:x@"))
    finally:
        client.acl_deluser("shy")
    assert "hides" in found[0]


def test_no_store_is_said_without_the_password():
    with pytest.raises(StoreUnfitError) as failure:
        check_store("redis://:secret@127.0.0.1:1/0")
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize("mode", MODES)
def test_each_kind_of_store_is_looked_at_as_a_whole(store_of, mode):
    store = store_of(mode)
    warnings = "\n".join(check_store(store.url))
    assert "append-only" not in warnings
    assert ("nothing can take over" in warnings) == (mode == "cluster")
    assert ("set min-replicas-to-write 1 and min-replicas-max-lag 2" in warnings) == (mode == "sentinel")
    for node in store.nodes:
        node.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(StoreUnfitError, match=r"allkeys-lru.*noeviction"):
                check_store(store.url)
        finally:
            node.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_a_guarded_primary_is_fit(store_of):
    store = store_of("sentinel")
    store.settled()
    for node in store.nodes:
        node.ask("CONFIG", "SET", "min-replicas-to-write", 1, "min-replicas-max-lag", 2)
    try:
        assert check_store(store.url) == []
    finally:
        for node in store.nodes:
            node.ask("CONFIG", "SET", "min-replicas-to-write", 0, "min-replicas-max-lag", 10)


def test_a_cluster_with_gaps_is_refused(tmp_path):
    with Server(tmp_path, cluster_enabled="yes") as node:
        node.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16382)
        with pytest.raises(StoreUnfitError, match="1 of the cluster's 16384 slots are served by no node"):
            check_store(f"redis+cluster://127.0.0.1:{node.port}")


def test_a_node_that_is_no_cluster_and_sentinels_that_know_nothing_are_refused(store_of):
    node, sentinels = store_of("tcp").url, store_of("sentinel").url
    with pytest.raises(StoreUnfitError, match=r"no node of the cluster answers: .*cluster support disabled"):
        check_store(node.replace("redis://", "redis+cluster://").replace("/2", ""))
    with pytest.raises(StoreUnfitError, match="knows no primary 'other'"):
        check_store(sentinels.replace("/books", "/other"))

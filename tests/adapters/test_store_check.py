import pytest
import redis

from router.adapters.store_check import StoreUnfitError, check_store


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

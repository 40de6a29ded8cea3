from __future__ import annotations

import ssl

import pytest

from router.adapters.store.url import ClusterAddress, SentinelAddress, StoreAddress, parse_store_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://store", StoreAddress(host="store")),
        ("redis://:s%40cret@store:7000/3", StoreAddress(host="store", port=7000, password="s@cret", db=3)),
        ("rediss://me:pw@[::1]:1/", StoreAddress(host="::1", port=1, username="me", password="pw", tls={})),
        (
            "rediss://store?ssl_cert_reqs=none&db=2",
            StoreAddress(host="store", db=2, tls={"ssl_cert_reqs": "none"}),
        ),
        ("unix:///run/store.sock?db=4", StoreAddress(host="localhost", path="/run/store.sock", db=4)),
        (
            "redis+sentinel://me:p%2Fw@a:1,b,[::1]:2/my%20books/3?sentinel_password=s%40",
            SentinelAddress(
                sentinels=(
                    StoreAddress(host="a", port=1, password="s@"),
                    StoreAddress(host="b", port=26379, password="s@"),
                    StoreAddress(host="::1", port=2, password="s@"),
                ),
                service="my books",
                node=StoreAddress(username="me", password="p/w", db=3),
            ),
        ),
        (
            "rediss+sentinel://a/books?ssl_cert_reqs=none",
            SentinelAddress(
                sentinels=(StoreAddress(host="a", port=26379, tls={"ssl_cert_reqs": "none"}),),
                service="books",
                node=StoreAddress(tls={"ssl_cert_reqs": "none"}),
            ),
        ),
        (
            "redis+cluster://:pw@a,b:7001",
            ClusterAddress((StoreAddress(host="a", password="pw"), StoreAddress(host="b", port=7001, password="pw"))),
        ),
        ("rediss+cluster://a:1/0", ClusterAddress((StoreAddress(host="a", port=1, tls={}),))),
    ],
)
def test_an_address_is_read_from_its_url(url, address):
    assert parse_store_url(url) == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://:secret@store", "must be redis://"),
        ("redis://:secret@store/zero", "'zero'; it must be a number"),
        ("redis://:secret@store?ssl_cert_reqs=none", "unknown option 'ssl_cert_reqs'; known: db"),
        ("rediss://:secret@store?ssl_cert_reqs=maybe", "must be required or none"),
        ("unix://", "no socket path"),
        ("redis://:secret@store:port", "must be host, host:port or [IPv6]:port"),
        ("redis://:secret@store:70000", "must be host, host:port or [IPv6]:port"),
        ("redis://:se/secret@store", "percent-encode it"),
        ("redis://:secret@one,two", "say redis+cluster:// or redis+sentinel://"),
        ("redis+sentinel://:secret@store", "lacks the primary's name"),
        ("redis+sentinel://:secret@store/books/zero", "'zero'; it must be a number"),
        ("redis+cluster://:secret@store/1", "names database 1; a cluster has only database 0"),
        ("redis+cluster://:secret@store?sentinel_password=secret", "unknown option 'sentinel_password'"),
        ("redis+other://:secret@store", "redis+sentinel://[user:password@]host[:port],…/primary[/db]"),
        ("unix+cluster:///secret", "must be redis://"),
    ],
)
def test_a_bad_url_is_refused_by_what_is_wrong_without_its_password(url, reason):
    with pytest.raises(ValueError, match="the store's URL") as refusal:
        parse_store_url(url)
    assert reason in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_an_address_shown_anywhere_keeps_its_password_to_itself():
    address = parse_store_url("redis://me:secret@store:7000")
    assert f"{address} {address!r}" == "store:7000 StoreAddress(store:7000)"
    for url, shown in {
        "redis+sentinel://:secret@a,b:1/books?sentinel_password=secret": "books of sentinels a:26379,b:1",
        "redis+cluster://:secret@a,b:1": "cluster a:6379,b:1",
    }.items():
        place = parse_store_url(url)
        assert str(place) == shown
        assert "secret" not in repr(place)


def test_tls_verifies_unless_told_not_to():
    assert parse_store_url("redis://store").ssl_context() is None
    assert parse_store_url("rediss://store").ssl_context().verify_mode == ssl.CERT_REQUIRED
    assert parse_store_url("rediss://store?ssl_cert_reqs=none").ssl_context().verify_mode == ssl.CERT_NONE

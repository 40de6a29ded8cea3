from __future__ import annotations

import ssl

import pytest

from router.adapters.store_url import StoreAddress, parse_store_url


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


def test_tls_verifies_unless_told_not_to():
    assert parse_store_url("redis://store").ssl_context() is None
    assert parse_store_url("rediss://store").ssl_context().verify_mode == ssl.CERT_REQUIRED
    assert parse_store_url("rediss://store?ssl_cert_reqs=none").ssl_context().verify_mode == ssl.CERT_NONE

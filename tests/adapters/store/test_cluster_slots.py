from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from router.adapters.store.cluster_slots import key_of, read_redirect, read_slots, slot_of
from router.adapters.store.layout import PLATFORM_KEYS, tenant_prefix


@given(st.binary(max_size=40) | st.text("ab{}:@%", max_size=12).map(str.encode))
def test_a_key_has_the_slot_that_others_compute(key):
    assert slot_of(key) == key_slot(key)


def test_all_keys_of_a_tenant_share_a_slot_whatever_its_name():
    for tenant in ("acme", "", "a}b{c", "{", "é", "@"):
        assert len({slot_of(tenant_prefix(tenant) + name) for name in ("holds", "rows:2026112300", "{x}")}) == 1
    assert slot_of("cr:{@}:keys") == slot_of(b"cr:{@}:totals:w1.1") == slot_of("@")


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "k"), "k"),
        ((b"GET", b"k"), b"k"),
        (("XREAD", "COUNT", 9, "BLOCK", 1, "STREAMS", "k", "0"), "k"),
        (("XREADGROUP", "GROUP", "g", "me", "STREAMS", "k", ">"), "k"),
        (("EVALSHA", "abc", 1, "k", "argument"), "k"),
        (("FCALL", "settle", 2, "k", "l"), "k"),
        (("XINFO", "STREAM", "k"), "k"),
        (("TIME",), PLATFORM_KEYS),
        (("CONFIG", "GET", "maxmemory"), PLATFORM_KEYS),
        (("SAVE",), PLATFORM_KEYS),
    ],
)
def test_a_command_goes_by_its_first_key_or_where_the_fleet_lies(command, key):
    assert key_of(command) == key


def test_a_map_names_primaries_and_a_node_that_names_none_means_itself():
    reply = [
        [0, 99, [b"10.0.0.1", 7000, b"id", [b"hostname", b"a"]], [b"10.0.0.2", 7000, b"id"]],
        [100, 100, [b"", 7001]],
        [101, 101, [None, 7002, b"id"]],
        [102, 102, [b"?", 7003, b"id"]],
    ]
    places = [(len(slots), place) for slots, place in read_slots(reply, "asked")]
    assert places == [(100, ("10.0.0.1", 7000)), (1, ("asked", 7001)), (1, ("asked", 7002)), (1, ("asked", 7003))]


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ("MOVED 3999 127.0.0.1:6381", ("127.0.0.1", 6381)),
        ("ASK 3999 store-2.example:6381", ("store-2.example", 6381)),
        ("MOVED 3999 ::1:6381", ("::1", 6381)),
        ("MOVED 3999 :6381", ("asked", 6381)),
    ],
)
def test_a_redirection_names_a_place(message, place):
    assert read_redirect(message, "asked") == place

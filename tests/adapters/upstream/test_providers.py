from __future__ import annotations

import pytest
from catalogs import a_model, compiled

from router.adapters.upstream.providers import (
    ProviderError,
    needed,
    own_link,
    reachable,
    real_links,
    simulated_link,
    with_key,
)
from router.ports import Timeouts

HOSTED = compiled().provider
OWN = compiled(provider="vllm", base_url="env:VLLM_BASE_URL", key_env="VLLM_API_KEY").provider


def test_a_provider_to_whom_callers_bring_keys_is_ours_to_call_only_with_a_key_of_ours():
    open_to_all = compiled(a_model(), provider="acme", auth="passthrough").provider
    with_key = compiled(a_model(), provider="acme", auth="passthrough", key_env="ACME_KEY").provider
    assert not reachable(open_to_all, {})
    assert not reachable(with_key, {})
    assert reachable(with_key, {"ACME_KEY": "sk-ours"})


def test_a_provider_of_ones_own_takes_callers_keys_once_it_has_an_address():
    provider = compiled(a_model(), provider="acme", auth="passthrough", base_url="env:ACME_URL").provider
    assert own_link(provider, {}, Timeouts(), 0) is None
    link = own_link(provider, {"ACME_URL": "http://127.0.0.1:9/v1"}, Timeouts(), 0)
    assert (link.origin.port, link.brought, link.headers) == (9, True, ((b"content-type", b"application/json"),))


def test_the_simulator_takes_callers_keys_too():
    provider = compiled(a_model(), provider="acme", auth="passthrough").provider
    link = with_key(own_link(provider, {}, Timeouts(), 4000), provider, "sk-mine")
    assert (link.origin.port, link.brought, dict(link.headers)[b"authorization"]) == (4000, True, b"Bearer sk-mine")


def test_a_hosted_provider_needs_its_key():
    assert needed(HOSTED) == "ACME_API_KEY"
    assert not reachable(HOSTED, {})
    assert not reachable(HOSTED, {"ACME_API_KEY": " "})
    assert reachable(HOSTED, {"ACME_API_KEY": "sk-1"})


def test_a_server_of_ones_own_needs_its_address_and_may_have_a_key():
    address = {"VLLM_BASE_URL": "http://gpu-1:8000/v1/"}
    assert needed(OWN) == "VLLM_BASE_URL"
    assert not reachable(OWN, {"VLLM_API_KEY": "sk-1"})
    assert reachable(OWN, address)
    (link,) = real_links(OWN, address)
    assert (link.origin.scheme, link.origin.host, link.origin.port, link.origin.base_path) == (
        "http",
        "gpu-1",
        8000,
        "/v1",
    )
    assert dict(link.headers).keys() == {b"content-type"}
    assert dict(real_links(OWN, address | {"VLLM_API_KEY": "sk-1"})[0].headers)[b"authorization"] == b"Bearer sk-1"


def test_a_key_does_not_help_where_the_dialect_is_not_spoken():
    assert not reachable(compiled(dialect="other").provider, {"ACME_API_KEY": "sk-1"})


def test_the_carriage_return_of_a_windows_file_is_no_part_of_a_key():
    (link,) = real_links(HOSTED, {"ACME_API_KEY": "sk-1\r"})
    assert dict(link.headers)[b"authorization"] == b"Bearer sk-1"
    assert link.origin.port == 443


@pytest.mark.parametrize("key", ["sk\r\n1", "sk 1", "sk-ü", "sk\x001"])
def test_a_key_that_cannot_travel_is_refused_by_name_and_not_shown(key):
    with pytest.raises(ProviderError, match="ACME_API_KEY") as caught:
        real_links(HOSTED, {"ACME_API_KEY": key})
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "base",
    [
        "http://h:abc/v1",
        "http://h:99999/v1",
        "http://[::1/v1",
        "ftp://h/v1",
        "gpu-1:8000",
        "http://",
        "http://u:p@h/",
        "http://h/v1?x=1",
        "http://h/a b",
    ],
)
def test_an_address_that_cannot_work_is_refused_by_name(base):
    with pytest.raises(ProviderError, match="VLLM_BASE_URL must be http"):
        real_links(OWN, {"VLLM_BASE_URL": base})


def test_the_simulator_plays_each_provider_under_its_name():
    link = simulated_link(HOSTED, 4711)
    assert (link.origin.host, link.origin.port, link.origin.base_path) == ("127.0.0.1", 4711, "/acme/v1")
    assert dict(link.headers)[b"authorization"] == b"Bearer simulated"


def test_several_keys_share_a_provider_by_weight():
    links = real_links(
        HOSTED,
        {
            "ACME_API_KEY": "sk-1",
            "ACME_API_KEY_2": "sk-2",
            "ACME_API_KEY_2_WEIGHT": "3",
            "ACME_API_KEY_3": "sk-3",
            "ACME_API_KEY_3_WEIGHT": "0",
            "ACME_API_KEY_10": "sk-10",
        },
    )
    assert [(link.key, link.weight) for link in links] == [("ACME_API_KEY", 1), ("ACME_API_KEY_2", 3)]
    assert [dict(link.headers)[b"authorization"] for link in links] == [b"Bearer sk-1", b"Bearer sk-2"]


@pytest.mark.parametrize("weight", ["-1", "half", "10000", "0"])
def test_a_weight_that_cannot_be_used_is_named(weight):
    with pytest.raises(ProviderError, match=r"ACME_API_KEY_WEIGHT|weight 0"):
        real_links(HOSTED, {"ACME_API_KEY": "sk-1", "ACME_API_KEY_WEIGHT": weight})

"""Requests that bring a provider's own key: it goes to that provider and to no other, and only the ledger learns whose it was."""

import msgspec
import pytest
from fakes import FakeResponse
from test_forward import three_providers
from wired import Wired, answer

from router.core.errors import RouterError
from router.core.values import Identity

ANN = Identity(tenant="own-keys", key="own-0123456789abcdef", name="own key of beta")
HEADERS = {"authorization": "Bearer sk-anns"}


def wired(*script, **bounds):
    wire = Wired(*script, world=three_providers(), providers=("acme", "beta", "gamma"), **{"attempts": 3, **bounds})
    own = msgspec.structs.replace(
        wire.ways.links["beta"], headers=((b"authorization", b"Bearer sk-anns"),), key="brought", brought=True
    )
    wire.pipeline.own_keys = lambda secret, provider: (ANN, own) if secret == "sk-anns" else None
    return wire


async def failed(wire, **fields):
    with pytest.raises(RouterError) as caught:
        await wire.serve(**fields)
    return caught.value


def refuses(status, words="no"):
    return FakeResponse([b'{"error":{"message":"%s"}}' % words.encode()], status=status)


async def test_it_travels_to_its_provider_although_another_is_cheaper_and_is_booked_by_its_hash():
    wire = wired(FakeResponse([answer()]))
    reply = await wire.serve(headers=HEADERS)
    assert ("x-costrouter-provider", "beta") in reply.headers
    assert [dict(sent.headers)[b"authorization"] for sent in wire.upstream.sent] == [b"Bearer sk-anns"]
    assert (wire.row.tenant, wire.row.key, wire.row.provider) == ("own-keys", ANN.key, "beta")
    assert wire.row.cost_nano == 9 * 2_000 + 2 * 4_000
    assert [hold.tenant for hold in wire.ledger.reserved] == ["own-keys"]


async def test_callers_with_keys_of_ours_go_where_they_went():
    wire = wired(FakeResponse([answer()]))
    assert ("x-costrouter-provider", "acme") in (await wire.serve()).headers
    assert [dict(sent.headers)[b"authorization"] for sent in wire.upstream.sent] == [b"Bearer sk-ours"]


@pytest.mark.parametrize("status", [500, 503, 429, 402])
async def test_what_its_provider_cannot_do_no_other_provider_does(status):
    wire = wired(*[refuses(status) for _ in range(3)])
    error = await failed(wire, headers=HEADERS)
    assert {row.provider for row in wire.ledger.rows} == {"beta"}
    assert error.details.get("provider", "beta") == "beta"


async def test_a_model_that_it_does_not_open_is_refused_and_says_so():
    error = await failed(wired(), headers=HEADERS, model="acme/large@acme")
    assert error.code == "unknown_model"
    assert "acme/large@acme is not opened by a key of beta's" in error.message


async def test_a_key_that_its_provider_does_not_know_is_a_401_and_leaves_nothing_behind():
    wire = wired(refuses(401, "Incorrect API key provided: sk-anns"))
    error = await failed(wire, headers=HEADERS)
    assert (error.code, error.status) == ("invalid_api_key", 401)
    assert "sk-anns" not in error.message
    assert (wire.ledger.rows, wire.ledger.holds) == ([], {})


async def test_where_its_way_is_shut_it_waits_for_its_provider_and_asks_nobody_else():
    wire = wired()
    wire.ways.away["beta"] = 1_500
    error = await failed(wire, headers=HEADERS)
    assert (error.code, error.retry_after_s) == ("upstream_unavailable", 1.5)
    assert wire.upstream.sent == []


async def test_an_unknown_key_is_what_it_was():
    error = await failed(wired(), headers={"authorization": "Bearer sk-nobodys"})
    assert (error.code, error.message) == (
        "invalid_api_key",
        "This key is not known here. Provider keys are not router keys.",
    )


async def test_it_opens_no_endpoint_but_those_of_prompts():
    with pytest.raises(RouterError, match="one of beta's may send prompts, and no more") as caught:
        await wired().pipeline.authenticate(HEADERS)
    assert caught.value.code == "not_allowed"


@pytest.mark.parametrize(
    ("headers", "whose"),
    [(HEADERS | {"x-costrouter-provider": "acme"}, "beta's"), (None, "the router's")],
    ids=["another provider's", "one of ours"],
)
async def test_whose_key_a_request_brings_cannot_be_said_wrongly(headers, whose):
    wire = wired()
    secret = {"authorization": "Bearer cr-secret", "x-costrouter-provider": "beta"}
    error = await failed(wire, headers=headers or secret)
    assert (error.code, error.param) == ("invalid_request", "x-costrouter-provider")
    assert whose in error.message


async def test_the_right_name_does_no_harm():
    wire = wired(FakeResponse([answer()]))
    await wire.serve(headers=HEADERS | {"x-costrouter-provider": "beta"})
    assert wire.row.provider == "beta"


async def test_nothing_is_answered_from_a_cache_before_its_provider_has_known_it():
    class Asked:
        def question(self, call, seen):
            raise AssertionError("nobody has vouched for this key")

    wire = wired(FakeResponse([answer()]))
    wire.pipeline.caching = Asked()
    await wire.serve(headers=HEADERS)
    assert wire.row.outcome == "ok"


async def test_a_deadline_defers_nothing_because_the_key_is_not_kept():
    class Deferral:
        def hint(self, seen):
            return ""

        async def take(self, *_):
            raise AssertionError("this would be sent later")

    wire = wired(FakeResponse([answer()]))
    wire.pipeline.deferral = Deferral()
    await wire.serve(headers=HEADERS | {"x-costrouter-deadline": "4h"})
    assert wire.row.key == ANN.key

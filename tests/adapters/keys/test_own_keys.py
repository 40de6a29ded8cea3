"""Keys of providers that callers bring: whose they are taken for, and what never travels."""

import hashlib

import pytest
from catalogs import a_model, compiled

from router.adapters.keys.own_keys import MOST_CHARACTERS, BroughtKeys
from router.adapters.upstream.providers import own_link
from router.core.errors import RouterError
from router.ports import Timeouts

PREFIXES = {"openai": "sk-", "deepseek": "sk-", "anthropic": "sk-ant-", "groq": "gsk_", "bare": ""}


def brought(*names, callers=None):
    providers = {}
    for name in names:
        more = {"callers": callers} if callers else {}
        facts = {"key_prefix": PREFIXES[name], "auth": "passthrough", **more}
        dialect = "anthropic" if name == "anthropic" else "openai"
        provider = compiled(a_model(), provider=name, dialect=dialect, **facts).provider
        providers[name] = (provider, own_link(provider, {}, Timeouts(), 0))
    return BroughtKeys(providers)


def refused(keys, secret, provider=""):
    with pytest.raises(RouterError) as caught:
        keys(secret, provider)
    assert caught.value.code == "invalid_api_key"
    assert secret not in caught.value.message
    return caught.value.message


def test_whoever_brings_a_key_is_known_by_its_hash_alone():
    identity, link = brought("openai", "anthropic")("sk-mine", "")
    assert identity.key == f"own-{hashlib.sha256(b'sk-mine').hexdigest()[:16]}"
    assert (identity.tenant, identity.team, identity.app, identity.role) == ("own-keys", "", "", "app")
    assert (link.name, link.brought) == ("openai", True)
    assert dict(link.headers)[b"authorization"] == b"Bearer sk-mine"
    assert "sk-mine" not in repr(identity)


def test_two_keys_are_two_callers_and_one_key_is_one():
    keys = brought("openai")
    assert keys("sk-a", "")[0] == keys("sk-a", "")[0] != keys("sk-b", "")[0]


def test_the_longest_beginning_says_whose_key_it_is():
    keys = brought("openai", "anthropic", "groq")
    assert [keys(secret, "")[1].name for secret in ("sk-x", "sk-ant-x", "gsk_x")] == ["openai", "anthropic", "groq"]
    assert dict(keys("sk-ant-x", "")[1].headers)[b"x-api-key"] == b"sk-ant-x"


def test_where_two_providers_keys_begin_alike_the_caller_must_say_whose_it_is():
    keys = brought("openai", "deepseek")
    assert "may be a key of deepseek or openai; say which in the header x-costrouter-provider" in refused(
        keys, "sk-xyz"
    )
    assert keys("sk-x", "deepseek")[1].name == "deepseek"


def test_a_provider_whose_keys_are_not_taken_is_refused_with_those_that_are():
    assert "keys of mistral are not taken here, those of groq and openai are" in refused(
        brought("openai", "groq"), "k-mine", "mistral"
    )


def test_a_named_providers_key_may_begin_as_it_likes():
    assert brought("bare")("whatever", "bare")[1].name == "bare"


@pytest.mark.parametrize(
    "secret",
    ["cr-one-of-ours", "hunter2", "sk-line\nbreak", "sk-\u00e9", "sk- blank", f"sk-{'x' * MOST_CHARACTERS}"],
    ids=["ours", "no provider's", "line break", "not ASCII", "blank", "endless"],
)
def test_what_cannot_be_such_a_key_never_travels(secret):
    assert brought("openai", "bare")(secret, "") is None


@pytest.mark.parametrize("secret", ["cr-one-of-ours", "a\r\nb"])
def test_not_even_where_the_provider_is_named(secret):
    assert brought("openai")(secret, "openai") is None


def test_the_catalog_says_whose_books_are_kept_of_them():
    identity, _ = brought("openai", callers={"tenant": "acme", "team": "labs", "app": "notebooks"})("sk-mine", "")
    assert (identity.tenant, identity.team, identity.app) == ("acme", "labs", "notebooks")

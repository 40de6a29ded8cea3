import pytest
from catalogs import a_model, a_provider, compiled

from router.core.catalog.catalog import Catalog
from router.core.names import Names


@pytest.fixture(scope="module")
def names():
    own = compiled(a_model("acme/large", upstream="large-1"), a_model("acme/embed-2024-01-01", upstream="embed-1"))
    other = compiled(
        a_model("acme/large", upstream="acme-ai/Large"), a_model("beta/tiny"), provider="beta", name="Beta"
    )
    return Names(Catalog([own.provider, other.provider], (*own.models, *other.models)))


def found(names, name):
    named = names.find(name)
    return None if named is None else ([model.name for model in named.entries], named.explicit)


LARGE = ["acme/large@acme", "acme/large@beta"]


@pytest.mark.parametrize(
    ("name", "entries", "explicit"),
    [
        ("acme/large", LARGE, True),
        ("acme/large@beta", ["acme/large@beta"], True),
        ("beta/acme/large", ["acme/large@beta"], True),
        ("beta/acme-ai/Large", ["acme/large@beta"], True),
        ("large", LARGE, False),
        ("large-1", ["acme/large@acme"], False),
        ("acme-ai/Large", ["acme/large@beta"], False),
        ("beta/tiny", ["beta/tiny@beta"], True),
        ("tiny", ["beta/tiny@beta"], False),
    ],
)
def test_a_model_goes_by_its_own_names_and_by_bare_ones(names, name, entries, explicit):
    assert found(names, name) == (entries, explicit)


@pytest.mark.parametrize("suffix", ["2026-11-23", "20261123", "latest"])
def test_a_dated_bare_name_is_its_model(names, suffix):
    assert found(names, f"large-{suffix}") == (LARGE, False)


@pytest.mark.parametrize(
    "name",
    [
        "acme/large-2026-11-23",
        "acme/large@acme-latest",
        "large-2026",
        "large-2026-11",
        "large-2026-11-23-latest",
        "-latest",
        "latest",
        "Large",
        "large ",
        "",
        "gpt",
        "x" * 100_000 + "-latest",
        "large" + "-latest" * 50_000,
    ],
)
def test_other_names_are_unknown(names, name):
    assert found(names, name) is None


def test_a_name_that_has_a_date_of_its_own_is_found_as_it_stands(names):
    assert found(names, "embed-2024-01-01") == (["acme/embed-2024-01-01@acme"], False)
    assert found(names, "embed") is None


def test_the_provider_of_a_model_is_no_name(names):
    assert a_provider()["provider"] == "acme"
    assert found(names, "acme") is None


@pytest.mark.parametrize("name", ["acme/large", "large", "large-latest", "acme/large@beta"])
def test_the_cheapest_provider_of_a_name_is_what_the_name_means_anyway(names, name):
    assert names.find(f"{name}:floor") == names.find(name)


@pytest.mark.parametrize("name", ["nobody:floor", ":floor", "large:floor:floor", f"{'x' * 1_000_000}:floor"])
def test_nothing_else_is_found_at_its_cheapest(names, name):
    assert names.find(name) is None

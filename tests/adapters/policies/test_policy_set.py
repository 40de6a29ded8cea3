import pytest
import yaml
from catalogs import a_model, a_policy, a_provider

from router.adapters.policies.files import load_policies
from router.adapters.policies.set import knows_zone
from router.adapters.policies.yaml_document import PolicyFileError


@pytest.fixture
def place(tmp_path):
    (tmp_path / "catalog").mkdir()
    models = (a_model(), a_model("acme/small", weights="open"))
    (tmp_path / "catalog" / "acme.yaml").write_text(yaml.safe_dump(a_provider(*models)))
    return tmp_path


def put(place, name, **changes):
    document = {key: value for key, value in a_policy(policy=name, **changes).items() if value is not None}
    (place / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def problems(place):
    with pytest.raises(PolicyFileError) as raised:
        load_policies(place)
    return {problem.path.name: f"{problem.line}: {problem.message}" for problem in raised.value.problems}


def test_a_policy_takes_over_what_it_extends(place):
    put(place, "base", rules=None, require={"ttft": "p95 <= 1s"})
    put(place, "support", extends="base", candidates=None)
    loaded = load_policies(place)
    assert loaded.policies["support"].rules[0].ttft.ms == 1000
    assert list(loaded.policies) == ["support"], "guardrails alone serve nobody"
    assert {name: path.name for name, path in loaded.files.items()} == {"base": "base.yaml", "support": "support.yaml"}


def test_a_breach_names_both_places(place):
    put(place, "base", rules=None, require={"ttft": "p95 <= 1s"})
    put(place, "support", extends="base", candidates=None, require={"ttft": "p95 <= 2s"})
    assert problems(place) == {
        "support.yaml": "7: ttft: looser than base.yaml:7 allows, which says p95 <= 1000ms",
    }


def test_what_extends_nothing_known_is_refused_with_its_near_miss(place):
    put(place, "base")
    put(place, "support", extends="bse")
    assert problems(place) == {"support.yaml": "8: there is no policy 'bse'; did you mean base?"}


def test_a_circle_of_policies_is_refused(place):
    put(place, "a", extends="b")
    put(place, "b", extends="a")
    assert problems(place) == {
        "a.yaml": "8: a extends b extends a, which never ends",
        "b.yaml": "8: b extends a extends b, which never ends",
    }


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_overlapping_binds_are_refused_in_both_files_whatever_their_order(place, names):
    first, second = names
    put(place, first, bind={"team": ["x", "y"]})
    put(place, second, bind={"team": "y", "app": "faq"})
    assert problems(place) == {
        f"{one}.yaml": (
            f"8: requests that {one!r} is bound to fall under {other!r} too, {other}.yaml:8; one policy must govern each"
        )
        for one, other in ((first, second), (second, first))
    }


def test_zones_that_rules_name_come_along(place):
    rules = [{"name": "night", "when": {"time": {"hours": "22:00-06:00", "zone": "Europe/Berlin"}}}, {"name": "rest"}]
    put(place, "support", rules=rules)
    assert list(load_policies(place).zones) == ["Europe/Berlin"]


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "a" * 300])
def test_what_is_no_zone(name):
    assert not knows_zone(name)
    assert knows_zone("Europe/Berlin")

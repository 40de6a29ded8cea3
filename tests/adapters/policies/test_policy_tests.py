import pytest
import yaml
from catalogs import a_model, a_policy, a_provider, a_score

from router.adapters.policies.cases import lint, read_tests, run_tests, summary, untested
from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.adapters.policies.yaml_document import PolicyFileError
from router.core.policy.cases_schema import json_schema

SHIPPED = packaged_policies_dir()
SETS = [SHIPPED, SHIPPED / "examples"]
TESTS = {"given": {"at": "2026-11-23T12:00:00Z"}, "cases": [{"name": "any", "expect": {"rule": "everyday"}}]}


@pytest.mark.parametrize("directory", SETS, ids=["default", "examples"])
def test_the_shipped_policies_pass_their_tests_and_leave_nothing_to_say(directory):
    tested = run_tests(load_policies(directory), read_tests(directory))
    assert [one for one in tested if one.result.failures] == []
    assert lint(directory) == []


@pytest.mark.parametrize("directory", SETS, ids=["default", "examples"])
def test_deleting_any_rule_of_the_shipped_policies_fails_a_test(directory):
    assert untested(load_policies(directory), read_tests(directory)) == []


def test_the_json_schema_of_tests_is_current():
    told = "costrouter policy schema --tests > policies/tests/schema.json writes it anew"
    assert (SHIPPED / "tests" / "schema.json").read_text() == json_schema(), told


@pytest.fixture
def place(tmp_path):
    (tmp_path / "catalog").mkdir()
    models = (
        a_model(quality={"chat": a_score("0.900", "0.010")}),
        a_model("acme/small"),
        a_model("acme/mute", quality={}),
    )
    (tmp_path / "catalog" / "acme.yaml").write_text(yaml.safe_dump(a_provider(*models)))
    (tmp_path / "tests").mkdir()
    write(tmp_path / "tests" / "default.yaml", TESTS)
    put(tmp_path, "default")
    return tmp_path


def write(path, document):
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def put(place, name, **changes):
    write(place / f"{name}.yaml", {k: v for k, v in a_policy(policy=name, **changes).items() if v is not None})


def test_cases_have_places_and_are_counted(place):
    wrong = {"name": "wrong", "expect": {"rule": "rest"}}
    write(place / "tests" / "default.yaml", {**TESTS, "cases": [*TESTS["cases"], wrong]})
    tested = run_tests(load_policies(place), read_tests(place))
    assert [one.place for one in tested] == ["default.yaml:4", "default.yaml:7"]
    assert tested[1].result.failures == ("rule: expected rest, found everyday",)
    assert summary(tested) == {"passed": 1, "failed": 1}


def test_a_rule_that_no_test_needs_is_found(place):
    put(place, "default", rules=[{"name": "code", "when": {"task": "code"}}, {"name": "everyday"}])
    assert untested(load_policies(place), read_tests(place)) == [("default", "code")]


def test_tests_that_cannot_be_read_are_placed(place):
    write(place / "tests" / "default.yaml", {**TESTS, "cses": []})
    with pytest.raises(PolicyFileError, match="did you mean cases"):
        read_tests(place)


def said(place, **changes):
    put(place, "default", reference="acme/large", **changes)
    return [line for line in lint(place) if "default.yaml:" in line]


LIMIT = {"name": "everyday", "require": {"ttft": "p95 <= 2s"}}
FLOOR = {"name": "everyday", "require": {"quality": "0.85"}}
HANDLED = {"without_data": {"latency": "probe 2%"}, "when_nothing_fits": ["relax ttft"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"rules": [LIMIT], **HANDLED}, []),
        ({"rules": [LIMIT], "when_nothing_fits": ["relax ttft"]}, ["`without_data` is missing"]),
        ({"rules": [LIMIT], "without_data": {"latency": "probe 2%"}}, ["no fallback"]),
        ({"rules": [LIMIT], **HANDLED, "without_data": {"latency": "allow"}}, ["nobody has measured pass every limit"]),
        ({"rules": [FLOOR], **HANDLED, "without_data": {"quality": "allow"}}, ["nobody has scored pass every floor"]),
        ({"rules": [{"name": "everyday", "when": {"task": "chat"}}]}, ["the last rule has conditions"]),
        ({"rules": [{"name": "code", "when": {"task": "code"}}, {"name": "everyday"}]}, ["reaches the rule 'code'"]),
        (
            {"rules": [FLOOR], **HANDLED, "candidates": {"include": ["acme/large", "acme/small"]}},
            ["acme/small reaches no rule's floor"],
        ),
        (
            {"rules": [FLOOR], "without_data": {"quality": "exclude"}, "when_nothing_fits": ["relax quality"],
             "candidates": {"include": ["acme/large", "acme/small"]}},
            [],
        ),
    ],
)  # fmt: skip
def test_what_lint_says(place, changes, words):
    found = said(place, **changes)
    assert len(found) == len(words), found
    assert all(word in line for word, line in zip(words, found, strict=True))


def test_lint_looks_through_guardrails(place):
    put(
        place,
        "base",
        rules=None,
        candidates=None,
        without_data={"latency": "probe 2%"},
        when_nothing_fits=["relax ttft"],
    )
    assert said(place, extends="base", rules=[LIMIT]) == []
    put(place, "default", reference="acme/large")
    assert any(line.endswith("base.yaml:2:1: nothing extends these guardrails") for line in lint(place))


def test_lint_misses_a_reference(place):
    put(place, "default")
    (line,) = (line for line in lint(place) if "default.yaml:" in line)
    assert "without a `reference`" in line

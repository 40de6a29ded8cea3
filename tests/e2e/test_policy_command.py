"""`costrouter policy`, as a platform engineer and their CI run it; no node has to be up."""

import pytest
from commands import ROOT, clean_environment, costrouter
from node import policies_copy

SCHEMA = ROOT / "policies" / "schema.json"


def policy(*arguments, **settings):
    environment = clean_environment(**{name: str(value) for name, value in settings.items()})
    return costrouter("policy", *arguments, environment=environment)


@pytest.fixture
def place(tmp_path):
    return policies_copy(tmp_path / "policies")


def test_check_names_what_is_in_force(place):
    found = policy("check", place)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("default@")
    assert "live, 4 rules" in found.stdout


def test_check_shows_a_fault_with_a_caret_under_its_place(place):
    path = place / "default.yaml"
    path.write_text(path.read_text().replace("    when: {endpoint: embeddings}", "    whn: {endpoint: embeddings}"))
    found = policy("check", place)
    line = path.read_text().splitlines().index("    whn: {endpoint: embeddings}") + 1
    assert found.returncode == 1
    assert (
        f"{path}:{line}:5: unknown key 'whn'; did you mean when?\n      whn: {{endpoint: embeddings}}\n      ^"
        in found.stderr
    )


def test_test_says_which_case_failed_and_how(place):
    assert policy("test", place).stdout == "4 passed, 0 failed\n"
    tests = place / "tests" / "default.yaml"
    tests.write_text(tests.read_text().replace("rule: everyday", "rule: everynight"))
    found = policy("test", place)
    assert found.returncode == 1
    assert "rule: expected everynight, found everyday" in found.stdout
    assert found.stdout.endswith("3 passed, 1 failed\n")


def test_without_tests_nothing_passes(place):
    (place / "tests" / "default.yaml").unlink()
    found = policy("test", place)
    assert (found.returncode, "has no tests" in found.stderr) == (1, True)


def test_lint_says_what_looks_wrong_and_where(place):
    assert policy("lint", place).stdout == ""
    path = place / "default.yaml"
    path.write_text(path.read_text().replace("[relax ttft, use reference, refuse]", "[refuse]"))
    found = policy("lint", place)
    assert found.returncode == 1
    assert "no fallback: a request that no candidate fits is refused (422)" in found.stdout


def test_the_shipped_examples_are_checked_where_they_lie():
    examples = ROOT / "policies" / "examples"
    assert policy("check", examples).returncode == policy("test", examples).returncode == 0


def test_the_directory_is_the_nodes_by_default(place):
    found = policy("check", COSTROUTER_POLICIES=place)
    assert str(place / "default.yaml") in found.stdout
    assert "COSTROUTER_PORT" in policy("check", COSTROUTER_PORT="x").stderr


def test_the_schemas_are_printed_as_they_are_shipped():
    assert policy("schema").stdout == SCHEMA.read_text()
    assert policy("schema", "--tests").stdout == (ROOT / "policies" / "tests" / "schema.json").read_text()

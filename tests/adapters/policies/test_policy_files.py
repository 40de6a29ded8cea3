import datetime as dt

import pytest
import yaml
from catalogs import a_model, a_policy, a_price, a_provider, a_score

from router.adapters.policies import files as policy_files
from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.adapters.policies.yaml_document import PolicyFileError

POLICY = """\
version: 1
policy: support
candidates:
  include: [tag:chat]
rules:
  - name: interactive
    require:
      tpot: "p95 <= 40ms"
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "acme.yaml").write_text(yaml.safe_dump(a_provider()))
    (tmp_path / "support.yaml").write_text(POLICY)
    return tmp_path


def failure(place):
    with pytest.raises(PolicyFileError) as raised:
        load_policies(place)
    return raised.value


def only(place):
    (problem,) = failure(place).problems
    return problem


def test_policies_and_catalog_are_read(place):
    loaded = load_policies(place)
    assert list(loaded.policies) == ["support"]
    assert loaded.catalog.ids == ("acme/large",)
    assert loaded.warnings == ()


def test_an_error_names_file_line_and_column_and_points_at_it(place):
    (place / "support.yaml").write_text(POLICY.replace("tpot:", "tpto:"))
    problem = only(place)
    assert (problem.line, problem.column) == (8, 7)
    assert str(problem) == (
        f"{place / 'support.yaml'}:8:7: unknown key 'tpto'; did you mean tpot?\n"
        '        tpto: "p95 <= 40ms"\n'
        "        ^"
    )


def test_the_error_reads_as_all_its_problems(place):
    (place / "support.yaml").write_text(POLICY.replace("tpot:", "tpto:").replace("version: 1", "version: 3"))
    error = failure(place)
    assert [problem.line for problem in error.problems] == [1, 8]
    assert str(error).count("^") == 2


def test_a_problem_in_a_list_points_at_the_element(place):
    (place / "support.yaml").write_text(POLICY.replace("[tag:chat]", "[tag:chat, tag:cht]"))
    problem = only(place)
    assert (problem.line, problem.column) == (4, 23)


def test_a_missing_key_points_at_what_lacks_it(place):
    (place / "support.yaml").write_text(POLICY.replace("    require:\n", "  - require:\n"))
    problem = only(place)
    assert (problem.line, problem.message) == (7, "the key 'name' is missing")


def test_a_catalog_error_is_placed_too(place):
    text = yaml.safe_dump(a_provider(a_model(capabilities=["chat", "tols"])))
    (place / "catalog" / "acme.yaml").write_text(text)
    problem = only(place)
    assert "did you mean tools" in problem.message
    assert problem.excerpt.strip() == "- tols"


def test_problems_of_all_files_are_reported_at_once(place):
    (place / "catalog" / "acme.yaml").write_text(yaml.safe_dump(a_provider(a_model(weights="half"))))
    (place / "support.yaml").write_text(POLICY.replace("policy:", "polcy:"))
    assert len(failure(place).problems) == 3


def test_names_are_not_checked_against_a_broken_catalog(place):
    (place / "catalog" / "acme.yaml").write_text(yaml.safe_dump(a_provider(a_model(weights="half"))))
    assert "half" in only(place).message


def test_a_key_that_stands_twice_is_refused(place):
    (place / "support.yaml").write_text(POLICY + "policy: other\n")
    problem = only(place)
    assert (problem.line, problem.message) == (9, "the key 'policy' stands there twice")


def test_a_key_that_stands_twice_deep_down_is_refused(place):
    (place / "support.yaml").write_text(POLICY + '      tpot: "p95 <= 1s"\n')
    assert only(place).line == 9


def test_anchors_may_be_used(place):
    text = POLICY.replace("    require:\n", "    when: {task: code}\n    require: &limits\n")
    (place / "support.yaml").write_text(text + "  - name: other\n    require: *limits\n")
    rules = load_policies(place).policies["support"].rules
    assert rules[0].tpot == rules[1].tpot


def test_two_policies_of_one_name_are_refused(place):
    (place / "zz.yaml").write_text(POLICY)
    problem = only(place)
    assert (problem.path.name, problem.line, problem.column) == ("zz.yaml", 2, 1)
    assert problem.message == "support.yaml:2 has a policy called 'support' too"


def test_a_provider_is_defined_once(place):
    (place / "catalog" / "other.yaml").write_text(yaml.safe_dump(a_provider()))
    assert only(place).message == "the provider 'acme' is defined in acme.yaml already"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1, 2\n", "not YAML"),
        (b"a: b: c\n", "not YAML: mapping values are not allowed"),
        (b"policy: !!python/object:os.system x\n", "not YAML: could not determine a constructor"),
        (b"? [a, b]\n: 1\n", "not YAML"),
        (b"a: 1\n---\nb: 2\n", "not YAML: but found another document"),
        (b"a: \xff\xfe\n", "cannot be read"),
        (b"a: \x00\n", "not YAML"),
        (b"date: 2026-13-45\n", "not YAML"),
        (b"", "must hold a mapping"),
        (b"- a\n", "must hold a mapping"),
    ],
)
def test_what_is_no_policy_file(place, content, message):
    (place / "support.yaml").write_bytes(content)
    problem = only(place)
    assert message in problem.message
    assert problem.path == place / "support.yaml"
    assert str(problem).startswith(f"{place / 'support.yaml'}:")


def test_a_yaml_error_points_at_its_place(place):
    (place / "support.yaml").write_text("a: 1\nb: c: d\n")
    assert (only(place).line, only(place).column) == (2, 5)


def test_the_other_ending_is_pointed_out(place):
    (place / "extra.yml").write_text(POLICY)
    assert only(place).message == "is not read; name it .yaml"


def test_hidden_files_and_other_files_are_left_out(place):
    (place / ".#support.yaml").write_text("half written: [")
    (place / "catalog" / "README.md").write_text("# The catalog")
    assert load_policies(place).policies


def test_an_empty_directory_is_an_error(tmp_path):
    messages = [problem.message for problem in failure(tmp_path).problems]
    assert messages == ["there is no *.yaml file in this directory"]


def test_warnings_have_a_place(place):
    model = a_model(prices=[a_price(cached_input="2")])
    (place / "catalog" / "acme.yaml").write_text(yaml.safe_dump(a_provider(model)))
    (place / "support.yaml").write_text(POLICY.replace("[tag:chat]", '[tag:chat, "x/*"]'))
    cached, pattern = load_policies(place).warnings
    assert cached.path.name == "acme.yaml"
    assert cached.excerpt.strip().removeprefix("- ").startswith("cached_input:")
    assert (pattern.line, pattern.column) == (4, 23)


def test_retired_models_are_judged_at_the_given_instant(place):
    model = a_model(retired=dt.date(2026, 12, 1))
    (place / "catalog" / "acme.yaml").write_text(yaml.safe_dump(a_provider(model)))
    (place / "support.yaml").write_text(POLICY.replace("[tag:chat]", "[acme/large]"))
    before, after = (dt.datetime(2026, month, 2, tzinfo=dt.UTC) for month in (11, 12))
    assert load_policies(place, before).warnings == ()
    assert "retired" in load_policies(place, after).warnings[0].message


def test_a_checkouts_policies_stand_beside_the_package():
    assert (packaged_policies_dir() / "default.yaml").is_file()
    assert (packaged_policies_dir() / "catalog").is_dir()


def test_an_installed_packages_policies_stand_inside_it(tmp_path, monkeypatch):
    (tmp_path / "router" / "_policies").mkdir(parents=True)
    monkeypatch.setattr(policy_files, "_PACKAGE", tmp_path / "router")
    assert packaged_policies_dir() == tmp_path / "router" / "_policies"


def test_the_shipped_files_load_without_a_warning():
    loaded = load_policies(packaged_policies_dir())
    assert loaded.warnings == ()
    assert len(loaded.catalog.models) > 40
    assert list(loaded.policies) == ["default"]


def test_a_policy_document_of_the_tests_is_sound(place):
    (place / "support.yaml").write_text(yaml.safe_dump(a_policy()))
    assert load_policies(place).policies


def scored(place, name, **changes):
    (place / "quality").mkdir(exist_ok=True)
    text = {"version": 1, "origin": "team", "models": {"acme/large": {"chat": a_score("0.810")}}, **changes}
    (place / "quality" / name).write_text(yaml.safe_dump(text))


def test_scores_of_files_take_the_place_of_the_catalogs(place):
    scored(place, "ours.yaml")
    catalog = load_policies(place).catalog
    assert catalog.quality.score(catalog.models[0], "chat").milli == 810


def test_a_wrong_score_is_placed(place):
    scored(place, "ours.yaml", models={"acme/large": {"chat": {**a_score(), "score": "0.9", "sd": None}}})
    problem = only(place)
    assert problem.path == place / "quality" / "ours.yaml"
    assert (problem.excerpt.strip(), "without its doubt" in problem.message) == ("chat:", True)


def test_two_files_that_score_the_same_are_refused(place):
    scored(place, "a.yaml")
    scored(place, "b.yaml")
    problem = only(place)
    assert (problem.path.name, problem.line) == ("b.yaml", 1)
    assert "another file of origin team states acme/large on chat already" in problem.message


def test_doubts_about_scores_are_placed(place):
    scored(place, "ours.yaml", models={"acme/larg": {"chat": a_score()}})
    (doubt,) = load_policies(place).warnings
    assert "did you mean acme/large" in doubt.message


def test_models_that_nobody_scored_are_named_once(place):
    quiet = [a_model(f"acme/m{number}", quality={}) for number in range(5)]
    (place / "catalog" / "acme.yaml").write_text(yaml.safe_dump(a_provider(*quiet)))
    (doubt,) = load_policies(place).warnings
    assert doubt.message.startswith("acme/m0@acme, acme/m1@acme, acme/m2@acme and 2 more: no score for chat")
    (place / "catalog" / "acme.yaml").write_text(yaml.safe_dump(a_provider(quiet[0])))
    (doubt,) = load_policies(place).warnings
    assert doubt.message.startswith("acme/m0@acme: no score for chat")


def test_a_folder_without_scores_goes_by_those_that_are_shipped(place):
    (place / "catalog" / "acme.yaml").write_text(yaml.safe_dump(a_provider(a_model("openai/gpt-4o", quality={}))))
    loaded = load_policies(place)
    assert loaded.catalog.quality.score(loaded.catalog.models[0], "chat").milli == 576
    assert loaded.warnings == ()

import datetime as dt
import json

import pytest
from catalogs import NOW, a_catalog, a_model, a_score

from router.adapters.policies.files import packaged_policies_dir
from router.core.schema import SchemaError, validate
from router.core.statistics.quality_schema import QualitySchema, compile_quality, json_schema, merged, unscored

TODAY = NOW.date()
FOLDER = packaged_policies_dir() / "quality"


def a_file(models=None, **changes):
    return {"version": 1, "origin": "team", "models": models or {}, **changes}


def read(models=None, *, catalog=None, **changes):
    return compile_quality(validate(QualitySchema, a_file(models, **changes)), catalog or a_catalog(), TODAY)


def counts(passed, of):
    return {"passed": passed, "of": of, "source": "our tickets", "date": TODAY}


def problem(models=None, **changes):
    with pytest.raises(SchemaError) as caught:
        read(models, **changes)
    return caught.value.problems[0]


def test_an_estimate_and_counts():
    found = read({"acme/large": {"chat": a_score("0.810", "0.030"), "code": counts(94, 100)}})
    assert (found.origin, found.warnings) == ("team", ())
    assert (found.scores["acme/large", "chat"].milli, found.scores["acme/large", "chat"].sd_milli) == (810, 30)
    assert found.scores["acme/large", "code"].n == 100


@pytest.mark.parametrize(
    ("score", "says"),
    [
        ({"score": "0.9"}, "without its doubt"),
        ({"score": "0.9", "sd": "0.1", "passed": 9, "of": 10}, "write score and sd, or passed and of"),
        ({"passed": 9}, "write score and sd, or passed and of"),
        ({"sd": "0.1", "passed": 9, "of": 10}, "write score and sd, or passed and of"),
        ({"passed": 11, "of": 10}, "11 passed of 10 tried"),
        ({"passed": 1, "of": 0}, "greater than or equal to 1"),
        ({"score": "1.2", "sd": "0.1"}, "less than or equal to 1000"),
        ({"score": 0.9, "sd": "0.1"}, "not an exact decimal"),
    ],
)
def test_scores_that_say_too_little_or_too_much(score, says):
    found = problem({"acme/large": {"chat": {"source": "x", "date": TODAY, **score}}})
    assert found.path[:3] == ("models", "acme/large", "chat")
    assert says in found.message


def test_words_that_are_none():
    assert "not one of" in problem({"acme/large": {"coding": a_score()}}).message
    assert "shipped, team" in problem(origin="ours").message
    assert "did you mean" in problem(transfers={}).message


def test_a_model_that_the_catalog_lacks_is_only_doubted():
    (doubt,) = read({"acme/larg": {"chat": a_score()}}).warnings
    assert doubt.path == ("models", "acme/larg")
    assert "did you mean acme/large" in doubt.message


def test_a_score_may_be_for_one_providers_copy():
    assert read({"acme/large@acme": {"chat": a_score()}}).warnings == ()


def test_old_scores_are_doubted():
    old = {**a_score(), "date": dt.date(2025, 1, 1)}
    (doubt,) = read({"acme/large": {"chat": old, "code": a_score()}}).warnings
    assert doubt.message.startswith("1 scores are older than a year, the oldest of 2025-01-01")


def test_files_are_laid_over_each_other_by_their_origin():
    catalog = a_catalog(a_model(quality={}))
    (model,) = catalog.models
    shipped = read({model.id: {"chat": a_score("0.700")}}, origin="shipped")
    ours = read({model.id: {"chat": a_score("0.800")}})
    for files in ((shipped, ours), (ours, shipped)):
        assert merged(files).score(model, "chat").milli == 800
    assert merged(()).score(model, "chat") is None


def test_transfers_of_the_team_come_first_too():
    def telling(shift, **changes):
        return read(transfer={"code": {"shift": shift, "sd": "0.030", "source": "x"}}, **changes)

    model = a_catalog().models[0]
    for files in ((telling("0.010", origin="shipped"), telling("-0.010")), (telling("-0.010"),)):
        assert merged(files).score(model, "code").milli == 690


def test_two_files_of_one_origin_must_not_state_the_same():
    again = read({"acme/large": {"chat": a_score()}})
    with pytest.raises(ValueError, match="acme/large on chat"):
        merged((again, again))
    transfer = read(transfer={"code": {"shift": "0", "sd": "0.030", "source": "x"}})
    with pytest.raises(ValueError, match="the transfer to code"):
        merged((transfer, transfer))


def test_models_without_a_score_are_found():
    quiet = a_model("acme/quiet", quality={})
    vectors = a_model(
        "acme/vectors", quality={}, capabilities=["embeddings"], max_output=0, output={"mean": 0, "p90": 0}
    )
    assert unscored(a_catalog(a_model(), quiet, vectors)) == ["acme/quiet@acme"]


def test_the_json_schema_is_current():
    told = "costrouter quality schema > policies/quality/schema.json writes it anew"
    assert (FOLDER / "schema.json").read_text() == json_schema(), told
    assert "long_context" in json.loads(json_schema())["properties"]["transfer"]["propertyNames"]["enum"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_tells_editors_its_schema(path):
    assert path.read_text().splitlines()[0] == "# yaml-language-server: $schema=schema.json"

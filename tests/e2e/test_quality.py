"""`costrouter quality`, as somebody types it. No server runs."""

from __future__ import annotations

import json
import shutil

from commands import ROOT, clean_environment, costrouter


def quality(*arguments, **environment):
    return costrouter("quality", *arguments, environment=clean_environment(**environment))


def test_scores_of_a_task_best_bound_first():
    told = quality("--model", "luna", "--task", "code")
    assert told.returncode == 0, told.stderr
    lines = [line.split() for line in told.stdout.splitlines() if "luna" in line]
    assert lines[0][:4] == ["openai/gpt-6-luna@azure", "0.746", "0.035", "0.701"]
    assert [float(line[3]) for line in lines] == sorted((float(line[3]) for line in lines), reverse=True)
    assert "carried over from chat" in told.stdout


def test_a_teams_own_scores_and_models_without_any(tmp_path):
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    (tmp_path / "policies" / "quality" / "shipped.yaml").unlink()
    (tmp_path / "policies" / "quality" / "ours.yaml").write_text(
        "version: 1\norigin: team\nmodels:\n"
        "  openai/gpt-4o: {code: {passed: 188, of: 200, source: our tickets, date: 2026-11-20}}\n"
    )
    told = json.loads(quality("--task", "code", "--json", COSTROUTER_POLICIES=str(tmp_path / "policies")).stdout)
    first, *others = told["scores"]
    assert first == {
        "model": "openai/gpt-4o@azure",
        "score": "0.935",
        "sd": "0.018",
        "lower_bound": "0.911",
        "n": 200,
        "inferred": False,
        "source": "our tickets",
        "date": "2026-11-20",
    }
    assert others[-1]["score"] is None
    shown = quality("--model", "gpt-4.1-mini", COSTROUTER_POLICIES=str(tmp_path / "policies")).stdout
    assert "no data: the policy's without_data holds" in shown


def test_a_name_that_is_none():
    told = quality("--model", "gpt-4o-mni")
    assert told.returncode == 1
    assert "did you mean openai/gpt-4o-mini" in told.stderr


def test_the_schema_and_the_fit_are_those_of_the_shipped_file():
    folder = ROOT / "policies" / "quality"
    assert quality("schema").stdout == (folder / "schema.json").read_text()
    for line in quality("fit").stdout.splitlines():
        assert line.partition("}")[0] in (folder / "shipped.yaml").read_text()


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "catalog").mkdir()
    told = quality(COSTROUTER_POLICIES=str(tmp_path))
    assert told.returncode == 1
    assert "there is no *.yaml file in this directory" in told.stderr

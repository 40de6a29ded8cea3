"""`costrouter prices`, as somebody types it. No server runs."""

from __future__ import annotations

import json
import shutil

import pytest
from commands import ROOT, clean_environment, costrouter

CATALOG = ROOT / "policies" / "catalog"


@pytest.fixture
def policies(tmp_path):
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    return tmp_path / "policies"


def prices(*arguments, policies=None):
    settings = {"COSTROUTER_POLICIES": str(policies)} if policies else {}
    return costrouter("prices", *arguments, environment=clean_environment(**settings))


def test_prices_of_a_model_and_its_hosts():
    told = prices("--model", "gpt-oss-120b", "--at", "2026-11-23")
    assert told.returncode == 0, told.stderr
    assert {"groq", "together", "cerebras", "bedrock"} <= set(told.stdout.split())
    assert "litellm 1.106.2" in told.stdout


def test_what_is_not_spoken_is_priced_only(policies):
    vertex = policies / "catalog" / "vertex-anthropic.yaml"
    vertex.write_text(vertex.read_text().replace("dialect: anthropic", "dialect: other"))
    priced = prices("--model", "claude-opus-4.5", "--at", "2026-11-23", policies=policies).stdout
    assert "vertex-anthropic (priced only)" in priced
    assert "dialect of vertex-anthropic is not spoken yet" in priced


def test_prices_of_a_day_are_those_of_that_day():
    told = json.loads(prices("--at", "2025-11-01", "--json").stdout)
    ids = {price["model"] for price in told["prices"]}
    assert "openai/gpt-4o" in ids
    assert "openai/gpt-6-luna" not in ids
    (sonnet,) = [price for price in told["prices"] if price["model"] == "anthropic/claude-sonnet-4.5"]
    assert sonnet["usd"]["output"] == "15.00"
    assert sonnet["valid_from"] == "2025-09-29T00:00:00+00:00"


def test_json_is_exact_and_has_tiers_and_tools():
    found, *_ = json.loads(prices("--model", "gpt-4o-mini", "--provider", "openai", "--json").stdout)["prices"]
    assert found["usd"]["cached_input"] == "0.075"
    assert found["usd"]["batch.output"] == "0.30"
    assert found["usd"]["tool.web_search"] == "0.01"
    assert found["source"].startswith("developers.openai.com")


def test_the_shipped_prices_raise_no_doubt_today_and_stale_ones_do():
    assert prices("--check", "--at", "2026-11-23").returncode == 0
    old = prices("--check", "--at", "2027-06-01", "--provider", "groq")
    assert old.returncode == 1
    assert "warning: openai/gpt-oss-120b@groq: its source was last looked at 188 days ago" in old.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--provider", "opnai"), "did you mean openai"),
        (("--model", "gpt-4o-mni"), "did you mean"),
        (("--at", "yesterday"), "is not a day"),
    ],
)
def test_a_slip_of_the_pen_is_answered(arguments, message):
    told = prices(*arguments)
    assert told.returncode == 1
    assert message in told.stderr


def test_a_change_of_price_shows_between_two_days():
    told = prices("diff", "2026-11-23", "2026-12-02")
    assert told.returncode == 0, told.stderr
    (line,) = [line for line in told.stdout.splitlines() if "gemini-4-argon" in line]
    assert "2.00" in line
    assert "4.00" in line
    assert "+100 %" in line
    assert "no price differs" in prices("diff", "2026-11-23", "2026-11-23").stdout


def test_a_change_shows_between_two_files(policies):
    file = policies / "catalog" / "groq.yaml"
    file.write_text(file.read_text().replace('output: "0.60"', 'output: "6.00"', 1))
    told = json.loads(prices("diff", str(CATALOG / "groq.yaml"), str(file), "--json").stdout)
    assert told["changes"] == [
        {
            "entry": "openai/gpt-oss-120b@groq",
            "above_input_tokens": 0,
            "meter": "output",
            "before": "0.60",
            "after": "6.00",
        }
    ]


def test_a_refresh_shows_first_and_writes_only_when_told(policies, tmp_path):
    newer = tmp_path / "newer.yaml"
    current = policies / "catalog" / "groq.yaml"
    before = current.read_text()
    newer.write_text(before.replace('output: "0.60"', 'output: "0.55"', 1))
    shown = prices("refresh", str(newer), policies=policies)
    assert shown.returncode == 0, shown.stderr
    assert "-8 %" in shown.stdout
    assert "nothing was written" in shown.stdout
    assert current.read_text() == before
    applied = prices("refresh", str(newer), "--apply", policies=policies)
    assert applied.returncode == 0, applied.stderr
    assert current.read_text() == newer.read_text()
    assert "no price differs" in prices("refresh", str(newer), policies=policies).stdout


def test_a_refresh_of_a_new_provider_lists_it_as_new(policies, tmp_path):
    newer = tmp_path / "newer.yaml"
    newer.write_text((CATALOG / "groq.yaml").read_text().replace("provider: groq", "provider: growl"))
    told = json.loads(prices("refresh", str(newer), "--apply", "--json", policies=policies).stdout)
    assert told["provider"] == "growl"
    assert told["applied"]
    assert all(change["before"] is None for change in told["changes"])
    assert (policies / "catalog" / "growl.yaml").is_file()


def test_a_refresh_of_a_broken_file_writes_nothing(policies, tmp_path):
    newer = tmp_path / "newer.yaml"
    current = policies / "catalog" / "groq.yaml"
    before = current.read_text()
    newer.write_text(before.replace("output:", "outpt:"))
    told = prices("refresh", str(newer), "--apply", policies=policies)
    assert told.returncode == 1
    assert "did you mean output" in told.stderr
    assert current.read_text() == before


def test_a_refresh_never_calls_this_network():
    told = prices("refresh", "https://127.0.0.1:1/openai.yaml")
    assert told.returncode == 1
    assert "not a public address" in told.stderr


def test_the_schema_is_the_one_that_ships():
    assert prices("schema").stdout == (CATALOG / "schema.json").read_text()


def test_a_provider_keeps_the_file_that_it_has(policies, tmp_path):
    (policies / "catalog" / "groq.yaml").rename(policies / "catalog" / "fast.yaml")
    told = prices("refresh", str(CATALOG / "groq.yaml"), "--apply", policies=policies)
    assert told.returncode == 0, told.stderr
    assert "fast.yaml" in told.stdout
    assert not (policies / "catalog" / "groq.yaml").exists()


def test_a_refresh_that_would_break_a_policy_writes_nothing(policies, tmp_path):
    newer = tmp_path / "newer.yaml"
    newer.write_text((CATALOG / "openai.yaml").read_text().replace("id: openai/gpt-6.1-sol", "id: openai/gpt-7"))
    for other in ("azure", "bedrock", "vertex"):
        (policies / "catalog" / f"{other}.yaml").unlink()
    told = prices("refresh", str(newer), "--apply", policies=policies)
    assert told.returncode == 1
    assert "the next start would fail" in told.stderr
    assert "openai/gpt-6.1-sol" in told.stderr
    assert "gpt-7" not in (policies / "catalog" / "openai.yaml").read_text()


def test_machines_of_ones_own_show_what_they_make_of_a_dollar_and_a_joule():
    told = json.loads(prices("machines", "--load", "90", "--json").stdout)["machines"]
    (plug,) = (one for one in told if one["model"] == "google/gemma-3-4b")
    assert (plug["watts"], plug["watts_source"]) == ("60", "example figure: whole machine at the plug")
    # 45 tokens a second at 60 watts; energy only, so a busy machine costs no more
    decode = plug["decode"]
    assert (decode["tokens_per_watt_second"], decode["tokens_per_kwh"], decode["tokens_per_dollar"]) == (
        "0.7500", "2700000", None,
    )  # fmt: skip  # figures as text
    (rented,) = (one for one in told if one["model"] == "qwen/qwen3-32b" and one["provider"] == "sglang")
    # 1,400 tokens a second for $2.50 an hour; at 90 % load two thirds of what a full one costs
    assert rented["decode"]["tokens_per_dollar"] == "2016000"
    assert (rented["decode"]["average_usd_per_million"], rented["decode"]["marginal_usd_per_million"]) == (
        "1.2401", "0.3307",
    )  # fmt: skip  # figures as text
    assert "tokens/W·s" in prices("machines").stdout

"""The policy that shows how policies are to look, with its tests, as they stand on that page: they run."""

import json

import pytest
import yaml
from catalogs import a_model, a_policy, a_price, a_provider, a_score

from router.adapters.policies.cases import lint, read_tests, run_tests
from router.adapters.policies.files import load_policies
from router.adapters.policies.yaml_document import PolicyFileError

POLICY = """\
version: 1
policy: support-chat
extends: base
bind: {team: support, app: [helpdesk, faq]}
mode: live
baseline: requested
reference: openai/gpt-6.1-sol
candidates:
  include: [tag:chat, deepseek/*, self/support-8b-lora]
  exclude: [quantization:int4]
  effort: [none, low]
rules:
  - name: can-wait
    when: {deadline: ">= 1h"}
    tiers: [realtime, flex, window, batch]
    require: {quality: ">= 95% of reference", confidence: 90%, on_time: 99.5%}
  - name: interactive
    tiers: [realtime]
    require:
      quality: ">= 95% of reference"
      confidence: 90%
      ttft: "p95 <= 800ms"
      tpot: "p95 <= 40ms"
      max_cost_usd: "0.02"
without_data: {quality: use reference, latency: probe 2%}
when_nothing_fits: [relax tpot, relax ttft, use reference]
budget_exhausted: {new_requests: use self/support-8b-lora, running_streams: finish}
"""
TESTS = """\
given: {at: 2026-11-22T14:00Z, stats: nov.json, team: support, app: faq, gpu_load: {self/support-8b-lora: 94%}}
cases:
  - name: warm session stays, busy GPU is left
    request: {input_tokens: 2310, warm: {deepseek/deepseek-flash: 1800}}
    expect: {model: deepseek/deepseek-flash, rule: interactive, cost_usd: "<= 0.0002", rejected: {self/support-8b-lora: ttft}}
  - name: night work is batched
    request: {input_tokens: 2310, deadline: 24h, async: true}
    expect: {model: anthropic/claude-haiku-5.5, tier: batch}
"""
SEEN = {
    "deepseek/deepseek-flash@deepseek": {"n": 812, "ttft": "540ms", "tpot": "9ms", "output": 180},
    "anthropic/claude-haiku-5.5@anthropic": {"n": 640, "ttft": "610ms", "tpot": "8ms", "output": 180},
    "openai/gpt-6-luna@openai": {"n": 590, "ttft": "480ms", "tpot": "8ms", "output": 180},
}
CACHE = {"min_tokens": 1024, "ttl": "1h", "hit_rate": "1", "source": "a page", "checked": "2026-11-22"}
MACHINE = {"gpu_usd_per_hour": "2.50", "load": "0.40", "prefill_tok_s": 20000, "decode_tok_s": 2500, "source": "a page",
           "checked": "2026-11-22"}  # fmt: skip  # a document


def model(name, score, *, prices, **changes):
    quick = {"ttft_p50_ms": 300, "ttft_p95_ms": 700, "tpot_ms": "9", "source": "a page", "date": "2026-11-22"}
    return a_model(
        name,
        quality={"chat": a_score(score, "0.005")},
        latency=quick,
        output={"mean": 180, "p90": 410},
        context_window=200_000,
        prices=[prices],
        **changes,
    )


PROVIDERS = (
    a_provider(
        model("deepseek/deepseek-flash", "0.91", prices=a_price(input="0.15", cached_input="0.003", output="0.60")),
        provider="deepseek",
        key_env="DEEPSEEK_API_KEY",
        prompt_cache={"kept": "by itself", **CACHE},
    ),
    a_provider(
        model(
            "anthropic/claude-haiku-5.5",
            "0.91",
            prices=a_price(input="0.10", cached_input="0.01", output="0.50", tiers={"batch": {"factor": "0.5"}}),
        ),
        provider="anthropic",
        key_env="ANTHROPIC_API_KEY",
    ),
    a_provider(
        model("openai/gpt-6-luna", "0.88", prices=a_price(input="0.10", output="0.51")),
        model("openai/gpt-6.1-sol", "0.94", prices=a_price(input="2.00", output="10.00")),
        provider="openai",
        key_env="OPENAI_API_KEY",
    ),
    a_provider(
        model("self/support-8b-lora", "0.93", prices=a_price(input="0.04", output="0.40"), self_hosted=MACHINE),
        model("self/tiny", "0.60", prices=a_price(), quantization="int4"),
        provider="self",
        base_url="env:SELF_BASE_URL",
    ),
)


@pytest.fixture
def place(tmp_path):
    for folder in ("catalog", "tests"):
        (tmp_path / folder).mkdir()
    for provider in PROVIDERS:
        (tmp_path / "catalog" / f"{provider['provider']}.yaml").write_text(yaml.safe_dump(provider))
    base = {**a_policy(policy="base", candidates=None), "require": {"confidence": "80%"}}
    (tmp_path / "base.yaml").write_text(
        yaml.safe_dump({key: base[key] for key in base if key not in ("rules", "candidates")})
    )
    (tmp_path / "support.yaml").write_text(POLICY)
    (tmp_path / "tests" / "support.yaml").write_text(TESTS)
    (tmp_path / "tests" / "nov.json").write_text(json.dumps(SEEN))
    return tmp_path


def failures(place):
    return [one.result.failures for one in run_tests(load_policies(place), read_tests(place))]


def test_the_policy_of_the_page_passes_the_test_of_the_page(place):
    assert failures(place) == [(), ()]
    assert lint(place) == []


def test_without_what_is_given_it_would_go_elsewhere(place):
    tests = place / "tests" / "support.yaml"
    tests.write_text(TESTS.replace(", warm: {deepseek/deepseek-flash: 1800}", ""))
    assert failures(place)[0][0].startswith("model: expected deepseek/deepseek-flash, found anthropic/claude-haiku-5.5")
    tests.write_text(TESTS.replace("94%", "40%"))
    assert "rejected: self/support-8b-lora would do" in failures(place)[0]
    tests.write_text(TESTS.replace(", async: true", ""))
    assert failures(place)[1][-1] == "tier: expected batch, found realtime"


def test_a_busy_pool_slows_all_of_its_models_and_only_those_of_ones_own_can_be_busy(place):
    tests = place / "tests" / "support.yaml"
    tests.write_text(TESTS.replace("{self/support-8b-lora: 94%}", "{openai/gpt-6-luna: 94%}"))
    assert failures(place)[0][0] == "'openai/gpt-6-luna' is no model on a machine of one's own, so it has no gpu_load"


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "No such file"), ("{", "no JSON"), ("[]", "no JSON"), ('{"a": {"ttfft": "1s"}}', "did you mean ttft")],
)
def test_stats_that_cannot_be_read_are_placed(place, text, said):
    seen = place / "tests" / "nov.json"
    seen.unlink()
    if text is not None:
        seen.write_text(text)
    with pytest.raises(PolicyFileError) as raised:
        read_tests(place)
    (problem,) = raised.value.problems
    assert problem.brief.startswith(f"{place / 'tests' / 'support.yaml'}:1")
    assert said in problem.brief

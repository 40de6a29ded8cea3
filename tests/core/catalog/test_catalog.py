import datetime as dt
from functools import cache

import msgspec
import pytest
from catalogs import a_catalog, a_model, a_price, a_score, compiled, the_model

from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.core.catalog.catalog import did_you_mean, near
from router.core.catalog.schema import CatalogSchema
from router.core.images import Tiles
from router.core.pricing import price_at
from router.core.schema import SchemaError, validate
from router.core.values import Needs

TODAY = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
LITERATURE = [
    "google/gemini-2.5-flash-lite",
    "meta/llama-3.2-3b",
    "deepseek/deepseek-r1",
    "anthropic/claude-sonnet-4.5",
    "openai/gpt-4o",
]


@cache
def shipped():
    return load_policies(packaged_policies_dir(), TODAY)


def problems(*models, **changes):
    with pytest.raises(SchemaError) as raised:
        compiled(*models, **changes)
    return raised.value.problems


def test_a_model_is_found_by_its_id_at_every_provider():
    catalog = shipped().catalog
    assert {model.provider for model in catalog.by_id("deepseek/deepseek-flash")} == {"deepseek", "together"}
    assert catalog.by_id("deepseek/unheard-of") == ()


def test_an_entry_is_named_by_id_and_provider():
    assert "openai/gpt-oss-20b@groq" in [model.name for model in shipped().catalog.by_id("openai/gpt-oss-20b")]


def test_what_has_no_price_of_its_own_is_not_offered():
    # Sound costs more than text a token, and a row has one rate for input.
    assert not [model.name for model in shipped().catalog.models if Needs.AUDIO_IN in model.capabilities]


def test_ids_stand_once_and_tags_are_collected():
    catalog = a_catalog()
    assert catalog.ids == ("acme/large", "acme/small")
    assert catalog.tags == {"chat", "small"}


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("openai/gpt-4.1-mni", "openai/gpt-4.1-mini"),
        ("gpt-4.1-mni", "openai/gpt-4.1-mini"),
        ("Claude-Haiku-5-5", "anthropic/claude-haiku-5.5"),
        ("deepseek/deepseek-falsh", "deepseek/deepseek-flash"),
    ],
)
def test_near_misses(asked, first):
    assert near(asked, shipped().catalog.ids)[0] == first


def test_no_near_miss_no_hint():
    assert did_you_mean("zzzzzz", ["openai/gpt-4o"]) == ""
    assert did_you_mean("gpt-4", ["openai/gpt-4o"]) == "; did you mean openai/gpt-4o?"


def test_a_model_is_retired_from_the_first_instant_of_the_day():
    model = the_model(retired=dt.date(2026, 11, 30))
    assert not model.retired_at(dt.datetime(2026, 11, 29, 23, 59, 59, tzinfo=dt.UTC))
    assert model.retired_at(dt.datetime(2026, 11, 30, tzinfo=dt.UTC))
    assert not the_model().retired_at(TODAY)


def test_figures_become_integers():
    model = the_model(token_ratio="1.05", image={"formula": "tiles", "base": 85, "tile": 170})
    assert model.token_ratio_ppm == 1_050_000
    assert model.latency.tpot_us == 7500
    assert model.image == Tiles(base=85, tile=170)
    assert model.capabilities == Needs.CHAT | Needs.TOOLS | Needs.SAMPLING
    assert model.prices[0].rates.input == model.prices[0].rates.cached_input == 1_000_000


def test_a_model_of_fixed_sampling_takes_no_temperature():
    assert Needs.SAMPLING not in the_model(fixed_sampling=True).capabilities


def test_a_provider_may_have_its_address_in_the_environment():
    provider = compiled(base_url="env:VLLM_BASE_URL", key_env=None).provider
    assert (provider.base_url, provider.base_url_env, provider.key_env) == ("", "VLLM_BASE_URL", "")
    assert compiled(base_url="http://gpu-1:8000/v1/").provider.base_url == "http://gpu-1:8000/v1"


def test_structs_are_frozen():
    with pytest.raises(AttributeError):
        the_model().id = "other"


def test_a_price_row_may_begin_within_a_day():
    model = the_model(
        prices=[a_price(valid_from=dt.datetime(2026, 8, 16, 18, tzinfo=dt.timezone(dt.timedelta(hours=2))))]
    )
    assert model.prices[0].valid_from == dt.datetime(2026, 8, 16, 16, tzinfo=dt.UTC)
    assert (
        the_model(prices=[a_price(valid_from="2026-08-16T16:00:00Z")]).prices == msgspec.structs.replace(model).prices
    )


def price_problem(**changes):
    return a_model(prices=[a_price(**changes)])


def without(key):
    return {name: value for name, value in a_price().items() if name != key}


WRONG = [
    (a_model(capabilities=["chat", "json_shema"]), ("models", 0, "capabilities", 1), "did you mean json_schema"),
    (a_model(capabilities=["tools"]), ("models", 0, "capabilities"), "must name one of chat, embeddings, moderation"),
    (a_model(quality={"math": a_score()}), ("models", 0, "quality", "math"), "did you mean maths"),
    (
        a_model(quality={"chat": a_score("1.2")}),
        ("models", 0, "quality", "chat", "score"),
        "less than or equal to 1000",
    ),
    (a_model(max_output=200_000), ("models", 0, "max_output"), "above context_window"),
    (a_model(output={"mean": 10, "p90": 9}), ("models", 0, "output"), "p90 is below mean"),
    (a_model(weights="opn"), ("models", 0, "weights"), "did you mean open"),
    (a_model(id="Large"), ("models", 0, "id"), "string should match pattern"),
    (a_model(upstream="../admin keys"), ("models", 0, "upstream"), "string should match pattern"),
    (a_model(image={"formula": "tiles", "base": 85}), ("models", 0, "image"), "tile"),
    (a_model(contxt_window=5), ("models", 0, "contxt_window"), "did you mean context_window"),
    (a_model(token_ratio="1.0000001"), ("models", 0, "token_ratio"), "finer than"),
    (a_model(prices=[without("input")]), ("models", 0, "prices", 0), "key 'input' is missing"),
    (price_problem(input=0.4), ("models", 0, "prices", 0, "input"), "write it in quotes"),
    (price_problem(input="a lot"), ("models", 0, "prices", 0, "input"), "plain decimal"),
    (price_problem(input="1e3"), ("models", 0, "prices", 0, "input"), "plain decimal"),
    (price_problem(input="-1"), ("models", 0, "prices", 0, "input"), "negative"),
    (price_problem(output="0.0000001"), ("models", 0, "prices", 0, "output"), "finer than a pico-dollar"),
    (price_problem(request=True), ("models", 0, "prices", 0, "request"), "exact decimal"),
    (price_problem(source=""), ("models", 0, "prices", 0, "source"), "at least 1 character"),
    (price_problem(valid_to=dt.date(2026, 1, 1)), ("models", 0, "prices", 0, "valid_to"), "not after valid_from"),
    (price_problem(valid_from=dt.datetime(2026, 1, 1)), ("models", 0, "prices", 0, "valid_from"), "no zone"),  # noqa: DTZ001 - the missing zone is the point
    (price_problem(valid_from=2026), ("models", 0, "prices", 0, "valid_from"), "not a date"),
    (price_problem(input_price="1"), ("models", 0, "prices", 0, "input_price"), "unknown key"),
    (price_problem(zzz="1"), ("models", 0, "prices", 0, "zzz"), "known are valid_from"),
    (price_problem(when={"hours": ["25:00-26:00"]}), ("models", 0, "prices", 0, "when", "hours", 0), "not a span"),
    (price_problem(when={"hours": ["22:00-02:00"]}), ("models", 0, "prices", 0, "when", "hours", 0), "midnight"),
    (price_problem(when={"days": ["sunday"]}), ("models", 0, "prices", 0, "when", "days", 0), "did you mean sun"),
    (price_problem(when={"timezone": "Asia/Shanghai"}), ("models", 0, "prices", 0, "when", "timezone"), "fixed offset"),
    (price_problem(when={"hour": []}), ("models", 0, "prices", 0, "when", "hour"), "did you mean hours"),
]


@pytest.mark.parametrize(("model", "path", "message"), WRONG)
def test_what_is_refused_and_where(model, path, message):
    (problem,) = problems(model)
    assert problem.path == path
    assert message in problem.message


def test_latency_quantiles_must_be_in_order():
    slow = {**a_model()["latency"], "ttft_p50_ms": 2000}
    assert "ttft_p95_ms is below" in problems(a_model(latency=slow))[0].message


def test_a_model_is_listed_once():
    found = problems(a_model(), a_model())
    assert [problem.path for problem in found] == [("models", 1, "id"), ("models", 1, "upstream")]
    assert "acme lists the id 'acme/large' twice" in found[0].message


def test_every_problem_is_named_not_only_the_first():
    assert len(problems(a_model(weights="x", max_output=-1, context_window="many"))) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_url": "ftp://x"}, "must be an http(s) URL"),
        ({"base_url": "https://user@api.example"}, "without user or query"),
        ({"base_url": "https://api.example/?k=1"}, "without user or query"),
        ({"base_url": "env:lower"}, "must be an http(s) URL"),
        ({"quirks": ["max_token_name"]}, "did you mean max_tokens_name"),
        ({"version": 2}, "2 is not one of 1"),
        ({"provider": "Open AI"}, "should match pattern"),
    ],
)
def test_what_is_refused_of_a_provider(changes, message):
    assert message in problems(**changes)[0].message


@pytest.mark.parametrize("document", [None, [], "text"])
def test_a_file_holds_a_mapping(document):
    with pytest.raises(SchemaError, match="mapping"):
        validate(CatalogSchema, document)


PLAIN = a_price()
NIGHT = {"hours": ["00:00-06:00"]}
CONTRADICTIONS = [
    ([PLAIN, a_price(input="2")], "hold for the same prompts and times"),
    ([a_price(when=NIGHT), a_price(when={"hours": ["05:00-07:00"]})], "hold for the same prompts and times"),
    (
        [a_price(when=NIGHT), a_price(when={"hours": ["10:00-11:00"], "timezone": "+08:00"})],
        "the same prompts and times",
    ),
    (
        [PLAIN, a_price(when=NIGHT), a_price(valid_from=dt.date(2026, 6, 1))],
        "would outlive the plain row from 2026-06-01",
    ),
]


@pytest.mark.parametrize(("rows", "message"), CONTRADICTIONS)
def test_price_rows_that_contradict_each_other(rows, message):
    assert message in problems(a_model(prices=rows))[0].message


CONSISTENT = [
    [PLAIN, a_price(when=NIGHT)],
    [PLAIN, a_price(above_input_tokens=1000, input="2")],
    [PLAIN, a_price(valid_from=dt.date(2026, 6, 1))],
    [a_price(when=NIGHT), a_price(when={"hours": ["06:00-07:00"]})],
    [a_price(when={"days": ["sat"]}), a_price(when={"days": ["sun"]})],
    [PLAIN, a_price(when=NIGHT, valid_to=dt.date(2026, 6, 1)), a_price(valid_from=dt.date(2026, 6, 1))],
    [PLAIN, a_price(valid_from=dt.date(2026, 6, 1), when=NIGHT)],
]


@pytest.mark.parametrize("rows", CONSISTENT)
def test_price_rows_that_live_together(rows):
    assert compiled(a_model(prices=rows)).models


DOUBTFUL = [
    ({"prices": [a_price(cached_input="2")]}, "cached input costs more than fresh"),
    ({"prices": [a_price(output="0.40")]}, "less than half of input"),
    ({"prices": [a_price(cache_write="5")]}, "over 4 times the input"),
    (
        {"prices": [a_price(), a_price(above_input_tokens=9, input="50", output="30")]},
        "over 10 times the model's base price",
    ),
    ({"prices": [a_price(), a_price(above_input_tokens=9, output="50")]}, "output costs over 10 times"),
    ({"prices": []}, "can never be chosen"),
]


@pytest.mark.parametrize(("changes", "message"), DOUBTFUL)
def test_doubtful_figures_are_warnings(changes, message):
    (warning,) = compiled(a_model(**changes)).warnings
    assert message in warning.message
    assert "acme/large@acme" in warning.message


def test_a_sound_model_raises_no_doubt():
    assert compiled().warnings == ()


def test_the_shipped_catalog_raises_no_doubt():
    assert shipped().warnings == ()


def test_every_shipped_model_that_is_served_has_a_price_today():
    unpriced = [
        model.name
        for model in shipped().catalog.models
        if not model.retired_at(TODAY) and price_at(model, TODAY) is None
    ]
    assert unpriced == []


def test_every_shipped_figure_has_a_source_and_a_date_that_is_past():
    for model in shipped().catalog.models:
        assert model.latency.source
        assert model.latency.date <= TODAY.date()
        assert all(row.source and row.checked <= TODAY.date() for row in model.prices)


def test_the_price_points_of_the_literature_are_shipped():
    assert [model_id for model_id in LITERATURE if not shipped().catalog.by_id(model_id)] == []


def test_providers_of_one_s_own_exist_only_where_an_address_is_set():
    providers = shipped().catalog.providers
    assert {name for name, provider in providers.items() if provider.spoken and provider.base_url_env} == {
        "vllm",
        "sglang",
        "nim",
        "ollama",
        "azure",
        "bedrock",
        "vertex",
        "vertex-anthropic",
    }
    assert all(bool(provider.base_url) != bool(provider.base_url_env) for provider in providers.values())


def test_at_least_150_shipped_entries_are_served_today_by_everybody_who_matters():
    served = [model for model in shipped().catalog.models if not model.retired_at(TODAY)]
    assert len(served) >= 150
    hosts = "openai anthropic google google-openai vertex vertex-anthropic deepseek together groq mistral xai perplexity cerebras azure bedrock cohere jina"
    own = "vllm sglang nim ollama"
    assert {model.provider for model in served} == {*hosts.split(), *own.split()}
    assert any(model.accelerator.startswith("trainium") for model in served)


def test_what_is_merely_listed_is_no_candidate_of_the_default_policy():
    # Its quality is a prior that nobody has measured; whoever wants it includes tag:listed, or the model.
    candidates = shipped().policies["default"].candidates(shipped().catalog)
    assert not [model.name for model in candidates if "listed" in model.tags]
    beside = {"moderation", "images", "transcription", "speech", "rerank"}
    assert all(model.tags & {"chat", "embeddings", "listed", *beside} for model in shipped().catalog.models)


def test_every_shipped_provider_s_dialect_is_spoken():
    assert all(provider.spoken for provider in shipped().catalog.providers.values())


def test_self_hosted_examples_derive_their_price():
    derived = [model for model in shipped().catalog.models if model.self_hosted]
    assert {model.provider for model in derived} == {"vllm", "sglang", "nim", "ollama"}
    (adapter,) = shipped().catalog.by_id("self/support-8b-lora")
    assert (adapter.base, adapter.made_by, adapter.pool) == ("qwen/qwen3-8b", "lora", "gpu-1")
    assert price_at(adapter, TODAY).bands[0].rates.output == 694_445


def test_a_model_may_be_spoken_to_in_less_than_its_provider_speaks():
    found = compiled(a_model(dialects=["responses"]), dialect="openai", also=["responses"]).models[0]
    assert found.dialects == ("responses",)
    (problem,) = problems(a_model(dialects=["responses", "anthropic"]), dialect="openai", also=["responses"])
    assert problem.path[-1] == "dialects"
    assert "does not speak anthropic" in problem.message

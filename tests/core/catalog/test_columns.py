import datetime as dt
import json
import re

import pytest
from catalogs import NOW, a_model, a_price, compiled, the_model

from router.adapters.policies.files import packaged_policies_dir
from router.core.catalog.schema import json_schema
from router.core.pricing import cost_pico, price_at, rows_at
from router.core.schema import SchemaError
from router.core.values import Usage

CATALOG = packaged_policies_dir() / "catalog"


def priced(**changes):
    return the_model(prices=[a_price(cached_input="0.10", cache_write="1.25", **changes)])


def rates(model, tier="realtime", region=""):
    found = price_at(model, NOW, tier, region).bands[0].rates
    return found.input, found.cached_input, found.cache_write, found.output


def test_a_tier_by_a_factor():
    model = priced(tiers={"batch": {"factor": "0.5"}})
    assert rates(model) == (1_000_000, 100_000, 1_250_000, 4_000_000)
    assert rates(model, "batch") == (500_000, 50_000, 625_000, 2_000_000)


def test_a_tier_with_columns_of_its_own_keeps_realtimes_for_the_others():
    # gemini-2.5-flash-lite halves input and output in batch, and not what is cached.
    model = priced(tiers={"batch": {"input": "0.50", "output": "2.00"}})
    assert rates(model, "batch") == (500_000, 100_000, 1_250_000, 2_000_000)


def test_a_tier_that_is_not_sold_has_no_price():
    model = priced(tiers={"batch": {"factor": "0.5"}})
    assert price_at(model, NOW, "flex") is None
    assert price_at(priced(), NOW, "batch") is None


def test_a_tier_must_be_sold_in_every_band():
    rows = [a_price(tiers={"batch": {"factor": "0.5"}}), a_price(above_input_tokens=1000, input="2.00")]
    assert price_at(the_model(prices=rows), NOW, "batch") is None
    assert len(rows_at(the_model(prices=rows), NOW)) == 2


def test_a_region_raises_every_rate_and_rounds_up():
    model = priced(tiers={"batch": {"factor": "0.5"}}, regions={"eu": "1.1"})
    assert rates(model, region="eu") == (1_100_000, 110_000, 1_375_000, 4_400_000)
    assert rates(model, "batch", "eu") == (550_000, 55_000, 687_500, 2_200_000)
    assert rates(model, region="us") == rates(model)
    odd = the_model(prices=[a_price(input="0.000003", regions={"eu": "1.1"})])
    assert rates(odd, region="eu")[0] == 4


def test_a_fee_for_a_request_is_the_same_in_every_tier_and_region():
    model = priced(request="0.005", tiers={"batch": {"factor": "0.5"}}, regions={"eu": "1.1"})
    assert price_at(model, NOW, "batch", "eu").bands[0].rates.request == 5_000_000_000


def test_tiers_and_regions_show_in_the_version():
    model = priced(tiers={"batch": {"factor": "0.5"}}, regions={"eu": "1.1"})
    assert re.fullmatch(r"acme/large@acme:2026-01-01#[0-9a-f]{4}/eu/batch", price_at(model, NOW, "batch", "eu").version)


def test_a_new_column_is_a_new_version_and_none_is_the_old_one():
    plain = price_at(priced(), NOW).version
    assert price_at(priced(tiers={}), NOW).version == plain
    assert price_at(priced(tiers={"batch": {"factor": "0.5"}}), NOW).version != plain
    assert price_at(priced(cache_write_1h="2.00"), NOW).version != plain


def test_writing_for_an_hour_costs_what_writing_costs_unless_it_is_stated():
    assert priced().prices[0].cache_write_1h == 1_250_000
    assert priced(cache_write_1h="2.00").prices[0].cache_write_1h == 2_000_000
    row = priced(cache_write_1h="2.00", tiers={"batch": {"factor": "0.5"}, "flex": {"cache_write_1h": "1.50"}}).prices[
        0
    ]
    assert (row.tiers["batch"].cache_write_1h, row.tiers["flex"].cache_write_1h) == (1_000_000, 1_500_000)


def test_fees_sound_and_images_are_kept():
    row = priced(
        tools={"web_search": "0.01"},
        audio={"input": "40.00", "output_minute": "0.06"},
        images={"output_each": "0.04"},
    ).prices[0]
    assert row.tools == {"web_search": 10_000_000_000}
    assert row.audio == {"input": 40_000_000, "output_minute": 60_000_000_000}
    assert row.images == {"output_each": 40_000_000_000}
    assert row.search is None
    row = priced(audio={"characters": "15.00"}, images={"each": {"hd/1024x1792": "0.12"}}, search="0.002").prices[0]
    assert (row.audio, row.search) == ({"characters": 15_000_000}, 2_000_000_000)
    assert row.images == {"output_each/hd/1024x1792": 120_000_000_000}
    assert (
        row.digest != priced(audio={"characters": "15.00"}, images={"each": {"hd/1024x1792": "0.12"}}).prices[0].digest
    )


def test_a_tier_is_metered_like_any_price():
    price = price_at(priced(tiers={"batch": {"factor": "0.5"}}), NOW, "batch")
    assert cost_pico(price, Usage(1000, 100, cached_tokens=400)) == 600 * 500_000 + 400 * 50_000 + 100 * 2_000_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tiers": {"batch": {}}}, "either a factor or rates of its own"),
        ({"tiers": {"batch": {"factor": "0.5", "input": "1"}}}, "either a factor or rates of its own"),
        ({"tiers": {"batch": {"factor": "0"}}}, "greater than or equal to 1"),
        ({"tiers": {"bacth": {"factor": "0.5"}}}, "did you mean batch"),
        ({"regions": {"EU": "1.1"}}, "string should match pattern"),
        ({"tools": {"web_search": "-1"}}, "plain, non-negative"),
        ({"audio": {"imput": "1"}}, "did you mean input"),
        ({"images": {"output_each": "1", "each": {"hd/64x64": "1"}}}, "state one of them"),
        ({"images": {"each": {"64x64": "1"}}}, "string should match pattern"),
    ],
)
def test_columns_that_cannot_be_are_refused(changes, message):
    with pytest.raises(SchemaError, match=message):
        priced(**changes)


def test_what_is_known_of_the_weights_is_kept():
    model = the_model(
        quantization="fp8",
        base={"id": "meta/llama-3.1-8b", "by": "lora"},
        accelerator="trainium2",
        pool="gpu-1",
        modalities=["video_in", "audio_in"],
    )
    assert (model.quantization, model.accelerator, model.pool) == ("fp8", "trainium2", "gpu-1")
    assert (model.base, model.made_by) == ("meta/llama-3.1-8b", "lora")
    assert model.modalities == ("audio_in", "video_in")
    assert (the_model().quantization, the_model().base, the_model().modalities) == ("", "", ())


def test_a_dialect_that_is_not_spoken_yet_is_known():
    assert compiled().provider.spoken
    assert not compiled(dialect="other").provider.spoken
    with pytest.raises(SchemaError, match="did you mean bedrock"):
        compiled(a_model(), dialect="bedrok")


def test_the_json_schema_is_current():
    told = "costrouter prices schema > policies/catalog/schema.json writes it anew"
    assert (CATALOG / "schema.json").read_text() == json_schema(), told


def test_the_json_schema_names_every_key_and_word_that_the_files_use():
    schema = json.loads(json_schema())
    model = schema["$defs"]["ModelSchema"]["properties"]
    assert {"self_hosted", "quantization", "pool", "prices"} <= model.keys()
    assert "json_schema" in model["capabilities"]["items"]["enum"]
    assert "extraction" in model["quality"]["propertyNames"]["enum"]
    assert schema["additionalProperties"] is False
    span = schema["$defs"]["WhenSchema"]["properties"]["hours"]["items"]["pattern"]
    assert re.match(span, "22:00-24:00")
    rate = schema["$defs"]["PriceSchema"]["properties"]["input"]
    assert re.match(rate["pattern"], "0.15")
    assert "title" not in rate


@pytest.mark.parametrize("path", sorted(CATALOG.glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_tells_editors_its_schema(path):
    assert path.read_text().splitlines()[0] == "# yaml-language-server: $schema=schema.json"


def test_a_price_is_one_day_the_row_of_that_day():
    model = the_model(prices=[a_price(), a_price(valid_from=dt.date(2026, 6, 1), input="3.00")])
    assert [row.rates.input for row in rows_at(model, NOW)] == [3_000_000]
    assert [row.rates.input for row in rows_at(model, NOW.replace(month=5))] == [1_000_000]


CACHE = {"kept": "on request", "min_tokens": 1024, "ttl": "5m", "source": "a page", "checked": dt.date(2026, 11, 25)}


def test_a_model_keeps_prompts_as_its_provider_does_but_for_what_it_says():
    (plain, other) = compiled(
        a_model(), a_model("acme/small", prompt_cache={"min_tokens": 512, "ttl": "1h"}), prompt_cache=CACHE
    ).models
    assert (plain.prompt_cache.asked, plain.prompt_cache.least, plain.prompt_cache.ttl_s) == (True, 1_024, 300)
    assert (plain.prompt_cache.hit_ppm, plain.prompt_cache.keyed) == (900_000, False)
    assert (other.prompt_cache.least, other.prompt_cache.ttl_s, other.prompt_cache.asked) == (512, 3_600, True)
    assert the_model().prompt_cache is None
    told = compiled(a_model(prompt_cache={"kept": "unless told"}), prompt_cache=CACHE).models[0].prompt_cache
    assert (told.asked, told.chosen, plain.prompt_cache.chosen) == (False, True, False)


def test_a_model_alone_cannot_say_how_prompts_are_kept():
    with pytest.raises(SchemaError, match="changes what its provider's says"):
        compiled(a_model(prompt_cache={"min_tokens": 512}))
    with pytest.raises(SchemaError, match="not a duration"):
        compiled(prompt_cache={**CACHE, "ttl": "long"})

import datetime as dt

import pytest
from catalogs import NOW, a_catalog, a_model, a_price, compiled

from router.core.catalog.catalog import Catalog
from router.core.catalog.price_list import Change, difference, doubts, price_list

TODAY = NOW.date()
COLUMNS = {"tiers": {"batch": {"factor": "0.5"}}, "regions": {"eu": "1.1"}, "tools": {"web_search": "0.01"}}


def listed(*rows, **changes):
    return price_list(a_catalog(a_model(prices=list(rows), **changes)), NOW)


def doubted(*rows, **changes):
    return [doubt.message for doubt in doubts(a_catalog(a_model(prices=list(rows), **changes)), TODAY)]


def changed(before, after):
    return difference(listed(before), listed(after))


def test_a_list_has_every_meter_of_the_day():
    (one,) = listed(a_price(cached_input="0.10", cache_write_1h="2.00", request="0.005", search="0.002", **COLUMNS))
    assert (one.entry, one.above, one.offered, one.source) == ("acme/large@acme", 0, True, "a page")
    assert one.rates == {
        "input": 1_000_000,
        "cached_input": 100_000,
        "cache_write": 1_000_000,
        "cache_write_1h": 2_000_000,
        "output": 4_000_000,
        "request": 5_000_000_000,
        "search": 2_000_000_000,
        "batch.input": 500_000,
        "batch.cached_input": 50_000,
        "batch.cache_write": 500_000,
        "batch.cache_write_1h": 1_000_000,
        "batch.output": 2_000_000,
        "tool.web_search": 10_000_000_000,
    }
    assert one.regions == {"eu": 1_100_000}
    assert one.version.startswith("acme/large@acme:2026-01-01#")


def test_bands_stand_one_by_one_and_what_is_gone_or_unpriced_is_left_out():
    assert [one.above for one in listed(a_price(), a_price(above_input_tokens=1000, input="2"))] == [0, 1000]
    assert listed(a_price(), retired=TODAY) == ()
    assert listed(a_price(valid_from=dt.date(2027, 1, 1))) == ()


def test_a_provider_whose_dialect_is_not_spoken_is_marked():
    result = compiled(dialect="other")
    (one,) = price_list(Catalog([result.provider], result.models), NOW)
    assert not one.offered


def test_equal_lists_do_not_differ():
    assert changed(a_price(), a_price(source="another page")) == ()


def test_each_meter_that_moved_is_named():
    assert changed(a_price(cached_input="0.1"), a_price(cached_input="0.1", output="8.00")) == (
        Change("acme/large@acme", 0, "output", 4_000_000, 8_000_000),
    )
    assert changed(a_price(), a_price(tools={"web_search": "0.01"}, regions={"eu": "1.1"})) == (
        Change("acme/large@acme", 0, "tool.web_search", None, 10_000_000_000),
        Change("acme/large@acme", 0, "region.eu", None, 1_100_000),
    )


def test_what_came_and_what_went():
    one, both = listed(a_price()), listed(a_price(), a_price(above_input_tokens=1000, output="8"))
    assert difference(one, both) == (Change("acme/large@acme", 1000, "", None, 8_000_000),)
    assert difference(both, one) == (Change("acme/large@acme", 1000, "", 8_000_000, None),)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"output": "0.90"}, "output costs less than input"),
        ({"cached_input": "1.10"}, "cached input costs more than fresh input"),
        ({"cache_write": "2", "cache_write_1h": "1"}, "for an hour costs less"),
        ({"tiers": {"priority": {"factor": "50"}}}, "priority input costs 5000 % of realtime"),
        ({"tiers": {"batch": {"factor": "1.5"}}}, "batch input costs 150 % of realtime"),
        ({"checked": TODAY - dt.timedelta(days=91)}, "last looked at 91 days ago (a page)"),
    ],
)
def test_what_looks_wrong_is_told(row, message):
    (told,) = doubted(a_price(**row))
    assert message in told


def test_what_is_in_order_is_not_doubted():
    fine = a_price(
        checked=TODAY - dt.timedelta(days=90), tiers={"batch": {"factor": "0.5"}, "priority": {"factor": "2"}}
    )
    assert doubted(fine) == []
    assert doubted(a_price(input="0", output="0", tiers={"batch": {"factor": "0.5"}})) == []
    assert doubted(a_price(output="0.50"), retired=TODAY) == []
    assert doubted(a_price(output="0"), capabilities=["embeddings"]) == []


def test_the_band_that_is_meant_is_named():
    assert doubted(
        a_price(), a_price(above_input_tokens=1000, input="5"), a_price(above_input_tokens=9000, output="9")
    ) == ["output costs less than input above 1,000 tokens"]


def test_a_slipped_decimal_point_between_two_days_shows():
    rows = [a_price(), a_price(valid_from=dt.date(2026, 6, 1), input="0.10", output="0.40")]
    assert doubted(*rows) == ["its price changes 10 times or more on 2026-06-01"]
    assert doubted(a_price(), a_price(valid_from=dt.date(2026, 6, 1), input="0.20", output="0.80")) == []


def two_hosts(output, source="a page"):
    models = [
        compiled(a_model(prices=[a_price(output="1.00", input="0.5")]), provider="cheap"),
        compiled(a_model(prices=[a_price(output=output, source=source)]), provider="dear"),
    ]
    return Catalog([one.provider for one in models], [model for one in models for model in one.models])


def test_a_host_that_asks_ten_times_as_much_shows():
    assert [(doubt.entry, doubt.message) for doubt in doubts(two_hosts("10.10"), TODAY)] == [
        ("acme/large@dear", "output costs over 10 times what acme/large@cheap asks")
    ]
    assert doubts(two_hosts("10.00"), TODAY) == ()


def test_a_derivation_may_differ_from_a_bill():
    assert doubts(two_hosts("10.10", source="own derivation"), TODAY) == ()

import datetime as dt
from fractions import Fraction
from pathlib import Path

import pytest

from router.sim.bill import Bill, Call, Meters, exact, price, row_for
from router.sim.catalog import CatalogError, load

PROVIDERS = load(Path(__file__).parent / "catalog")
FLASH = PROVIDERS["deepseek"].models["deepseek-flash"]
SMALL = PROVIDERS["openai"].models["gpt-small"]
THINKER = PROVIDERS["openai"].models["gpt-thinker"]


def at(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def call(model, meters, when="2026-11-23T12:00", *, complete=True):
    return Call("p", model, "req_1", at(when).timestamp(), meters, complete)


def test_cached_input_is_cheaper_and_the_sum_is_exact():
    # 900 fresh at 0.40, 1024 cached at 0.10, 100 out at 1.60 dollars a million
    assert exact(price(call(SMALL, Meters(1924, cached=1024, completion=100)))) == "0.000622400000"


def test_written_cache_is_dearer_than_fresh_input():
    assert exact(price(call(THINKER, Meters(2000, cache_write=1920, completion=0)))) == "0.004960000000"


@pytest.mark.parametrize(
    ("when", "output"),
    [
        ("2026-08-16T15:59:59", "0.42"),
        ("2026-08-16T16:00:00", "0.6"),
        ("2026-11-23T00:59:59", "0.6"),
        ("2026-11-23T01:00:00", "1.2"),
        ("2026-11-23T03:59:59", "1.2"),
        ("2026-11-23T04:00:00", "0.6"),
        ("2026-11-23T09:00:00", "1.2"),
        ("2026-11-22T09:00:00", "0.6"),  # a Sunday
    ],
)
def test_the_price_depends_on_date_hour_and_weekday(when, output):
    assert row_for(FLASH, at(when), 10).output == Fraction(output) / 10**6


@pytest.mark.parametrize(("prompt", "rate"), [(272_000, "2"), (272_001, "4")])
def test_a_size_band_is_a_cliff_for_every_token(prompt, rate):
    assert row_for(THINKER, at("2026-11-23T12:00"), prompt).input == Fraction(rate) / 10**6


def test_a_call_before_the_first_price_has_none():
    with pytest.raises(LookupError, match="openai/small has no price at 2024"):
        row_for(SMALL, at("2024-01-01T00:00"), 1)


def test_a_request_fee_is_charged_once():
    with_fee = price(call(FLASH, Meters(0), "2026-11-23T12:00"))
    assert exact(with_fee) == "0.000000100000"


async def test_totals_are_the_sum_of_the_lines():
    bill = Bill()
    for n in range(1200):
        bill.add(call(FLASH, Meters(n, completion=n % 7), complete=n % 100 > 0))
    totals = await bill.totals()
    lines = bill.lines()
    assert totals["total"]["calls"] == 1200
    assert totals["total"]["incomplete"] == 12
    assert totals["total"]["nano"] == sum(line["nano"] for line in lines)
    assert totals["total"]["dollars"] == exact(sum((Fraction(line["dollars"]) for line in lines), Fraction(0)))
    assert totals["providers"]["p"]["deepseek-flash"] == totals["total"]


async def test_totals_asked_twice_count_once():
    bill = Bill()
    bill.add(call(SMALL, Meters(10)))
    await bill.totals()
    assert (await bill.totals())["total"]["calls"] == 1


def test_nano_dollars_round_up():
    bill = Bill()
    bill.add(call(FLASH, Meters(1, cached=1), "2026-11-23T12:00"))  # 3,000 pico and the fee's 100,000
    bill.add(
        Call("p", PROVIDERS["groq"].models["llama-groq"], "r", at("2026-11-23T12:00").timestamp(), Meters(1), True)
    )
    assert [line["nano"] for line in bill.lines()] == [103, 60]
    odd = Fraction(1, 10**12)
    assert exact(odd) == "0.000000000001"


@pytest.mark.parametrize("price_text", ["-1", "0.0000001", "cheap"])
def test_a_price_that_cannot_be_billed_exactly_is_refused(tmp_path, price_text):
    source = (Path(__file__).parent / "catalog" / "groq.yaml").read_text()
    (tmp_path / "groq.yaml").write_text(source.replace('input: "0.06"', f'input: "{price_text}"'))
    with pytest.raises(CatalogError, match=r"groq\.yaml"):
        load(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(CatalogError, match=r"no \*\.yaml"):
        load(tmp_path)

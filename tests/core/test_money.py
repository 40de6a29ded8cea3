from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.money import MAX_NANO, NANO_PER_USD, PICO_PER_USD, nano_ceil, parse_usd, pico_per_token, usd


@pytest.mark.parametrize(("pico", "nano"), [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (-1, 0), (-1500, -1)])
def test_a_fraction_of_a_nano_dollar_counts_as_one(pico, nano):
    assert nano_ceil(pico) == nano


@given(st.integers(0, 10**30))
def test_rounding_costs_less_than_a_nano_dollar(pico):
    assert 0 <= nano_ceil(pico) * 1000 - pico < 1000


@pytest.mark.parametrize(
    ("nano", "text"),
    [(196_000, "0.000196000"), (0, "0.000000000"), (-1, "-0.000000001"), (12_000_000_034, "12.000000034")],
)
def test_amounts_are_written_exactly(nano, text):
    assert usd(nano) == text


@given(st.integers(0, MAX_NANO))
def test_what_is_written_is_read_back(nano):
    assert parse_usd(usd(nano)) == nano * 1000


@pytest.mark.parametrize(
    ("text", "pico"),
    [
        ("0.02", 20_000_000_000),
        ("$1.50", 1_500_000_000_000),
        (" 3 ", 3 * PICO_PER_USD),
        (".5", PICO_PER_USD // 2),
        ("$.05", PICO_PER_USD // 20),
        ("0", 0),
        ("0.000000000001", 1),
        ("0.0000000000010000000", 1),
        ("9007199.254740992", MAX_NANO * 1000),
    ],
)
def test_dollars(text, pico):
    assert parse_usd(text) == pico


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *(
            (text, "plain, non-negative amount")
            for text in ("", "$", ".", "$.", "1.", "-1", "+1", "free", "1 000", "1,5")
        ),
        *(
            (text, "plain, non-negative amount")
            for text in ("1e3", "1E+999999", "nan", "Infinity", "1_0", "٣", "9" * 100_000)
        ),
        ("0.0000000000001", "finer than a pico-dollar"),
        ("0.00000000000100000000000000000000000001", "finer than a pico-dollar"),
        ("9007199.254740993", "more than the ledger can hold"),
        ("100000000", "more than the ledger can hold"),
    ],
)
def test_what_is_no_amount(text, why):
    with pytest.raises(ValueError, match=why) as caught:
        parse_usd(text)
    assert len(str(caught.value)) < 200


@given(st.text(alphabet="0123456789.$-+eE_ ٣", max_size=12))
def test_any_text_is_an_amount_or_refused(text):
    try:
        pico = parse_usd(text)
    except ValueError:
        return
    assert pico == Decimal(text.strip().removeprefix("$")) * PICO_PER_USD


@pytest.mark.parametrize(("listed", "pico"), [("0.40", 400_000), ("0", 0), ("0.000001", 1), ("15", 15_000_000)])
def test_list_prices(listed, pico):
    assert pico_per_token(Decimal(listed)) == pico


@pytest.mark.parametrize("listed", ["-0.01", "0.0000001", "NaN", "Infinity"])
def test_a_list_price_finer_than_a_pico_dollar_a_token_is_refused(listed):
    with pytest.raises(ValueError, match="per 1M tokens is negative or finer"):
        pico_per_token(Decimal(listed))


def test_the_units_fit_each_other():
    assert PICO_PER_USD == 1000 * NANO_PER_USD

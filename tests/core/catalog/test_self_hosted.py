from decimal import Decimal

import pytest
from catalogs import NOW, a_model, compiled, the_model

from router.core.catalog.self_hosted import (
    SelfHosted,
    average_usd,
    capacity_usd,
    energy_usd,
    marginal_usd,
    pico,
    tokens_per_dollar,
    tokens_per_kwh,
    tokens_per_watt_second,
)
from router.core.pricing import cost_per_meaningful_response, price_at
from router.core.schema import SchemaError

D = Decimal


def a_machine(**changes):
    fields = {
        "usd_per_hour": D("2.50"),
        "prefill_tok_s": D(20_000),
        "decode_tok_s": D(2_500),
        "load_milli": 400,
        "watts": D(0),
        "usd_per_kwh": D(0),
        "watts_source": "",
    }
    return SelfHosted(**{**fields, **changes})


def a_self_hosted(**changes):
    return {
        "gpu_usd_per_hour": "2.50",
        "prefill_tok_s": 20000,
        "decode_tok_s": 2500,
        "load": "0.4",
        "source": "own measurement",
        "checked": "2026-11-01",
        **changes,
    }


def self_hosted_model(**changes):
    model = a_model(self_hosted=a_self_hosted(**changes))
    del model["prices"]
    return model


def test_the_golden_case_of_energy():
    # 3,000 tok/s at 1 kW make 10.8 million tokens a kWh; at $0.17 that is $1.57e-8 a token.
    assert tokens_per_kwh(D(3000), D(1000)) == 10_800_000
    assert f"{energy_usd(D(3000), D(1000), D('0.17')):.2e}" == "1.57e-8"
    assert tokens_per_watt_second(D(3000), D(1000)) == 3


def test_the_golden_case_of_a_meaningful_response():
    cost = cost_per_meaningful_response(D(150), D("1.2"), D("0.00015"), D(150), D("0.000002"))
    assert cost == D("0.0273")


def test_tokens_for_a_dollar_and_dollars_for_a_token_are_each_others_inverse():
    assert tokens_per_dollar(D(2500), D("2.50")) == 3_600_000
    assert tokens_per_dollar(D(2500), D("2.50")) * capacity_usd(D(2500), D("2.50")) == 1


@pytest.mark.parametrize(("load", "usd_per_million"), [(400, "0.69"), (1000, "0.28")])
def test_an_idle_machine_costs_as_much_as_a_busy_one(load, usd_per_million):
    machine = a_machine(load_milli=load)
    assert f"{average_usd(machine, machine.decode_tok_s) * 10**6:.2f}" == usd_per_million


def test_a_machine_with_slack_costs_its_energy_only():
    machine = a_machine(watts=D(1000), usd_per_kwh=D("0.17"))
    energy = energy_usd(machine.decode_tok_s, D(1000), D("0.17"))
    assert marginal_usd(machine, machine.decode_tok_s, 0) == energy
    assert marginal_usd(machine, machine.decode_tok_s, 700) == energy
    assert energy < marginal_usd(machine, machine.decode_tok_s, 850) < marginal_usd(machine, machine.decode_tok_s, 999)


def test_a_full_machine_costs_what_the_next_one_would():
    machine = a_machine()
    assert (
        marginal_usd(machine, D(2500), 1000) == marginal_usd(machine, D(2500), 1700) == capacity_usd(D(2500), D("2.50"))
    )


def test_a_fraction_of_a_pico_dollar_counts_as_one():
    assert (pico(D("1e-12")), pico(D("1.1e-12")), pico(D("1e-20")), pico(D(0))) == (1, 2, 1, 0)


def test_a_model_without_price_rows_has_the_average_price_of_its_machine():
    (model,) = compiled(self_hosted_model()).models
    price = price_at(model, NOW)
    rates = price.bands[0].rates
    assert (rates.input, rates.output) == (86_806, 694_445)
    assert rates.cached_input == rates.input
    assert price.version.startswith("acme/large@acme:2026-11-01#")
    assert model.prices[0].source == "derived from self_hosted: own measurement"
    assert model.self_hosted.load_milli == 400


def test_energy_and_several_gpus_are_part_of_the_price():
    (model,) = compiled(
        self_hosted_model(gpus=2, load=1, watts=1000, usd_per_kwh="0.17", watts_source="the driver, a week's mean")
    ).models
    per_token = D("5.00") / 3600 / 2500 + D("0.17") / 3600 / 2500
    assert price_at(model, NOW).bands[0].rates.output == pico(per_token)
    assert model.self_hosted.watts_source == "the driver, a week's mean"


def test_a_price_row_of_ones_own_beats_the_derivation():
    model = the_model(self_hosted=a_self_hosted())
    assert price_at(model, NOW).bands[0].rates.input == 1_000_000


def test_its_first_day_may_be_stated():
    (model,) = compiled(self_hosted_model(valid_from=NOW.date().replace(month=1))).models
    assert price_at(model, NOW.replace(month=2)) is not None


def test_neither_price_nor_machine_is_refused():
    model = a_model()
    del model["prices"]
    with pytest.raises(SchemaError, match=r"'prices' is missing.*self_hosted"):
        compiled(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"watts": 1000}, "belong together"),
        ({"watts": 1000, "usd_per_kwh": "0.17"}, "belong together"),
        ({"decode_tok_s": 0}, "greater than 0"),
        ({"load": 0}, "greater than or equal to 1"),
        ({"load": "1.2"}, "less than or equal to 1000"),
        ({"wats": 1000}, "did you mean watts"),
    ],
)
def test_figures_that_cannot_be_are_refused(changes, message):
    with pytest.raises(SchemaError, match=message):
        compiled(self_hosted_model(**changes))

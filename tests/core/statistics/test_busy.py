"""How busy a machine of one's own is, from the tokens that it served."""

from decimal import Decimal

import pytest
from catalogs import NOW, the_model

from router.core.catalog.self_hosted import SelfHosted
from router.core.statistics.busy import TAU_MS, Load, machine_us, series_of, told

MACHINE = SelfHosted(Decimal("2.50"), Decimal(20_000), Decimal(2_500), 400, Decimal(0), Decimal(0), "")
OWN = {"gpu_usd_per_hour": "2.50", "load": "0.40", "prefill_tok_s": 20000, "decode_tok_s": 2500, "source": "a page",
       "checked": NOW.date()}  # fmt: skip


def test_an_attempt_takes_what_its_tokens_take_at_the_goodput_point():
    assert machine_us(MACHINE, 20_000, 0, 2_500) == 2_000_000
    assert machine_us(MACHINE, 20_000, 15_000, 0) == 250_000
    assert machine_us(MACHINE, 5, 9, 0) == 0


def test_a_machine_that_serves_what_it_can_comes_to_its_full_load_and_falls_idle_again():
    load = Load()
    for second in range(120):
        load.add(second * 1000, 1_000_000)
    assert load.milli(119_000) == pytest.approx(1_000, abs=40)
    assert load.milli(119_000 + TAU_MS) == pytest.approx(load.milli(119_000) / 2.718, abs=2)
    assert load.milli(119_000 + 20 * TAU_MS) == 0


def test_what_is_told_late_counts_as_old():
    early, late = Load(), Load()
    early.add(1_000, 500)
    early.add(30_000, 700)
    late.add(30_000, 700)
    late.add(1_000, 500)
    assert early.milli(30_000) == late.milli(30_000)
    assert late.milli(0) == late.milli(30_000), "a clock that lags makes nothing fresher"


def test_models_on_the_same_accelerators_share_a_load():
    pooled = the_model(self_hosted=OWN, pool="gpu-1")
    alone = the_model(self_hosted=OWN)
    assert series_of(pooled) == ("busy", "gpu-1", "", "")
    assert series_of(alone) == ("busy", "acme/large@acme", "", "")
    assert (told(940).mean, told(940).at(95)) == (940, 940)

"""What is left of a machine of one's own."""

import msgspec
import pytest
from catalogs import NOW, a_model, compiled
from tiers import a_snapshot

from router.core.catalog.self_hosted import SLACK_MILLI
from router.core.jobs.idle import has_room, marginal_price
from router.core.statistics.stats import Summary

MACHINE = {"gpu_usd_per_hour": "2.50", "load": "0.40", "prefill_tok_s": 20000, "decode_tok_s": 2500, "watts": 700,
           "usd_per_kwh": "0.17", "watts_source": "a meter", "source": "a page", "checked": NOW.date()}  # fmt: skip
OWN = {name: value for name, value in a_model(self_hosted=MACHINE, pool="gpu-1").items() if name != "prices"}


@pytest.fixture
def model():
    return compiled(OWN).models[0]


@pytest.fixture
def option(model):
    return a_snapshot(OWN).option(model)


def test_the_margin_is_energy_until_a_machine_fills(model, option):
    idle = marginal_price(option, model.self_hosted)
    assert idle.bands[0].rates.output == 13_223, "700 W at $0.17 a kWh over 2,500 tokens a second, in pico-dollars"
    assert idle.bands[0].rates.output < option.price.bands[0].rates.output
    assert idle.version.endswith("/idle")
    busy = marginal_price(msgspec.structs.replace(option, busy_milli=1_000), model.self_hosted)
    assert busy.bands[0].rates.output > idle.bands[0].rates.output * 20, "that of the next replica"


def test_it_has_room_up_to_a_load_and_while_nobody_waits_for_it(model, option):
    def room(**changes):
        return has_room(model, msgspec.structs.replace(option, **changes))

    def first(p95_ms):
        return Summary(99, 1, (1, 1, 1, p95_ms * 1_000, 9_999_000))

    assert room()
    assert room(busy_milli=SLACK_MILLI - 1)
    assert not room(busy_milli=SLACK_MILLI)
    assert not room(busy_milli=None), "it is nobody's own"
    assert room(live=True, ttft=first(1_800))
    assert not room(live=True, ttft=first(1_801)), "there is a queue"
    assert room(live=False, ttft=first(1_801)), "nothing was seen"

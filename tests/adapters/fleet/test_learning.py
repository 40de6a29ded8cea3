import msgspec
from catalogs import NOW, a_catalog, a_model
from store import make_row

from router.adapters.fleet.learning import Learning
from router.adapters.fleet.statistics import Observations

WHERE = ("deepseek/deepseek-flash", "deepseek", "realtime")


def lengths(name="output", **row):
    observations = Observations()
    given = dict(zip(("model", "provider", "tier"), WHERE, strict=True))
    Learning(observations).on_row(make_row(**given, outcome="ok", certainty="metered", **row), None)
    observations.take(1_800_000_000_000)
    observations.refresh(1_800_000_000_000)
    found = observations.summary((name, *WHERE))
    return None if found is None else found.mean


def test_the_length_of_an_answer_is_learned_by_choice():
    assert lengths(completion_tokens=300, choices=3) == 100


def test_an_answer_that_its_limit_cut_short_teaches_nothing():
    assert lengths(completion_tokens=10, max_output=10) is None
    assert lengths(completion_tokens=10, max_output=400) == 10
    assert lengths("output//faq/chat", completion_tokens=10, max_output=10, app="faq", task="chat") == 10


def test_a_machine_of_ones_own_is_as_busy_as_its_tokens_make_it():
    machine = {"gpu_usd_per_hour": "2.50", "prefill_tok_s": 20000, "decode_tok_s": 2500, "source": "a page",
               "checked": NOW.date()}  # fmt: skip
    catalog = a_catalog(a_model(self_hosted=machine, pool="gpu-1"), a_model("acme/other"))
    observations = Observations()
    learning = Learning(observations, lambda: catalog)
    row = make_row(model="acme/large", provider="acme", prompt_tokens=20_000, cached_tokens=0, completion_tokens=2_500)
    learning.on_row(row, None)
    learning.on_row(msgspec.structs.replace(row, model="acme/other"), None)
    learning.on_row(msgspec.structs.replace(row, tier="cache"), None)
    told, *_ = observations.take(1_800_000_000_000)
    assert [(series, delta.total) for series, delta in told if series[0] == "busy"] == [
        (("busy", "gpu-1", "", ""), 2_000_000)
    ]

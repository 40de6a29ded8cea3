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

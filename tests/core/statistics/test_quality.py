import datetime as dt
from functools import cache

import msgspec
import pytest
from catalogs import a_model, a_score, compiled, the_model
from hypothesis import given
from hypothesis import strategies as st

from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.core.catalog.catalog import TASKS
from router.core.statistics.quality import STATED, Score, Scores, Transfer, carried, ceil_root, fitted, of_trials
from router.core.values import Needs

DAY = dt.date(2026, 11, 22)


def score(milli, sd=20, **changes):
    return Score(**{"milli": milli, "sd_milli": sd, "source": "a page", "date": DAY, **changes})


@cache
def shipped():
    return load_policies(packaged_policies_dir()).catalog


def test_a_task_has_its_own_score_or_chats_with_the_doubt_of_carrying_it_over():
    model = the_model(quality={"chat": a_score("0.700", "0.020"), "code": a_score("0.650", "0.030")})
    scores = Scores(transfers={"maths": Transfer(-2, 30, "ten models")})
    assert (scores.score(model, "code").milli, scores.score(model, "code").inferred) == (650, False)
    maths = scores.score(model, "maths")
    assert (maths.milli, maths.sd_milli, maths.inferred) == (698, 37, True)
    assert maths.source == "a page; carried over from chat by ten models"
    vision = scores.score(model, "vision")
    assert (vision.milli, vision.sd_milli) == (700, ceil_root(400 + STATED.sd_milli**2))


def test_without_any_score_there_is_none():
    model = the_model(quality={})
    assert Scores().score(model, "chat") is None
    assert Scores().score(model, "code") is None
    # A score for a task alone says nothing of the others.
    assert Scores(shipped={(model.id, "code"): score(700)}).score(model, "chat") is None


def test_whose_score_counts_first():
    model = the_model(quality={"chat": a_score("0.500")})
    bare = msgspec.structs.replace(model, quality={})
    anywhere, here = (model.id, "chat"), (model.name, "chat")
    shipped = {anywhere: score(100), here: score(200)}
    assert Scores(shipped={anywhere: score(100)}).score(bare, "chat").milli == 100
    assert Scores(shipped=shipped).score(bare, "chat").milli == 200
    assert Scores(shipped=shipped).score(model, "chat").milli == 500
    assert Scores(shipped=shipped, team={anywhere: score(600)}).score(model, "chat").milli == 600
    assert Scores(shipped=shipped, team={anywhere: score(600), here: score(700)}).score(model, "chat").milli == 700


def test_a_copy_of_a_model_keeps_the_score_of_its_provider_to_itself():
    one, other = compiled(a_model(quality={})).models[0], compiled(a_model(quality={}), provider="other").models[0]
    scores = Scores(shipped={("acme/large", "chat"): score(700)}, team={("acme/large@other", "chat"): score(650)})
    assert [scores.score(model, "chat").milli for model in (one, other)] == [700, 650]


@pytest.mark.parametrize(("chat", "shift", "found"), [(990, 20, 1000), (5, -20, 0), (700, -2, 698)])
def test_a_carried_score_stays_on_the_scale(chat, shift, found):
    assert carried(score(chat), Transfer(shift, 30, "x")).milli == found


@pytest.mark.parametrize(
    ("passed", "of", "milli", "sd"),
    [(188, 200, 935, 18), (20, 20, 954, 44), (0, 20, 45, 44), (1, 1, 666, 236), (9_400, 10_000, 939, 3)],
)
def test_counts_of_an_evaluation(passed, of, milli, sd):
    found = of_trials(passed, of, "our tickets", DAY)
    assert (found.milli, found.sd_milli, found.n, found.inferred) == (milli, sd, of, False)


@given(st.integers(0, 500), st.integers(0, 500))
def test_more_trials_are_never_more_doubt(passed, failed):
    few, many = (of_trials(passed * k, max((passed + failed) * k, 1), "x", DAY) for k in (1, 4))
    assert many.sd_milli <= few.sd_milli
    assert 0 <= few.milli <= 1000


@given(st.integers(0, 10**9))
def test_a_root_is_rounded_up(value):
    found = ceil_root(value)
    assert (max(found - 1, 0)) ** 2 < max(value, 1) <= max(found**2, 1)


def test_a_transfer_is_fitted_to_what_was_measured():
    assert fitted([(700, 690), (600, 610)]) == (0, 10)
    assert fitted([(700, 705), (600, 606)]) == (6, 1)
    assert fitted([(700, 695), (600, 594)]) == (-6, 1)


def test_shipped_transfers_are_what_the_shipped_scores_say():
    quality, models = shipped().quality, {model.id: model for model in shipped().models}.values()
    for task in ("code", "maths", "tools", "vision"):
        pairs = [
            (chat.milli, own.milli)
            for model in models
            if (chat := quality.score(model, "chat")) and (own := quality.score(model, task))
            if not own.inferred and "unverified" not in chat.source + own.source
        ]
        transfer = quality._transfers[task]
        assert fitted(pairs) == (transfer.shift_milli, transfer.sd_milli)
        assert transfer.source == f"differences over {len(pairs)} models of this file"


def test_every_shipped_chat_model_has_a_score_on_every_task():
    chats = [model for model in shipped().models if model.capabilities & Needs.CHAT]
    assert len(chats) > 150
    assert all(shipped().quality.score(model, task) for model in chats for task in TASKS)


def test_every_shipped_score_has_a_source_and_a_date_that_is_past():
    for model in shipped().models:
        found = [shipped().quality.score(model, task) for task in TASKS]
        assert all(score.source and score.date <= dt.date(2026, 11, 23) for score in found if score)


def test_the_shipped_scale_orders_what_everybody_orders():
    ladder = [
        "meta/llama-3.2-3b",
        "openai/gpt-4o-mini",
        "openai/gpt-4o",
        "anthropic/claude-sonnet-4.5",
        "openai/gpt-6-luna",
        "anthropic/claude-opus-5.5",
    ]
    found = [shipped().quality.score(shipped().by_id(model)[0], "chat").milli for model in ladder]
    assert found == sorted(found)

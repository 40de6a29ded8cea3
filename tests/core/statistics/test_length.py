import msgspec
from options import facts, flat, option, plan

from router.core.deciding.decide import decide, level
from router.core.statistics.length import WEIGHT, Asker, lengthened, moved, plan_for, scale_ppm
from router.core.statistics.stats import Summary

FAQ = Asker("faq", "chat", 1)
ONE, OTHER = option("acme/one", output_mean=200), option("acme/other", output_mean=400, output_p90=1_000)


def answers(n, mean, p90=None):
    return Summary(n=n, mean=mean, quantiles=(mean, mean, p90 or 2 * mean, 3 * mean, 4 * mean))


def known(**series):
    """``one=`` of the application's task, ``one_1=`` in that size."""
    names = {}
    for name, summary in series.items():
        model, _, size = name.partition("_")
        names[f"output/{size}/faq/chat", f"acme/{model}", "acme", "realtime"] = summary
    return names.get


def test_a_figure_moves_by_what_rests_on_it():
    assert moved(200, 500, None) == (200, 500)
    assert moved(200, 500, answers(WEIGHT, 100, 300)) == (150, 400)
    assert moved(200, 500, answers(10_000 * WEIGHT, 100, 300)) == (100, 300)


def test_an_application_that_was_never_answered_has_no_scale():
    assert scale_ppm([ONE, OTHER], FAQ, known()) is None


def test_an_applications_answers_scale_models_that_it_never_called():
    summary = known(one=answers(20 * WEIGHT, 50))
    scale = scale_ppm([ONE, OTHER], FAQ, summary)
    assert 250_000 < scale < 300_000
    assert lengthened(OTHER, FAQ, scale, summary).output_mean == 400 * scale // 1_000_000
    assert lengthened(ONE, FAQ, scale, summary).output_mean in (50, 51)


def test_a_few_answers_scale_little_and_none_beyond_reason():
    assert scale_ppm([ONE], FAQ, known(one=answers(1, 20))) > 900_000
    assert scale_ppm([ONE], FAQ, known(one=answers(10**6, 1))) >= 100_000
    assert scale_ppm([ONE], FAQ, known(one=answers(10**6, 10**6))) <= 10_000_000
    assert scale_ppm([msgspec.structs.replace(ONE, output_mean=0)], FAQ, known(one=answers(100, 5))) > 1_000_000


def test_prompts_of_a_size_have_lengths_of_their_own_once_seen():
    summary = known(one=answers(100 * WEIGHT, 100), one_1=answers(100 * WEIGHT, 300))
    found = lengthened(ONE, FAQ, scale_ppm([ONE], FAQ, summary), summary)
    assert 290 < found.output_mean <= 300
    assert lengthened(ONE, Asker("faq", "chat", 0), 500_000, summary).output_mean in (100, 101)


def test_what_is_held_is_never_less_than_what_is_expected():
    summary = known(one=answers(10**6, 300, p90=100))
    assert lengthened(ONE, FAQ, 1_500_000, summary).output_p90 == lengthened(ONE, FAQ, 1_500_000, summary).output_mean


def test_a_plan_is_rewritten_whole_and_decides_by_the_new_lengths():
    cheap_talker = option("acme/talker", output_mean=1_000, price=option().price)
    brief = option("acme/brief", output_mean=1_100)
    reference = option("acme/reference", output_mean=700)
    asked = level("the model asked for", [brief], headroom=False)
    found = plan(
        cheap_talker,
        brief,
        then=(("relax ttft", (cheap_talker, brief)),),
        reference=reference,
        exhausted=plan(brief),
        asked=asked,
    )
    found = msgspec.structs.replace(found, levels=(*found.levels, asked))
    assert decide(found, facts(10), None).option is cheap_talker
    summary = known(brief=answers(10**6, 10), talker=answers(10**6, 1_000))
    new = plan_for(found, FAQ, 1_000_000, summary)
    assert decide(new, facts(10), None).option.model == "acme/brief"
    assert decide(new, facts(10), None).output_tokens == 10
    assert {o.output_mean for o in new.candidates} == {10, 1_000}
    assert new.levels[0].options[0] is new.levels[1].options[0] is new.candidates[0]
    assert new.asked is new.levels[-1]
    assert new.asked.figures[0][-1] == 0
    assert (new.reference.output_mean, new.exhausted.levels[0].options[0].output_mean) == (700, 10)


def test_a_plan_without_those_parts_stays_without_them():
    new = plan_for(plan(ONE), FAQ, 1_000_000, known())
    assert (new.reference, new.asked, new.exhausted) == (None, None, None)
    assert flat(3).at(90) == 3


def test_what_was_asked_for_caps_the_cost_also_where_no_level_holds_it():
    asked = level("the model asked for", [OTHER], headroom=False)
    new = plan_for(plan(ONE, asked=asked), FAQ, 500_000, known())
    assert new.asked.options[0].output_mean == 200

"""What is left of a plan for a request that goes on from an answer which one provider keeps."""

from options import option

from router.core.deciding.choices import Plan, level
from router.core.deciding.staying import staying


def plan_of(*levels):
    found = tuple(level(name, options) for name, options in levels)
    return Plan(
        "p@1", "any", found, tuple(o for _, options in levels for o in options), {}, None, None, asked=found[-1]
    )


def test_the_model_that_gave_the_answer_goes_on_wherever_it_stands():
    one, two = option(entry="a/one@acme"), option(entry="a/two@acme")
    found = staying(plan_of(("", [two]), ("relaxed", [two, one])), "a/one@acme")
    assert [(one.relaxed, one.options) for one in found.levels] == [("relaxed", (one,))]
    assert (found.candidates, found.asked) == ((one,), None)


def test_where_the_policy_does_not_admit_it_the_providers_others_may():
    plan = plan_of(("", [option(entry="a/two@acme")]))
    assert staying(plan, "a/one@acme") is plan

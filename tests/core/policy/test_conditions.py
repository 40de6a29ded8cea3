import datetime as dt
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.policy.conditions import ANY, DAY_MINUTES, Hours, Question, Span, When, contradiction, covered
from router.core.values import Needs

HOUR = 3_600_000
BERLIN = "Europe/Berlin"
ZONES = {"UTC": dt.UTC, BERLIN: zoneinfo.ZoneInfo(BERLIN)}
WORDS = {
    "endpoint": "chat",
    "task": "code",
    "model": "gpt-4o",
    "path": "/v1/chat/completions",
    "tags": {"app=faq", "team=a"},
}


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        (When(), True),
        (When(tasks=("code",)), True),
        (When(tasks=("maths", "code")), True),
        (When(tasks=("maths",)), False),
        (When(endpoints=("chat",)), True),
        (When(endpoints=("embeddings",)), False),
        (When(models=("gpt-4*",)), True),
        (When(models=("claude-*", "o3")), False),
        (When(paths=("/v1/*",)), True),
        (When(paths=("/v2/*",)), False),
        (When(tags=("app=faq",)), True),
        (When(tags=("app=*", "team=a")), True),
        (When(tags=("app=faq", "team=b")), False),
        (When(tasks=("code",), endpoints=("embeddings",)), False),
    ],
)
def test_words_of_a_request(when, holds):
    assert when.speaks_of(**WORDS) is holds


ASKED = Question(needs=int(Needs.CHAT | Needs.TOOLS), deadline_ms=2 * HOUR, tokens=4_000, budget_milli=800)


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        (When(), True),
        (When(needs=int(Needs.TOOLS)), True),
        (When(needs=int(Needs.TOOLS | Needs.VISION)), False),
        (When(deadline=Span(HOUR)), True),
        (When(deadline=Span(0, HOUR)), False),
        (When(patient=True), True),
        (When(patient=False), False),
        (When(tokens=Span(4_000)), True),
        (When(tokens=Span(0, 4_000)), False),
        (When(budget=Span(800)), True),
        (When(budget=Span(801)), False),
    ],
)
def test_figures_of_a_request(when, holds):
    assert when.fits(ASKED) is holds


def test_a_request_that_may_not_wait_has_no_time_left_to_compare():
    hurried = Question(deadline_ms=None)
    assert not When(deadline=Span(HOUR)).fits(hurried)
    assert not When(deadline=Span(0, HOUR)).fits(hurried)
    assert When(patient=False).fits(hurried)
    assert When(patient=False, tokens=Span(0, 10)).fits(hurried)


WEEKDAYS, SATURDAY, SUNDAY = 0b0011111, 0b0100000, 0b1000000


@pytest.mark.parametrize(
    ("hours", "instant", "holds"),
    [
        # 2026-11-23 is a Monday
        (Hours("UTC", WEEKDAYS, 9 * 60, 17 * 60), "2026-11-23T09:00Z", True),
        (Hours("UTC", WEEKDAYS, 9 * 60, 17 * 60), "2026-11-23T17:00Z", False),
        (Hours("UTC", WEEKDAYS, 9 * 60, 17 * 60), "2026-11-22T12:00Z", False),
        (Hours(BERLIN, WEEKDAYS, 9 * 60, 17 * 60), "2026-11-23T08:30Z", True),
        (Hours(BERLIN, WEEKDAYS, 9 * 60, 17 * 60), "2026-07-20T07:30Z", True),
        (Hours(BERLIN, WEEKDAYS, 9 * 60, 17 * 60), "2026-11-23T07:30Z", False),
        # Saturday's night ends on Sunday morning
        (Hours("UTC", SATURDAY, 22 * 60, 6 * 60), "2026-11-21T23:00Z", True),
        (Hours("UTC", SATURDAY, 22 * 60, 6 * 60), "2026-11-22T05:59Z", True),
        (Hours("UTC", SATURDAY, 22 * 60, 6 * 60), "2026-11-22T06:00Z", False),
        (Hours("UTC", SATURDAY, 22 * 60, 6 * 60), "2026-11-22T23:00Z", False),
        (Hours("UTC", SATURDAY, 22 * 60, 6 * 60), "2026-11-21T05:00Z", False),
        (Hours("UTC", SUNDAY, 22 * 60, 6 * 60), "2026-11-23T01:00Z", True),
        (Hours("UTC", SUNDAY), "2026-11-22T23:59Z", True),
        (Hours("UTC", SUNDAY), "2026-11-23T00:00Z", False),
    ],
)
def test_hours_of_the_week(hours, instant, holds):
    assert When(hours=(hours,)).open_at(dt.datetime.fromisoformat(instant), ZONES) is holds


def test_any_of_several_hours_will_do():
    when = When(hours=(Hours("UTC", SATURDAY), Hours("UTC", SUNDAY)))
    assert when.open_at(dt.datetime(2026, 11, 22, tzinfo=dt.UTC), ZONES)
    assert When().open_at(dt.datetime(2026, 11, 22, tzinfo=dt.UTC), {})


def test_whether_figures_are_asked_for():
    assert When(tasks=("code",), hours=(Hours("UTC"),)).plain
    for asked in ({"needs": 4}, {"deadline": ANY}, {"patient": False}, {"tokens": ANY}, {"budget": ANY}):
        assert not When(**asked).plain


@pytest.mark.parametrize(
    ("when", "key"),
    [
        (When(), ""),
        (When(deadline=Span(HOUR, HOUR)), "deadline"),
        (When(tokens=Span(2_000, 1_000)), "input_tokens"),
        (When(budget=Span(500, 500)), "budget_used"),
        (When(budget=Span(500, 501)), ""),
    ],
)
def test_conditions_that_nothing_meets(when, key):
    assert contradiction(when) == key


MORNING, AFTERNOON = Hours("UTC", 127, 0, 720), Hours("UTC", 127, 720, DAY_MINUTES)


@pytest.mark.parametrize(
    ("later", "earlier", "never"),
    [
        (When(tasks=("code",)), [When()], True),
        (When(), [When(tasks=("code",))], False),
        (When(tasks=("code",)), [When(tasks=("code", "maths"))], True),
        (When(tasks=("code", "chat")), [When(tasks=("code", "maths"))], False),
        (When(tasks=("code", "chat")), [When(tasks=("code", "maths")), When(tasks=("chat",))], True),
        (When(tags=("app=faq",)), [When(tags=("app=*",))], True),
        (When(tags=("app=faq", "team=a")), [When(tags=("app=faq",))], True),
        (When(tags=("app=faq",)), [When(tags=("app=faq", "team=a"))], False),
        (When(models=("gpt-4o", "gpt-4.1")), [When(models=("gpt-*",))], True),
        (When(models=("gpt-4*",)), [When(models=("gpt-*",))], True),
        (When(models=("gpt-*",)), [When(models=("gpt-4*",))], False),
        (When(models=("gpt-?",)), [When(models=("gpt-[45]",))], False),
        (When(models=("gpt-?",)), [When(models=("gpt-?",))], True),
        (When(), [When(models=("gpt-*",))], False),
        (When(paths=("/v1/*",)), [When(paths=("/*",))], True),
        (When(tokens=Span(100)), [When(tokens=Span(50))], True),
        (When(tokens=Span(100)), [When(tokens=Span(50, 500))], False),
        (When(tokens=Span(100)), [When(tokens=Span(50, 500)), When(tokens=Span(500))], True),
        (When(tokens=Span(100)), [When(tokens=Span(50, 500)), When(tokens=Span(501))], False),
        (When(), [When(patient=True), When(patient=False)], True),
        (When(), [When(deadline=Span(HOUR)), When(deadline=Span(0, HOUR))], False),
        (When(patient=True), [When(deadline=Span(HOUR)), When(deadline=Span(0, HOUR))], True),
        (When(needs=12), [When(needs=4)], True),
        (When(needs=4), [When(needs=12)], False),
        (When(budget=Span(800)), [When(budget=Span(500))], True),
        (When(hours=(MORNING,)), [When(hours=(Hours("UTC"),))], True),
        (When(), [When(hours=(MORNING,)), When(hours=(AFTERNOON,))], True),
        (When(), [When(hours=(MORNING,))], False),
        # clocks of two zones run apart, so nothing is said of them
        (When(hours=(Hours(BERLIN, 127, 0, 720),)), [When(hours=(MORNING,))], False),
        (When(), [When(hours=(MORNING,)), When(hours=(Hours(BERLIN, 127, 720, 1440),))], False),
        (When(hours=(Hours(BERLIN),)), [When(hours=(MORNING,)), When()], True),
        (When(hours=(MORNING, Hours(BERLIN))), [When(hours=(MORNING,))], False),
        (When(), [], False),
    ],
)
def test_rules_that_are_never_reached(later, earlier, never):
    assert covered(later, earlier) is never


def test_too_many_cases_are_not_gone_through():
    many = [When(tokens=Span(n, n + 1), deadline=Span(n, n + 1), budget=Span(n, n + 1)) for n in range(1, 40)]
    assert not covered(When(), many)
    assert covered(When(), [*many, When()])


spans = st.none() | st.builds(
    lambda low, more: Span(low, more and low + more), st.integers(0, 5), st.none() | st.integers(1, 4)
)
whens = st.builds(
    When,
    tasks=st.sampled_from(((), ("chat",), ("code", "maths"))),
    endpoints=st.sampled_from(((), ("chat",))),
    needs=st.sampled_from((0, 4, 12)),
    deadline=spans,
    patient=st.sampled_from((None, None, True, False)),
    tokens=spans,
    budget=spans,
)


@settings(max_examples=200)
@given(whens, st.lists(whens, max_size=4), st.data())
def test_no_request_reaches_a_covered_rule(later, earlier, data):
    asked = Question(
        needs=data.draw(st.sampled_from((0, 4, 8, 12))) | later.needs,
        deadline_ms=data.draw(st.none() | st.integers(0, 10)),
        tokens=data.draw(st.integers(0, 10)),
        budget_milli=data.draw(st.integers(0, 10)),
    )
    words = {"endpoint": "chat", "task": data.draw(st.sampled_from(("chat", "code", "vision")))}

    def meets(when):
        return when.speaks_of(model="m", path="p", tags=(), **words) and when.fits(asked)

    if covered(later, earlier) and meets(later):
        assert any(meets(other) for other in earlier)

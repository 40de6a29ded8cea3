import re

import pytest

from router.core.policy import words
from router.core.policy.conditions import EVERY_DAY, Span
from router.core.policy.policy import Floor
from router.core.schema import written

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("read", "text", "found"),
    [
        (words.floor, ">= 95% of reference", Floor(950, relative=True)),
        (words.floor, "0.60", Floor(600, relative=False)),
        (words.confidence, "95%", 950),
        (words.likelihood, "99.5%", 995),
        (words.instead, "refuse", None),
        (words.instead, "use  acme/small", "acme/small"),
        (words.mode, "observe", ("observe", 0)),
        (words.mode, "live", ("live", 0)),
        (words.mode, "canary  10%", ("canary", 100)),
        (words.mode, "canary 0.5%", ("canary", 5)),
        (words.handling("exclude", "use prior"), "use  prior", ("use prior", 0)),
        (words.handling("exclude", "use prior"), "probe 2%", ("probe", 20)),
        (words.deadlines, [">= 1h"], Span(HOUR)),
        (words.deadlines, ["> 1h"], Span(HOUR + 1)),
        (words.deadlines, [">= 1h", "< 1d"], Span(HOUR, 24 * HOUR)),
        (words.deadlines, ["<= 1h"], Span(0, HOUR + 1)),
        (words.deadlines, ["< 2h", "< 1h"], Span(0, HOUR)),
        (words.counts, ["> 100k"], Span(100_001)),
        (words.counts, [">=1.5k"], Span(1_500)),
        (words.counts, ["< 1M", "> 7"], Span(8, 1_000_000)),
        (words.fullness, [">= 80%"], Span(800)),
        (words.fullness, ["> 99.5%", "<= 120%"], Span(996, 1_201)),
        (words.days, ["mon-fri"], 0b0011111),
        (words.days, ["sat", "sun"], 0b1100000),
        (words.days, ["Sat-Mon"], 0b1100001),
        (words.days, ["mon-sun"], EVERY_DAY),
        (words.span_of_day, "09:00-17:30", (540, 1050)),
        (words.span_of_day, "22:00 - 06:00", (1320, 360)),
        (words.span_of_day, "0:00-24:00", (0, 1440)),
    ],
)
def test_how_people_write_it(read, text, found):
    assert read(text) == found


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (words.confidence, "93%", "is not one of 50%, 80%"),
        (words.likelihood, "0%", "asks for nothing; leave the key out"),
        (words.instead, "acme/small", "must be `refuse`, or `use`"),
        (words.mode, "shadow", "none of observe, canary 10%, live"),
        (words.mode, "lve", "did you mean live"),
        (words.mode, "canary", "did you mean canary"),
        (words.mode, "", "none of observe"),
        (
            words.handling("exclude", "use prior"),
            "excluded",
            "none of exclude, use prior, probe 2%; did you mean exclude",
        ),
        (words.handling("exclude", "use prior"), "probe", "none of exclude"),
        (words.deadlines, ["1h"], "not a comparison; write one such as '>= 1h'"),
        (words.deadlines, [">= soon"], "is not a duration"),
        (words.counts, ["> lots"], "is not a count; write 4000, 100k or 1M"),
        (words.counts, ["> 0.5"], "not a whole number"),
        (words.fullness, [">= 0.8"], "not a share of a budget; write 80%"),
        (words.days, ["monday"], "is no day; write mon, tue"),
        (words.days, ["mon-fry"], "is no day"),
        (words.span_of_day, "9-17", "is no span of a day"),
        (words.span_of_day, "09:60-17:00", "a time that no day has"),
        (words.span_of_day, "24:00-06:00", "a time that no day has"),
        (words.span_of_day, "23:00-24:01", "a time that no day has"),
        (words.span_of_day, "09:00-09:00", "is empty; a whole day is 00:00-24:00"),
    ],
)
def test_what_is_refused_in_words(read, text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        read(text)


def test_text_that_yaml_reads_as_a_number_is_taken_as_written():
    assert written(words.floor).func(0.6) == Floor(600, relative=False)

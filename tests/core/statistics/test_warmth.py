import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.statistics.warmth import (
    ASKERS,
    FADES_AT,
    FIRST,
    HEAD,
    KEY_RATE,
    LATE_MS,
    MOST_TOLD,
    PLACE,
    PLACES,
    PPM,
    TURN,
    USUAL_MS,
    Habits,
    Warmth,
    chain,
)

KEY = b"k" * 32
WHO = ("acme", "faq")
SYSTEM, HELLO, ANSWER, MORE = "You help. " * 100, "Hello?", "Hello!", "And now?"
FLASH, SONNET = "deepseek/flash@deepseek", "anthropic/sonnet@anthropic"
TTL = 600_000


def links(*texts, tools=0, key=KEY):
    return chain(key, texts, tools)


class Shop:
    """A memory with one application that asks."""

    def __init__(self, **size):
        self.memory = Warmth(**size)
        self.now = 1_000_000_000

    def looks(self, *texts, tools=0, tokens=2_000, who=WHO, session=False, marked=False):
        found = links(*texts, tools=tools)
        return self.memory.asks(found, tokens, who, self.now, session=session, marked=marked)

    def asks(self, *texts, entry=FLASH, ttl=TTL, kept_ppm=PPM, on_request=False, **how):
        prefix, asked = self.looks(*texts, **how)
        self.memory.answered(asked, entry, self.now, ttl, kept_ppm=kept_ppm, on_request=on_request)
        return prefix


def tells(one, other):
    for told in one.memory.told():
        other.memory.heard(told)


# -- the chain


def test_a_longer_conversation_has_the_links_of_the_shorter_one():
    first, second = links(SYSTEM, HELLO), links(SYSTEM, HELLO, ANSWER, MORE)
    assert first.links[-1][0] in {link for link, _, _ in second.links}
    assert [kind for _, _, kind in first.links] == [HEAD, FIRST]
    assert [kind for _, _, kind in second.links] == [HEAD, FIRST, TURN, TURN]
    assert second.links[-1][1] == PPM


def test_tools_come_first_as_models_get_them():
    one, other = links(HELLO, "tool a", tools=1), links(HELLO, "tool b", tools=1)
    assert one.of(HEAD)[0] != other.of(HEAD)[0]
    assert one.of(HEAD)[0] == links(MORE, "tool a", tools=1).of(HEAD)[0]
    assert links("tool a", tools=1).of(HEAD)[1] == PPM


def test_one_text_alone_is_no_head():
    assert links(HELLO).of(HEAD) == (0, 0)
    assert [kind for _, _, kind in links(HELLO).links] == [FIRST]


def test_what_two_long_texts_share_is_told_to_within_thirty_per_cent():
    document = "The quick brown fox. " * 1_000
    one, other = links(document + "Who?"), links(document + "Why is that?")
    shared = {link for link, _, _ in one.links} & {link for link, _, _ in other.links}
    assert max(share for link, share, _ in one.links if link in shared) > 700_000
    assert {kind for link, _, kind in one.links if link in shared} == {PLACE}


def test_a_tenant_or_a_single_letter_makes_another_chain():
    same = {link for link, _, _ in links(SYSTEM, HELLO).links}
    assert not same & {link for link, _, _ in links(SYSTEM, HELLO, key=b"x" * 32).links}
    assert not same & {link for link, _, _ in links("y" + SYSTEM[1:], HELLO).links}


@given(st.lists(st.text(max_size=40), min_size=1, max_size=12), st.integers(0, 3))
def test_shares_grow_to_the_whole(texts, tools):
    found = links(*texts, tools=min(tools, len(texts))).links
    shares = [share for _, share, _ in found]
    assert shares == sorted(shares)
    assert shares[-1] in (0, PPM)


def test_a_lone_surrogate_is_hashed_too():
    assert links("\ud800" * 5_000).links[0][2] == PLACE
    assert PLACES[0] == 2_048


# -- what is warm


def test_what_was_answered_is_warm_there_until_its_time_is_over():
    shop = Shop()
    assert shop.asks(SYSTEM, HELLO).warm == {}
    shop.now += TTL - 1
    found, _ = shop.looks(SYSTEM, HELLO, ANSWER, MORE)
    assert set(found.warm) == {FLASH}
    assert found.warm[FLASH] == links(SYSTEM, HELLO, ANSWER, MORE).of(FIRST)[1]
    shop.now += 1
    assert shop.looks(SYSTEM, HELLO, ANSWER, MORE)[0].warm == {}


def test_each_provider_has_what_it_was_sent():
    shop = Shop()
    shop.asks(SYSTEM, HELLO)
    shop.asks(SYSTEM, HELLO, ANSWER, MORE, entry=SONNET)
    found, _ = shop.looks(SYSTEM, HELLO, ANSWER, MORE, "Fine.", "Bye.")
    assert found.warm[SONNET] > found.warm[FLASH]


def test_what_a_provider_keeps_only_on_request_is_what_was_read_and_written():
    shop = Shop()
    shop.asks(SYSTEM, HELLO, entry=SONNET, kept_ppm=0, on_request=True)
    assert shop.looks(SYSTEM, HELLO)[0].warm == {}
    head = links(SYSTEM, HELLO).of(HEAD)[1]
    shop.asks(SYSTEM, "x" * 5_000, entry=SONNET, kept_ppm=links(SYSTEM, "x" * 5_000).of(HEAD)[1], on_request=True)
    assert shop.looks(SYSTEM, HELLO)[0].warm == {SONNET: head}
    # Nearly all of it is all of it, but only where a turn ends.
    shop.asks("y" * 5_000, entry=SONNET, kept_ppm=900_000, on_request=True)
    assert shop.looks("y" * 5_000)[0].warm == {SONNET: PPM}
    assert shop.looks("y" * 4_900)[0].warm == {}


def test_what_keeps_nothing_is_not_warm_but_habits_are_learned():
    shop = Shop()
    shop.asks(SYSTEM, HELLO, ttl=0)
    found, _ = shop.looks(SYSTEM, HELLO, ANSWER, MORE)
    assert found.warm == {}
    assert found.again_ppm == PPM // 2


def test_what_another_worker_heard_is_known_here():
    one, other = Shop(), Shop()
    one.asks(SYSTEM, HELLO)
    tells(one, other)
    assert other.looks(SYSTEM, HELLO)[0].warm == {FLASH: PPM}
    assert one.memory.told() == []
    one.now -= 5
    one.asks(SYSTEM, HELLO)
    tells(one, other)
    other.now += TTL - 1
    assert other.looks(SYSTEM, HELLO)[0].warm == {FLASH: PPM}, "what is older takes nothing away"


def test_a_conversation_is_known_to_go_on_whichever_worker_it_comes_to():
    one, other = Shop(), Shop()
    one.asks(SYSTEM, HELLO)
    tells(one, other)
    found = other.asks(SYSTEM, HELLO, ANSWER, MORE)
    assert (found.again_ppm, found.head_again_ppm) == (PPM // 2, PPM // 2)
    # It is counted where it went on, and waited for nowhere else.
    tells(other, one)
    begun = links(SYSTEM, HELLO).links[-1][0]
    assert not one.memory._known(begun).waits
    assert other.looks("Another", "Hi")[0].again_ppm == 1 * PPM // 10
    assert one.looks("Another", "Hi")[0].again_ppm == 0


def test_what_is_cut_within_a_text_and_not_kept_is_not_told():
    one, other = Shop(), Shop()
    one.asks("y" * 5_000, ttl=0)
    (told,) = one.memory.told()
    assert [mark for _, mark in told.links] == [FIRST]
    other.memory.heard(told)
    assert other.looks("y" * 5_000, ANSWER, MORE)[0].warm == {}


def test_what_others_saw_takes_at_most_half_of_the_memory():
    one, other = Shop(), Shop(links=20)
    for number in range(100):
        one.asks(f"single {number}")
        tells(one, other)
    assert len(other.memory) == 10
    other.asks(SYSTEM, HELLO)
    assert other.looks(SYSTEM, HELLO)[0].warm == {FLASH: PPM}


def test_memory_is_bounded_and_the_links_used_last_are_kept():
    shop = Shop(links=100)
    shop.asks(SYSTEM, HELLO)
    for number in range(1_000):
        shop.asks(f"single {number}")
        if number % 50 == 0:
            shop.asks(SYSTEM, HELLO)
    assert len(shop.memory) <= 200 + 8
    assert shop.looks(SYSTEM, HELLO)[0].warm == {FLASH: PPM}
    for number in range(200):
        shop.asks(f"other {number}")
    assert shop.looks(SYSTEM, HELLO)[0].warm == {}


def test_what_nobody_fetches_does_not_pile_up():
    shop = Shop()
    for number in range(MOST_TOLD + 5):
        shop.memory.answered(shop.looks(f"single {number}")[1], FLASH, shop.now, TTL)
    assert len(shop.memory.told()) == MOST_TOLD


# -- what is likely to be asked again


def test_nobody_is_expected_to_come_again_until_it_was_seen():
    found, _ = Shop().looks(SYSTEM, HELLO)
    assert (found.again_ppm, found.head_again_ppm) == (0, 0)
    assert (found.tokens, found.marked) == (2_000, False)


def test_a_conversation_that_goes_on_is_likely_to_go_on():
    shop = Shop()
    shop.asks(SYSTEM, HELLO)
    found, _ = shop.looks(SYSTEM, HELLO, ANSWER, MORE)
    assert found.again_ppm == PPM // 2
    shop.now += USUAL_MS + 1
    assert shop.looks(SYSTEM, HELLO, ANSWER, MORE)[0].again_ppm == 0


def test_a_session_that_the_caller_names_is_taken_to_go_on():
    assert Shop().looks(SYSTEM, HELLO, session=True)[0].again_ppm == PPM // 2


def test_a_head_that_comes_again_is_likely_to_come_again():
    shop = Shop()
    shop.asks(SYSTEM, HELLO)
    found, _ = shop.looks(SYSTEM, MORE)
    assert (found.again_ppm, found.head_again_ppm) == (0, PPM // 2)
    assert found.head_ppm == links(SYSTEM, MORE).of(HEAD)[1]


def test_an_application_s_habit_is_learned_and_is_its_own():
    shop = Shop()
    for number in range(40):
        shop.asks(SYSTEM, f"ticket {number}")
        shop.asks(SYSTEM, f"ticket {number}", ANSWER, MORE)
    found, _ = shop.looks(SYSTEM, "ticket 99")
    assert found.again_ppm == 40 * PPM // 50
    # Nobody asks a third time: going on once more is unlikely by now.
    shop.asks(SYSTEM, "ticket 99")
    assert shop.looks(SYSTEM, "ticket 99", ANSWER, MORE)[0].again_ppm < PPM // 20
    assert shop.looks(SYSTEM, "ticket 100", who=("acme", "other"))[0].again_ppm == 0


def test_what_comes_too_late_is_no_use_of_a_cache():
    shop = Shop()
    for number in range(20):
        shop.asks(SYSTEM, f"ticket {number}")
        shop.now += USUAL_MS + 1
        shop.asks(SYSTEM, f"ticket {number}", ANSWER, MORE)
    assert shop.looks(SYSTEM, "ticket 99")[0].again_ppm == 0


def test_one_question_is_gone_on_with_once():
    shop = Shop()
    shop.asks(SYSTEM, HELLO)
    for word in ("one", "two", "three"):
        shop.asks(SYSTEM, HELLO, ANSWER, word)
    assert shop.looks(SYSTEM, "anew")[0].again_ppm == PPM // 11


def test_old_habits_fade():
    habits = Habits()
    for _ in range(FADES_AT):
        habits.asked(0)
        habits.again(0, USUAL_MS)
    assert habits.chance_ppm(0) == habits.chance_ppm(0, 1) > 980_000
    for _ in range(4 * FADES_AT):
        habits.asked(0)
    assert habits.chance_ppm(0) < 100_000


def test_who_comes_again_later_is_expected_only_where_a_cache_lasts_so_long():
    shop = Shop()
    for number in range(20):
        shop.asks(SYSTEM, f"question {number}")
        shop.now += USUAL_MS + 1
        shop.asks(SYSTEM, f"question {number}", ANSWER, MORE)
        shop.now += LATE_MS + 1
    found = shop.looks(SYSTEM, "another question")[0]
    assert (found.again_ppm, found.head_again_ppm) == (0, 0)
    assert found.late_ppm == found.head_late_ppm == 20 * PPM // 50


def test_applications_are_bounded():
    shop = Shop()
    for number in range(ASKERS + 1):
        shop.asks(SYSTEM, HELLO, who=("acme", f"app{number}"))
    assert len(shop.memory._habits) == 1


# -- keys


def test_requests_with_one_head_share_a_key_until_there_are_too_many():
    shop = Shop()
    keys = [shop.looks(SYSTEM, f"question {number}")[0].key for number in range(KEY_RATE)]
    assert len(set(keys)) == 1
    more = {shop.looks(SYSTEM, f"question {number}")[0].key for number in range(100)}
    assert 2 < len(more) < 20
    # A conversation keeps its part while the rate does.
    assert shop.looks(SYSTEM, HELLO)[0].key == shop.looks(SYSTEM, HELLO, ANSWER, MORE)[0].key
    shop.now += 60_000
    assert shop.looks(SYSTEM, HELLO)[0].key != keys[0]
    shop.now += 180_000
    assert shop.looks(SYSTEM, HELLO)[0].key == keys[0]


def test_without_a_head_a_conversation_has_a_key_of_its_own():
    shop = Shop()
    first = shop.looks(HELLO)[0].key
    assert first == shop.looks(HELLO, ANSWER, MORE)[0].key
    assert first != shop.looks(MORE)[0].key


def test_rates_are_bounded():
    shop = Shop()
    for number in range(ASKERS + 2):
        shop.looks(f"head {number}", HELLO)
    assert len(shop.memory._rates) == 2


@pytest.mark.parametrize("marked", [True, False])
def test_the_callers_own_breakpoints_are_told(marked):
    assert Shop().looks(HELLO, marked=marked)[0].marked is marked

"""Prose of one caller is as dense as it was: some of it is looked at, the rest judged."""

from router.core.density import EVERY, FIRST, MEMORY, MOST, Densities, Density


def taught(density, tokens, times=FIRST):
    for _ in range(times):
        density.learn(1000, tokens)


def test_the_first_texts_are_all_looked_at():
    density = Density()
    for _ in range(FIRST):
        assert density.judge(1000) is None
        density.learn(1000, 220)
    assert density.judge(1000) == 220
    assert density.judge(501) == 111, "rounded up"


def test_after_that_one_in_so_many_is():
    density = Density()
    taught(density, 220)
    for _ in range(3):
        assert [density.judge(1000) is None for _ in range(EVERY)] == [False] * (EVERY - 1) + [True]
        density.learn(1000, 220)


def test_what_is_expected_follows_what_is_seen():
    density = Density()
    taught(density, 200)
    taught(density, 300, times=1)
    assert 200 < density.judge(1000) < 220
    taught(density, 300, times=4 * MEMORY)
    assert 290 < density.judge(1000) <= 300


def test_each_key_has_its_own_and_only_so_many_are_kept():
    densities = Densities()
    taught(densities["a"], 200)
    assert densities["a"].judge(1000) == 200
    assert densities["b"].judge(1000) is None
    for number in range(MOST):
        densities[str(number)]
    assert len(densities) <= MOST
    assert densities["a"].judge(1000) is None

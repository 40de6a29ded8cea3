"""A snapshot as one request sees it: with the speed of prompts of its size, and answers as long as its application's.

Belongs here: which view a request has; each is made when first asked for, and kept while the snapshot is. Does not belong
here: what is known of sizes (`latency`) and applications (`length`), and the plain route (`snapshot`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from router.core.policy.governing import MOST_KNOWN
from router.core.statistics.latency import sized
from router.core.statistics.length import Asker, lengthened, plan_for, scale_ppm
from router.core.statistics.series import size_of
from router.core.values import Needs

if TYPE_CHECKING:
    from router.core.deciding.decide import Facts
    from router.core.deciding.snapshot import Route, Snapshot
    from router.core.deciding.variants import Summaries
    from router.core.policy.governing import Wish

OWN_EFFORT: Final = Needs.REASONING_EFFORT.value
_Words = tuple[int, str, str, str, str, str, str, int, int | None, tuple[str, ...]]


class Views:
    """The views of one snapshot.

    Args:
        summary: live statistics of a series, or None.
    """

    __slots__ = ("_plain", "_routes", "_sized", "_summary")

    def __init__(self, summary: Summaries) -> None:
        self._summary = summary
        self._sized: dict[int, Snapshot] = {}
        self._plain: dict[_Words, Route] = {}
        self._routes: dict[tuple[int, int, int, str, str, int], tuple[Route, Route]] = {}

    def route(self, whole: Snapshot, facts: Facts, wish: Wish) -> Route:
        """The request's route; raises what the plain one does."""
        size = size_of(facts.tokens.expected)
        route = self._plain_route(whole, facts, wish, size)
        if wish.who is None or not wish.who.app or facts.models:
            return route
        key = (id(route.plan), id(route.instead), id(route.baseline), wish.who.app, facts.task, size)
        found = self._routes.get(key)
        if found is None:
            # The plain route is kept as well: while it is, nothing else can have its parts' ids.
            found = self._routes[key] = route, self._of_asker(route, Asker(wish.who.app, facts.task, size))
        seen = found[1]
        return seen if seen.doubtful is route.doubtful else msgspec.structs.replace(seen, doubtful=route.doubtful)

    def _plain_route(self, whole: Snapshot, facts: Facts, wish: Wish, size: int) -> Route:
        """That of prompts of this size; kept where all requests of the same words have it."""
        snapshot = self._sized.get(size) or self._of_size(whole, size)
        if facts.models:
            return snapshot.plain_route(facts, wish)
        policy, own = snapshot.governing.policy(facts.asked_model, wish), facts.needs & OWN_EFFORT
        words = (
            size, policy.name, facts.asked_model, facts.endpoint, facts.path, facts.task, facts.tier, own,
            wish.quality_milli, wish.tags,
        )  # fmt: skip  # ten things in a row are the key
        route = self._plain.get(words)
        if route is None:
            route = snapshot.plain_route(facts, wish)
            if snapshot.governing.alike(policy, facts, wish.tags):
                if len(self._plain) >= MOST_KNOWN:
                    self._plain.clear()
                self._plain[words] = route
        return route

    def _of_size(self, whole: Snapshot, size: int) -> Snapshot:
        known = whole.changed(lambda options, further: sized(options, further, size, self._summary))
        self._sized[size] = known
        return known

    def _of_asker(self, route: Route, asker: Asker) -> Route:
        summary, plan = self._summary, route.plan
        scale = scale_ppm(plan.candidates, asker, summary)
        if scale is None:
            return route
        return msgspec.structs.replace(
            route,
            plan=plan_for(plan, asker, scale, summary),
            baseline=route.baseline and lengthened(route.baseline, asker, scale, summary),
            instead=route.instead and plan_for(route.instead, asker, scale, summary),
        )

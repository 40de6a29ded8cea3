"""What a caller's `model` means: a model of the catalog, asked for by its canonical id or by a bare name.

Belongs here: names to catalog entries, in constant time for any name. Does not belong here: whether a policy allows
the model or puts another in its place (deciding/snapshot.py).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from router.core.catalog.catalog import Catalog, Model

AUTO: Final = "auto"
FLOOR: Final = ":floor"
"""Behind a name, as OpenRouter writes it: at its cheapest provider, which is what every name means here."""
VARIANTS: Final = {
    "nitro": "the fastest provider is not chosen by a name here, but by a policy's limits on `ttft` and `tpot`",
    "free": "nothing is served for free here, and the cheapest provider is chosen anyway",
    "online": "web search is asked for by `web_search_options`",
    "thinking": "thinking is asked for by `reasoning_effort`, or `thinking` in Anthropic's API",
    "extended": "a longer window is another model of the catalog",
    "exacto": "how good a provider's copy must be is a policy's `quality`",
}
"""Behind names for OpenRouter: what they ask for, and how that is had here."""
_DATED: Final = re.compile(r"(.+?)(?:-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest))")


class Named(msgspec.Struct, frozen=True):
    """Catalog entries under a name."""

    entries: tuple[Model, ...]
    explicit: bool
    """True for our own ids (``author/name``, with or without a provider): the caller wants this model and no other."""


class Names:
    """Every name of the catalog, looked up in one step."""

    __slots__ = ("_named",)

    def __init__(self, catalog: Catalog) -> None:
        bare: dict[str, list[Model]] = {}
        own: dict[str, list[Model]] = {}
        for model in catalog.models:
            for name in {model.id, model.name, f"{model.provider}/{model.upstream}", f"{model.provider}/{model.id}"}:
                own.setdefault(name, []).append(model)
            for name in {model.upstream, model.id.partition("/")[2]}:
                bare.setdefault(name, []).append(model)
        self._named = {name: Named(tuple(models), explicit=False) for name, models in bare.items()}
        self._named |= {name: Named(tuple(models), explicit=True) for name, models in own.items()}

    def find(self, name: str) -> Named | None:
        """The entries of a name; a dated or ``-latest`` bare name counts as its model, and `FLOOR` for nothing. None when unknown."""
        found = self._named.get(name)
        if found is not None:
            return found
        if name.endswith(FLOOR):
            name = name.removesuffix(FLOOR)
            if (found := self._named.get(name)) is not None:
                return found
        dated = _DATED.fullmatch(name) if len(name) <= 128 else None
        base = self._named.get(dated[1]) if dated else None
        return None if base is None or base.explicit else base

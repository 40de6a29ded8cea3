"""How dense prose is: what the last looks at one application's prompts showed, so that not each has to be looked at.

Belongs here: when to look again, and what to expect meanwhile. Does not belong here: looking (tokens.py), and whose
prompts go together (the pipeline keeps one `Density` an API key).
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 8
"""Texts that are looked at before any is judged by them."""
EVERY: Final = 8
"""Of texts after that, one in so many is looked at."""
MEMORY: Final = 32
"""A look moves what is expected by at least one part in so many."""
MOST: Final = 10_000
"""Keys that are remembered."""
_PPM: Final = 1_000_000


class Density:
    """Tokens a character, as a mean that follows slowly."""

    __slots__ = ("_ppm", "_seen", "_unseen")

    def __init__(self) -> None:
        self._ppm = self._seen = self._unseen = 0

    def judge(self, chars: int) -> int | None:
        """Tokens to expect of a text of so many characters; None where it is to be looked at, and `learn` told."""
        if self._seen < FIRST or self._unseen >= EVERY - 1:
            return None
        self._unseen += 1
        return -(-chars * self._ppm // _PPM)

    def learn(self, chars: int, tokens: int) -> None:
        """What a look at a text of so many characters (> 0) showed."""
        self._unseen = 0
        self._seen += 1
        self._ppm += (tokens * _PPM // chars - self._ppm) // min(self._seen, MEMORY)


class Densities(dict[str, Density]):
    """Densities by API key, each made when it is first asked for."""

    def __missing__(self, key: str) -> Density:
        if len(self) >= MOST:
            self.clear()
        found = self[key] = Density()
        return found

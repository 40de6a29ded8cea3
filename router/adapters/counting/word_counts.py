"""Token counts of prose, word by word from a table: exact, and cheaper than encoding where words come again.

Belongs here: which cuts keep the count, and the table. Does not belong here: threads and long texts (encoders.py).

Why it is exact: o200k_base and cl100k_base split text by a pattern before they merge anything. In their patterns a
blank can only be the first character of a match or part of a run of white space. So where a single blank stands
between two characters that are not white space, a match ends before the blank and another begins with it, and since
the patterns look behind nowhere, the two sides split and merge as they would alone:

    tokens("one two three") = tokens("one") + tokens(" two") + tokens(" three")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MOST_WORDS: Final = 50_000
"""Words kept: about 8 MB. A full table is emptied; the common words are back within a few prompts."""
LONGEST_WORD: Final = 24
"""Longer words are not kept: they seldom come again, and may be secrets. Nor is the text counted by word then."""


MOST_NEW_WORDS: Final = 16
"""New words encoded singly per text. A text with more is new to the table, and encoded faster as a whole."""


class _NotByWordError(Exception):
    pass


class WordCounts(dict[str, int]):
    """Word → tokens of the word with a blank before it. Looked up by `count` only.

    Args:
        encode: the tokens of a text, or how many there are.
    """

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        super().__init__()
        self._encode = encode
        self._heads: dict[str, int] = {}
        self._new = 0

    def count(self, text: str) -> int:
        """Exact tokens. Text with runs of white space or long words (code, tables) is encoded as a whole."""
        head, blank, rest = text.partition(" ")
        self._new = 0
        if blank and not head[-1:].isspace():
            try:
                return (self._head(head) if head else 0) + sum(map(self.__getitem__, rest.split(" ")))
            except _NotByWordError:
                pass
        return len(self._encode(text))

    def _head(self, head: str) -> int:
        """Tokens of a text's first word, which has no blank before it."""
        count = self._heads.get(head)
        if count is None:
            count = len(self._encode(head))
            if len(head) <= LONGEST_WORD:
                _keep(self._heads, head, count)
        return count

    def __missing__(self, word: str) -> int:
        self._new += 1
        if (
            not word
            or len(word) > LONGEST_WORD
            or word[0].isspace()
            or word[-1].isspace()
            or self._new > MOST_NEW_WORDS
        ):
            raise _NotByWordError
        count = len(self._encode(" " + word))
        _keep(self, word, count)
        return count


def _keep(table: dict[str, int], word: str, count: int) -> None:
    if len(table) >= MOST_WORDS:
        table.clear()
    table[word] = count

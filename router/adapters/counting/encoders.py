"""The tokenizer: encodings built from our own package data, and a counter that never holds up the loop.

Belongs here: loading tiktoken encodings without network, caching counts, counting in a thread. Does not belong
here: what the counts are used for, and estimates (`router.core.tokens`).
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import zlib
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec
from tiktoken import Encoding

from router.adapters.counting.word_counts import WordCounts
from router.core.tokens import EXACT_BYTES, SLICE_CHARS, byte_length, slices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor

REFERENCE: Final = "o200k_base"
"""The encoding that every count is in; a model's ratio turns it into the provider's own."""
_HASH_BITS: Final = (1 << 64) - 1
_tokens: Final = msgspec.msgpack.Decoder(list[bytes]).decode


class EncodingData(msgspec.Struct, frozen=True):
    """What makes an encoding: ``router/data/<name>.ranks.z`` with so many tokens, and the splitting pattern."""

    tokens: int
    pattern: tuple[str, ...]
    """Alternatives, the first that fits wins."""


ENCODINGS: Final = {
    "o200k_base": EncodingData(
        199_998,
        (
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        ),
    ),
    "cl100k_base": EncodingData(
        100_256,
        (
            r"'(?i:[sdmt]|ll|ve|re)",
            r"[^\r\n\p{L}\p{N}]?+\p{L}++",
            r"\p{N}{1,3}+",
            r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
            r"\s++$",
            r"\s*[\r\n]",
            r"\s+(?!\S)",
            r"\s",
        ),
    ),
}
"""OpenAI's published definitions (tiktoken, ``tiktoken_ext/openai_public.py``), which a test compares with these."""


def token_bytes(name: str) -> list[bytes]:
    """The tokens of an encoding in rank order, from the package data.

    Raises:
        ValueError: no such encoding is shipped.
    """
    if name not in ENCODINGS:
        raise ValueError(f"no encoding {name!r} is shipped, only {' and '.join(ENCODINGS)}")
    return _tokens(zlib.decompress(files("router").joinpath("data", f"{name}.ranks.z").read_bytes()))


def load_encoding(name: str = REFERENCE) -> Encoding:
    """Builds an encoding (about 0.2 s) under a name of our own, so that tiktoken's registry never sees it.

    It knows no special tokens: text is text. Only `encode_ordinary` may be used on what callers send.

    Raises:
        ValueError: no such encoding is shipped.
        RuntimeError: the package data is damaged.
    """
    tokens = token_bytes(name)
    ranks = dict(zip(tokens, range(len(tokens)), strict=True))
    del tokens
    data = ENCODINGS[name]
    if len(ranks) != data.tokens:
        raise RuntimeError(f"{name}.ranks.z holds {len(ranks)} tokens instead of {data.tokens}: reinstall costrouter")
    encoding = Encoding(f"costrouter_{name}", pat_str="|".join(data.pattern), mergeable_ranks=ranks, special_tokens={})
    encoding._mergeable_ranks = {}  # noqa: SLF001 - the compiled core has its own copy; ours is 30 MB a process
    del ranks
    _return_memory()
    return encoding


class Encoders:
    """The encodings of this process, each built once. Preload before workers fork, so that they share the memory."""

    def __init__(self) -> None:
        self._built: dict[str, Encoding] = {}

    def preload(self, *names: str) -> None:
        """Builds the named encodings, or the reference alone. Raises as `load_encoding`."""
        for name in names or (REFERENCE,):
            self.get(name)

    def get(self, name: str = REFERENCE) -> Encoding:
        """The encoding, built now if it was not yet. Raises as `load_encoding`."""
        if name not in self._built:
            self._built[name] = load_encoding(name)
        return self._built[name]


class CountCache:
    """Counts by a key made from their text, in a table of fixed size; no text is kept.

    Sets of two slots: a find moves to the front of its set, a new count pushes the rear one out (least recently
    used of the two). Every slot is one integer, key and count together, so threads need no lock: the worst that
    a race does is to forget.

    Args:
        entries: slots, a power of two and at least 2; 56 bytes each once used.

    Raises:
        ValueError: ``entries`` is not a power of two, or below 2.
    """

    def __init__(self, entries: int) -> None:
        if entries < 2 or entries & (entries - 1):
            raise ValueError(f"a cache of {entries} entries: use a power of two, at least 2")
        self._slots = [0] * entries
        self._mask = entries - 2

    def get(self, key: int) -> int | None:
        """The count kept for a key, if it still is."""
        slots, first = self._slots, key & self._mask
        word = slots[first]
        if word >> 32 == key:
            return word & 0xFFFFFFFF
        found = slots[first + 1]
        if found >> 32 == key:
            slots[first], slots[first + 1] = found, word
            return found & 0xFFFFFFFF
        return None

    def put(self, key: int, count: int) -> None:
        """Keeps a count below 2^32 for a key that `get` did not find."""
        slots, first = self._slots, key & self._mask
        slots[first + 1] = slots[first]
        slots[first] = key << 32 | count

    def __len__(self) -> int:
        return sum(map(bool, self._slots))


WORTH_KEEPING: Final = 256
"""Characters from which a count is kept: shorter texts are counted as fast as they are looked up."""


class TiktokenCounter:
    """Counts texts in one encoding; a text counted before costs a hash (`router.ports.TextCounter`).

    Counts are exact, but in text over 65,536 characters without a safe cut (see `router.core.tokens.slices`).

    Args:
        encoding: from `load_encoding`.
        executor: one thread is enough: counting is bound by the processor.
        entries: size of the cache, a power of two.
    """

    def __init__(self, encoding: Encoding, *, executor: Executor, entries: int = 65_536) -> None:
        self._words = WordCounts(encoding.encode_ordinary)
        self._executor = executor
        self.cache = CountCache(entries)

    def known(self, text: str) -> int | None:
        """The text's count if it was counted before and not forgotten since. Hashes the text, nothing more."""
        return self.cache.get(_key(text))

    def count_now(self, text: str) -> int:
        """Tokens of a short text, on the calling thread."""
        if len(text) < WORTH_KEEPING:
            return self._slice(text)
        key = _key(text)
        count = self.cache.get(key)
        if count is None:
            count = sum(map(self._slice, slices(text)))
            self.cache.put(key, count)
        return count

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text: 4,096 characters in all at once, more in the thread, the loop free between slices.

        Cancelling stops at the next slice. Counts that have been finished stay known.
        """
        if sum(map(len, texts)) <= EXACT_BYTES:
            return list(map(self.count_now, texts))
        in_thread = asyncio.get_running_loop().run_in_executor
        counts: list[int] = []
        for group in _groups(texts):
            if len(group) > 1 or len(group[0]) <= SLICE_CHARS:
                counts += await in_thread(self._executor, self._count_all, group)
                continue
            key = await in_thread(self._executor, _key, group[0])
            count = self.cache.get(key)
            if count is None:
                count = 0
                for piece in slices(group[0]):
                    count += await in_thread(self._executor, self._slice, piece)
                self.cache.put(key, count)
            counts.append(count)
        return counts

    def _count_all(self, texts: list[str]) -> list[int]:
        return list(map(self.count_now, texts))

    def _slice(self, piece: str) -> int:
        """Tokens of at most `SLICE_CHARS`; its bytes, which are never fewer, should the encoder panic after all."""
        try:
            return self._words.count(piece)
        except BaseException as error:
            # Rust's panics arrive as a BaseException whose class cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            return byte_length(piece)


def _key(text: str) -> int:
    """The text's hash and length: what the cache knows it by.

    Python's own hash (SipHash with this process's secret, 64 bits) is four times faster than blake2b and is kept in
    the string once made. Two texts of one length share it with a chance of 2^-64. The length is needed: a string of
    wide characters hashes like the narrow one that has the same memory.
    """
    return len(text) << 64 | hash(text) & _HASH_BITS


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in order, short ones together up to `SLICE_CHARS`, so that each group is one visit to the thread."""
    group: list[str] = []
    chars = 0
    for text in texts:
        if group and chars + len(text) > SLICE_CHARS:
            yield group
            group, chars = [], 0
        group.append(text)
        chars += len(text)
    if group:
        yield group


def _return_memory() -> None:
    """Hands freed memory back to the system where the C library can (glibc's malloc_trim)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)

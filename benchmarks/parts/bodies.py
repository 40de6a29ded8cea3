"""Request bodies that never repeat, made fast enough not to be the bottleneck.

Belongs here: the text, and chat bodies of a given size. Does not belong here: sending them (load.py).

A text is a random slice of some megabytes of shuffled words, so that neither a cache of messages nor the processor's
caches help the one that counts it; a serial number makes sure that no two are equal. Words are those of CPython's
own reference (pydoc_data), one in seven replaced by an invented one, and need no escape in JSON.
"""

import functools
import itertools
import os
import random
import re
from collections.abc import Callable
from pydoc_data import topics
from string import ascii_lowercase

POOL_BYTES = 12_000_000
SMALL_BYTES = 1024
LARGE_BYTES = 32_768
LARGE_TURNS = 16
GIANT_BYTES = 4_400_000
"""A little over 1,000,000 tokens in o200k_base: these texts have 4.3 bytes a token."""
_INVENTED = 20_000
_SERIAL_BYTES = 20

Maker = Callable[[], bytes]


def maker(kind: str, model: str = "auto") -> Maker:
    """A function that gives a new body at each call: ``small``, ``large``, ``stream``, ``messages`` or ``giant``.

    Sizes are fixed: 1 KB in two messages, 32 KB in sixteen turns, a stream of 1 KB (``messages``: Anthropic's), one message of a
    million tokens.
    """
    text = _texts()
    if kind == "large":
        return _conversation(text)
    size = GIANT_BYTES if kind == "giant" else SMALL_BYTES
    stream = b'"stream":true,' if kind in ("stream", "messages") else b""
    begins = b'{"model":"%s",' % model.encode() + stream + b'"max_tokens":64,"temperature":0.2,'
    system = b"You answer briefly and to the point."
    if kind == "messages":
        before = begins + b'"system":"%s","messages":[{"role":"user","content":"' % system
    else:
        before = begins + b'"messages":[{"role":"system","content":"%s"},{"role":"user","content":"' % system
    after = b'"}]}'
    length = size - len(before) - len(after)

    def body() -> bytes:
        return before + text(length) + after

    return body


def _conversation(text: Callable[[int], bytes]) -> Maker:
    before = b'{"model":"auto","max_tokens":64,"temperature":0.2,"messages":['
    turns = [
        b'{"role":"%s","content":"' % (b"user" if number % 2 else b"assistant") for number in range(LARGE_TURNS - 1)
    ]
    turns.insert(0, b'{"role":"system","content":"')
    fixed = len(before) + sum(map(len, turns)) + len(b'"},') * LARGE_TURNS - len(b",") + len(b"]}")
    length, rest = divmod(LARGE_BYTES - fixed, LARGE_TURNS)

    def body() -> bytes:
        parts = [turn + text(length) for turn in turns[:-1]]
        parts.append(turns[-1] + text(length + rest))
        return before + b'"},'.join(parts) + b'"}]}'

    return body


def _texts() -> Callable[[int], bytes]:
    pool = _pool()
    size = len(pool)
    draw = random.random
    serials = itertools.count()
    run = os.urandom(4).hex().encode()

    def text(length: int) -> bytes:
        start = int(draw() * (size - length))
        return b"%s %010d " % (run, next(serials)) + pool[start : start + length - _SERIAL_BYTES]

    return text


@functools.cache
def _pool() -> bytes:
    known = re.findall(r"[A-Za-z]{2,}", " ".join(topics.topics.values()))
    letters = random.choices
    invented = ["".join(letters(ascii_lowercase, k=random.randint(4, 12))) for _ in range(_INVENTED)]
    words = known + random.choices(invented, k=len(known) // 6)
    mean = sum(map(len, words)) / len(words) + 1
    return " ".join(random.choices(words, k=int(POOL_BYTES / mean * 1.01))).encode()

"""A cluster's arithmetic: which slot a key has, which node a slot has, which key a command goes by.

Belongs here: pure functions over keys, commands and replies. Does not belong here: any call (cluster.py).
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import TYPE_CHECKING, Any, Final

from router.adapters.store.layout import PLATFORM_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from router.adapters.store.resp import Arg

SLOTS: Final = 16_384
Place = tuple[str, int]
"""Host and port."""

_KEY_AT: Final = {
    **dict.fromkeys(("EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO", "BLMPOP", "BZMPOP"), 3),
    **dict.fromkeys(("OBJECT", "XGROUP", "XINFO", "MEMORY", "BITOP", "ZUNION", "ZINTER", "ZDIFF", "SINTERCARD"), 2),
    **dict.fromkeys(("LMPOP", "ZMPOP", "ZINTERCARD"), 2),
}
"""Where a command has its first key, if not right after its name. XREAD and XREADGROUP have it after STREAMS."""

_KEYLESS: Final = frozenset(
    ("TIME", "INFO", "DBSIZE", "ECHO", "CONFIG", "CLUSTER", "SCRIPT", "ACL", "CLIENT", "COMMAND")
)


def slot_of(key: Arg) -> int:
    """A key's slot, 0 to 16,383: by its hash tag, the text within its first braces, unless that is empty."""
    raw = key if isinstance(key, bytes) else str(key).encode()
    start = raw.find(b"{")
    if start >= 0:
        end = raw.find(b"}", start + 1)
        if end > start + 1:
            raw = raw[start + 1 : end]
    return crc_hqx(raw, 0) % SLOTS


def key_of(command: tuple[Arg, ...]) -> Arg:
    """The key that a command, its name in capitals, goes by.

    One without a key goes where the fleet's own keys lie, so that TIME tells the clock by which those are stamped.
    """
    name = str(command[0])
    if name in {"XREAD", "XREADGROUP"} and "STREAMS" in command:
        return command[command.index("STREAMS") + 1]
    at = _KEY_AT.get(name, 1)
    return PLATFORM_KEYS if name in _KEYLESS or len(command) <= at else command[at]


def read_slots(reply: Iterable[Any], asked: str) -> Iterator[tuple[range, Place]]:
    """Slots and their primaries from the reply to CLUSTER SLOTS; ``asked`` is the host that gave it.

    A node that does not know its own address, or is told not to say it, means the host that was asked.
    """
    for first, last, (host, port, *_), *_ in reply:
        name = host.decode() if isinstance(host, bytes) else ""
        yield range(first, last + 1), (name if name not in {"", "?"} else asked, port)


def read_redirect(message: str, asked: str) -> Place:
    """Where ``MOVED 1234 host:port`` or ``ASK …`` points, as said by a node at the host ``asked``.

    Raises:
        ValueError: it names no port.
    """
    host, _, port = message.rpartition(" ")[2].rpartition(":")
    return host if host not in {"", "?"} else asked, int(port)

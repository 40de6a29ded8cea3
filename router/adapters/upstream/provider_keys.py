"""Providers' keys in a file that may change while the node runs, such as a mounted secret.

Belongs here: reading ``NAME=value`` lines, and noticing that they have changed. Does not belong here: what the names mean
(providers.py), and who goes by the keys (breakers.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from router.adapters.upstream.hosting import ProviderError

LOOK_S: Final = 2.0
"""How often the file is looked at."""
MOST_BYTES: Final = 256 * 1024
_log: Final = structlog.get_logger(__name__)


def read_keys(path: Path) -> dict[str, str]:
    """The file's lines ``NAME=value``; empty ones and those that begin with # are left out.

    Raises:
        ProviderError: it cannot be read, or a line has another form. Names the line, never its value.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ProviderError(f"{path} cannot be read: {type(error).__name__}") from None
    if len(text) > MOST_BYTES:
        raise ProviderError(f"{path} is larger than {MOST_BYTES} bytes")
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, sign, value = line.partition("=")
        if not sign or not name.strip().isidentifier():
            raise ProviderError(f"{path}, line {number}: write NAME=value, such as OPENAI_API_KEY_2=sk-…")
        found[name.strip()] = value.strip()
    return found


async def keep_read(path: Path | None, apply: Callable[[Mapping[str, str]], None]) -> None:
    """Have ``apply`` called with the keys whenever the file has changed, until cancelled.

    A file that cannot be used, or that ``apply`` refuses with `ProviderError`, changes nothing; the log says why.
    """
    if path is None:
        return
    seen = _mark(path)
    while True:
        await asyncio.sleep(LOOK_S)
        mark = _mark(path)
        if mark == seen:
            continue
        seen = mark
        try:
            apply(read_keys(path))
        except ProviderError as error:
            _log.error("provider_keys_unusable", reason=str(error))
        else:
            _log.info("provider_keys_read", file=str(path))


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What tells one state of the file from another, links followed: secrets are mounted as links that are swapped."""
    try:
        state = path.stat()
    except OSError:
        return None
    return (state.st_mtime_ns, state.st_size, state.st_ino)

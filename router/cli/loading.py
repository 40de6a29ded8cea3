"""How a server loads its libraries: without what they would take along and it has no use for.

Belongs here: what shortens every start, and is missing from every worker's memory. It has to run before anything else
imports these libraries.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NO_CERTIFICATES: Final = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
"""OpenSSL's own variables for where certificates lie."""


def load_libraries() -> None:
    """Load them, with garbage collection off from here on: code is none, and looking through it takes 0.1 s.

    The supervisor turns it on again once it serves, each child as it is forked.
    """
    gc.disable()
    with _absent("rich"):  # structlog would draw tracebacks in colour: 0.1 s, and megabytes
        import structlog  # noqa: F401, PLC0415 - for whoever imports it next
    with _environment(_NO_CERTIFICATES):  # aiohttp would read them twice, in 0.1 s; see `router.adapters.trust`
        import aiohttp  # noqa: F401, PLC0415 - as above


@contextmanager
def _absent(module: str) -> Iterator[None]:
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # what Python takes for: not to be found
    try:
        yield
    finally:
        del sys.modules[module]


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

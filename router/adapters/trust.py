"""Whom TLS connections of this process trust: the machine's certificates, read when the first one is needed.

Every client states this context, aiohttp's too: the ones that aiohttp makes of its own accord on import are empty in a
server (`router.cli.loading`).
"""

from __future__ import annotations

import ssl
from functools import cache


@cache
def trusted() -> ssl.SSLContext:
    """The context of connections to strangers, for HTTP/1.1. Takes 50 ms the first time."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context

"""How commands print. Does not belong here: what they print."""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console

PIPED_WIDTH: Final = 250
"""Columns where no terminal says how many there are: a file or a pipe must get every name whole."""


def console() -> Console:
    """Standard output, without colours for numbers."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)

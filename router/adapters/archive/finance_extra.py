"""Whether the optional part for finance is installed, and how it fails.

Does not belong here: anything that needs its libraries, so that everybody may import this.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

NEEDED: Final = "this needs the archive's libraries: pip install 'costrouter[finance]'"


class ArchiveError(Exception):
    """The archive cannot be used, or one of its files is not what was written; the message names it."""


class FinanceMissingError(Exception):
    """DuckDB or pyarrow is not installed; the message says what to install."""


def has_finance() -> bool:
    """True when the archive can be written and read."""
    return all(find_spec(name) is not None for name in ("duckdb", "pyarrow"))


def need_finance() -> None:
    """Nothing, if the archive can be written and read.

    Raises:
        FinanceMissingError: it cannot.
    """
    if not has_finance():
        raise FinanceMissingError(NEEDED)

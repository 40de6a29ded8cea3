"""Amounts of money as integers, and their text.

Unit everywhere: US dollars in pico (1e-12 $) while computing, in nano (1e-9 $) once booked. A float never
holds money. Rounding happens once per attempt, upwards, when pico become nano.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

PICO_PER_USD: Final = 10**12
NANO_PER_USD: Final = 10**9
PICO_PER_NANO: Final = 1000
MAX_NANO: Final = 2**53
"""Largest amount the store's scripts can compare exactly (about $9.0 million): Lua numbers are doubles."""
_AMOUNT: Final = re.compile(r"\$?(?=[\d.])(\d{0,9})(?:\.(\d{1,40}))?", re.ASCII)
_PLACES: Final = 12


def nano_ceil(pico: int) -> int:
    """Pico-dollars to nano-dollars, rounded up: towards zero where a correction is negative."""
    return -(-pico // PICO_PER_NANO)


def usd(nano: int) -> str:
    """Nano-dollars as an exact decimal string with nine places, e.g. ``0.000196000``."""
    sign = "-" if nano < 0 else ""
    whole, part = divmod(abs(nano), NANO_PER_USD)
    return f"{sign}{whole}.{part:09d}"


def parse_usd(text: str) -> int:
    """A decimal dollar amount (``"0.02"``, ``"$1.50"``) as pico-dollars, 0 to `MAX_NANO`.

    Raises:
        ValueError: not a plain decimal number, negative, finer than a pico-dollar, or more than `MAX_NANO`.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a plain, non-negative amount in dollars, such as 0.02")
    part = (match[2] or "").rstrip("0")
    if len(part) > _PLACES:
        raise ValueError(f"{text!r} is finer than a pico-dollar")
    pico = int(match[1] or 0) * PICO_PER_USD + int(part.ljust(_PLACES, "0"))
    if pico > MAX_NANO * PICO_PER_NANO:
        raise ValueError(f"{text!r} is more than the ledger can hold, ${usd(MAX_NANO)}")
    return pico


def pico_per_token(usd_per_million: Decimal) -> int:
    """A list price in dollars per million tokens as pico-dollars per token.

    Raises:
        ValueError: negative, or finer than a pico-dollar per token.
    """
    pico = usd_per_million * (PICO_PER_USD // 10**6)
    if not pico.is_finite() or pico < 0 or pico != pico.to_integral_value():
        raise ValueError(f"price {usd_per_million} $ per 1M tokens is negative or finer than a pico-dollar per token")
    return int(pico)

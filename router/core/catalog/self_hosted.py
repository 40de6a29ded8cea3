"""What a token costs on a machine of one's own: from its hourly cost, its speed and its power.

Belongs here: arithmetic over measured figures, on the average (what is charged back) and at the margin (what routing
should weigh). Does not belong here: the catalog's fields (`columns_schema`), list prices (`pricing`).

Speeds are tokens per second at the goodput point: the highest load at which answers still come in time. Figures are
`Decimal` because they are prices before they become integers, and are rounded up once, by `pico`.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Final

import msgspec

from router.core.money import PICO_PER_USD

_SECONDS: Final = 3600
_KILO: Final = 1000
SLACK_MILLI: Final = 700
"""Load, in thousandths, up to which one more request delays nobody worth counting."""


class SelfHosted(msgspec.Struct, frozen=True):
    """One model on a machine of one's own."""

    usd_per_hour: Decimal
    """All accelerators that serve it together; 0 where the machine is paid for otherwise."""
    prefill_tok_s: Decimal
    decode_tok_s: Decimal
    load_milli: int
    """Share of the hours' capacity that is really used, 1 to 1000: an idle machine costs as much as a busy one."""
    watts: Decimal
    """Drawn while serving; 0 where the hourly cost includes energy."""
    usd_per_kwh: Decimal
    watts_source: str
    """Where ``watts`` comes from, such as a meter, the driver or a data sheet; empty without energy."""


def tokens_per_dollar(tok_s: Decimal, usd_per_hour: Decimal) -> Decimal:
    """Tokens that one dollar of machine time buys at full load. The hourly cost must be above 0."""
    return tok_s * _SECONDS / usd_per_hour


def tokens_per_watt_second(tok_s: Decimal, watts: Decimal) -> Decimal:
    """Tokens per joule. Watts must be above 0."""
    return tok_s / watts


def tokens_per_kwh(tok_s: Decimal, watts: Decimal) -> Decimal:
    """Tokens per kilowatt-hour: 3,000 tok/s at 1 kW make 10.8 million. Watts must be above 0."""
    return tokens_per_watt_second(tok_s, watts) * _KILO * _SECONDS


def energy_usd(tok_s: Decimal, watts: Decimal, usd_per_kwh: Decimal) -> Decimal:
    """Dollars of energy a token: 3,000 tok/s at 1 kW and $0.17 a kWh make $1.57e-8."""
    return watts * usd_per_kwh / (_KILO * _SECONDS * tok_s)


def capacity_usd(tok_s: Decimal, usd_per_hour: Decimal) -> Decimal:
    """Dollars of machine time a token at full load."""
    return usd_per_hour / (_SECONDS * tok_s)


def average_usd(machine: SelfHosted, tok_s: Decimal) -> Decimal:
    """Dollars a token, idle hours included: what is charged back.

    Source: own derivation; $/h · 1e6 / (3600 · tok/s · load) of machine time per million tokens, plus energy.
    """
    capacity = capacity_usd(tok_s, machine.usd_per_hour) * 1000 / machine.load_milli
    return capacity + energy_usd(tok_s, machine.watts, machine.usd_per_kwh)


def marginal_usd(machine: SelfHosted, tok_s: Decimal, load_milli: int) -> Decimal:
    """Dollars that one more token costs at a load: what routing should weigh.

    A machine that runs anyway costs its energy only. From `SLACK_MILLI` on, a token delays others, and its price rises
    in a straight line to that of the next replica, fully used.

    Source: own derivation. The line is a model, not a measurement: only its ends are certain.

    Args:
        machine: its cost.
        tok_s: prefill or decode speed.
        load_milli: present share of the capacity in thousandths; above 1000 counts as 1000.
    """
    pressure = max(0, min(load_milli, 1000) - SLACK_MILLI)
    capacity = capacity_usd(tok_s, machine.usd_per_hour) * pressure / (1000 - SLACK_MILLI)
    return capacity + energy_usd(tok_s, machine.watts, machine.usd_per_kwh)


def pico(usd: Decimal) -> int:
    """Dollars a token as pico-dollars, rounded up: a cost is never understated, and never becomes zero by rounding."""
    return int((usd * PICO_PER_USD).to_integral_value(rounding=ROUND_CEILING))

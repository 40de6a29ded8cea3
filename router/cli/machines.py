"""`costrouter prices machines`: what machines of one's own cost a token, and what they get out of a dollar and a joule.

Belongs here: the table and its JSON. Does not belong here: the arithmetic (`router.core.catalog.self_hosted`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.table import Table

from router.core.catalog.self_hosted import (
    average_usd,
    marginal_usd,
    tokens_per_dollar,
    tokens_per_kwh,
    tokens_per_watt_second,
)

if TYPE_CHECKING:
    from router.core.catalog.catalog import Catalog, Model

_MILLION = Decimal(1_000_000)


def machine_records(catalog: Catalog, load_milli: int | None) -> list[dict[str, Any]]:
    """Every model on a machine of one's own, ready for JSON; figures as text.

    Args:
        catalog: where they stand.
        load_milli: the present share of a machine's capacity, for marginal prices; by default, the stated mean.
    """
    return [_record(model, load_milli) for model in catalog.models if model.self_hosted is not None]


def _record(model: Model, load_milli: int | None) -> dict[str, Any]:
    machine = model.self_hosted
    if machine is None:
        return {}
    load = machine.load_milli if load_milli is None else load_milli
    found: dict[str, Any] = {
        "model": model.id,
        "provider": model.provider,
        "accelerator": model.accelerator or None,
        "usd_per_hour": _text(machine.usd_per_hour),
        "load": machine.load_milli / 1000,
        "marginal_at_load": load / 1000,
        "watts": _text(machine.watts) if machine.watts else None,
        "watts_source": machine.watts_source or None,
    }
    for name, speed in (("prefill", machine.prefill_tok_s), ("decode", machine.decode_tok_s)):
        found[name] = {
            "tokens_per_second": _text(speed),
            "average_usd_per_million": _text(average_usd(machine, speed) * _MILLION),
            "marginal_usd_per_million": _text(marginal_usd(machine, speed, load) * _MILLION),
            "tokens_per_dollar": _text(tokens_per_dollar(speed, machine.usd_per_hour))
            if machine.usd_per_hour
            else None,
            "tokens_per_watt_second": _text(tokens_per_watt_second(speed, machine.watts)) if machine.watts else None,
            "tokens_per_kwh": _text(tokens_per_kwh(speed, machine.watts)) if machine.watts else None,
        }
    return found


def machine_table(records: list[dict[str, Any]]) -> Table:
    """Two lines a model: prompts, and answers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("model", "provider", "$/h", "load", ""):
        table.add_column(title, no_wrap=True)
    for title in ("tok/s", "$/M average", "$/M marginal", "tokens/$", "tokens/W·s", "tokens/kWh"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("watts from")
    for record in records:
        for place, name in enumerate(("prefill", "decode")):
            row = record[name]
            head = (record["model"], record["provider"], record["usd_per_hour"], f"{record['load']:.0%}")
            watts = f"{record['watts']} W, {record['watts_source']}" if record["watts"] else "in the hourly price"
            table.add_row(
                *(("", "", "", "") if place else head),
                name,
                *(
                    row[figure] or ""
                    for figure in (
                        "tokens_per_second", "average_usd_per_million", "marginal_usd_per_million",
                        "tokens_per_dollar", "tokens_per_watt_second", "tokens_per_kwh",
                    )
                ),
                "" if place else watts,
            )  # fmt: skip  # a row's cells
    return table


def _text(value: Decimal) -> str:
    """At most four digits that count after the point; whole numbers whole."""
    if value == value.to_integral_value():
        return f"{value.to_integral_value():f}"
    return f"{value:.4f}" if value < 1000 else f"{value:.0f}"

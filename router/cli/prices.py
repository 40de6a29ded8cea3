"""`costrouter prices`: what models cost on a day, what changed, and a newer price list put in place.

Belongs here: options, tables and JSON. Does not belong here: comparing and doubting (`router.core.catalog.price_list`), fetching
and writing (`router.adapters.policies.price_source`). Nothing here asks a running server.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from router.adapters.policies.files import (
    file_of,
    load_catalog,
    load_policies,
    packaged_policies_dir,
)
from router.adapters.policies.price_source import SourceError, fetch, replace_file
from router.adapters.policies.yaml_document import PolicyFileError
from router.cli.machines import machine_records, machine_table
from router.cli.output import console
from router.core.catalog.catalog import Catalog, did_you_mean
from router.core.catalog.price_list import Change, Doubt, Listed, difference, doubts, price_list
from router.core.catalog.schema import json_schema
from router.settings import SettingsError, read_settings

_SHOWN = ("input", "cached_input", "cache_write", "cache_write_1h", "output")
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
_PER_CALL = ("request", "tool.", "search")
_PER_UNIT = ("_minute", "_each")


@click.group(invoke_without_command=True)
@click.option("--model", help="Only models whose id contains this.")
@click.option("--provider", help="Only this provider.")
@click.option("--at", help="UTC day or instant, such as 2025-11-01; now by default.")
@click.option("--check", is_flag=True, help="Only what looks wrong; ends with status 1 if anything does.")
@_AS_JSON
@click.pass_context
def prices(
    context: click.Context, model: str | None, provider: str | None, at: str | None, *, check: bool, as_json: bool
) -> None:
    """Show list prices, in dollars per million tokens."""
    if context.invoked_subcommand is not None:
        return
    catalog = _catalog(_folder())
    instant = _instant(at)
    if provider is not None and provider not in catalog.providers:
        raise click.ClickException(
            f"there is no provider {provider!r}{did_you_mean(provider, catalog.providers)}; "
            f"known are {', '.join(catalog.providers)}"
        )
    found = [
        listed
        for listed in price_list(catalog, instant)
        if provider in (None, listed.provider) and (model or "").lower() in listed.model.lower()
    ]
    names = {listed.entry for listed in found}
    wrong = [doubt for doubt in doubts(catalog, instant.date()) if doubt.entry in names]
    if as_json:
        click.echo(json.dumps({"at": instant.isoformat(), "prices": [_record(one) for one in found], **_told(wrong)}))
    elif not check:
        _show(found, instant)
    if not as_json:
        _warn(wrong)
        if not found:
            hint = did_you_mean(model, catalog.ids) if model else ""
            click.echo(f"nothing has a price on {instant:%Y-%m-%d} under that name{hint}", err=True)
    if (check and wrong) or not found:
        sys.exit(1)


@prices.command()
@click.argument("before")
@click.argument("after")
@_AS_JSON
def diff(before: str, after: str, *, as_json: bool) -> None:
    """Say what changed between two price lists: days (2025-11-01), catalog folders, or files of one provider."""
    changes = difference(_side(before), _side(after))
    if as_json:
        click.echo(json.dumps({"changes": [_change(change) for change in changes]}))
    else:
        _show_changes(changes)


@prices.command()
@click.argument("source")
@click.option("--apply", is_flag=True, help="Write it; without this, only show what would change.")
@_AS_JSON
def refresh(source: str, *, apply: bool, as_json: bool) -> None:
    """Check a newer file of one provider (a path or an https URL), show what it changes, and put it in place."""
    folder = _folder()
    try:
        data = fetch(source)
        catalog = _checked(data)
        (provider,) = catalog.providers
        current = file_of(folder, provider)
        now = dt.datetime.now(dt.UTC)
        before = price_list(load_catalog(current), now) if current.exists() else ()
        changes = difference(before, price_list(catalog, now))
        wrong = doubts(catalog, now.date())
        if as_json:
            told = {"provider": provider, "changes": [_change(change) for change in changes], **_told(wrong)}
            click.echo(json.dumps({**told, "applied": apply}))
        else:
            click.echo(f"{provider}: {source} against {current}")
            _show_changes(changes)
            _warn(wrong)
        if apply:
            _try_out(folder.parent, current.name, data)
            replace_file(current, data)
    except (SourceError, PolicyFileError) as error:
        raise click.ClickException(str(error)) from None
    if not as_json:
        click.echo(f"written to {current}" if apply else "nothing was written; --apply puts it in place")


@prices.command()
@click.option("--load", type=click.IntRange(0, 100), help="Present load in per cent, for the price of one more token.")
@_AS_JSON
def machines(load: int | None, *, as_json: bool) -> None:
    """Show what machines of one's own cost a token, on the average and at the margin, and their tokens per dollar and joule."""
    records = machine_records(_catalog(_folder()), None if load is None else load * 10)
    if as_json:
        click.echo(json.dumps({"machines": records}))
    else:
        console().print(machine_table(records))


@prices.command()
def schema() -> None:
    """Print the JSON Schema of a catalog file."""
    click.echo(json_schema(), nl=False)


def _folder() -> Path:
    try:
        return (read_settings(os.environ).policies or packaged_policies_dir()) / "catalog"
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


def _catalog(path: Path) -> Catalog:
    try:
        return load_catalog(path)
    except PolicyFileError as error:
        raise click.ClickException(str(error)) from None


def _checked(data: bytes) -> Catalog:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fetched.yaml"
        path.write_bytes(data)
        return load_catalog(path)


def _try_out(policies: Path, name: str, data: bytes) -> None:
    """Refuse a file with which the next start would fail, such as one without a policy's reference."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(policies, Path(folder) / "policies"))
        (copy / "catalog" / name).write_bytes(data)
        try:
            load_policies(copy)
        except PolicyFileError as error:
            told = str(error).replace(str(copy), str(policies))
            raise click.ClickException(f"nothing was written, for the next start would fail:\n{told}") from None


def _instant(text: str | None) -> dt.datetime:
    if text is None:
        return dt.datetime.now(dt.UTC)
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError:
        raise click.ClickException(f"{text!r} is not a day such as 2025-11-01, nor an instant") from None
    return instant.replace(tzinfo=dt.UTC) if instant.tzinfo is None else instant


def _side(text: str) -> tuple[Listed, ...]:
    """A price list by day of the installed catalog, or today's of a folder or file."""
    path = Path(text)
    if path.exists():
        inside = path / "catalog"
        return price_list(_catalog(inside if inside.is_dir() else path), dt.datetime.now(dt.UTC))
    return price_list(_catalog(_folder()), _instant(text))


def _show(found: list[Listed], instant: dt.datetime) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "provider", "above"):
        table.add_column(name, no_wrap=True, justify="right" if name == "above" else "left")
    for name in ("input", "cached", "write 5m", "write 1h", "output", "batch in", "batch out"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("since", "checked", "source"):
        table.add_column(name, no_wrap=name != "source")
    for one in found:
        size = f"{one.above:,}" if one.above else ""
        cells = [_dollars(name, one.rates[name]) for name in _SHOWN]
        cells += [
            _dollars(name, one.rates[name]) if name in one.rates else "" for name in ("batch.input", "batch.output")
        ]
        host = one.provider if one.offered else f"{one.provider} (priced only)"
        table.add_row(one.model, host, size, *cells, f"{one.valid_from:%Y-%m-%d}", f"{one.checked}", one.source)
    out = console()
    out.print(table)
    out.print(
        f"{len({one.entry for one in found})} entries, dollars per million tokens, list prices of {instant:%Y-%m-%d %H:%M} UTC"
    )
    silent = sorted({one.provider for one in found if not one.offered})
    if silent:
        out.print(f"priced only: the dialect of {', '.join(silent)} is not spoken yet, so their models are not offered")


def _show_changes(changes: tuple[Change, ...]) -> None:
    """One line for what moved alike: a model whose every tier doubles is one change to a reader, not fifteen."""
    if not changes:
        click.echo("no price differs")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model@provider", "above", "what", "before", "after", "change"):
        table.add_column(name, no_wrap=True, justify="left" if name in ("model@provider", "what") else "right")
    alike: dict[tuple[str, int, str], list[Change]] = {}
    for change in changes:
        alike.setdefault((change.entry, change.above, _share(change)), []).append(change)
    for (entry, above, share), group in alike.items():
        first = group[0]
        before, after = ("-" if side is None else _dollars(first.meter, side) for side in (first.before, first.after))
        meters = [change.meter for change in group if change.meter]
        more = f" and {len(meters) - 3} more" if len(meters) > 3 else ""
        what = ", ".join(meters[:3]) + more if meters else "the model's output price"
        table.add_row(entry, f"{above:,}" if above else "", what, before, after, share)
    console().print(table)


def _share(change: Change) -> str:
    if change.before is None or change.after is None:
        return "new" if change.before is None else "gone"
    if not change.before:
        return "no longer free"
    return f"{(Decimal(change.after) / change.before - 1) * 100:+.0f} %"


def _warn(wrong: tuple[Doubt, ...] | list[Doubt]) -> None:
    for doubt in wrong:
        click.echo(f"warning: {doubt.entry}: {doubt.message}", err=True)


def _dollars(meter: str, pico: int) -> str:
    """Exact dollars: per million tokens, or per call, minute, image, or as a factor."""
    if meter.startswith("region."):
        return f"x{Decimal(pico) / 10**6:f}"
    unit = 10**12 if meter.startswith(_PER_CALL) or any(unit in meter for unit in _PER_UNIT) else 10**6
    text = format(Decimal(pico) / unit, "f")
    whole, _, part = text.partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"


def _record(one: Listed) -> dict[str, Any]:
    return {
        "model": one.model,
        "provider": one.provider,
        "offered": one.offered,
        "above_input_tokens": one.above,
        "usd": {name: _dollars(name, rate) for name, rate in one.rates.items()},
        "regions": {name: f"{Decimal(factor) / 10**6:f}" for name, factor in one.regions.items()},
        "version": one.version,
        "valid_from": one.valid_from.isoformat(),
        "source": one.source,
        "checked": str(one.checked),
    }


def _change(change: Change) -> dict[str, Any]:
    sides = {
        name: None if side is None else _dollars(change.meter, side)
        for name, side in (("before", change.before), ("after", change.after))
    }
    return {"entry": change.entry, "above_input_tokens": change.above, "meter": change.meter or "output", **sides}


def _told(wrong: tuple[Doubt, ...] | list[Doubt]) -> dict[str, Any]:
    return {"warnings": [{"entry": doubt.entry, "message": doubt.message} for doubt in wrong]}

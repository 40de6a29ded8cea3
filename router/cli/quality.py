"""`costrouter quality`: how good models are, by task, and what that rests on.

Belongs here: options, the table, JSON. Does not belong here: scores themselves (`router.core.statistics.quality`). Nothing here asks
a running server.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click
from rich.table import Table

from router.adapters.policies.files import load_scored, packaged_policies_dir
from router.adapters.policies.yaml_document import PolicyFileError
from router.cli.output import console
from router.core.catalog.catalog import TASKS, Catalog, Model, did_you_mean
from router.core.policy.policy import CONFIDENCES, lower_bound
from router.core.statistics.quality import Score, fitted
from router.core.statistics.quality_schema import json_schema
from router.settings import SettingsError, read_settings

_CONFIDENCES = {f"{milli / 10:g}%": milli for milli in CONFIDENCES}


@click.group(invoke_without_command=True)
@click.option("--model", default="", help="Only models whose id contains this.")
@click.option("--task", type=click.Choice(TASKS), default="chat", show_default=True)
@click.option("--confidence", type=click.Choice(list(_CONFIDENCES)), default="90%", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.pass_context
def quality(context: click.Context, model: str, task: str, confidence: str, *, as_json: bool) -> None:
    """Show how good models are on a task: the estimate, its lower bound, and what it rests on. Best bound first."""
    if context.invoked_subcommand is not None:
        return
    catalog = _catalog()
    found = [entry for entry in catalog.models if model.lower() in entry.name.lower()]
    scored = [(entry, catalog.quality.score(entry, task)) for entry in found]
    milli = _CONFIDENCES[confidence]
    scored.sort(key=lambda pair: -lower_bound(pair[1], milli) if pair[1] else 1)
    if as_json:
        click.echo(json.dumps({"task": task, "scores": [_record(entry, score, milli) for entry, score in scored]}))
    else:
        _show(scored, task, confidence)
    if not found:
        click.echo(f"no model of that name{did_you_mean(model, catalog.ids)}", err=True)
        sys.exit(1)


@quality.command()
def schema() -> None:
    """Print the JSON Schema of a quality file, for editors."""
    click.echo(json_schema(), nl=False)


@quality.command()
def fit() -> None:
    """Print how scores on each task differ from chat's, over models on which both were measured: for `transfer`."""
    catalog = _catalog()
    models = {model.id: model for model in catalog.models}.values()
    for task in TASKS[1:]:
        pairs = [pair for model in models if (pair := _measured(catalog, model, task))]
        if pairs:
            shift, sd = fitted(pairs)
            click.echo(f'{task}: {{shift: "{_decimal(shift)}", sd: "{_decimal(sd)}"}}  # {len(pairs)} models')


def _measured(catalog: Catalog, model: Model, task: str) -> tuple[int, int] | None:
    chat, own = catalog.quality.score(model, "chat"), catalog.quality.score(model, task)
    if chat is None or own is None or own.inferred or "unverified" in chat.source + own.source:
        return None
    return chat.milli, own.milli


def _catalog() -> Catalog:
    try:
        return load_scored(read_settings(os.environ).policies or packaged_policies_dir())
    except (PolicyFileError, SettingsError) as error:
        raise click.ClickException(str(error)) from None


def _show(scored: list[tuple[Model, Score | None]], task: str, confidence: str) -> None:
    table = Table(title=f"{task}, scale of policies/quality/README.md", title_justify="left", box=None)
    for name, justify in (("model", "left"), ("score", "right"), ("sd", "right"), (f"≥ at {confidence}", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    table.add_column("n", justify="right")
    table.add_column("source")
    for entry, score in scored:
        if score is None:
            table.add_row(entry.name, "—", "", "", "", "no data: the policy's without_data holds")
            continue
        bound = lower_bound(score, _CONFIDENCES[confidence])
        shown = [_decimal(figure) for figure in (score.milli, score.sd_milli, bound)]
        table.add_row(entry.name, *shown, str(score.n or "—"), f"{score.source}, {score.date}")
    console().print(table)


def _record(entry: Model, score: Score | None, confidence_milli: int) -> dict[str, Any]:
    if score is None:
        return {"model": entry.name, "score": None}
    return {
        "model": entry.name,
        "score": _decimal(score.milli),
        "sd": _decimal(score.sd_milli),
        "lower_bound": _decimal(lower_bound(score, confidence_milli)),
        "n": score.n or None,
        "inferred": score.inferred,
        "source": score.source,
        "date": score.date.isoformat(),
    }


def _decimal(milli: int) -> str:
    return f"{'-' if milli < 0 else ''}{abs(milli) // 1000}.{abs(milli) % 1000:03d}"

"""`costrouter export` and `import`: keys and budgets as YAML."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import urlencode

import click
import yaml
from rich.table import Table

from router.cli.client import ask
from router.cli.output import console

_HEAD = """\
# Keys (as digests: nobody can call with this file) and budgets. Put in again with `costrouter import FILE`.
"""


@click.command()
@click.option("--tenant", help="Of this tenant only.")
def export(tenant: str | None) -> None:
    """Print keys and budgets as YAML."""
    query = f"?{urlencode({'tenant': tenant})}" if tenant else ""
    document = ask("GET", f"/costrouter/v1/export{query}")
    sys.stdout.write(_HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def import_(file: Path, *, dry_run: bool) -> None:
    """Put in what `export` has printed. Doing it again changes nothing; what a file does not name stays."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}") from None
    query = "?dry_run=true" if dry_run else ""
    try:
        body = json.dumps(document).encode()
    except TypeError:
        raise click.ClickException(f"{file} is no export: it holds dates or other values that JSON has not") from None
    found = ask("POST", f"/costrouter/v1/import{query}", body)["data"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("action", "kind", "id", "tenant"):
        table.add_column(name)
    for one in found:
        table.add_row(one["action"], one["kind"], one["id"], one["tenant"])
    console().print(table)
    if dry_run:
        click.echo("nothing was changed: this was a dry run", err=True)

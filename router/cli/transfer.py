"""`costrouter export` and `import`: keys, budgets and limits as YAML, and other gateways' configurations as ours."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import yaml
from rich.table import Table

from router.cli.client import ask, of_tenant
from router.cli.output import console

_HEAD = """\
# Keys (as digests: nobody can call with this file), budgets and limits. Put in again with `costrouter import FILE`.
"""


@click.command()
@click.option("--tenant", help="Of this tenant only.")
def export(tenant: str | None) -> None:
    """Print keys, budgets and limits as YAML."""
    document = ask("GET", of_tenant("/costrouter/v1/export", tenant))
    sys.stdout.write(_HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


@click.command("import")
@click.argument("what", nargs=-1, required=True, metavar="[litellm|openrouter] FILE")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--into", type=click.Path(path_type=Path), default=Path("migrated"), show_default=True,
              help="Where a migration writes.")  # fmt: skip
@click.option(
    "--keys", type=click.Path(path_type=Path), help="LiteLLM's keys: what /key/list?return_full_object=true answers."
)
def import_(what: tuple[str, ...], into: Path, keys: Path | None, *, dry_run: bool) -> None:
    """Put in what `export` has printed: doing it again changes nothing; what a file does not name stays.

    `import litellm config.yaml` and `import openrouter request.json` write policies, providers, keys, budgets, limits and
    settings into a folder, with a list of what could not be mapped; nothing that runs is changed.
    """
    match what:
        case (file,):
            _put_in(Path(file), dry_run=dry_run)
        case ("litellm" | "openrouter" as source, file):
            if keys is not None and source != "litellm":
                raise click.UsageError("--keys are LiteLLM's")
            _migrate(source, Path(file), into, keys, dry_run=dry_run)
        case _:
            raise click.UsageError("write `import FILE`, `import litellm FILE` or `import openrouter FILE`")


def _read(file: Path) -> Any:
    try:
        return yaml.safe_load(sys.stdin.read() if str(file) == "-" else file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}") from None


def _migrate(source: str, file: Path, into: Path, keys: Path | None, *, dry_run: bool) -> None:
    from router.adapters.policies.files import load_catalog, packaged_policies_dir  # noqa: PLC0415 - an import needs no catalog
    from router.cli import migrate_litellm, migrate_litellm_keys, migrate_openrouter  # noqa: PLC0415 - as above
    from router.cli.migration import Migration, MigrationError  # noqa: PLC0415 - as above

    migration = Migration(load_catalog(packaged_policies_dir() / "catalog"))
    work = migrate_litellm.migrate if source == "litellm" else migrate_openrouter.migrate
    for one, reader in ((file, work), (keys, migrate_litellm_keys.migrate_keys)):
        if one is None:
            continue
        try:
            reader(_read(one), migration)
        except MigrationError as error:
            raise click.ClickException(f"{one}: {error}") from None
    if not dry_run:
        for path in migration.write(into):
            click.echo(f"wrote {path}")
    click.echo(migration.told())


def _put_in(file: Path, *, dry_run: bool) -> None:
    document = _read(file)
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

"""`costrouter policy`: check, test, lint policies before they serve, and print their schema."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from router.adapters.policies.cases import lint as linted
from router.adapters.policies.cases import read_tests, run_tests, summary
from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.adapters.policies.yaml_document import PolicyFileError
from router.core.policy.cases_schema import json_schema as tests_schema
from router.core.policy.schema import json_schema
from router.settings import SettingsError, read_settings

Read = TypeVar("Read")
_DIRECTORY = click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group()
def policy() -> None:
    """Check, test and lint policies. DIRECTORY is COSTROUTER_POLICIES or the packaged one by default."""


@policy.command()
@_DIRECTORY
def check(directory: Path | None) -> None:
    """Say whether the policies of DIRECTORY can be used; every fault with file, line and a caret under its place."""
    place = _place(directory)
    loaded = _usable(lambda: load_policies(place))
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    for name, found in sorted({**loaded.policies, **loaded.guardrails}.items()):
        what = f"{found.mode}, {len(found.rules)} rules" if found.serves else "guardrails"
        click.echo(f"{found.version:<32} {what:<20} {loaded.files[name]}")


@policy.command()
@_DIRECTORY
def test(directory: Path | None) -> None:
    """Run the cases of DIRECTORY/tests/*.yaml: each request must go where its case says."""
    place = _place(directory)
    loaded = _usable(lambda: load_policies(place))
    tested = run_tests(loaded, _usable(lambda: read_tests(place)))
    for one in tested:
        for failure in one.result.failures:
            click.echo(f"{one.place}: {one.result.name}: {failure}")
    counts = summary(tested)
    if not tested:
        raise click.ClickException(f"{place / 'tests'} has no tests")
    click.echo(f"{counts['passed']} passed, {counts['failed']} failed")
    if counts["failed"]:
        raise SystemExit(1)


@policy.command()
@_DIRECTORY
def lint(directory: Path | None) -> None:
    """Say what looks wrong in policies that can be used. Exits with 1 where something does."""
    found = _usable(lambda: linted(_place(directory)))
    for line in found:
        click.echo(line)
    if found:
        raise SystemExit(1)


@policy.command()
@click.option("--tests", is_flag=True, help="Of files of tests, as policies/tests/schema.json holds it.")
def schema(*, tests: bool) -> None:
    """Print the JSON Schema of policy files, as policies/schema.json holds it."""
    click.echo(tests_schema() if tests else json_schema(), nl=False)


def _place(directory: Path | None) -> Path:
    if directory is not None:
        return directory
    try:
        return read_settings(os.environ).policies or packaged_policies_dir()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


def _usable(read: Callable[[], Read]) -> Read:
    try:
        return read()
    except PolicyFileError as error:
        raise click.ClickException(f"these cannot be used:\n{error}") from None

"""Policies and catalog from a directory.

    <dir>/*.yaml            policies, one a file
    <dir>/catalog/*.yaml    the catalog, one file a provider
    <dir>/quality/*.yaml    how good models are; without the folder, the packaged one holds

Belongs here: which files are read, as what. Does not belong here: a file's places (`yaml_document`), what concerns several
policies (`policy_set`), what a file may say (the schemas in `router.core`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from router.adapters.policy_set import compile_set, zones_of
from router.adapters.yaml_document import Document, FileProblem, PolicyFileError, whole
from router.core.catalog import Catalog
from router.core.catalog_compile import Compiled, compile_catalog
from router.core.catalog_schema import CatalogSchema
from router.core.policy import Policy
from router.core.policy_schema import PolicySchema
from router.core.quality import Scores
from router.core.quality_schema import OLD, CompiledQuality, QualitySchema, compile_quality, merged, unscored
from router.core.schema import Problem, SchemaError, Strict, validate

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE: Final = Path(__file__).parent.parent

Schema = TypeVar("Schema", bound=Strict)


class Loaded(msgspec.Struct, frozen=True):
    """A directory's catalog and policies (by name), and what is doubtful in them."""

    catalog: Catalog
    policies: dict[str, Policy]
    """Those that requests can go by."""
    warnings: tuple[FileProblem, ...]
    zones: dict[str, dt.tzinfo]
    """Time zones that rules name."""
    files: dict[str, Path]
    """Where each policy stands, guardrails among them."""


def packaged_policies_dir() -> Path:
    """The policies that ship with the product: inside an installed package, beside it in a checkout."""
    inside = _PACKAGE / "_policies"
    return inside if inside.is_dir() else _PACKAGE.parent / "policies"


def load_policies(directory: Path, instant: dt.datetime | None = None) -> Loaded:
    """Every policy and the catalog of a directory.

    Args:
        directory: see the head of this module. Hidden files are left out.
        instant: as of when candidates are checked for being retired or unpriced; now by default.

    Raises:
        PolicyFileError: a file that cannot be read or used; all problems of all files at once.
    """
    now = instant or dt.datetime.now(dt.UTC)
    problems: list[FileProblem] = []
    warnings: list[FileProblem] = []
    catalog = _catalog(directory / "catalog", problems, warnings)
    catalog = _scored(directory / "quality", catalog, now.date(), problems, warnings)
    read = list(_read(directory, PolicySchema, problems))
    # A broken catalog would make every name in a policy look wrong.
    compiled = {} if problems else compile_set(read, catalog, now, problems, warnings)
    if problems:
        raise PolicyFileError(problems)
    policies = {name: policy for name, policy in compiled.items() if policy.serves}
    return Loaded(
        catalog=catalog,
        policies=policies,
        warnings=tuple(warnings),
        zones=zones_of(policies.values()),
        files={file.policy: document.path for document, file in read},
    )


def load_catalog(path: Path) -> Catalog:
    """A catalog alone: a directory of provider files, or one such file.

    Raises:
        PolicyFileError: a file that cannot be read or used.
    """
    problems: list[FileProblem] = []
    catalog = _catalog(path, problems, [])
    if problems:
        raise PolicyFileError(problems)
    return catalog


def load_scored(directory: Path) -> Catalog:
    """A directory's catalog with its scores, whatever its policies say.

    Raises:
        PolicyFileError: a file that cannot be read or used.
    """
    problems: list[FileProblem] = []
    catalog = _catalog(directory / "catalog", problems, [])
    catalog = _scored(directory / "quality", catalog, dt.datetime.now(dt.UTC).date(), problems, [])
    if problems:
        raise PolicyFileError(problems)
    return catalog


def file_of(catalog: Path, provider: str) -> Path:
    """The file of a catalog directory that defines a provider; where there is none, the one that should."""
    for path in sorted(catalog.glob("*.yaml")):
        with contextlib.suppress(PolicyFileError):
            value = Document(path).value
            if isinstance(value, dict) and value.get("provider") == provider:
                return path
    return catalog / f"{provider}.yaml"


def _catalog(where: Path, problems: list[FileProblem], warnings: list[FileProblem]) -> Catalog:
    providers: dict[str, tuple[Document, Compiled]] = {}
    for document, file in _read(where, CatalogSchema, problems):
        if file.provider in providers:
            first = providers[file.provider][0].path.name
            message = f"the provider {file.provider!r} is defined in {first} already"
            problems.append(document.place(Problem(("provider",), message)))
            continue
        try:
            compiled = compile_catalog(file)
        except SchemaError as error:
            problems += map(document.place, error.problems)
            continue
        providers[file.provider] = document, compiled
        warnings += map(document.place, compiled.warnings)
    return Catalog(
        (compiled.provider for _, compiled in providers.values()),
        (model for _, compiled in providers.values() for model in compiled.models),
    )


def _scored(
    where: Path, catalog: Catalog, today: dt.date, problems: list[FileProblem], warnings: list[FileProblem]
) -> Catalog:
    """The catalog with the scores of a directory; where there is none, with those that ship with the product."""
    scores = _quality(where, catalog, today, problems, warnings) if where.is_dir() else _shipped_scores()
    scored = Catalog(catalog.providers.values(), catalog.models, scores)
    lost = unscored(scored)
    if lost:
        shown = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        message = f"{shown}: no score for chat, which stands in for every other task, so no floor admits it"
        warnings.append(whole(where, message))
    return scored


def _quality(
    where: Path, catalog: Catalog, today: dt.date, problems: list[FileProblem], warnings: list[FileProblem]
) -> Scores:
    files: list[CompiledQuality] = []
    for document, file in _read(where, QualitySchema, problems):
        try:
            compiled = compile_quality(file, catalog, today)
            merged([*files, compiled])
        except SchemaError as error:
            problems += map(document.place, error.problems)
        except ValueError as error:
            problems.append(document.place(Problem(("models",), str(error))))
        else:
            files.append(compiled)
            warnings += map(document.place, compiled.warnings)
    return merged(files)


@cache
def _shipped_scores() -> Scores:
    return _quality(packaged_policies_dir() / "quality", Catalog((), ()), dt.date.min + OLD, [], [])


def _read(directory: Path, schema: type[Schema], problems: list[FileProblem]) -> Iterator[tuple[Document, Schema]]:
    """Each file of a directory (or one file) as its schema; what is wrong with the others goes to ``problems``."""
    found = False
    for path in [directory] if directory.is_file() else sorted(directory.glob("*")):
        if path.name.startswith(".") or not path.is_file() or path.suffix not in (".yaml", ".yml"):
            continue
        found = True
        if path.suffix == ".yml":
            problems.append(whole(path, "is not read; name it .yaml"))
            continue
        try:
            document = Document(path)
        except PolicyFileError as error:
            problems += error.problems
            continue
        try:
            file = validate(schema, document.value)
        except SchemaError as error:
            problems += map(document.place, error.problems)
            continue
        yield document, file
    if not found:
        problems.append(whole(directory, "there is no *.yaml file in this directory"))

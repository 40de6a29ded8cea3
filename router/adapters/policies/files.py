"""Policies and catalog from a directory.

    <dir>/*.yaml            policies, one a file
    <dir>/catalog/*.yaml    the catalog, one file a provider; without the folder, the packaged one holds
    <dir>/quality/*.yaml    how good models are; without the folder, the packaged one holds

Belongs here: which files are read, as what. Does not belong here: a file's places (`yaml_document`), what concerns several
policies (`set.py`), what a file may say (the schemas in `router.core`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from router.adapters.policies.set import Compilations, compile_set, zones_of
from router.adapters.policies.yaml_document import Document, FileProblem, PolicyFileError, whole
from router.core.catalog.catalog import Catalog
from router.core.catalog.compile import Compiled, compile_catalog
from router.core.catalog.schema import CatalogSchema
from router.core.policy.policy import Policy
from router.core.policy.schema import PolicySchema
from router.core.schema import Problem, SchemaError, Strict, validate
from router.core.statistics.quality import Scores
from router.core.statistics.quality_schema import OLD, CompiledQuality, QualitySchema, compile_quality, merged, unscored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PACKAGE: Final = Path(__file__).parents[2]

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
    guardrails: dict[str, Policy] = {}
    """Those that others extend, and nothing else."""


class Source:
    """Where files come from: the disk, or contents that are held in their place. What has been read is kept, so that of
    many files only those that changed are read again.

    Args:
        contents: all files that there are, by path; None is the disk.
    """

    def __init__(self, contents: Mapping[Path, bytes] | None = None) -> None:
        self.contents = contents
        self._read: dict[tuple[Path, type[Strict]], tuple[bytes, Document, Strict]] = {}
        self.compiled: Compilations = {}
        self._catalog: tuple[object, Catalog, list[FileProblem]] | None = None

    def listed(self, directory: Path) -> list[Path]:
        """The files of a directory, or the one that it is, in order."""
        if self.contents is not None:
            return sorted(path for path in self.contents if directory in (path, path.parent))
        return [directory] if directory.is_file() else files_in(directory)

    def read(self, path: Path, schema: type[Schema]) -> tuple[Document, Schema]:
        """A file as its schema.

        Raises:
            PolicyFileError: it cannot be read or used.
        """
        raw = None if self.contents is None else self.contents[path]
        known = self._read.get((path, schema))
        if known is not None and raw is not None and known[0] == raw and isinstance(known[2], schema):
            return known[1], known[2]
        document = Document(path, raw)
        try:
            file = validate(schema, document.value)
        except SchemaError as error:
            raise PolicyFileError([document.place(problem) for problem in error.problems]) from None
        if raw is not None:
            self._read[path, schema] = raw, document, file
        return document, file

    def catalog(
        self, directory: Path, now: dt.datetime, problems: list[FileProblem], warnings: list[FileProblem]
    ) -> Catalog:
        """The catalog of a directory, with its scores: the same object for the same files on the same day."""
        folders = (directory / "catalog", directory / "quality")
        contents = self.contents
        key = contents and ([(p, contents[p]) for folder in folders for p in self.listed(folder)], now.date())
        if self._catalog is not None and key and self._catalog[0] == key:
            warnings += self._catalog[2]
            return self._catalog[1]
        wrong: list[FileProblem] = []
        doubts: list[FileProblem] = []
        given = self.listed(folders[0]) or (self.contents is None and folders[0].is_dir())
        listed = _catalog(self if given else Source(), folders[0] if given else catalog_dir(directory), wrong, doubts)
        found = _scored(self, folders[1], listed, now.date(), problems=wrong, warnings=doubts)
        if not wrong:
            self._catalog = key, found, doubts
        problems += wrong
        warnings += doubts
        return found


def packaged_policies_dir() -> Path:
    """The policies that ship with the product: inside an installed package, beside it in a checkout."""
    inside = _PACKAGE / "_policies"
    return inside if inside.is_dir() else _PACKAGE.parent / "policies"


def catalog_dir(directory: Path) -> Path:
    """Where the catalog of a directory of policies lies: in it, or with the product."""
    own = directory / "catalog"
    return own if own.is_dir() else packaged_policies_dir() / "catalog"


def files_in(directory: Path) -> list[Path]:
    """The YAML files of a directory, in order; hidden files are left out."""
    paths = sorted(directory.glob("*"))
    return [p for p in paths if not p.name.startswith(".") and p.suffix in (".yaml", ".yml") and p.is_file()]


def load_policies(directory: Path, instant: dt.datetime | None = None, source: Source | None = None) -> Loaded:
    """Every policy and the catalog of a directory.

    Args:
        directory: see the head of this module.
        instant: as of when candidates are checked for being retired or unpriced; now by default.
        source: where the files come from; the disk by default.

    Raises:
        PolicyFileError: a file that cannot be read or used; all problems of all files at once.
    """
    now = instant or dt.datetime.now(dt.UTC)
    problems: list[FileProblem] = []
    warnings: list[FileProblem] = []
    source = source or Source()
    catalog = source.catalog(directory, now, problems, warnings)
    read = list(_read(source, directory, PolicySchema, problems))
    # A broken catalog would make every name in a policy look wrong.
    compiled = {} if problems else compile_set(read, catalog, now, problems, warnings, source.compiled)
    if problems:
        raise PolicyFileError(problems)
    policies = {name: policy for name, policy in compiled.items() if policy.serves}
    return Loaded(
        catalog=catalog,
        policies=policies,
        warnings=tuple(warnings),
        zones=zones_of(policies.values()),
        files={file.policy: document.path for document, file in read},
        guardrails={name: policy for name, policy in compiled.items() if not policy.serves},
    )


def load_catalog(path: Path) -> Catalog:
    """A catalog alone: a directory of provider files, or one such file.

    Raises:
        PolicyFileError: a file that cannot be read or used.
    """
    problems: list[FileProblem] = []
    catalog = _catalog(Source(), path, problems, [])
    if problems:
        raise PolicyFileError(problems)
    return catalog


def load_scored(directory: Path) -> Catalog:
    """A directory's catalog with its scores, whatever its policies say.

    Raises:
        PolicyFileError: a file that cannot be read or used.
    """
    problems: list[FileProblem] = []
    catalog = Source().catalog(directory, dt.datetime.now(dt.UTC), problems, [])
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


def _catalog(source: Source, where: Path, problems: list[FileProblem], warnings: list[FileProblem]) -> Catalog:
    providers: dict[str, tuple[Document, Compiled]] = {}
    for document, file in _read(source, where, CatalogSchema, problems):
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
    source: Source,
    where: Path,
    catalog: Catalog,
    today: dt.date,
    *,
    problems: list[FileProblem],
    warnings: list[FileProblem],
) -> Catalog:
    """The catalog with the scores of a directory; where there is none, with those that ship with the product."""
    given = source.listed(where) or (source.contents is None and where.is_dir())
    scores = (
        _quality(source, where, catalog, today, problems=problems, warnings=warnings) if given else _shipped_scores()
    )
    scored = Catalog(catalog.providers.values(), catalog.models, scores)
    lost = unscored(scored)
    if lost:
        shown = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        message = f"{shown}: no score for chat, which stands in for every other task, so no floor admits it"
        warnings.append(whole(where, message))
    return scored


def _quality(
    source: Source,
    where: Path,
    catalog: Catalog,
    today: dt.date,
    *,
    problems: list[FileProblem],
    warnings: list[FileProblem],
) -> Scores:
    files: list[CompiledQuality] = []
    for document, file in _read(source, where, QualitySchema, problems):
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
    where = packaged_policies_dir() / "quality"
    return _quality(Source(), where, Catalog((), ()), dt.date.min + OLD, problems=[], warnings=[])


def _read(
    source: Source, directory: Path, schema: type[Schema], problems: list[FileProblem]
) -> Iterator[tuple[Document, Schema]]:
    """Each file of a directory (or one file) as its schema; what is wrong with the others goes to ``problems``."""
    paths = source.listed(directory)
    for path in paths:
        if path.suffix == ".yml":
            problems.append(whole(path, "is not read; name it .yaml"))
            continue
        try:
            yield source.read(path, schema)
        except PolicyFileError as error:
            problems += error.problems
    if not paths:
        problems.append(whole(directory, "there is no *.yaml file in this directory"))

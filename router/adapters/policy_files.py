"""Policies and catalog from a directory: YAML with places, so that an error names file, line and column.

    <dir>/*.yaml            policies, one a file
    <dir>/catalog/*.yaml    the catalog, one file a provider
    <dir>/quality/*.yaml    how good models are; without the folder, the packaged one holds

Belongs here: reading files and saying where in them a problem stands. Does not belong here: what a file may say
(the schemas in `router.core`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import yaml

from router.core.catalog import Catalog
from router.core.catalog_compile import Compiled, compile_catalog
from router.core.catalog_schema import CatalogSchema
from router.core.policy import Policy
from router.core.policy_compile import compile_policy
from router.core.policy_schema import PolicySchema
from router.core.quality import Scores
from router.core.quality_schema import OLD, CompiledQuality, QualitySchema, compile_quality, merged, unscored
from router.core.schema import Problem, SchemaError, Strict, validate

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C parser is eight times faster; not every build of PyYAML has it."""
_PACKAGE: Final = Path(__file__).parent.parent

Schema = TypeVar("Schema", bound=Strict)


class FileProblem(msgspec.Struct, frozen=True):
    """One problem and its place. Line and column count from 1."""

    path: Path
    line: int
    column: int
    message: str
    excerpt: str
    """The line, as it stands in the file."""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}: {self.message}"
        if not self.excerpt:
            return place
        # Tabs stay tabs, so that the caret stands under its column wherever they are shown.
        indent = "".join("\t" if char == "\t" else " " for char in self.excerpt[: self.column - 1])
        return f"{place}\n  {self.excerpt}\n  {indent}^"


class PolicyFileError(Exception):
    """Files that cannot be used. Names every problem.

    Args:
        problems: at least one.
    """

    def __init__(self, problems: list[FileProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class Loaded(msgspec.Struct, frozen=True):
    """A directory's catalog and policies (by name), and what is doubtful in them."""

    catalog: Catalog
    policies: dict[str, Policy]
    warnings: tuple[FileProblem, ...]


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
    sound = not problems
    policies: dict[str, Policy] = {}
    for document, text in _read(directory, PolicySchema, problems):
        if text.policy in policies:
            problems.append(document.place(Problem(("policy",), f"there are two policies called {text.policy!r}")))
            continue
        try:
            # A broken catalog would make every name in a policy look wrong.
            result = compile_policy(text, catalog, now) if sound else None
        except SchemaError as error:
            problems += map(document.place, error.problems)
            continue
        if result is not None:
            policies[text.policy] = result.policy
            warnings += map(document.place, result.warnings)
    if problems:
        raise PolicyFileError(problems)
    return Loaded(catalog=catalog, policies=policies, warnings=tuple(warnings))


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
        warnings.append(_whole(where, message))
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


class Document:
    """A YAML file, parsed, with the place of each key.

    Raises:
        PolicyFileError: not readable, not UTF-8, not YAML, or a key stands there twice.
    """

    __slots__ = ("_lines", "_root", "path", "value")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[str] = []
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyFileError([_whole(path, f"cannot be read: {error}")]) from None
        self._lines = text.splitlines()
        loader = _LOADER(text)
        try:
            self._root: yaml.Node | None = loader.get_single_node()
            self.value: object = None
            if self._root is not None:
                twice = [self._at(key, f"the key {key.value!r} stands there twice") for key in _repeated(self._root)]
                if twice:
                    raise PolicyFileError(twice)
                self.value = loader.construct_document(self._root)
        except yaml.MarkedYAMLError as error:
            message = f"not YAML: {error.problem}"
            mark = error.problem_mark
            place = _whole(path, message) if mark is None else self._problem(mark.line, mark.column, message)
            raise PolicyFileError([place]) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise PolicyFileError([_whole(path, f"not YAML: {error}")]) from None
        finally:
            loader.dispose()

    def place(self, problem: Problem) -> FileProblem:
        """A problem with the line and column of its key, or of the nearest key around it."""
        node, mark = self._root, self._root
        for part in problem.path:
            step = _step(node, part)
            if step is None:
                break
            mark, node = step
        return self._at(mark, problem.message)

    def _at(self, node: yaml.Node | None, message: str) -> FileProblem:
        if node is None:
            return _whole(self.path, message)
        return self._problem(node.start_mark.line, node.start_mark.column, message)

    def _problem(self, line: int, column: int, message: str) -> FileProblem:
        excerpt = self._lines[line] if line < len(self._lines) else ""
        return FileProblem(path=self.path, line=line + 1, column=column + 1, message=message, excerpt=excerpt)


def _read(directory: Path, schema: type[Schema], problems: list[FileProblem]) -> Iterator[tuple[Document, Schema]]:
    """Each file of a directory (or one file) as its schema; what is wrong with the others goes to ``problems``."""
    found = False
    for path in [directory] if directory.is_file() else sorted(directory.glob("*")):
        if path.name.startswith(".") or not path.is_file() or path.suffix not in (".yaml", ".yml"):
            continue
        found = True
        if path.suffix == ".yml":
            problems.append(_whole(path, "is not read; name it .yaml"))
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
        problems.append(_whole(directory, "there is no *.yaml file in this directory"))


def _whole(path: Path, message: str) -> FileProblem:
    return FileProblem(path=path, line=1, column=1, message=message, excerpt="")


def _step(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """(where to point, where to go on) for one part of a path."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _repeated(root: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Keys that their mapping has already. Each node is looked at once, however many aliases lead to it."""
    waiting: list[yaml.Node] = [root]
    known: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in known:
            continue
        known.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[object] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys:
                        yield key
                    keys.add(key.value)
                waiting.append(value)

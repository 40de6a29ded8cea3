"""A YAML file with places, so that a problem names file, line and column and shows a caret.

Belongs here: reading one file, and saying where in it a problem stands. Does not belong here: what a file may say (the
schemas in `router.core`), which files there are (`policy_files`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml

from router.core.schema import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C parser is eight times faster; not every build of PyYAML has it."""


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
            raise PolicyFileError([whole(path, f"cannot be read: {error}")]) from None
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
            place = whole(path, message) if mark is None else self._problem(mark.line, mark.column, message)
            raise PolicyFileError([place]) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise PolicyFileError([whole(path, f"not YAML: {error}")]) from None
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

    def where(self, path: tuple[str | int, ...]) -> str:
        """Where a key stands, as ``base.yaml:12``."""
        found = self.place(Problem(path, ""))
        return f"{self.path.name}:{found.line}"

    def _at(self, node: yaml.Node | None, message: str) -> FileProblem:
        if node is None:
            return whole(self.path, message)
        return self._problem(node.start_mark.line, node.start_mark.column, message)

    def _problem(self, line: int, column: int, message: str) -> FileProblem:
        excerpt = self._lines[line] if line < len(self._lines) else ""
        return FileProblem(path=self.path, line=line + 1, column=column + 1, message=message, excerpt=excerpt)


def whole(path: Path, message: str) -> FileProblem:
    """A problem of a file as such."""
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

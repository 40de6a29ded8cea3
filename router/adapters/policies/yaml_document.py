"""A YAML file with places, so that a problem names file, line and column and shows a caret.

Belongs here: reading one file, and saying where in it a problem stands. Does not belong here: what a file may say (the
schemas in `router.core`), which files there are (`files.py`).
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

_STR: Final = "tag:yaml.org,2002:str"
_SEQ: Final = "tag:yaml.org,2002:seq"
_MAP: Final = "tag:yaml.org,2002:map"


class FileProblem(msgspec.Struct, frozen=True):
    """One problem and its place. Line and column count from 1."""

    path: Path
    line: int
    column: int
    message: str
    excerpt: str
    """The line, as it stands in the file."""

    @property
    def brief(self) -> str:
        """Place and message in one line."""
        return f"{self.path}:{self.line}:{self.column}: {self.message}"

    def __str__(self) -> str:
        if not self.excerpt:
            return self.brief
        # Tabs stay tabs, so that the caret stands under its column wherever they are shown.
        indent = "".join("\t" if char == "\t" else " " for char in self.excerpt[: self.column - 1])
        return f"{self.brief}\n  {self.excerpt}\n  {indent}^"


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

    Args:
        path: the file.
        raw: what it holds; read from it by default.

    Raises:
        PolicyFileError: not readable, not UTF-8, not YAML, or a key stands there twice.
    """

    __slots__ = ("_lines", "_root", "path", "value")

    def __init__(self, path: Path, raw: bytes | None = None) -> None:
        self.path = path
        self._lines: list[str] = []
        try:
            text = (path.read_bytes() if raw is None else raw).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyFileError([whole(path, f"cannot be read: {error}")]) from None
        self._lines = text.splitlines()
        loader = _LOADER(text)
        try:
            self._root: yaml.Node | None = loader.get_single_node()
            self.value: object = None
            if self._root is not None:
                try:
                    self.value = _plain(self._root, loader, {})
                except _UnusualError:
                    self.value = self._constructed(self._root, loader)
        except yaml.MarkedYAMLError as error:
            message = f"not YAML: {error.problem}"
            mark = error.problem_mark
            place = whole(path, message) if mark is None else self._problem(mark.line, mark.column, message)
            raise PolicyFileError([place]) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise PolicyFileError([whole(path, f"not YAML: {error}")]) from None
        finally:
            loader.dispose()

    def _constructed(self, root: yaml.Node, loader: Any) -> object:
        """The value by PyYAML's own rules, which know anchors in anchors, merged keys and more, and take twice as long."""
        twice = [self._at(key, f"the key {key.value!r} stands there twice") for key in _repeated(root)]
        if twice:
            raise PolicyFileError(twice)
        return loader.construct_document(root)

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


class _UnusualError(Exception):
    """Something that only PyYAML's own constructor knows how to read, or to refuse."""


def _plain(node: yaml.Node, loader: Any, made: dict[int, Any]) -> Any:
    """The value of a node that holds mappings, lists and scalars only, as nearly all do.

    Args:
        node: what was read.
        loader: knows scalars that are no text.
        made: values by the identity of their node; anchors are read once, however often they are used.
    """
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.tag == _STR else loader.construct_object(node)
    if id(node) in made:
        return made[id(node)]
    if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
        found: Any = [_plain(item, loader, made) for item in node.value]
    elif node.tag == _MAP:
        found = {}
        for key, value in node.value:
            if key.tag != _STR or not isinstance(key, yaml.ScalarNode) or key.value in found:
                raise _UnusualError
            found[key.value] = _plain(value, loader, made)
    else:
        raise _UnusualError
    made[id(node)] = found
    return found


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

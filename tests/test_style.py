"""Rules of DESIGN §10 that no linter knows."""

import ast
import re
import tokenize
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "router").rglob("*.py"))
LONGEST = 400
TEXTS = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".json", ".lua", ".sse", ".cfg", ".ini", ".conf", ".sh", ""}


def ignored():
    """Patterns of .gitignore, without their closing slash, and git's own folder."""
    lines = (ROOT / ".gitignore").read_text().split()
    return [".git", *(line.strip("/") for line in lines if not line.startswith("#"))]


def is_ignored(path, patterns):
    return any(fnmatch(str(path) if "/" in pattern else path.name, pattern) for pattern in patterns)


def files_of(folder, patterns):
    """What a commit of everything would hold."""
    for path in sorted(folder.iterdir()):
        if is_ignored(path.relative_to(ROOT), patterns):
            continue
        if path.is_dir():
            yield from files_of(path, patterns)
        else:
            yield path


OURS = [path for path in files_of(ROOT, ignored()) if path.suffix in TEXTS]
PYTHON = [path for path in OURS if path.suffix == ".py"]

CODE = {".py", ".lua", ".yaml", ".yml", ".sh", ""}
# A letter in brackets, so that this file does not match itself.
FORBIDDEN = {
    "a registry's host": re.compile(
        r"py[p]i\.org|pythonhoste[d]\.org|npmj[s]\.(?:org|com)|crate[s]\.io|goprox[y]\.|artifactor[y]|nexu[s]\.|"
        r"inde[x]-url\s*[=\s]\s*http",
        re.IGNORECASE,
    ),
    "a path of one machine": re.compile(r"(?<![\w.:/-])/(?:wor[k]|roo[t]|hom[e]|User[s])/\w"),
    "work left undone": re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X])\b"),
}
NOQA = re.compile(
    r"#\s*noqa\b(?P<codes>:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?(?P<reason>\s+(?:-|#)\s+[\w`].*)?", re.IGNORECASE
)
IGNORE = re.compile(r"#\s*type:\s*ignore(?P<codes>\[[a-z-]+(?:,\s*[a-z-]+)*\])?(?P<reason>\s+(?:-|#)\s+[\w`].*)?")


def comments(path):
    with tokenize.open(path) as file:
        yield from (token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT)


def unexplained(comment):
    """Whether a comment switches a check off without naming it, or without saying why."""
    found = [match for pattern in (NOQA, IGNORE) for match in pattern.finditer(comment)]
    return any(not match["codes"] or not match["reason"] for match in found)


def shown(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_a_module_says_what_belongs_in_it_and_keeps_short(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module opens with a docstring that says what belongs in it"
    assert len(text.splitlines()) <= LONGEST
    asserts = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not asserts, "an assert vanishes under -O; raise what the caller can act on"


def test_no_wait_for_swallows_a_cancelling():
    """Python 3.11's asyncio.wait_for loses one that meets the end of what it waits for: a close() then never ends."""
    call = "asyncio." + "wait_for("
    assert [shown(path) for path in PYTHON if call in path.read_text()] == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what):
    found = []
    for path in OURS if what != "work left undone" else (path for path in OURS if path.suffix in CODE):
        text = path.read_text(errors="replace")
        for number, line in enumerate(text.splitlines() if FORBIDDEN[what].search(text) else (), 1):
            if FORBIDDEN[what].search(line):
                found.append(f"{shown(path)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_a_check_that_is_switched_off_says_which_and_why():
    some = [path for path in PYTHON if NOQA.search(text := path.read_text()) or IGNORE.search(text)]
    found = [f"{shown(path)}:{one.start[0]}" for path in some for one in comments(path) if unexplained(one.string)]
    assert found == []


@pytest.mark.parametrize(
    ("comment", "bad"),
    [
        ("# noqa: ARG002 - the port's shape", False),
        ("# noqa: ARG002, S101 - the port's shape", False),
        ("# noqa: ARG002", True),
        ("# noqa", True),
        ("# noqa - because", True),
        ("# type: ignore[arg-type] # a reason", False),
        ("# type: ignore[arg-type] - a reason", False),
        ("# type: ignore[arg-type]", True),
        ("# type: ignore # a reason", True),
        ("# type: ignore[arg-type] # a reason  # noqa: S101", True),
        ("# reasons only", False),
    ],
)  # fmt: skip
def test_the_rule_on_switched_off_checks(comment, bad):
    assert unexplained(comment) == bad


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("https://files.python~hosted.org/x", "a registry's host"),
        ("--index~-url http://mirror/", "a registry's host"),
        ("see '/wo~rk/main/x'", "a path of one machine"),
        ("cd /ro~ot/x", "a path of one machine"),
        ("# TO~DO later", "work left undone"),
        ("https://example.com/ro~ot/x", None),
        ("framework/main", None),
        ("in todo lists", None),
    ],
)
def test_the_forbidden_words(line, what):
    written = line.replace("~", "")
    assert [name for name, pattern in FORBIDDEN.items() if pattern.search(written)] == ([what] if what else [])


def test_what_git_ignores_is_not_looked_at():
    patterns = ["*.egg-info", "__pycache__", "benchmarks/.peers"]
    assert is_ignored(Path("a/b/__pycache__"), patterns)
    assert is_ignored(Path("costrouter.egg-info"), patterns)
    assert is_ignored(Path("benchmarks/.peers"), patterns)
    assert not is_ignored(Path(".peers"), patterns)
    assert ROOT / "pyproject.toml" in OURS
    assert not [path for path in OURS if ".venv" in path.parts]

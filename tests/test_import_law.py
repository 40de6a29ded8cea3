"""The law of DESIGN §2: who may import whom. Imports for type checking count too."""

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

ROUTER = Path(__file__).parent.parent / "router"

# Layer: the layers whose modules it may import. A module's layer is its first name below router, but for the pipeline's.
PIPELINE = frozenset(
    [
        "pipeline",
        "considered",
        "forward",
        "bounds",
        "reserving",
        "exchange",
        "hedging",
        "queueing",
        "attempt",
        "desk",
        "streaming",
        "tracing",
        "growth",
        "memory",
        "once",
        "kept",
        "caching",
        "prefixes",
    ]
)
MAY_IMPORT = {
    "core": {"core"},
    "dialects": {"core", "dialects"},
    "ports": {"core"},
    "pipeline": {"core", "dialects", "ports", "pipeline"},
    "adapters": {"core", "dialects", "ports", "adapters"},
    "serving": {"core", "dialects", "ports", "adapters", "serving", "pipeline"},
    "settings": set(),
    "processes": {"settings"},
    "sim": {"sim"},
    "data": set(),
    "plan": {"processes", "core", "dialects", "ports", "adapters", "serving", "pipeline", "settings", "sim", "data"},
    "app": {
        "plan",
        "processes",
        "core",
        "dialects",
        "ports",
        "adapters",
        "serving",
        "pipeline",
        "settings",
        "sim",
        "data",
    },
}
MAY_IMPORT["yard"] = MAY_IMPORT["plan"] | {"plan"}
MAY_IMPORT["app"] = MAY_IMPORT["app"] | {"yard"}
MAY_IMPORT["supervisor"] = MAY_IMPORT["app"] | {"app", "supervisor"}
MAY_IMPORT["cli"] = MAY_IMPORT["supervisor"] | {"cli"}
SERVING = ("adapters.http", "adapters.broker")
"""Those adapters that drive the pipeline."""

WORLDLY = frozenset(
    [
        "asyncio",
        "builtins",
        "concurrent",
        "contextvars",
        "ctypes",
        "fcntl",
        "ftplib",
        "getpass",
        "glob",
        "http",
        "imaplib",
        "io",
        "locale",
        "logging",
        "mmap",
        "multiprocessing",
        "os",
        "pathlib",
        "pickle",
        "platform",
        "poplib",
        "posix",
        "queue",
        "random",
        "resource",
        "sched",
        "secrets",
        "select",
        "selectors",
        "shelve",
        "shutil",
        "signal",
        "site",
        "smtplib",
        "socket",
        "socketserver",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "syslog",
        "tempfile",
        "threading",
        "time",
        "urllib.request",
        "urllib.robotparser",
        "uuid",
        "webbrowser",
    ]
)
"""Parts of the standard library by which code reaches files, clocks, chance, processes, sockets or its environment."""


class Import(NamedTuple):
    module: str
    line: int


def imports_of(source, package):
    """Every import anywhere in a module, relative ones in full. ``from a import b`` counts as ``a.b``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "__import__",
            "importlib.import_module",
            "import_module",
        ):
            yield Import("a call of " + ast.unparse(node.func), node.lineno)


def layer_of(module):
    """The layer of a dotted name below ``router``; None for what the package itself holds (``router.__version__``)."""
    name = module.removeprefix("router.")
    first = name.partition(".")[0]
    if first in PIPELINE:
        return "pipeline"
    if name.startswith(SERVING):
        return "serving"
    return first if first in MAY_IMPORT else None


def is_stdlib_for_thought(module):
    """Whether the standard library's part can do nothing but compute."""
    import sys

    return module.partition(".")[0] in sys.stdlib_module_names and not any(
        module == one or module.startswith(one + ".") for one in WORLDLY
    )


def breach(module, found):
    """Why a module must not import that, or None."""
    layer = layer_of(module)
    if layer is None:
        return f"{module} belongs to no layer; say in this test what it may import"
    if found.module.startswith("a call of"):
        return f"{module} imports by name, so nobody can see what"
    if found.module == "router.__version__":
        return None
    if found.module == "router" or found.module.startswith("router."):
        other = layer_of(found.module)
        return None if other in MAY_IMPORT[layer] else f"{layer} must not import {found.module}"
    if layer not in ("core", "dialects") or found.module.partition(".")[0] in ("msgspec", "__future__"):
        return None
    if found.module.partition(".")[0] == "pydantic":
        fits = layer == "core" and "schema" in module.rpartition(".")[2]
        return None if fits else f"pydantic is for core's schemas only, not for {module}"
    return None if is_stdlib_for_thought(found.module) else f"{layer} must not touch the world: {found.module}"


def breaches(root):
    """``file:line: why`` for every import below ``root`` that breaks the law."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if module == "router":
            continue
        package = module if parts[-1] == "__init__" else module.rpartition(".")[0]
        for found in imports_of(path.read_text(), package):
            why = breach(module, found)
            if why is not None:
                yield f"{path.relative_to(root.parent)}:{found.line}: {why}"


def test_nothing_breaks_the_law():
    assert list(breaches(ROUTER)) == []


def test_the_package_itself_imports_nothing_of_ours():
    found = list(imports_of((ROUTER / "__init__.py").read_text(), "router"))
    assert not [one for one in found if one.module.startswith("router.")]


@pytest.mark.parametrize(
    ("file", "source", "why"),
    [
        ("core/deciding/decide.py", "import time", "core must not touch the world: time"),
        ("core/deciding/decide.py", "def f():\n    from os import path", "core must not touch the world: os.path"),
        (
            "core/deciding/decide.py",
            "from urllib.request import urlopen",
            "core must not touch the world: urllib.request.urlopen",
        ),
        ("core/deciding/decide.py", "import urllib.request as r", "core must not touch the world: urllib.request"),
        ("core/deciding/decide.py", "import aiohttp", "core must not touch the world: aiohttp"),
        (
            "core/deciding/decide.py",
            "from router.dialects.orders import Orders",
            "core must not import router.dialects.orders.Orders",
        ),
        ("core/deciding/decide.py", "from router import ports", "core must not import router.ports"),
        (
            "core/deciding/decide.py",
            "from ...adapters.store import resp",
            "core must not import router.adapters.store.resp",
        ),
        ("core/deciding/decide.py", "import pydantic", "pydantic is for core's schemas only"),
        ("core/deciding/decide.py", "x = __import__('time')", "imports by name"),
        ("core/deciding/decide.py", "import importlib\nx = importlib.import_module('time')", "imports by name"),
        ("core/sub/__init__.py", "from ... import ports", "core must not import router.ports"),
        ("dialects/openai/chat.py", "import asyncio", "dialects must not touch the world: asyncio"),
        ("dialects/openai/chat.py", "import router.ports", "dialects must not import router.ports"),
        ("dialects/schema.py", "import pydantic", "pydantic is for core's schemas only"),
        ("ports.py", "from router.dialects import orders", "ports must not import router.dialects.orders"),
        (
            "pipeline.py",
            "from router.adapters.store import resp",
            "pipeline must not import router.adapters.store.resp",
        ),
        (
            "attempt.py",
            "if TYPE_CHECKING:\n    from router.app import Plan",
            "pipeline must not import router.app.Plan",
        ),
        ("adapters/store/resp.py", "from router.pipeline import Call", "adapters must not import router.pipeline.Call"),
        ("adapters/store/resp.py", "from router.streaming import X", "adapters must not import router.streaming.X"),
        (
            "adapters/store/resp.py",
            "from router.settings import Settings",
            "adapters must not import router.settings.Settings",
        ),
        ("adapters/store/resp.py", "from ..http import api", "adapters must not import router.adapters.http.api"),
        ("adapters/http/api.py", "from router.app import Plan", "serving must not import router.app.Plan"),
        ("settings.py", "from router.core import money", "settings must not import router.core.money"),
        ("sim/bill.py", "from router.core import pricing", "sim must not import router.core.pricing"),
        ("app.py", "from router.cli import main", "app must not import router.cli.main"),
        ("app.py", "import router.supervisor", "app must not import router.supervisor"),
        ("novelty.py", "import time", "belongs to no layer"),
    ],
)
def test_a_planted_breach_is_found(tmp_path, file, source, why):
    path = tmp_path / "router" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# a first line\n" + source + "\n")
    found = list(breaches(tmp_path / "router"))
    assert len(found) == 1
    place, said = found[0].split(": ", 1)
    assert place.startswith(f"router/{file}:")
    assert int(place.rpartition(":")[2]) >= 2
    assert why in said


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "core/deciding/decide.py",
            "from __future__ import annotations\nimport re, math, msgspec, datetime as dt\nfrom urllib.parse import quote",
        ),
        ("core/deciding/decide.py", "from router.core import money"),
        ("core/sub/one.py", "from .. import money"),
        ("core/policy/schema.py", "from pydantic import Field"),
        ("dialects/orders.py", "from router.core.money import parse_usd\nimport router.dialects.json_object"),
        ("streaming.py", "import asyncio\nfrom router.ports import Upstream\nfrom router.attempt import Attempt"),
        (
            "adapters/http/server.py",
            "import aiohttp\nfrom router.pipeline import Pipeline\nfrom router.adapters.http.api import Api",
        ),
        ("sim/bill.py", "import time\nfrom router.sim import world"),
        ("app.py", "import os\nfrom router.settings import Settings\nfrom router.adapters.http.api import Api"),
        ("supervisor.py", "from router.app import Plan"),
        ("core/errors.py", "from router import __version__"),
        ("cli/serve.py", "from router import supervisor\nfrom router.plan import prepare"),
    ],
)
def test_what_the_law_allows_passes(tmp_path, file, source):
    path = tmp_path / "router" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source + "\n")
    assert list(breaches(tmp_path / "router")) == []

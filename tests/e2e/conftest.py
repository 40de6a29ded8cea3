"""One node for most tests, emptied of bill and faults for each, and a tenant of its own for each."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import aiohttp
import pytest
from catalog_files import CATALOG, EVERYTHING
from node import Node, Tenant, policies_copy
from recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path

WATCH = """
version: 1
policy: watch
mode: observe
candidates: {include: [tag:chat]}
rules: [{name: any, require: {quality: "0.60"}}]
when_nothing_fits: [refuse]
"""
NARROW = """
version: 1
policy: narrow
candidates: {include: [openai/gpt-4o-mini]}
rules: [{name: any, require: {ttft: "p95 <= 1ms"}}]
when_nothing_fits: [refuse]
"""
ANYTHING = """
version: 1
policy: anything
candidates: {include: ["*"]}
rules: [{name: any}]
when_nothing_fits: [refuse]
"""
PATIENT = """
version: 1
policy: patient
candidates: {include: [rec/model]}
rules: [{name: any}]
queue: {wait: 30s, depth: 3, priority: tag/tier}
"""
SHORT = "bills_after_disconnect: true\ntimeouts: {first_byte: 1.5, between_chunks: 1.5, total: 2.5}"


def _edit(folder: Path) -> None:
    (folder / "watch.yaml").write_text(WATCH)
    (folder / "narrow.yaml").write_text(NARROW)
    (folder / "anything.yaml").write_text(ANYTHING)
    openai = folder / "catalog" / "openai.yaml"
    openai.write_text(
        openai.read_text().replace("upstream: gpt-5.2\n", "upstream: gpt-5.2\n    dialects: [responses]\n")
    )
    groq = folder / "catalog" / "groq.yaml"
    groq.write_text(groq.read_text().replace("bills_after_disconnect: true", SHORT))


@pytest.fixture(scope="session")
def shared_node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    policies = policies_copy(folder / "policies", _edit)
    with Node(folder, workers=2, policies=policies, max_body_mb=8) as node:
        yield node


@pytest.fixture
def node(shared_node):
    shared_node.reset()
    return shared_node


@pytest.fixture
async def tenant(node):
    async with node.store() as store:
        yield Tenant(node, store)


@pytest.fixture
async def sdk(tenant):
    async with tenant.sdk() as client:
        yield client


@pytest.fixture
async def web():
    """A plain HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(scope="session")
def upstream_of_node():
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="session")
def recorded_node(tmp_path_factory, upstream_of_node):
    """A node whose provider ``rec`` is the recorder, as is ``own``, to whom callers bring a key, and whose provider ``dead``
    refuses every connection.
    """
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "policies" / "catalog").mkdir(parents=True)
    (folder / "policies" / "default.yaml").write_text(EVERYTHING)
    (folder / "policies" / "patient.yaml").write_text(PATIENT)
    with socket.socket() as place:  # bound and not listening: whoever connects is refused
        place.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{place.getsockname()[1]}"
        for name, url in (("rec", upstream_of_node.url), ("dead", dead)):
            text = CATALOG.format(name=name, name_upper=name.upper(), url=f"{url}/v1", bills="true")
            (folder / "policies" / "catalog" / f"{name}.yaml").write_text(text)
        text = CATALOG.format(name="own", name_upper="OWN", url=f"{upstream_of_node.url}/v1", bills="true")
        text = text.replace("key_env: OWN_KEY", "auth: passthrough\nkey_prefix: sk-own-")
        (folder / "policies" / "catalog" / "own.yaml").write_text(text)
        secrets = {"REC_KEY": "sk-provider-secret", "DEAD_KEY": "sk-dead"}
        with Node(folder, policies=folder / "policies", **secrets) as node:
            yield node


@pytest.fixture
def upstream(upstream_of_node):
    upstream_of_node.reset()
    return upstream_of_node


@pytest.fixture
async def caller(recorded_node, upstream):
    """A tenant of the recorded node."""
    async with recorded_node.store() as store:
        yield Tenant(recorded_node, store)

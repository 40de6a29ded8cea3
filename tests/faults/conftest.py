"""One node for the fault tests that leave it running."""

from __future__ import annotations

import pytest
from node import Node


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    with Node(tmp_path_factory.mktemp("faults")) as node:
        yield node

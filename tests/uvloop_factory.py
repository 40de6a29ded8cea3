"""A pytest plugin: async tests run on uvloop, as the product does.

Belongs here: the loop factory. Registered in conftest's pytest_plugins, or by ``-p uvloop_factory``.
"""

from __future__ import annotations

import uvloop


def pytest_asyncio_loop_factories():
    return {"uvloop": uvloop.new_event_loop}

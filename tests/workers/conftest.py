"""What is promised of connections holds on each event loop that a run may use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

ON_EACH = {"test_transport_contract.py", "test_connections.py"}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loops that a test runs on, one after the other."""
    if item.path.name not in ON_EACH:
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

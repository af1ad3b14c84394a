"""A simulator that ends with its test, and a connection to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from pipeline.simulator import Running, SimulatorOptions, serve

from .client import Client, connect


@pytest.fixture
async def start() -> AsyncIterator[Any]:
    """Given options: a running simulator and a client of it, which both end with the test."""
    async with AsyncExitStack() as stack:

        async def begin(**options: Any) -> tuple[Running, Client]:
            running = await stack.enter_async_context(serve(SimulatorOptions(**options)))
            return running, await stack.enter_async_context(connect(running))

        yield begin

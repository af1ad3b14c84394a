"""A scenario, played on virtual time by one client or another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.scenarios import virtual_time
from tests.scenarios.link import Link
from tests.scenarios.metrics import Run
from tests.scenarios.ours import send_ours
from tests.scenarios.scenario import Scenario

Client = Callable[..., Awaitable[int]]
"""Takes what `send_ours` takes."""


def play(scenario: Scenario, client: Client = send_ours) -> Run:
    """What happens when `client` sends the scenario's rows."""

    async def main() -> Run:
        clock = asyncio.get_running_loop().time
        link = Link(
            scenario.course,
            clock=clock,
            timeout_s=scenario.account.timeout_s,
            seed=scenario.seed,
        )
        lost_rows = await client(
            scenario.account,
            scenario.rows,
            link.send,
            lasts_s=scenario.lasts_s,
            clock=clock,
            seed=scenario.seed,
        )
        return Run(scenario, link.log, lost_rows)

    return virtual_time.run(main)

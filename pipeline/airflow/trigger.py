"""The trigger: looks at a run until its process, or the run, has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from pipeline.airflow.command import Installation
from pipeline.airflow.process import CommandError, find_run, stop_run

MAX_FAILURES = 5
"""Checks in a row that may fail, as while a database restarts."""


class OfferPipelineTrigger(BaseTrigger):
    """Fires `{"error": None}` at the end, or the reason why it could not look any longer.

    run_id         id of the run
    poll_interval  seconds between two looks
    owns_run       fire as soon as no process works on the run, and stop the run if a person kills
                   the task; else fire when the run has ended, and leave it alone
    python, cwd, config, env  of the pipeline, as for `Installation`
    """

    def __init__(
        self,
        *,
        run_id: str,
        python: str,
        cwd: str | None = None,
        config: str | None = None,
        env: Mapping[str, str] | None = None,
        poll_interval: float = 10.0,
        owns_run: bool = False,
    ) -> None:
        super().__init__()
        self.run_id = run_id
        self.poll_interval = poll_interval
        self.owns_run = owns_run
        self.installation = Installation(python=python, cwd=cwd, config=config, env=env or {})

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments, for the database."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {
            "run_id": self.run_id,
            "poll_interval": self.poll_interval,
            "owns_run": self.owns_run,
            **asdict(self.installation),
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to report."""
        failures = 0
        while True:
            try:
                is_over = await asyncio.to_thread(self._is_over)
                failures = 0
            except CommandError as error:
                is_over, failures = False, failures + 1
                self.log.warning("Run %s: %s", self.run_id, error)
                if failures == MAX_FAILURES:
                    yield TriggerEvent({"error": str(error)})
                    return
            if is_over:
                yield TriggerEvent({"error": None})
                return
            await asyncio.sleep(self.poll_interval)

    async def on_kill(self) -> None:
        """A person killed the task while it waited."""
        if self.owns_run:
            await asyncio.to_thread(stop_run, self.installation, self.run_id)

    def _is_over(self) -> bool:
        run = find_run(self.installation, self.run_id)
        if self.owns_run:
            return run is None or not run.is_under_way
        return run is not None and run.is_ended

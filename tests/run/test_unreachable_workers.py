"""What starts workers cannot be reached any longer: the command ends all the same."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest

from pipeline.model import NoWorkerError
from pipeline.run import Prepared, RunEnvironment, Session, carry_out, prepare, share_driver
from pipeline.run.event_loop import run_async
from pipeline.run.worker_processes import WorkerProcesses
from pipeline.runs import RunOptions
from tests.workplace import ENVIRON, Simulator, configure, coupon, drop, simulator

ROWS = 12


class Unreachable:
    """Starts workers, or does not, and never learns that they have ended."""

    def __init__(self, processes: WorkerProcesses | None) -> None:
        self.processes = processes
        self.started = 0

    def start(self, number: int) -> None:
        self.started += 1
        if self.processes is not None:
            self.processes.start(number)

    def ended(self) -> dict[int, int]:
        return {}

    def alive(self) -> int:
        return self.started

    def stop(self, *, at_once: bool) -> None:
        if self.processes is not None:
            self.processes.stop(at_once=at_once)


@pytest.fixture
def vendor() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def prepared(tmp_path: Path, vendor: Simulator, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(share_driver, "KILL_AFTER_S", 0.2)
    monkeypatch.setattr(share_driver, "GIVE_UP_AFTER_S", 0.2)
    config = configure(tmp_path, vendor.base_url)
    file = drop(tmp_path, *(coupon(row) for row in range(1, ROWS + 1)))
    return prepare(file, config, replace(RunOptions(), grace_s=0.1))


def test_the_report_is_made_once_no_row_is_left(prepared: Prepared) -> None:
    told: list[str] = []

    async def main() -> object:
        make = WorkerProcesses(prepared.run, told.append, prepared.config)
        way = RunEnvironment(
            environ=ENVIRON, workers=lambda _run: Unreachable(make), count=1, tell=told.append
        )
        return await carry_out(prepared, way)

    summary = run_async(main)
    assert summary.statuses["updated"] == ROWS  # type: ignore[attr-defined]
    assert "1 workers are not known to have ended" in told


def test_a_run_whose_workers_cannot_be_started_ends_in_words(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python that runs it was replaced by another one."""
    monkeypatch.setattr(sys, "executable", "/gone/python")
    told: list[str] = []

    async def main() -> object:
        make = partial(WorkerProcesses, tell=told.append, config=prepared.config)
        way = RunEnvironment(environ=ENVIRON, workers=make, count=2, tell=told.append)
        return await carry_out(prepared, way)

    with pytest.raises(NoWorkerError, match=r"worker 2 cannot be started: .*/gone/python"):
        run_async(main)
    assert (prepared.config.reports / prepared.run / "summary.json").exists()


def test_a_signal_ends_the_command_though_nobody_answers(prepared: Prepared) -> None:
    shared = Session()
    way = RunEnvironment(
        environ=ENVIRON, shared=shared, workers=lambda _run: Unreachable(None), count=1
    )

    async def main() -> object:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(interrupt)
            return await carry_out(prepared, way)

    async def interrupt() -> None:
        await anyio.sleep(1)
        shared.interrupt(signal.SIGTERM)

    summary = run_async(main)
    assert summary.exit_code == 128 + signal.SIGTERM  # type: ignore[attr-defined]
    assert summary.statuses["not_attempted"] > 0  # type: ignore[attr-defined]


class Deaf(WorkerProcesses):
    """Its workers never read what they are given."""

    @property
    def command(self) -> list[str]:
        """Of a process that only sleeps."""
        return [sys.executable, "-c", "import time; time.sleep(60)"]


async def test_a_worker_that_does_not_read_its_configuration_holds_up_nobody(
    tmp_path: Path,
) -> None:
    config = configure(tmp_path, "http://127.0.0.1:1")
    workers = Deaf("a-run", print, replace(config, content=b"#" * 1_000_000))
    workers.start(1)
    try:
        assert workers.alive() == 1
    finally:
        workers.stop(at_once=True)
    while workers.alive():
        workers.ended()
        await anyio.sleep(0.01)

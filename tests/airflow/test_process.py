"""A run that a task starts, finds again and stops, with real processes."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack

import pytest

from pipeline.airflow.command import Installation, result_of, run_arguments
from pipeline.airflow.process import CommandError, RunProcess, find_run, query, stop_run
from tests.waiting import until
from tests.workplace import ENVIRON, configure, coupon, drop, simulator

RUN_ID = "offers.send.scheduled__2026-11-23T00:00:00+00:00"
WAIT_S = 60.0


@pytest.fixture
def shop(tmp_path):
    with simulator("--latency-ms", "10") as vendor:
        configure(tmp_path, vendor.base_url, quota='"50/s"', in_flight=4)
        yield Installation(python=sys.executable, cwd=str(tmp_path), env=ENVIRON), tmp_path


@pytest.fixture
def started():
    """Starts runs, and ends what a test left."""
    with ExitStack() as stack:

        def start(installation: Installation, file: str) -> RunProcess:
            process = RunProcess(installation, run_arguments(file, RUN_ID))
            stack.callback(process.close)
            stack.callback(process.wait, WAIT_S)
            stack.callback(process.stop)
            return process

        yield start


def has_begun(process: RunProcess) -> bool:
    return any(line.event == "run_started" for line in process.new_lines())


def test_a_run_is_sent_found_by_its_id_and_told_with_its_paths(shop, started):
    installation, folder = shop
    file = drop(folder, coupon(1), coupon(2))
    assert find_run(installation, RUN_ID) is None
    process = started(installation, str(file))
    assert process.wait(WAIT_S) == 0
    assert [line.event for line in process.new_lines()] == [
        *("run_started", "account_ended", "run_ended")
    ]
    run = find_run(installation, RUN_ID)
    assert run is not None
    assert (run.state, run.exit_code, run.has_report) == ("finished", 0, True)
    result = result_of(query(installation, "runs", run.name, "--json")[0], RUN_ID)
    assert result["statuses"]["updated"] == 2
    for name in ("success", "errors", "summary", "page"):
        assert os.path.isfile(result[name]), name  # noqa: PTH113 - the path as a task gets it


def test_a_run_that_is_asked_to_stop_reports_and_the_next_resumes_it(shop, started):
    installation, folder = shop
    file = str(drop(folder, *map(coupon, range(300))))
    process = started(installation, file)
    until(lambda: has_begun(process))
    process.stop()
    assert process.wait(WAIT_S) == 128 + signal.SIGTERM
    run = find_run(installation, RUN_ID)
    assert run is not None
    assert (run.state, run.exit_code, run.has_report) == ("unfinished", 143, True)
    assert started(installation, file).wait(WAIT_S) == 0
    again = find_run(installation, RUN_ID)
    assert again is not None
    assert (again.name, again.state) == (run.name, "finished")


def test_a_run_of_a_task_that_is_gone_is_found_and_stopped_by_an_order(shop, started):
    installation, folder = shop
    process = started(installation, str(drop(folder, *map(coupon, range(5000)))))
    until(lambda: has_begun(process))
    run = find_run(installation, RUN_ID)
    assert run is not None
    assert (run.state, run.pid, run.exit_code) == ("under_way", process.pid, None)
    assert os.getsid(process.pid) == process.pid  # no signal to the task's group reaches it
    stop_run(installation, RUN_ID)
    assert process.wait(WAIT_S) == 128 + signal.SIGTERM


def test_a_run_that_is_not_under_way_needs_no_order(shop):
    installation, _folder = shop
    stop_run(installation, RUN_ID)


def test_a_command_that_fails_says_why(shop):
    installation, folder = shop
    (folder / "pipeline.toml").write_text("[accounts.shop]\nvendor = 'nobody'\n")
    with pytest.raises(CommandError, match="nobody"):
        find_run(installation, RUN_ID)


def test_an_interpreter_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CommandError, match="no-python"):
        find_run(Installation(python=str(tmp_path / "no-python")), RUN_ID)

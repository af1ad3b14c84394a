"""Ctrl-C and SIGTERM while rows are under way: the run ends, and its report is still the truth."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.store.on_files.registry_file import RegistryFile
from tests.cli.command import Ended, ended, start_anew, typed
from tests.waiting import until
from tests.workplace import Simulator, configure, coupon, drop, row_of, simulator

ROWS = 400
UNTOUCHED = {"not_attempted", "failed", "invalid", "rejected"}


@pytest.fixture(autouse=True)
def hang_up_is_not_ignored() -> Iterator[None]:
    """Under `nohup` all that is started here would ignore it, as it should."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@contextmanager
def sending(folder: Path, vendor: Simulator, *names: str) -> Iterator[subprocess.Popen[str]]:
    """`pipeline run` over a file of each name."""
    configure(folder, vendor.base_url, quota='"100/s"', in_flight=8, more="timeout_s = 600")
    for name in names or ("coupons.csv",):
        drop(folder, *map(coupon, range(1, ROWS + 1)), name=name)
    process = start_anew(folder, "run", "--yes")
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def stop(process: subprocess.Popen[str], *numbers: signal.Signals) -> Ended:
    """How it ended, told to by signals one after the other: of two that wait, it would get one."""
    for number in numbers:
        process.send_signal(number)
        until(lambda number=number: process.poll() is not None or not waits(process.pid, number))
    return ended(process)


def waits(pid: int, number: signal.Signals) -> bool:
    """Whether a process has yet to get a signal."""
    status = Path(f"/proc/{pid}/status")
    pending = re.search(
        r"^ShdPnd:\s*(\w+)", status.read_text() if status.exists() else "", re.MULTILINE
    )
    return pending is not None and bool(int(pending[1], 16) >> (number - 1) & 1)


def reported(folder: Path) -> dict[int, str]:
    """Row -> status, each row once."""
    (report,) = folder.glob("reports/2*")
    assert (report / "summary.json").exists()
    found: dict[int, str] = {}
    for name in ("success.csv", "errors.csv"):
        with (report / name).open(newline="") as lines:
            for cells in csv.DictReader(lines):
                row = int(cells["_row"])
                assert row not in found, f"row {row} stands in both files"
                found[row] = cells["_status"]
    assert sorted(found) == list(range(1, ROWS + 1))
    return found


def errors_of(folder: Path, status: str) -> set[str]:
    """What the report says of the rows that ended so."""
    (report,) = folder.glob("reports/2*")
    with (report / "errors.csv").open(newline="") as lines:
        return {row["_error"] for row in csv.DictReader(lines) if row["_status"] == status}


def assert_is_the_truth(status: dict[int, str], vendor: Simulator) -> None:
    """Updated means applied, untouched means not; only `unknown` may be either."""
    applied = [row_of(entry["body"]) for entry in vendor.get("log") if entry["applied"]]
    assert len(applied) == len(set(applied)), "a row was applied twice"
    assert {row for row in status if status[row] == "updated"} <= set(applied)
    assert not {row for row in status if status[row] in UNTOUCHED} & set(applied)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_lets_finish_what_is_in_flight_and_reports_every_row(tmp_path, number, code):
    with simulator("--latency-ms", "200") as vendor, sending(tmp_path, vendor) as process:
        until(lambda: vendor.stats()["requests"] >= 20)
        begun_s = time.monotonic()
        done = stop(process, number)
        assert time.monotonic() - begun_s < 240  # a request may take 600
        assert done.code == code
        status = reported(tmp_path)
        assert set(status.values()) == {"updated", "not_attempted"}
        assert_is_the_truth(status, vendor)
        assert number.name in done.words


def test_a_second_signal_ends_at_once_and_what_was_in_flight_is_in_doubt(tmp_path):
    with simulator("--fault", "timeout-after=0.02") as vendor, sending(tmp_path, vendor) as process:
        until(lambda: vendor.stats()["requests"] >= 100)
        begun_s = time.monotonic()
        done = stop(process, signal.SIGINT, signal.SIGINT)
        assert time.monotonic() - begun_s < 240  # a request may take 600
        assert done.code == 130
        status = reported(tmp_path)
        assert "unknown" in status.values()
        assert set(status.values()) == {"updated", "unknown", "not_attempted"}
        assert_is_the_truth(status, vendor)
        why = "it may have been applied, and the run stopped before that was resolved"
        assert errors_of(tmp_path, "unknown") == {f"{why}: interrupted by SIGINT"}
        assert "unfinished" in typed(tmp_path, "runs").out


def test_a_run_stopped_before_its_first_reply_knows_of_one_row_that_it_does_not_know(tmp_path):
    with simulator("--latency-ms", "60000") as vendor, sending(tmp_path, vendor) as process:
        until(lambda: vendor.stats()["in_flight"])
        done = stop(process, signal.SIGTERM, signal.SIGTERM)
        assert done.code == 143
        status = reported(tmp_path)
        assert status == {1: "unknown"} | dict.fromkeys(range(2, ROWS + 1), "not_attempted")


def test_after_a_signal_the_next_file_is_left_alone(tmp_path):
    with (
        simulator("--latency-ms", "100") as vendor,
        sending(tmp_path, vendor, "a.csv", "b.csv") as process,
    ):
        until(lambda: vendor.stats()["requests"] >= 5)
        done = stop(process, signal.SIGINT)
        assert done.code == 130
        assert "b.csv: nothing was sent" in done.words
        assert_is_the_truth(reported(tmp_path), vendor)  # the only report
        assert len(list((tmp_path / ".pipeline" / "runs").iterdir())) == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_while_a_file_is_read_leaves_nothing(tmp_path, number, code):
    with simulator() as vendor:
        config = configure(tmp_path, vendor.base_url)
        drop(tmp_path, *map(coupon, range(1, ROWS + 1)))
        config.ledger_folder.mkdir()
        with RegistryFile(config.ledger).commit():  # nobody can put a run on record meanwhile
            process = start_anew(tmp_path, "run", "--yes")
            until(lambda: any((tmp_path / ".pipeline" / "runs").glob("*/*.parquet*")))
            process.send_signal(number)
        done = ended(process)
        assert done.code == code
        assert vendor.stats()["requests"] == 0
    assert list((tmp_path / ".pipeline" / "runs").iterdir()) == []
    assert not list(tmp_path.glob("reports/*"))

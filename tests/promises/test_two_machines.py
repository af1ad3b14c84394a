"""What one machine began, another one carries on, reports, undoes and removes.

On files it is one folder. In a database the second machine has nothing but the configuration.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.config import Config, load_config
from pipeline.runs import open_store
from pipeline.vendors import load_vendors
from tests.cli.command import ended, pipeline, start
from tests.run.machines import STORES, keep_in, ledger_line
from tests.waiting import until
from tests.workplace import CONFIG, ENVIRON, Simulator, coupon, drop, hurry, row_of, simulator

ROWS = 300
IN_FLIGHT = 8


@dataclass(frozen=True)
class Machines:
    """Two working folders that share a store."""

    first: Path
    second: Path
    vendor: Simulator

    def config(self) -> Config:
        """That of the second."""
        return load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=self.second)

    def runs(self) -> list[str]:
        """The names of the runs on record, as the second sees it."""
        config = self.config()
        with closing(config.kept_store):
            return sorted(open_store(config).runs.names())

    def ended(self, run: str) -> set[int]:
        """The rows of a run with a result."""
        config = self.config()
        with closing(config.kept_store), open_store(config).ledger(run, None, None) as ledger:
            return {each.row for each in ledger.results(1, ROWS)}

    def hurry(self) -> None:
        """What is left is sent at once."""
        for folder in {self.first, self.second}:
            hurry(folder)

    def sent(self) -> Counter[int]:
        """How often the update of each row reached the vendor."""
        log = [each for each in self.vendor.get("log") if each["method"] == "PUT"]
        return Counter(row_of(each["body"]) for each in log)


@pytest.fixture(params=STORES)
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machines]:
    first = tmp_path / "first"
    second = tmp_path / "second" if request.param == "postgres" else first
    keep_in(request.param, tmp_path, lambda: request.getfixturevalue("database"))
    with simulator() as vendor:
        account = CONFIG.format(
            base_url=vendor.base_url, quota='"50/s"', in_flight=IN_FLIGHT, more=""
        )
        for folder in {first, second}:
            folder.mkdir()
            (folder / "pipeline.toml").write_text(ledger_line(tmp_path) + account)
        yield Machines(first, second, vendor)


def test_a_run_that_was_killed_is_resumed_reported_undone_and_removed(machines: Machines) -> None:
    first, second = machines.first, machines.second
    path = drop(first, *map(coupon, range(1, ROWS + 1)))
    process = start(first, "run", "--yes", "--record-previous", str(path))
    until(lambda: machines.vendor.stats()["applied"] > ROWS / 4)
    process.kill()
    process.communicate()
    path.unlink()
    (run,) = machines.runs()
    answered, before = machines.ended(run), machines.sent()

    machines.hurry()
    done = pipeline(second, "resume", "--yes", run)
    assert done.code == 0, done
    sent = machines.sent()
    assert sent.keys() == set(range(1, ROWS + 1))
    assert {row: sent[row] for row in answered} == dict.fromkeys(answered, 1)
    assert len({row for row, times in sent.items() if times > 1}) <= len(before) - len(answered)

    done = pipeline(first, "runs", run, "--json")
    assert done.code == 0, done
    assert json.loads(done.out)["counts"]["updated"] == ROWS
    done = pipeline(first, "undo", run, "--yes", "--plan-only")
    assert done.code == 0, done
    for name in machines.runs():
        done = pipeline(second, "runs", name, "--prune")
        assert done.code == 0, done
    assert machines.runs() == []


def test_a_run_is_stopped_from_the_other_machine(machines: Machines) -> None:
    rows = 4 * ROWS  # enough for a command to start meanwhile
    path = drop(machines.first, *map(coupon, range(1, rows + 1)))
    process = start(machines.first, "run", "--yes", str(path))
    until(lambda: machines.vendor.stats()["applied"] > 10)
    (run,) = machines.runs()
    done = pipeline(machines.second, "runs", run, "--stop")
    assert done.code == 0, done
    assert str(process.pid) in done.out + done.err
    assert ended(process).code == 143
    assert 0 < len(machines.sent()) < rows
    machines.hurry()
    done = pipeline(machines.second, "resume", "--yes")
    assert done.code == 0, done
    assert machines.sent() == dict.fromkeys(range(1, rows + 1), 1)


def test_a_watcher_that_was_killed_goes_on_with_the_run_it_had_begun(machines: Machines) -> None:
    drop(machines.first, *map(coupon, range(1, ROWS + 1)))
    watching = "watch", "--settle", "0.1"
    process = start(machines.first, *watching)
    until(lambda: machines.vendor.stats()["applied"] > 25)
    process.kill()
    process.communicate()
    machines.hurry()
    process = start(machines.first, *watching)
    done = machines.first / "inputs" / "xsolla.coupon" / ".done"
    try:
        until(lambda: any(done.glob("*")) if done.is_dir() else False)
    finally:
        process.terminate()
        process.communicate()
    assert len(machines.runs()) == 1
    assert machines.sent().keys() == set(range(1, ROWS + 1))


def test_a_file_that_was_killed_half_way_is_no_new_run_when_it_comes_again(
    machines: Machines,
) -> None:
    path = drop(machines.first, *map(coupon, range(1, ROWS + 1)))
    process = start(machines.first, "run", "--yes", str(path))
    until(lambda: machines.vendor.stats()["applied"] > 25)
    process.kill()
    process.communicate()
    answered = machines.ended(machines.runs()[0])
    machines.hurry()
    done = pipeline(machines.first, "run", "--yes", str(path))
    assert done.code == 0, done
    assert len(machines.runs()) == 1
    sent = machines.sent()
    assert {row: sent[row] for row in answered} == dict.fromkeys(answered, 1)

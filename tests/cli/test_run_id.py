"""A scheduler's id, files that change under a run, and runs that others left unfinished."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cli.command import ended, start, typed
from tests.workplace import configure, coupon, drop, simulator


@pytest.fixture
def shop(tmp_path):
    with simulator("--latency-ms", "10") as vendor:
        configure(tmp_path, vendor.base_url, quota='"100/s"', in_flight=4)
        yield tmp_path, vendor


def killed_in_the_middle(folder: Path, vendor, *arguments: str) -> None:
    process = start(folder, "run", "--yes", "inputs/xsolla.coupon", *arguments)
    while vendor.stats()["requests"] < 20:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_the_same_id_sends_the_same_file_once(shop):
    folder, vendor = shop
    drop(folder, *map(coupon, range(1, 6)))
    first = typed(
        folder, "run", "--yes", "inputs/xsolla.coupon", "--run-id", "nightly-7", "--json", "--quiet"
    )
    again = typed(
        folder, "run", "--yes", "inputs/xsolla.coupon", "--run-id", "nightly-7", "--json", "--quiet"
    )
    assert (first.code, again.code) == (0, 0)
    assert json.loads(again.out)["run"] == json.loads(first.out)["run"]
    assert vendor.stats()["requests"] == 5


def test_a_run_is_listed_by_its_id(shop):
    folder, _vendor = shop
    drop(folder, coupon(1))
    assert typed(folder, "run", "--yes", "inputs/xsolla.coupon", "--run-id", "nightly-7").code == 0
    (line,) = typed(folder, "runs", "--run-id", "nightly-7", "--json").out.splitlines()
    assert (json.loads(line)["run_id"], json.loads(line)["state"]) == ("nightly-7", "finished")
    assert typed(folder, "runs", "--run-id", "nightly-7", "--unfinished", "--json").out == ""
    assert typed(folder, "runs", "--run-id", "nightly-8").out == "No matching run.\n"


def test_the_same_id_for_another_file_is_refused(shop):
    folder, vendor = shop
    path = drop(folder, coupon(1))
    assert typed(folder, "run", "--yes", "inputs/xsolla.coupon", "--run-id", "nightly-7").code == 0
    drop(folder, coupon(2))
    refused = typed(folder, "run", "--yes", "inputs/xsolla.coupon", "--run-id", "nightly-7")
    assert refused.code == 2
    assert "nightly-7" in refused.words
    assert path.name in refused.words
    assert vendor.stats()["requests"] == 1


def test_the_same_id_carries_a_killed_run_on(shop):
    folder, vendor = shop
    drop(folder, *map(coupon, range(1, 101)))
    killed_in_the_middle(folder, vendor, "--run-id", "nightly-7")
    again = typed(
        folder, "run", "--yes", "inputs/xsolla.coupon", "--run-id", "nightly-7", "--json", "--quiet"
    )
    assert again.code == 0, again
    assert json.loads(again.out)["rows"] == 100
    assert len(list((folder / ".pipeline/runs").iterdir())) == 1
    assert len({entry["id"] for entry in vendor.get("log")}) == 100


def test_the_same_id_waits_for_no_run_that_is_under_way_and_names_it(shop):
    """As of a scheduler that starts a job again while its first process still sends."""
    folder, vendor = shop
    drop(folder, *map(coupon, range(1, 1001)))
    arguments = ("run", "--yes", "inputs/xsolla.coupon", "--run-id", "nightly-7")
    first = start(folder, *arguments)
    while not vendor.stats()["requests"]:
        assert first.poll() is None
    again = typed(folder, *arguments)
    assert again.code == 2
    assert "another process works on run" in again.words
    assert "which has the id nightly-7" in again.words
    assert len(list((folder / ".pipeline/runs").iterdir())) == 1
    first.send_signal(signal.SIGINT)
    assert ended(first).code == 130


def once_more(folder: Path, run_id: str):
    done = typed(
        *(folder, "run", "--yes", "inputs/xsolla.coupon", "--run-id", run_id, "--json", "--quiet")
    )
    assert done.code == 0, done
    return json.loads(done.out)["run"]


def test_another_id_is_another_run_and_is_kept(shop):
    """The one of last night was killed; what is on record for this night is this night's."""
    folder, vendor = shop
    drop(folder, *map(coupon, range(1, 101)))
    killed_in_the_middle(folder, vendor, "--run-id", "nightly-7")
    tonight = once_more(folder, "nightly-8")
    requests = vendor.stats()["requests"]
    assert once_more(folder, "nightly-8") == tonight
    assert vendor.stats()["requests"] == requests
    assert once_more(folder, "nightly-7") != tonight


def test_a_run_without_an_id_gets_that_of_whoever_carries_it_on(shop):
    folder, vendor = shop
    drop(folder, *map(coupon, range(1, 101)))
    killed_in_the_middle(folder, vendor)
    run = once_more(folder, "nightly-7")
    requests = vendor.stats()["requests"]
    assert once_more(folder, "nightly-7") == run
    assert vendor.stats()["requests"] == requests
    assert len(list((folder / ".pipeline/runs").iterdir())) == 1


@pytest.mark.parametrize("change", ["overwritten", "cut", "deleted"])
def test_the_original_may_change_or_vanish_meanwhile(shop, change):
    folder, vendor = shop
    path = drop(folder, *map(coupon, range(1, 101)))
    killed_in_the_middle(folder, vendor)
    match change:
        case "overwritten":
            path.write_text("quite,other\ncontent,here\n")
        case "cut":
            path.write_bytes(path.read_bytes()[:777])
        case "deleted":
            path.unlink()
    resumed = typed(folder, "resume", "--yes", "--json", "--quiet")
    assert resumed.code == 0, resumed
    assert json.loads(resumed.out)["rows"] == 100
    assert {entry["id"] for entry in vendor.get("log")} == {f"c{n}" for n in range(1, 101)}


def test_a_run_that_nobody_carries_on_is_named_by_later_commands(shop):
    folder, vendor = shop
    drop(folder, *map(coupon, range(1, 101)), name="monday.csv")
    killed_in_the_middle(folder, vendor)
    (run,) = (path.name for path in (folder / ".pipeline/runs").iterdir())
    drop(folder, coupon(200), name="tuesday.csv")
    told = typed(folder, "run", "--yes", "inputs/xsolla.coupon/tuesday.csv")
    assert told.code == 0
    assert f"run {run} is not finished" in " ".join(told.words.split())


def test_a_simulated_run_that_was_stopped_is_not_carried_on(shop):
    folder, vendor = shop
    drop(folder, *map(coupon, range(1, 101)))
    process = start(folder, "run", "--simulate", "--quiet")
    for _ in range(200):
        if any((folder / ".pipeline/runs").glob("*/run.json")):
            break
        signal.sigtimedwait([], 0.05)
    process.send_signal(signal.SIGKILL)
    ended(process)
    resumed = typed(folder, "resume", "--yes")
    assert resumed.code == 0
    assert "nothing to do" in resumed.words
    assert vendor.stats()["requests"] == 0

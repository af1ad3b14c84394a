"""What an earlier version stored is read, carried on, sent and undone by this one.

Each archive in tests/fixtures/ is a working folder as one version left it; make.py beside them says
how it was made. A copy is unpacked into another folder than the one it was made in: runs find their
files by the folder of the ledger and by their name. The absolute paths on record, of the input
files, only tell whether a dropped file was sent before.

Judged are the rows of the reports, and what the simulator says it was sent.
"""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sqlite3
import tarfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.cli.command import Ended, environment, start, typed
from tests.fixtures import make
from tests.waiting import WITHIN_S, until
from tests.workplace import Simulator, simulator

FIXTURES = Path(__file__).parents[1] / "fixtures"
ARCHIVES = sorted(FIXTURES.glob("stored-*.tar.xz"))
ORACLE = "0.0.0.1+-purchased_product+"
LONGEST_S = 366 * 86_400
"""A pause on record is at most so long, whatever its end says."""

KILLED = {"updated": 6, "unknown": 12}
"""Rows that were claimed may have been sent: the record tells no more."""

LEFT_TO_SEND = (
    *("hang_1", "hang_2", "killed_3", "killed_4"),
    *("hang-1", "hang-2", "killed-3", "killed-4"),
    *("880001", "880002", "30003", "30004"),
)
"""Entities of the killed run without a result on record. All of its rows may be repeated."""


class Stored:
    """A copy of an archive, and the simulator that its accounts reach."""

    def __init__(self, folder: Path, vendor: Simulator) -> None:
        self.folder = folder
        self.vendor = vendor
        made = json.loads((folder / "made.json").read_text())
        self.runs: dict[str, str] = made["runs"]
        self.statuses: dict[str, dict[str, int]] = made["statuses"]
        self.environ: dict[str, str] = {**made["environ"], "VENDORS": vendor.url}

    def pipeline(self, *arguments: str) -> Ended:
        """`pipeline ...` of this version in the folder."""
        return typed(self.folder, *arguments, **self.environ)

    def told(self, *arguments: str) -> list[dict[str, Any]]:
        """The lines of JSON that a command prints."""
        done = self.pipeline(*arguments, "--json")
        assert done.code in {0, 1}, done
        return [json.loads(line) for line in done.out.splitlines()]

    def rows(self, run: str) -> dict[int, str]:
        """The status of each row in the result files of a run's report."""
        return {int(row["_row"]): row["_status"] for row in self.results(run)}

    def results(self, run: str) -> list[dict[str, Any]]:
        """The lines of both result files, which are of the same kind as the input."""
        found: list[dict[str, Any]] = []
        for path in sorted((self.folder / "reports" / run).glob("[es]*s.*")):
            if path.suffix == ".parquet":
                found += pl.read_parquet(path).to_dicts()
            elif path.suffix == ".csv":
                with path.open(newline="") as file:
                    found += csv.DictReader(file)
        return found

    def lift_pause(self) -> dict[str, Any]:
        """Take the pause of `billing` off the record."""
        (lifted,) = self.told("runs", "--lift-pause", "billing")
        return lifted

    def newest(self) -> str:
        """The run that was begun last."""
        return str(self.told("runs", "--limit", "1")[0]["run"])

    def updates(self) -> Counter[str]:
        """How often the simulator was sent an update of each entity."""
        sent = (each for each in self.vendor.get("log") if each["method"] in {"PUT", "PATCH"})
        return Counter(each["id"].removeprefix(ORACLE) for each in sent)

    def held(self) -> dict[tuple[str, str], Any]:
        """What the simulator holds; what says nothing, or when it was written, is left out."""
        return {
            (each["kind"], each["id"]): {
                name: value
                for name, value in each["body"].items()
                if value not in (None, [], {}) and name not in {"etag", "modified"}
            }
            for each in self.vendor.get("state")
        }


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with simulator() as vendor:
        yield vendor


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.split(".tar")[0])
def stored(request: pytest.FixtureRequest, tmp_path: Path, running: Simulator) -> Stored:
    reset(running)
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return Stored(tmp_path / "stored", running)


def reset(vendor: Simulator) -> None:
    """Let the simulator forget everything."""
    request = urllib.request.Request(f"{vendor.url}/_simulator/reset", method="POST")
    urllib.request.urlopen(request).close()


def test_there_are_archives_and_none_is_overwritten():
    before = [path.stat().st_mtime_ns for path in ARCHIVES]
    assert before
    if make.archive_of_this_version() in ARCHIVES:
        with pytest.raises(SystemExit, match="never made anew"):
            make.main()
    assert [path.stat().st_mtime_ns for path in ARCHIVES] == before


def test_each_way_to_store_claims_is_among_the_archives(tmp_path):
    found: dict[int, list[int]] = {}
    for number, path in enumerate(ARCHIVES):
        folder = tmp_path / str(number)
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
        made = json.loads((folder / "stored" / "made.json").read_text())
        ledger = folder / "stored" / ".pipeline" / "runs" / made["runs"]["killed"] / "ledger.db"
        found[make.format_of(ledger)] = claims_in(ledger)
    newest = make.ledger_format()
    assert newest in found, "`make stored` keeps a folder of the new format"
    later = range(7, newest + 1)
    assert found == {6: [12, 0], **{number: [0, 12] for number in later}}, "in `claims`, in windows"


def claims_in(ledger: Path) -> list[int]:
    """How many rows are claimed one by one, and how many in windows."""
    with closing(sqlite3.connect(ledger)) as record:
        (single,) = record.execute("SELECT count(*) FROM claims").fetchone()
        windows = record.execute("SELECT name FROM sqlite_master WHERE name = 'claim_windows'")
        if not windows.fetchall():
            return [single, 0]
        texts = record.execute("SELECT ranges FROM claim_windows").fetchall()
        ended = {row for (row,) in record.execute("SELECT row FROM results")}
    rows = {
        row
        for (text,) in texts
        for first, last in json.loads(text)
        for row in range(first, last + 1)
    }
    return [single, len(rows - ended)]


def test_runs_are_listed_with_how_their_rows_ended(stored):
    listed = {each["run"]: each for each in stored.told("runs")}
    assert set(stored.runs.values()) < set(listed)
    for scenario, run in stored.runs.items():
        counts = {name: count for name, count in listed[run]["counts"].items() if count}
        assert counts == stored.statuses.get(scenario, {}), scenario
    unfinished = {each["run"] for each in stored.told("runs", "--unfinished")}
    assert unfinished == {stored.runs[name] for name in ("killed", "dropped", "paused", "stopped")}


def test_a_finished_run_is_shown_from_its_report(stored):
    (shown,) = stored.told("runs", stored.runs["finished"])
    counts = {name: count for name, count in shown["counts"].items() if count}
    assert counts == stored.statuses["finished"]
    (told,) = stored.told("runs", "--entity", "xsolla.coupon:finished_rejected")
    assert (told["run"], told["status"]) == (stored.runs["finished"], "rejected")
    met = stored.pipeline("runs", stored.runs["finished"], "--exchange", "6")
    assert "no_such_sku" in met.out, met


def test_a_report_is_made_again_with_the_same_rows(stored):
    run = stored.runs["finished"]
    before = stored.results(run)
    assert len(before) == sum(stored.statuses["finished"].values())
    shutil.rmtree(stored.folder / "reports" / run)
    assert stored.pipeline("runs", run).code == 0
    assert stored.results(run) == before


def test_the_report_of_a_killed_run_says_what_is_in_doubt(stored):
    run = stored.runs["killed"]
    stored.pipeline("runs", run)
    assert Counter(stored.rows(run).values()) == KILLED
    assert not stored.updates()


def test_a_killed_run_is_carried_on_and_nothing_is_sent_twice(stored):
    run = stored.runs["killed"]
    stored.lift_pause()
    done = stored.pipeline("resume", run, "--yes")
    assert stored.rows(run) == dict.fromkeys(range(1, 19), "updated"), done
    assert stored.updates() == dict.fromkeys(LEFT_TO_SEND, 1)


def test_a_pause_on_record_holds_until_it_is_lifted(stored):
    run = stored.runs["stopped"]
    assert stored.pipeline("resume", run, "--yes").code == 3
    assert not stored.updates()
    lifted = stored.lift_pause()
    assert 0 < lifted["lifted_s"] <= LONGEST_S
    assert "Retry-After: 86400" in lifted["words"]
    assert stored.pipeline("resume", run, "--yes").code == 0
    assert stored.rows(run) == dict.fromkeys(range(1, 7), "updated")
    assert stored.updates() == {str(40000 + n): 1 for n in range(1, 7)}


def test_a_paused_run_is_carried_on(stored):
    stored.lift_pause()
    assert stored.pipeline("resume", stored.runs["paused"], "--yes").code == 0
    assert stored.rows(stored.runs["paused"]) == dict.fromkeys(range(1, 4), "updated")


def test_a_plan_is_sent_and_verified(stored):
    sent = stored.pipeline("run", "--yes", "plan.parquet")
    assert sent.code == 0, sent
    run = stored.newest()
    assert stored.rows(run) == dict.fromkeys(range(1, 9), "updated")
    assert set(stored.updates()) == {
        *(f"planned_{n}" for n in range(1, 4)),
        *("550001", "550002"),
        *(f"planned-{n}" for n in range(1, 4)),
    }
    assert stored.pipeline("verify", run).code == 0


@pytest.mark.parametrize("way", [["undo", "RUN", "--yes"], ["run", "--yes", "undo.parquet"]])
def test_a_run_with_previous_states_is_undone(stored, tmp_path, way):
    """By the command, and by the plan that was made before."""
    run = stored.runs["kept"]
    stored.lift_pause()
    before, after = states_around(stored, tmp_path)
    assert before != after
    done = stored.pipeline(*(run if word == "RUN" else word for word in way))
    assert done.code == 0, done
    assert Counter(stored.rows(stored.newest()).values()) == {"updated": 10}
    assert stored.held() == before


def states_around(stored: Stored, tmp_path: Path) -> tuple[Any, Any]:
    """Brings the vendor to where the run left it, from another folder: the states around that.

    The simulator begins anew in between, as Adobe's etags count every change.
    """
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(stored.folder / "pipeline.toml", elsewhere)
    shutil.copy(stored.folder / "kept.csv", elsewhere)
    sent = typed(elsewhere, "run", "--yes", "--record-previous", "kept.csv", **stored.environ)
    assert sent.code == 0, sent
    after = stored.held()
    undone = typed(elsewhere, "undo", "latest", "--yes", **stored.environ)
    assert undone.code == 0, undone
    before = stored.held()
    reset(stored.vendor)
    again = typed(elsewhere, "run", "--yes", "--force-order", "kept.csv", **stored.environ)
    assert again.code == 0, again
    assert stored.held() == after
    return before, after


def test_rows_of_a_report_are_mended_and_sent(stored):
    """The columns that say which run and row they come from are read."""
    report = stored.folder / "reports" / stored.runs["finished"] / "errors.csv"
    text = report.read_text().replace("no_such_sku", "lantern").replace(",many,", ",3,")
    rows = list(csv.DictReader(text.splitlines()))
    mended = stored.folder / "mended.csv"
    with mended.open("w", newline="") as file:  # columns of other operations are unknown now
        used = [name for name in rows[0] if any(row[name] for row in rows)]
        writer = csv.DictWriter(file, used, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    sent = stored.pipeline("run", "--yes", "mended.csv")
    assert sent.code == 0, sent
    assert stored.updates() == dict.fromkeys(
        ["refused_1", "finished_rejected", "finished_invalid"], 1
    )


def test_rows_that_failed_are_sent_again(stored):
    done = stored.pipeline("resume", stored.runs["finished"], "--failed", "--yes")
    assert done.code == 1, done
    assert stored.updates() == dict.fromkeys(["refused_1", "finished_rejected"], 1)


def test_a_dropped_file_is_carried_on(stored):
    """It counts as another file since it was unpacked, and is set aside: it may hold other rows.

    A file is known by its number on the disk and the time of its last change.
    """
    inputs = stored.folder / "inputs" / "xsolla.coupon"
    env = environment(**stored.environ)
    watcher = start(stored.folder, "watch", "--settle", "0", "--quiet", env=env)
    try:
        until(lambda: any(inputs.glob(".failed/*/report")))
    finally:
        watcher.send_signal(signal.SIGINT)
        said = watcher.communicate(timeout=WITHIN_S)
    assert stored.rows(stored.runs["dropped"]) == dict.fromkeys(range(1, 7), "updated"), said
    sent = stored.updates()
    assert sent == dict.fromkeys(["hang_drop_1", "hang_drop_2", "dropped_3", "dropped_4"], 1)
    (file,) = inputs.glob(".failed/*/night.csv")
    assert {each.name for each in file.parent.iterdir()} == {"night.csv", "reason.txt", "report"}


def test_send_times_on_record_are_read_by_a_new_run(stored):
    """Each bears a checksum, and no request leaves before all of its quota are compared with it."""
    with closing(sqlite3.connect(stored.folder / ".pipeline" / "ledger.db")) as registry:
        groups = {name for (name,) in registry.execute("SELECT quota_group FROM departures")}
    assert {name.partition("|")[0] for name in groups} == {"adobe", "oracle", "xsolla"}
    (stored.folder / "new.csv").write_text("instance_id,/name\nnew-1,Lantern\n")
    sent = stored.pipeline("run", "--yes", "--operation", "adobe.fallback-offer", "new.csv")
    assert sent.code == 0, sent
    assert stored.updates() == {"new-1": 1}

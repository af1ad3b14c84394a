"""The file of one run: what survives, who can read it, and its error messages."""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import stat
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given

from pipeline.model import RowResult, RunAborted, Status
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import Sample
from pipeline.store import LedgerError, RunLedger, result_lines
from pipeline.store import run_ledger as module
from pipeline.store.database import Database, create
from tests.quick_start import CODE, QuickPopen
from tests.store.test_contract import RESULTS

LAST = 10**9
EXCHANGE = Exchange(2, Status.REJECTED, "0401", "curl -X PUT https://a.example", "HTTP 422")


def result(row: int, **fields) -> RowResult:
    return RowResult(row, "xsolla.coupon", "shop", Status.UPDATED, **fields)


def ended(path: Path, rows: range) -> Path:
    """A closed ledger with a result for each of `rows` and a claim for the row after."""
    with RunLedger.create(path) as ledger:
        ledger.record([rows.stop], [result(row, request_id=f"id-{row}") for row in rows])
    return path


# What survives

BATCH = 20
CHILD = f"""
import sys
from pathlib import Path
from pipeline.store import RunLedger
from pipeline.model import RowResult, Status

ledger = RunLedger(Path(sys.argv[1]))
for batch in range(int(sys.argv[2]), 1_000_000):
    rows = range({BATCH} * batch + 1, {BATCH} * (batch + 1) + 1)
    ledger.record(
        [row + {BATCH} for row in rows],
        [RowResult(row, "xsolla.coupon", "shop", Status.UPDATED) for row in rows],
    )
    print(batch, flush=True)
"""


def test_acknowledged_records_survive_a_kill(tmp_path):
    path = tmp_path / "ledger.db"
    RunLedger.create(path).close()
    commits = 0
    for least in (40, 7):
        child = QuickPopen(
            [*CODE, CHILD, str(path), str(commits)],
            stdout=subprocess.PIPE,
            text=True,
        )
        acknowledged = [int(child.stdout.readline()) for _ in range(least)]
        child.kill()
        acknowledged += map(int, child.stdout.read().split())
        child.stdout.close()
        child.wait()
        with RunLedger(path) as ledger:
            rows = [each.row for each in ledger.results(1, LAST)]
            claimed = list(ledger.claimed())
        commits = acknowledged[-1] + 1
        if len(rows) > BATCH * commits:  # the kill came between commit and acknowledgement
            commits += 1
        assert rows == list(range(1, BATCH * commits + 1))
        assert claimed == list(range(BATCH * commits + 1, BATCH * (commits + 1) + 1))


def test_every_commit_is_synced_to_the_disk(tmp_path):
    with RunLedger.create(tmp_path / "ledger.db") as ledger:
        query = ledger._database._connection.execute
        assert query("PRAGMA journal_mode").fetchone() == ("wal",)
        assert query("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_only_the_owner_can_read_it_and_closing_leaves_the_file_and_its_mark(tmp_path):
    with RunLedger.create(tmp_path / "ledger.db") as ledger:
        ledger.record([1], [])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert modes["ledger.db"] == modes["ledger.db-wal"] == 0o600
        assert set(modes.values()) == {0o600}
    assert {path.name for path in tmp_path.iterdir()} == {"ledger.db", "ledger.db-mark"}


def test_the_log_stays_small_however_long_a_reader_takes(tmp_path):
    path = tmp_path / "ledger.db"
    with RunLedger.create(path) as ledger:
        ledger.record([], [result(row) for row in range(1, 10_000)])
        reader = ledger.results(1, LAST)
        next(reader)
        for row in range(10_000, 10_030):
            ledger.record([], [result(row, error="x" * 2_000_000)])
        assert path.with_name("ledger.db-wal").stat().st_size < 20_000_000
        assert sum(1 for _ in reader) == 10_028


@pytest.mark.parametrize("count", [1, 2, 3, 5, 127, 300, 511, 512, 513, 1_025])
def test_any_number_of_results_is_one_commit(tmp_path, count):
    """They are written many in one step, whose rest is empty."""
    with RunLedger.create(tmp_path / "ledger.db") as ledger:
        before = ledger.commits
        ledger.record([], [result(row) for row in range(1, count + 1)])
        assert ledger.commits == before + 1
        assert list(ledger.results(1, LAST)) == [result(row) for row in range(1, count + 1)]
        with pytest.raises(LedgerError, match=f"^row {count} "):  # in the last place of a step
            ledger.record(
                [], [result(row) for row in range(count + 1, 2 * count)] + [result(count)]
            )
        assert ledger.counts() == {Status.UPDATED: count}


def test_it_serves_any_thread(tmp_path):
    with RunLedger.create(tmp_path / "ledger.db") as ledger:
        thread = threading.Thread(target=ledger.record, args=([2], [result(1)]))
        thread.start()
        thread.join()
        assert set(ledger.ended([1, 2])) == {1}


# A disk that refuses


def test_the_ledger_works_again_after_a_disk_error(tmp_path):
    path = tmp_path / "ledger.db"
    with RunLedger.create(path) as ledger:
        ledger.record([1, 2], [])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        room = path.with_name("ledger.db-wal").stat().st_size + 6000
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(room, 65_536), limits[1]))
        try:
            with pytest.raises(RunAborted, match=r"ledger\.db cannot be used: the disk refuses"):
                ledger.record([3], [result(1, error="x" * 100_000)])
            assert list(ledger.results(1, LAST)) == []
            assert list(ledger.claimed()) == [1, 2]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        ledger.record([3], [result(1)])
    with RunLedger(path) as ledger:
        assert list(ledger.results(1, LAST)) == [result(1)]
        assert list(ledger.claimed()) == [2, 3]


# A file that is not what was written


def test_a_flipped_bit_in_a_result_is_named(tmp_path):
    path = ended(tmp_path / "ledger.db", range(1, 100))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"id-57", b"id-56"))
    with pytest.raises(LedgerError, match=r"ledger\.db is damaged: the result of row 57 is not"):
        RunLedger(path)


def test_changes_under_an_open_ledger_are_noticed(tmp_path):
    with RunLedger(ended(tmp_path / "ledger.db", range(1, 9))) as ledger:
        ledger._database._connection.execute("UPDATE results SET status = 'failed' WHERE row = 3")
        with pytest.raises(LedgerError, match="row 3 is not what was written"):
            list(ledger.results(1, LAST))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE results SET row = 500 WHERE row = 5", "row 500"),  # another row's result
        ("UPDATE results SET record = 5 WHERE row = 5", "row 5"),
        ("UPDATE results SET checksum = 'x' WHERE row = 5", "row 5"),
        ("UPDATE results SET status = 'gone' WHERE row = 5", "row 5"),
        ("UPDATE results SET status = CAST(x'ff' AS TEXT) WHERE row = 5", "UTF-8"),
        ("UPDATE claim_windows SET ranges = '[[11,11]]'", "claims"),  # would free row 10
        ("UPDATE claim_windows SET ranges = 5", "claims"),
        ("UPDATE claim_windows SET ranges = x'5b5d'", "claims"),
        ("UPDATE claim_windows SET checksum = 'x'", "claims"),
        ("INSERT INTO claims VALUES (11, -12)", "the claim of row 11"),  # as earlier versions did
    ],
)
def test_a_value_that_was_changed_is_noticed_on_opening(tmp_path, change, message):
    path = ended(tmp_path / "ledger.db", range(1, 10))
    database = sqlite3.connect(path)
    database.execute(change)
    database.commit()
    database.close()
    with pytest.raises(LedgerError, match=message):
        RunLedger(path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE exchanges SET record = x'5b5d'",
        "UPDATE exchanges SET record = 5",
        "UPDATE exchanges SET checksum = 'x'",
        "UPDATE exchanges SET checksum = checksum + 1",
        "UPDATE exchanges SET row = 7",
    ],
)
def test_a_changed_exchange_is_noticed(tmp_path, change):
    with RunLedger.create(tmp_path / "ledger.db") as ledger:
        ledger.record([], [result(2)], [EXCHANGE])
        ledger._database._connection.execute(change)
        with pytest.raises(LedgerError, match=r"the exchange of row \d is not what was written"):
            list(ledger.exchanges())


def test_a_changed_sample_is_noticed(tmp_path):
    with RunLedger.create(tmp_path / "ledger.db") as ledger:
        ledger.sample([Sample("shop", 1.0, 1.0, 1, 1, 1)])
        ledger._database._connection.execute("UPDATE samples SET latencies = '7'")
        with pytest.raises(LedgerError, match="a sample is not what was written"):
            list(ledger.samples())


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda content: content[:-4096], "malformed"),  # the last page is gone
        (lambda content: b"\0" * 4096 + content[4096:], "not a database"),
        (lambda content: content[:4096] + b"\xff" * 4096 + content[8192:], "damaged"),
        # one bit of a key's type, and queries would find no row
        (lambda content: content.replace(b"INTEGER PRIMARY", b"INTEGEQ PRIMARY"), "its tables"),
        (
            lambda content: content.replace(b"INTEGER PRIMARY KEY", b"INTEGER PRIMARY \xcbEY"),
            "tables",
        ),
        (lambda _content: b"row,status\n1,updated\n" * 999, "not a database"),
        (lambda _content: b"", "it ends at commit 0"),  # never mistaken for a new one
    ],
)
def test_a_file_that_is_no_ledger_gives_a_clear_error(tmp_path, cut, message):
    path = ended(tmp_path / "ledger.db", range(1, 2000))
    path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(LedgerError, match=message):
        RunLedger(path)


def test_an_empty_file_is_never_mistaken_for_a_new_one(tmp_path):
    path = ended(tmp_path / "ledger.db", range(1, 3))
    path.write_bytes(b"")
    path.with_name("ledger.db-mark").unlink()
    with pytest.raises(LedgerError, match="holds no record"):
        RunLedger(path)


def test_a_missing_ledger_is_not_created(tmp_path):
    with pytest.raises(RunAborted, match="No such file"):
        RunLedger(tmp_path / "ledger.db")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_ledger_is_not_created_again(tmp_path):
    path = ended(tmp_path / "ledger.db", range(1, 3))
    with pytest.raises(RunAborted, match="File exists"):
        RunLedger.create(path)
    with RunLedger(path) as ledger:
        assert set(ledger.ended([1, 2])) == {1, 2}


# Formats


def test_format_1_is_read(tmp_path):
    """A file as the first version wrote it, byte for byte where it matters."""
    path = tmp_path / "ledger.db"
    create(path)
    Database(path, module._MIGRATIONS[:1], may_be_empty=True).close()
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone() == (1,)
    record = b'["xsolla.coupon","shop",204,"","","",1,0.5,"r-1",""]'
    database.execute(
        "INSERT INTO results VALUES (1, 'updated', ?, ?)",
        (result_lines._checksum(1, "updated", record), record),
    )
    database.execute("INSERT INTO claims VALUES (2, -2)")
    database.execute("INSERT INTO samples VALUES (1, 'shop', 7.0, 1.0, 20, 3, 16, 0.0, '[4]')")
    database.commit()
    database.close()
    with RunLedger(path) as ledger:
        assert list(ledger.samples()) == [Sample("shop", 7.0, 1.0, 20, 3, 16, 0.0, (4,))]
        assert list(ledger.results(1, LAST)) == [
            result(1, http_status=204, attempts=1, seconds=0.5, request_id="r-1")
        ]
        assert list(ledger.claimed()) == [2]
        assert list(ledger.exchanges()) == []  # nothing of the kind was kept
        assert ledger.legs() == [Leg(1, "shop", 6.0, 7.0, 20, 0, 1.0, is_over=True)]
        ledger.record([], [result(2)], [EXCHANGE])
        assert list(ledger.exchanges()) == [EXCHANGE]


def test_claims_of_format_6_become_a_window_once(tmp_path):
    """Its claims were a row each, with the seed of the run."""
    path = tmp_path / "ledger.db"
    create(path)
    Database(path, module._MIGRATIONS[:6], may_be_empty=True, owner="monday").close()
    database = sqlite3.connect(path)
    ((seed,),) = database.execute("SELECT seed FROM owner")
    lines = [(row, -(row + seed)) for row in (2, 3, 9)]
    database.executemany("INSERT INTO claims VALUES (?, ?)", lines)
    database.commit()
    database.close()
    for _ in range(2):
        with RunLedger(path, run="monday") as ledger:
            assert list(ledger.claimed()) == [2, 3, 9]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT ranges FROM claim_windows").fetchall() == [
            ("[[2,3],[9,9]]",)
        ]
        assert database.execute("SELECT * FROM claims").fetchall() == []
    with RunLedger(path, run="monday") as ledger:
        ledger.release([2])
        ledger.record([2, 3], [result(9)])
        assert list(ledger.claimed()) == [2, 3]


@given(RESULTS)
def test_the_quick_record_of_a_success_is_the_one_of_all(each):
    row, operation, account, status, *rest = each
    record = json.dumps([operation, account, *rest], separators=(",", ":")).encode()
    checksum = result_lines._checksum(row, str(status), record, 7)
    assert result_lines.line_of(each, 7) == (row, str(status), checksum, record)


def test_the_checksum_never_changes():
    assert result_lines._checksum(1, "updated", b'["xsolla.coupon","shop"]') == 3_887_732_389


def test_a_copy_of_a_closed_ledger_is_a_ledger(tmp_path):
    path = ended(tmp_path / "ledger.db", range(1, 5))
    shutil.copy(path, tmp_path / "copy.db")
    with RunLedger(tmp_path / "copy.db") as ledger:
        assert [each.row for each in ledger.results(1, LAST)] == [1, 2, 3, 4]

"""A record that is older than it was is noticed, and what is left of it sends nothing again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from zlib import crc32

import polars as pl
import pytest

from pipeline.config import load_config
from pipeline.model import DamagedError, RunAborted, Status
from pipeline.reporter import Summary
from pipeline.run import Prepared, RunEnvironment, carry_out, prepare, reopen
from pipeline.run.failed_rows import prepare_failed
from pipeline.run.history import entry, report_of
from pipeline.run.recover import CODE
from pipeline.runs import RunOptions, open_store
from pipeline.runs.retention import remove
from pipeline.store import LedgerError
from pipeline.store.on_files.records import LEDGER, witness_of
from pipeline.store.parquet import ParquetWriter, read_metadata
from pipeline.store.seam import LostRecordError
from pipeline.vendors import load_vendors
from tests.run.test_old_rows import cells, drop, requests, statuses, workplace
from tests.run.test_run import send
from tests.workplace import ENVIRON, coupon

Restore = Callable[[Path, Path], object]
"""Is given the folder of a run, and a copy of it that is older."""

LOG, MARK = f"{LEDGER}-wal", f"{LEDGER}-mark"
ROWS = range(1, 7)


async def killed(prepared: Prepared) -> Summary:
    """Its process had sent all rows, and no report was made yet."""
    summary = await carry_out(prepared, RunEnvironment(environ=ENVIRON))
    assert summary.statuses[Status.UPDATED] == len(ROWS)
    shutil.rmtree(prepared.report_folder)
    open_store(prepared.config).runs.change_state(prepared.run, "sending", counts={})
    return summary


def put_back(*names: str) -> Restore:
    def restore(folder: Path, older: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)
            if (older / name).exists():
                shutil.copy2(older / name, folder)

    return restore


def put_folder_back(folder: Path, older: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(older, folder)


def without_witness(folder: Path, older: Path) -> None:
    put_folder_back(folder, older)
    shutil.rmtree(folder.parent.parent / "marks")


def lost(*names: str) -> Restore:
    def lose(folder: Path, _older: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return lose


def emptied(folder: Path, _older: Path) -> None:
    (folder / LEDGER).write_bytes(b"")


def of_another_run(folder: Path, _older: Path) -> None:
    (other,) = (each for each in folder.parent.iterdir() if each != folder)
    for name in (LEDGER, LOG, MARK):
        (folder / name).unlink(missing_ok=True)
        if (other / name).exists():
            shutil.copy2(other / name, folder)


def flipped_witness(folder: Path, _older: Path) -> None:
    content = bytearray(witness_of(folder / LEDGER).read_bytes())
    content[3] ^= 4
    witness_of(folder / LEDGER).write_bytes(content)


RESTORES = [
    pytest.param(put_back(LEDGER, LOG, MARK), set(), id="the record and what lies beside it"),
    pytest.param(put_back(LEDGER, LOG), set(), id="the record without its mark"),
    pytest.param(put_folder_back, set(), id="the whole folder of the run"),
    pytest.param(without_witness, set(), id="the folder, and the witness is gone"),
    pytest.param(lost(LEDGER), set(), id="the file is gone"),
    pytest.param(lost(LEDGER, LOG, MARK), set(), id="all files are gone"),
    pytest.param(emptied, set(), id="the file is empty"),
    pytest.param(of_another_run, set(), id="the record of another run"),
    pytest.param(flipped_witness, {*ROWS}, id="a bit of the witness is flipped"),
]


@pytest.mark.parametrize(("restore", "kept"), RESTORES)
async def test_an_older_record_is_refused_and_what_is_left_of_it_sends_nothing(
    tmp_path: Path, restore: Restore, kept: set[int]
) -> None:
    async with workplace(tmp_path) as (vendor, config):
        other = await send(drop(tmp_path, coupon(1, "z"), name="other.csv"), config)
        first = prepare(drop(tmp_path, *map(coupon, ROWS)), config, RunOptions())
        older = tmp_path / "older"
        shutil.copytree(first.folder, older)
        await killed(first)
        restore(first.folder, older)
        sent = requests(vendor)
        with pytest.raises(LostRecordError, match=f"`pipeline runs {first.run}` keeps the results"):
            await carry_out(reopen(first.run, config), RunEnvironment(environ=ENVIRON))
        with pytest.raises(LostRecordError):
            prepare_failed(first.run, config)
        assert requests(vendor) == sent

        said: list[str] = []
        summary, is_new = report_of(config, first.run, said.append)
        assert is_new
        assert any("unknown now: " in words for words in said)
        told = statuses(summary, config)
        assert {row for row, status in told.items() if status == "updated"} == kept
        assert {status for row, status in told.items() if row not in kept} <= {"unknown"}
        assert {CODE} == set(cells(summary, config, "_error_code").values()) or kept
        assert entry(config, first.run).condition == "finished"
        assert list(first.folder.glob("lost-*")) or not (older / LEDGER).exists() or not kept

        again = await carry_out(reopen(first.run, config), RunEnvironment(environ=ENVIRON))
        assert requests(vendor) == sent
        assert again.statuses == summary.statuses
        failed = prepare_failed(first.run, config)
        assert (failed is None) == bool(kept)
        if failed is not None:
            settled = await carry_out(failed, RunEnvironment(environ=ENVIRON))
            assert settled.statuses[Status.UPDATED] == len(ROWS)
        put_folder_back(first.folder, older)  # once more: the new record had come further
        with pytest.raises(LostRecordError):
            await carry_out(reopen(first.run, config), RunEnvironment(environ=ENVIRON))
        assert entry(config, other.run).condition == "finished"


async def test_of_invalid_rows_that_are_lost_it_is_known_that_they_were_not_sent(
    tmp_path: Path,
) -> None:
    async with workplace(tmp_path) as (_, config):
        rows = [*map(coupon, ROWS), coupon(7).replace("elven_shield", "")]
        first = prepare(drop(tmp_path, *rows), config, RunOptions())
        await killed(first)
        for name in (LEDGER, LOG, MARK):
            (first.folder / name).unlink(missing_ok=True)
        summary, _ = report_of(config, first.run)
    assert statuses(summary, config) == {**dict.fromkeys(ROWS, "unknown"), 7: "invalid"}


async def test_a_removed_run_leaves_no_witness(tmp_path: Path) -> None:
    async with workplace(tmp_path) as (_, config):
        done = await send(drop(tmp_path, coupon(1)), config)
        marks = config.ledger_folder / "marks"
        assert {each.name for each in marks.iterdir()} == {"ledger.db", f"{done.run}-ledger.db"}
        remove(config, done.run)
        assert {each.name for each in marks.iterdir()} == {"ledger.db"}


# What stands beside the record


def swapped(folder: Path, name: str) -> None:
    (other,) = (each for each in folder.parent.iterdir() if each != folder)
    shutil.copy2(other / name, folder / name)


@pytest.mark.parametrize("name", ["run.json", "jobs-shop.parquet", "snapshot.parquet"])
async def test_a_whole_file_of_another_run_is_refused(tmp_path: Path, name: str) -> None:
    async with workplace(tmp_path) as (vendor, config):
        await send(drop(tmp_path, coupon(1, "z"), name="other.csv"), config)
        stopped = await killed(prepare(drop(tmp_path, *map(coupon, ROWS)), config, RunOptions()))
        sent = requests(vendor)
        swapped(config.ledger_folder / "runs" / stopped.run, name)
        with pytest.raises(DamagedError, match="it is another file than the one") as caught:
            reopen(stopped.run, config)
        assert name in str(caught.value)
        assert f"remove it with `pipeline runs {stopped.run} --prune`" in str(caught.value)
        assert requests(vendor) == sent


async def test_of_a_run_whose_jobs_are_damaged_there_is_a_report(tmp_path: Path) -> None:
    async with workplace(tmp_path) as (vendor, config):
        stopped = await killed(prepare(drop(tmp_path, *map(coupon, ROWS)), config, RunOptions()))
        folder = config.ledger_folder / "runs" / stopped.run
        content = bytearray((folder / "jobs-shop.parquet").read_bytes())
        content[99] ^= 2
        (folder / "jobs-shop.parquet").write_bytes(content)
        sent = requests(vendor)
        with pytest.raises(DamagedError, match="the checksum of its rows 1 to 6 does not match"):
            reopen(stopped.run, config)
        summary, is_new = report_of(config, stopped.run)
        assert is_new
        assert summary.statuses == stopped.statuses
        assert requests(vendor) == sent


# What an earlier version left


def as_of_before(folder: Path, registry: Path) -> None:
    """No checksums anywhere."""
    for name in ("jobs-shop.parquet", "snapshot.parquet"):
        rewrite(folder / name, pl.read_parquet(folder / name))
    path = folder / "run.json"
    stored = json.loads(path.read_text())
    del stored["checksum"], stored["snapshot"]["checksum"]
    del stored["bound"]["jobs"]["shop"]["checksum"]
    path.write_text(json.dumps(stored))
    with closing(sqlite3.connect(registry)) as database, database:
        database.execute("UPDATE runs SET description = '', credentials = '{}', commits = 0")
        (row,) = database.execute("SELECT * FROM runs").fetchall()
        checksum = crc32(json.dumps([row[0], *row[2:-3]]).encode())
        database.execute("UPDATE runs SET checksum = ?", (checksum,))


def rewrite(path: Path, frame: pl.DataFrame) -> None:
    metadata = read_metadata(path)
    with ParquetWriter(path, frame.schema, metadata=metadata) as writer:
        writer.write(frame)


def changed(name: str, column: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        frame = pl.read_parquet(folder / name)
        cells = pl.col(column).str.replace(old, new, literal=True)
        rewrite(folder / name, frame.with_columns(cells))

    return change


@pytest.mark.parametrize(
    ("damage", "row"),
    [
        pytest.param(lambda _folder: None, None, id="sound"),
        pytest.param(changed("jobs-shop.parquet", "job", "row 5", "row 6"), 5, id="another job"),
        pytest.param(changed("jobs-shop.parquet", "entity", "|c6", "|c5"), 6, id="another entity"),
        pytest.param(changed("snapshot.parquet", "name.en-US", "row 2", "row 3"), 2, id="a cell"),
    ],
)
async def test_files_of_an_earlier_version_are_held_against_each_other(
    tmp_path: Path, damage: Callable[[Path], None], row: int | None
) -> None:
    async with workplace(tmp_path) as (vendor, config):
        invalid = coupon(7).replace("elven_shield", "")
        path = drop(tmp_path, *map(coupon, ROWS), invalid)
        stopped = await killed(prepare(path, config, RunOptions()))
        folder = config.ledger_folder / "runs" / stopped.run
        as_of_before(folder, config.ledger)
        damage(folder)
        sent = requests(vendor)
        if row is None:
            summary = await carry_out(reopen(stopped.run, config), RunEnvironment(environ=ENVIRON))
            assert summary.statuses[Status.UPDATED] == len(ROWS)
            return
        with pytest.raises(DamagedError, match=f"row {row} is another job"):
            reopen(stopped.run, config)
        assert requests(vendor) == sent


TWO = """
[accounts.one]
vendor = "xsolla"
project_id = 44056
api_key = "env:KEY"
[accounts.two]
vendor = "xsolla"
project_id = 44057
api_key = "env:KEY"
[input."xsolla.coupon"]
accounts = ["one", "two"]
"""


def test_files_of_two_accounts_cannot_stand_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "pipeline.toml").write_text(TWO)
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=tmp_path)
    path = drop(tmp_path, coupon(1), coupon(2))
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},account", f"{rows[0]},one", f"{rows[1]},two"]) + "\n")
    prepared = prepare(path, config, RunOptions())
    prepared.lease.release()
    one, two = (prepared.bound.jobs[name].path for name in ("one", "two"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(DamagedError, match=r"jobs-one\.parquet is damaged: it is another"):
        reopen(prepared.run, config)


# The file that runs share


@pytest.mark.parametrize("is_with_mark", [False, True])
async def test_an_older_registry_is_refused(tmp_path: Path, *, is_with_mark: bool) -> None:
    async with workplace(tmp_path) as (vendor, config):
        await send(drop(tmp_path, coupon(1)), config)
        older = tmp_path / "older"
        older.mkdir()
        names = ["ledger.db", "ledger.db-wal", *(["ledger.db-mark"] if is_with_mark else [])]
        for name in names:
            if (config.ledger_folder / name).exists():
                shutil.copy2(config.ledger_folder / name, older)
        await send(drop(tmp_path, coupon(2), name="b.csv"), config)
        sent = requests(vendor)
        put_back(*names)(config.ledger_folder, older)
        with pytest.raises(RunAborted, match="it ends at commit"):
            await send(drop(tmp_path, coupon(3), name="c.csv"), config)
        with pytest.raises(LedgerError):
            open_store(config).runs.names()
        assert requests(vendor) == sent

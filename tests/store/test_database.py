"""One SQLite file opened with care."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing, suppress
from pathlib import Path

import pytest

from pipeline.model import RunAborted
from pipeline.store import LedgerError, RunLedger
from pipeline.store.database import Database, create, error_for

FIRST = (
    "CREATE TABLE offers (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO offers VALUES (1, 'a;b');"
)
SECOND = "ALTER TABLE offers ADD COLUMN price INTEGER; UPDATE offers SET price = id * 10;"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create(tmp_path / "some.db")
    return tmp_path / "some.db"


def killed_in_the_switch(path: Path) -> None:
    """Leave what a process leaves that is killed while it switches a new file to a log."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE offers (id)")
    head = bytes.fromhex("d9d505f920a163d7") + struct.pack(">5I", 0, 0, 0, 512, 4096)
    path.with_name(f"{path.name}-journal").write_bytes(head.ljust(512, b"\0"))


def fill(path: Path, *migrations: str) -> None:
    Database(path, migrations, may_be_empty=True).close()


def test_a_new_file_whose_maker_was_killed_is_made_again(path):
    killed_in_the_switch(path)
    fill(path, FIRST)
    assert not path.with_name(f"{path.name}-journal").exists()
    with closing(Database(path, [FIRST])) as database:
        assert database.rows("SELECT * FROM offers") == [(1, "a;b")]


def test_an_older_file_is_migrated(path):
    fill(path, FIRST)
    database = Database(path, [FIRST, SECOND])
    assert database.rows("SELECT * FROM offers") == [(1, "a;b", 10)]
    assert database.rows("PRAGMA user_version") == [(2,)]
    database.close()
    again = Database(path, [FIRST, SECOND])  # nothing is done twice
    assert again.rows("SELECT * FROM offers") == [(1, "a;b", 10)]
    again.close()


def test_a_newer_file_is_refused_and_left_alone(path):
    fill(path, FIRST, SECOND)
    before = path.read_bytes()
    with pytest.raises(RunAborted, match=r"has format 2, and this version reads up to 1\. Use the"):
        Database(path, [FIRST])
    assert path.read_bytes() == before


def test_a_newer_ledger_of_a_run_is_refused(tmp_path):
    path = tmp_path / "ledger.db"
    RunLedger.create(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(RunAborted, match="has format 99"):
        RunLedger(path)


def test_a_failed_migration_changes_nothing(path):
    fill(path, FIRST)
    with pytest.raises(LedgerError, match="no such table: nowhere"):
        Database(path, [FIRST, SECOND, "DELETE FROM offers; DELETE FROM nowhere;"])
    older = Database(path, [FIRST])
    assert older.rows("SELECT * FROM offers") == [(1, "a;b")]
    older.close()


def test_an_error_inside_rolls_back(path):
    fill(path, FIRST)
    database = Database(path, [FIRST])
    with suppress(KeyboardInterrupt), database.commit() as connection:
        connection.execute("DELETE FROM offers")
        raise KeyboardInterrupt
    with database.commit() as connection:
        connection.execute("INSERT INTO offers VALUES (2, 'c')")
    assert database.rows("SELECT id FROM offers") == [(1,), (2,)]
    database.close()


def test_a_busy_file_is_reported_after_a_wait(path):
    fill(path, FIRST)
    first, second = Database(path, [FIRST]), Database(path, [FIRST], wait_s=0.05)
    with (
        first.commit(),
        pytest.raises(RunAborted, match="another process is busy with it"),
        second.commit(),
    ):
        pass
    with second.commit() as connection:
        connection.execute("DELETE FROM offers")
    assert first.rows("SELECT * FROM offers") == []
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("code", "message", "is_damage"),
    [
        ("SQLITE_FULL", "the disk is full", False),
        ("SQLITE_IOERR_WRITE", "the disk refuses", False),  # EIO, EDQUOT, EFBIG
        ("SQLITE_IOERR_FSYNC", "the disk refuses", False),
        ("SQLITE_READONLY", "it is read-only", False),
        ("SQLITE_READONLY_DIRECTORY", "it is read-only", False),
        ("SQLITE_CANTOPEN", "it cannot be opened", False),  # no descriptors left, for one
        ("SQLITE_BUSY", "another process is busy", False),
        ("SQLITE_BUSY_SNAPSHOT", "another process is busy", False),
        ("SQLITE_NOMEM", "the memory is used up", False),
        ("SQLITE_CORRUPT", "is damaged", True),
        ("SQLITE_NOTADB", "is damaged", True),
        ("SQLITE_ERROR", "is damaged", True),  # our tables are not there
        ("SQLITE_CONSTRAINT_NOTNULL", "is damaged", True),
        ("", "is damaged", True),  # Python could not read a text
    ],
)
def test_result_codes_give_clear_errors(code, message, is_damage):
    error = error_for(Path("runs/ledger.db"), code, "words of SQLite")
    assert message in str(error)
    assert str(error).startswith("runs/ledger.db ")
    assert "words of SQLite" in str(error)
    assert isinstance(error, LedgerError) == is_damage


def test_a_folder_instead_of_a_file_gives_a_clear_error(tmp_path):
    with pytest.raises(RunAborted, match=r"Is a directory$"):
        Database(tmp_path, [FIRST])


def test_an_error_in_our_code_is_not_converted(path):
    fill(path, FIRST)
    database = Database(path, [FIRST])
    database.close()
    with pytest.raises(sqlite3.ProgrammingError):
        database.rows("SELECT 1")


@pytest.mark.parametrize("part", ["", "-wal"])
def test_a_commit_to_a_file_that_was_removed_raises(path, part):
    fill(path, FIRST)
    database = Database(path, [FIRST])
    with database.commit() as connection:
        connection.execute("INSERT INTO offers VALUES (3, 'y')")
    path.with_name(path.name + part).unlink()
    with pytest.raises(RunAborted, match=r"some\.db is gone: "), database.commit() as connection:
        connection.execute("INSERT INTO offers VALUES (4, 'z')")
    database.close()


def test_a_commit_to_a_file_that_was_replaced_raises(path):
    fill(path, FIRST)
    database = Database(path, [FIRST])
    path.rename(path.with_name("old.db"))
    create(path)
    with pytest.raises(RunAborted, match=r"some\.db is gone: "), database.commit() as connection:
        connection.execute("INSERT INTO offers VALUES (4, 'z')")
    database.close()

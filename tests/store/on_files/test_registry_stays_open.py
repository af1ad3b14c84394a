"""The registry stays open between calls, and notices what others do to its file meanwhile."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.model import RunAborted
from pipeline.store import Run
from pipeline.store.contract import LedgerError
from pipeline.store.on_files import FileStore
from pipeline.store.on_files.registry import FileRegistry
from pipeline.store.on_files.registry_file import RegistryFile
from pipeline.store.on_files.store import witness_of_registry
from pipeline.store.page_checks import AGAIN_AFTER_S

START = datetime(2026, 5, 1, tzinfo=UTC)


def run(name: str) -> Run:
    return Run(name=name, source="a.csv", sha256="ab", rows=3, started=START)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def store(path: Path) -> Iterator[FileStore]:
    with closing(FileStore(path)) as store:
        store.runs.add(run("first"))
        yield store


def log_of(path: Path) -> Path:
    return path.with_name("ledger.db-wal")


def test_the_end_of_another_process_locks_nobody_out(path, store):
    """The last one to close the file locks it while it writes back the log, and is not stopped
    there if this process has it open.
    """
    with closing(FileStore(path)) as other:
        other.runs.add(run("second"))
    assert log_of(path).stat().st_size > 0
    assert store.runs.names() == {"first", "second"}
    store.close()
    assert not log_of(path).exists()


def removed(path: Path) -> None:
    for each in path.parent.glob("ledger.db*"):
        each.unlink()


def older_copy(path: Path) -> None:
    with closing(sqlite3.connect(path.with_name("copy"))) as copy:
        copy.execute("VACUUM")
    removed(path)
    path.with_name("copy").replace(path)


def mark_changed(path: Path) -> None:
    witness_of_registry(path).write_bytes(b"x" * 20)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(removed, id="removed"),
        pytest.param(older_copy, id="older_copy"),
        pytest.param(mark_changed, id="mark_changed"),
    ],
)
def test_the_next_call_notices_what_was_done_to_the_file(path, store, change):
    change(path)
    with pytest.raises(LedgerError, match="is damaged"):
        store.runs.names()
    with pytest.raises(LedgerError, match="is damaged"):
        store.runs.add(run("second"))


def test_a_log_that_was_removed_is_written_back(path, store):
    log_of(path).unlink()
    assert store.runs.names() == {"first"}
    store.runs.add(run("second"))
    store.close()
    assert FileStore(path).runs.names() == {"first", "second"}


def test_what_a_cut_log_lost_is_noticed_when_the_file_is_opened_again(path, store):
    os.truncate(log_of(path), 0)
    with suppress(RunAborted, LedgerError):  # depends on which pages SQLite still has
        store.runs.add(run("second"))
    with suppress(RunAborted, LedgerError):
        store.close()
    with pytest.raises(LedgerError, match="is damaged"):
        FileStore(path).runs.names()


def test_a_newer_version_that_migrated_the_file_is_noticed(path, store):
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 999")
    with pytest.raises(RunAborted, match="has format 999"):
        store.runs.names()


def test_it_is_opened_again_after_a_while_and_after_an_error(path):
    now_s = [0.0]
    with closing(RegistryFile(path, clock=lambda: now_s[0])) as file:
        with file.opened() as first:
            pass
        now_s[0] = AGAIN_AFTER_S - 1.0
        with file.opened() as same:
            assert same is first
        now_s[0] = AGAIN_AFTER_S
        with file.opened() as second:
            assert second is not first
        with pytest.raises(ZeroDivisionError), file.opened():
            raise ZeroDivisionError
        with file.opened() as third:
            assert third is not second
        assert FileRegistry(file).names() == set()


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who locks a file")
def test_an_error_names_the_stopped_process_that_locks_the_file(path, store):
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"locked\n"
            holder.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
            second = RegistryFile(path, wait_s=0.05)
            with closing(second), pytest.raises(RunAborted) as caught, second.commit():
                pass
        finally:
            holder.kill()
    who = f"process {holder.pid}, which is stopped (`kill -CONT {holder.pid}` lets it go on)"
    assert f"another process is busy with it (database is locked): {who}. Try" in str(caught.value)

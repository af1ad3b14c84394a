"""Opens a SQLite file so that it is durable, private, versioned and checked for damage.

Independent of the tables in it.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Self
from zlib import crc32

from pipeline.model import RunAborted
from pipeline.store.commit_mark import CommitMark
from pipeline.store.contract import LedgerError, RecordGoneError
from pipeline.store.file_system import network_file_system_of
from pipeline.store.files import sync_folder
from pipeline.store.lock_holders import who_locks
from pipeline.store.page_checks import PageChecks

WAIT_S = 30.0
"""Longest wait for another process that is writing."""

OWNER = """
CREATE TABLE owner (name TEXT NOT NULL, seed INTEGER NOT NULL, checksum INTEGER NOT NULL);
"""

_CHECKPOINT_PAGES = 2000  # 8 MB: a checkpoint every second or two, not in every commit
_MAX_LOG_BYTES = 32 << 20
_RETRY_S = 0.02

_ROOM = "Make room"
_PERMISSIONS = "Fix the permissions of the file and its folder"
_RESULT_CODES = (  # start of the name of SQLite's result code, meaning, what to do
    ("SQLITE_FULL", "the disk is full", _ROOM),
    (
        "SQLITE_IOERR",
        "the disk refuses",
        "Check if it is full, over a quota or file size limit, or failing",
    ),
    ("SQLITE_READONLY", "it is read-only", _PERMISSIONS),
    ("SQLITE_PERM", "access is denied", _PERMISSIONS),
    ("SQLITE_CANTOPEN", "it cannot be opened", _PERMISSIONS),
    ("SQLITE_BUSY", "another process is busy with it", "Try again once that has ended"),
    ("SQLITE_LOCKED", "another process is busy with it", "Try again once that has ended"),
    ("SQLITE_PROTOCOL", "another process is busy with it", "Try again once that has ended"),
    ("SQLITE_NOMEM", "the memory is used up", "Give the process more of it"),
)
_PLAIN = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError)


def error_for(path: Path, code: str, words: str, holders: str = "") -> RunAborted:
    """The error for a result code of SQLite; LedgerError if the file itself is damaged.

    code     extended name, for example SQLITE_IOERR_WRITE; empty if the error came from Python
    words    SQLite's message
    holders  the processes that lock the file, if they are known

    >>> print(error_for(Path("ledger.db"), "SQLITE_FULL", "database or disk is full"))
    ledger.db cannot be used: the disk is full (database or disk is full). Make room
    >>> print(error_for(Path("ledger.db"), "SQLITE_BUSY", "database is locked", "process 71"))
    ledger.db cannot be used: another process is busy with it (database is locked): process 71. \
Try again once that has ended
    """
    for start, what, todo in _RESULT_CODES:
        if code.startswith(start):
            who = f": {holders}" if holders else ""
            return RunAborted(f"{path} cannot be used: {what} ({words}){who}. {todo}")
    return damaged(path, words)


def damaged(path: Path, what: str) -> LedgerError:
    """The error for a file that changed after it was written."""
    return LedgerError(
        f"{path} is damaged: {what}. The disk or another program changed it, or put an older copy "
        "in its place"
    )


@contextmanager
def ledger_errors(path: Path) -> Iterator[None]:
    """Convert errors of SQLite and the operating system to RunAborted or LedgerError."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # an error in our own code
    except (
        UnicodeDecodeError
    ) as error:  # SQLite quotes a damaged schema, which Python cannot decode
        raise damaged(path, "its tables are not those that were made") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "")
        holders = who_locks(path) if code.startswith("SQLITE_BUSY") else ""
        raise error_for(path, code, str(error), holders) from error
    except OSError as error:
        todo = "" if isinstance(error, _PLAIN) else ". Make room or fix the permissions"
        raise RunAborted(f"{path} cannot be used: {error.strerror}{todo}") from error


def create(path: Path) -> None:
    """Create an empty file, readable by its owner only, whose name survives loss of power.

    Raises FileExistsError if there is one.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    for folder in path.absolute().parents:  # they may be new as well
        with suppress(OSError):  # a folder that we may not open existed before
            sync_folder(folder)


class Database:
    """An existing SQLite file, migrated to the current format.

    migrations    scripts; number n migrates format n to n + 1. New ones are only appended
    may_be_empty  True if an empty file is a new one; otherwise it is damaged
    wait_s        longest wait for another process that is writing
    witness       path of a second mark of the last commit, besides the one beside the file
    at_least      number of a commit that is known to be in the file
    owner         name of the run that the record belongs to, if `migrations` create the table
                  `OWNER`: a file with another name is refused. Empty accepts any
    checks        remembers recent page checks, so that they are not repeated; None always checks

    Usable from any thread, one call at a time. Raises RunAborted if the file cannot be used, and
    LedgerError if it is damaged, including its pages.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[str],
        *,
        may_be_empty: bool = False,
        wait_s: float = WAIT_S,
        witness: Path | None = None,
        at_least: int = 0,
        owner: str = "",
        checks: PageChecks | None = None,
    ) -> None:
        self.path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._migrated_to = len(migrations)
        self.seed = 0
        """Seed of the checksums of rows, so that rows of another owner's file do not match. 0 if an
        earlier version created the file, or it has no owner."""
        with ledger_errors(path):
            _refuse_network(path)
            if path.stat() and path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._mark = CommitMark(path, witness)
            try:
                self._check_commits(at_least)
                self._connection = _connect(path, "rw", wait_s)
                self._identity = _identity(path)
            except BaseException:
                self._mark.close()
                raise
            try:
                is_new = self._format() == 0
                self._check_format(migrations, may_be_empty=may_be_empty)
                self._set_up(wait_s)
                self._migrate(migrations)
                self._check_tables(migrations)
                self._check_pages(checks or PageChecks())
                if OWNER in migrations:
                    self._check_owner(owner, is_new=is_new)
            except BaseException:
                self._connection.close()
                self._mark.close()
                raise

    @property
    def commits(self) -> int:
        """Number of the last commit."""
        with ledger_errors(self.path):
            return _commits(self._connection)

    @contextmanager
    def commit(self, at_least: int = 0) -> Iterator[sqlite3.Connection]:
        """Make everything executed inside durable at the end, or nothing if it raises.

        at_least  smallest number for this commit
        """
        with ledger_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                commits = max(_commits(self._connection) + 1, at_least)
                self._connection.execute(f"PRAGMA application_id = {commits}")
                self._connection.execute("COMMIT")
            except BaseException:
                self.roll_back()
                raise
            self._check_is_there()
            self._mark.note(commits)

    def _check_is_there(self) -> None:
        """Raise RecordGoneError if the file has no name any more, or its log has none.

        An open file that was removed accepts every commit, and nobody can read it afterwards.
        """
        if not self._is_there():
            raise RecordGoneError(
                f"{self.path} is gone: another program removed it, or put another file in its "
                "place. Nothing is sent that is not on record"
            )

    def _is_there(self) -> bool:
        try:
            self._log.stat()
            return _identity(self.path) == self._identity
        except (FileNotFoundError, NotADirectoryError):
            return False

    def is_current(self) -> bool:
        """True if it is still the file that was opened, has all commits that are on record, and no
        newer version has migrated it. Opening it again says what is wrong.
        """
        with ledger_errors(self.path):
            try:
                return (
                    self._is_there()
                    and self._mark.read().commits <= _commits(self._connection)
                    and self._format() == self._migrated_to
                )
            except (ValueError, sqlite3.DatabaseError):  # the mark or the file was changed
                return False

    def roll_back(self) -> None:
        """Roll back the open transaction, if there is one. SQLite ends some by itself."""
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # the earlier error matters more
                self._connection.execute("ROLLBACK")

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query. Fetches all at once: an open query would block checkpoints."""
        with ledger_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Write the log to the file, if the disk allows, and close it."""
        with ledger_errors(self.path):
            try:
                self._connection.close()
            finally:
                self._mark.close()

    def _check_owner(self, owner: str, *, is_new: bool) -> None:
        """Raise LedgerError if the file belongs to another owner.

        A file of an earlier version has no name yet and gets this one.
        """
        found = self.rows("SELECT name, seed, checksum FROM owner")
        if not found and not owner:
            return
        if not found:
            found = [_owner_line(owner, seed_of(owner) if is_new else 0)]
            with self.commit() as connection:
                connection.execute("INSERT INTO owner VALUES (?, ?, ?)", found[0])
        owner = owner or found[0][0]
        if found not in ([_owner_line(owner, seed)] for seed in (0, seed_of(owner))):
            raise damaged(self.path, f"it is not the record of {owner}")
        self.seed = found[0][1]

    def _check_commits(self, at_least: int) -> None:
        """Raise LedgerError if completed commits are missing.

        Opens the file read-only: otherwise, closing it would write back the readable part of a
        damaged log, and remove the log.
        """
        try:
            marked, fault = self._mark.read(), self._mark.fault_of_log()
        except ValueError as error:
            raise damaged(self.path, str(error)) from error
        log = self._log
        if fault is not None:
            raise damaged(log, fault)
        found = self._found_commits()
        if found < (expected := max(marked.commits, at_least)):
            at_fault = log if log.exists() and log.stat().st_size else self.path
            raise damaged(
                at_fault, f"it ends at commit {found}, and commit {expected} was on record"
            )

    def _found_commits(self) -> int:
        try:
            with closing(_connect(self.path, "ro", WAIT_S)) as connection:
                return _commits(connection)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_READONLY_ROLLBACK":
                raise
        # who first switched the new file to a log was killed, and left a journal to roll back
        with closing(_connect(self.path, "rw", WAIT_S)) as connection:
            return _commits(connection)

    def _format(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _check_format(self, migrations: Sequence[str], *, may_be_empty: bool) -> None:
        found = self._format()
        if found > len(migrations):
            raise RunAborted(
                f"{self.path} has format {found}, and this version reads up to {len(migrations)}. "
                "Use the version that wrote it, or a newer one"
            )
        if found < 0 or (found == 0 and not may_be_empty):
            raise damaged(self.path, "it holds no record")

    def _set_up(self, wait_s: float) -> None:
        execute = self._connection.execute
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        execute(f"PRAGMA journal_size_limit = {_MAX_LOG_BYTES}")
        give_up_s = time.monotonic() + wait_s
        while True:
            try:
                mode = execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except (
                sqlite3.OperationalError
            ) as error:  # two processes that switch at once do not wait
                is_busy = error.sqlite_errorname.startswith("SQLITE_BUSY")
                if not is_busy or time.monotonic() > give_up_s:
                    raise
                time.sleep(_RETRY_S)
        if mode != "wal":
            raise RunAborted(
                f"{self.path} cannot be used: its file system has no shared memory. "
                "Set `ledger` to a place on a local disk"
            )

    def _migrate(self, migrations: Sequence[str]) -> None:
        if self._format() == len(migrations):
            return
        with self.commit() as connection:
            for number in range(
                self._format(), len(migrations)
            ):  # read again inside the transaction
                for statement in _statements(migrations[number]):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(migrations)}")

    def _check_tables(self, migrations: Sequence[str]) -> None:
        """Raise LedgerError if a table's definition changed.

        With one flipped bit in the word INTEGER of a key, every query would find nothing.
        """
        if _tables_made(tuple(migrations)) != _tables(self._connection):
            raise damaged(self.path, "its tables are not those that were made")

    def _check_pages(self, checks: PageChecks) -> None:
        """Raise LedgerError if pages, the order of their rows, or indexes are inconsistent."""
        if not checks.is_due(self.path):
            return
        (words,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if words != "ok":
            raise damaged(self.path, " ".join(str(words).split()))
        checks.passed(self.path)


def sum_of(values: Sequence[object], seed: int = 0) -> int:
    """Checksum of the values of a row; equal for 1, 1.0 and true, because columns convert them.

    >>> sum_of([1, "a"]) == sum_of([True, "a"]) != sum_of([1, "b"])
    True
    """
    alike = [float(each) if isinstance(each, int | float) else repr(each) for each in values]
    return crc32(json.dumps(alike).encode(), seed)


def seed_of(owner: str) -> int:
    """Seed of the checksums of an owner's rows.

    >>> seed_of("monday") == seed_of("tuesday")
    False
    """
    return crc32(owner.encode())


def _owner_line(owner: str, seed: int) -> tuple[str, int, int]:
    return owner, seed, crc32(f"{owner} {seed}".encode())


class DatabaseRecord:
    """Base of records that are kept in a database; a context manager that closes it."""

    _database: Database

    def close(self) -> None:
        """Close the file; all records are on the disk."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def read_only(path: Path) -> sqlite3.Connection:
    """Open a read-only connection, without any checks. Raises sqlite3.Error."""
    return _connect(path, "ro", WAIT_S)


def _connect(path: Path, mode: str, wait_s: float) -> sqlite3.Connection:
    """Connect to an existing file; by default, SQLite would create a missing one."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=wait_s,
        isolation_level=None,
        check_same_thread=False,
    )


def _identity(path: Path) -> tuple[int, int]:
    """Device and number of the file that has this name now."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _commits(connection: sqlite3.Connection) -> int:
    """Number of commits, kept in the field of the file header that is free for applications."""
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def _tables(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    query = "SELECT name, sql FROM sqlite_master ORDER BY name"
    return connection.execute(query).fetchall()


@lru_cache
def _tables_made(migrations: tuple[str, ...]) -> list[tuple[str, str]]:
    """The tables of a new file."""
    with closing(sqlite3.connect(":memory:")) as made:
        made.executescript("".join(migrations))
        return _tables(made)


def _statements(script: str) -> Iterator[str]:
    """Split a script into statements, because `executescript` would commit by itself.

    >>> list(_statements("CREATE TABLE a (b); CREATE TABLE c (d);"))
    ['CREATE TABLE a (b);', 'CREATE TABLE c (d);']
    """
    statement = ""
    for piece in script.split(";")[:-1]:
        statement = f"{statement}{piece};"
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def _refuse_network(path: Path) -> None:
    kind = network_file_system_of(path.parent)
    if kind is not None:
        raise RunAborted(
            f"{path} cannot be kept on a network file system ({kind}): locks do not hold there. "
            "Set `ledger` to a place on a local disk"
        )

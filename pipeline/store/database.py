"""One SQLite file, opened with care: durable, private, versioned, its troubles told in words.

Knows nothing of what stands in it.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from zlib import crc32

from pipeline.model import RunAborted
from pipeline.store.commit_mark import CommitMark
from pipeline.store.contract import LedgerError
from pipeline.store.file_system import network_file_system_of
from pipeline.store.files import sync_folder
from pipeline.store.page_checks import PageChecks

WAIT_S = 30.0
"""How long a call waits for another process that is writing."""

OWNER = """
CREATE TABLE owner (name TEXT NOT NULL, seed INTEGER NOT NULL, checksum INTEGER NOT NULL);
"""

_CHECKPOINT_PAGES = 2000  # 8 MB: the file is caught up every second or two, not in every commit
_MOST_LOG_BYTES = 32 << 20
_RETRY_S = 0.02

_ROOM = "Make room"
_PERMISSIONS = "Mend the permissions of the file and of its folder"
_TROUBLES = (  # start of the name of SQLite's result code, what it means, what to do
    ("SQLITE_FULL", "the disk is full", _ROOM),
    (
        "SQLITE_IOERR",
        "the disk refuses",
        "See whether it is full, over a quota or a limit on file size, or failing",
    ),
    ("SQLITE_READONLY", "it may only be read", _PERMISSIONS),
    ("SQLITE_PERM", "access is denied", _PERMISSIONS),
    ("SQLITE_CANTOPEN", "it cannot be opened", _PERMISSIONS),
    ("SQLITE_BUSY", "another process is busy with it", "Try again once that has ended"),
    ("SQLITE_LOCKED", "another process is busy with it", "Try again once that has ended"),
    ("SQLITE_PROTOCOL", "another process is busy with it", "Try again once that has ended"),
    ("SQLITE_NOMEM", "the memory is used up", "Give the process more of it"),
)
_PLAIN = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError)


def error_for(path: Path, code: str, words: str) -> RunAborted:
    """What SQLite's result code means, in words; LedgerError where the file itself is at fault.

    code   its extended name, for example SQLITE_IOERR_WRITE; empty where Python gave up by itself
    words  SQLite's own message

    >>> print(error_for(Path("ledger.db"), "SQLITE_FULL", "database or disk is full"))
    ledger.db cannot be used: the disk is full (database or disk is full). Make room
    """
    for start, what, todo in _TROUBLES:
        if code.startswith(start):
            return RunAborted(f"{path} cannot be used: {what} ({words}). {todo}")
    return damaged(path, words)


def damaged(path: Path, what: str) -> LedgerError:
    """The error for a file that is not what was written."""
    return LedgerError(
        f"{path} is damaged: {what}. The disk or another program changed it, or put an older copy "
        "in its place"
    )


@contextmanager
def ledger_errors(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the operating system become RunAborted or LedgerError."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # a mistake in our own code
    except (
        UnicodeDecodeError
    ) as error:  # SQLite quotes a damaged schema, and Python cannot read that
        raise damaged(path, "its tables are not those that were made") from error
    except sqlite3.Error as error:
        raise error_for(path, getattr(error, "sqlite_errorname", ""), str(error)) from error
    except OSError as error:
        todo = "" if isinstance(error, _PLAIN) else ". Make room or mend the permissions"
        raise RunAborted(f"{path} cannot be used: {error.strerror}{todo}") from error


def create(path: Path) -> None:
    """A new empty file that only its owner can read, and whose name survives loss of power.

    Raises FileExistsError where there is one.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    for folder in path.absolute().parents:  # they may be new as well
        with suppress(OSError):  # one that we may not open existed before us
            sync_folder(folder)


class Database:
    """An existing SQLite file, brought up to date.

    migrations    scripts; number n takes a file of format n to n + 1. Only ever appended to
    may_be_empty  whether a file without content is a new one; else it is a damaged one
    wait_s        for another process that is writing
    witness       where the number of its last commit is noted, beside the mark that lies with it
    at_least      a commit that is known to be in it from elsewhere
    owner         whose record it is, where `migrations` make the table `OWNER`: one that bears
                  another name is refused. Empty: whosever it is
    checks        of files that are opened again and again: one that passed one of late is not
                  compared page by page. None: it always is

    Usable from any thread, one call at a time. Raises RunAborted where the file cannot be used, and
    LedgerError where it is damaged, down to the order of its pages.
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
        self.seed = 0
        """What the checksums of rows start from: rows of another owner's file do not fit. 0 where
        an earlier version began the file, or it has no owner."""
        with ledger_errors(path):
            _refuse_network(path)
            if path.stat() and path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._mark = CommitMark(path, witness)
            try:
                self._check_commits(at_least)
                self._connection = _connect(path, "rw", wait_s)
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
        """All that is executed inside becomes durable at the end, or none of it where it raises.

        at_least  what the number of this commit is to be at least
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
            self._mark.note(commits)

    def roll_back(self) -> None:
        """Give up the open transaction, if there is one: SQLite ends some by itself."""
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # what went wrong before comes first
                self._connection.execute("ROLLBACK")

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query. Nothing stays open behind it: an open one would hold up the log."""
        with ledger_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Write everything to the one file, where the disk lets us, and let go of it."""
        with ledger_errors(self.path):
            try:
                self._connection.close()
            finally:
                self._mark.close()

    def _check_owner(self, owner: str, *, is_new: bool) -> None:
        """Raise LedgerError where the file is the record of somebody else.

        One that an earlier version made bears no name yet: it is given its own.
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
        """Raise LedgerError where commits that had returned are not there any more.

        The file is opened for reading only: closing it would write back what SQLite still takes of
        a damaged log, and remove it.
        """
        try:
            marked, fault = self._mark.read(), self._mark.fault_of_log()
        except ValueError as error:
            raise damaged(self.path, str(error)) from error
        log = self.path.with_name(f"{self.path.name}-wal")
        if fault is not None:
            raise damaged(log, fault)
        with closing(_connect(self.path, "ro", WAIT_S)) as connection:
            found = _commits(connection)
        if found < (expected := max(marked.commits, at_least)):
            at_fault = log if log.exists() and log.stat().st_size else self.path
            raise damaged(
                at_fault, f"it ends at commit {found}, and commit {expected} was on record"
            )

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
        execute(f"PRAGMA journal_size_limit = {_MOST_LOG_BYTES}")
        give_up_s = time.monotonic() + wait_s
        while True:
            try:
                mode = execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:  # two that switch at once do not wait
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
            for number in range(self._format(), len(migrations)):  # asked again: now it is ours
                for statement in _statements(migrations[number]):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(migrations)}")

    def _check_tables(self, migrations: Sequence[str]) -> None:
        """Raise LedgerError where a table is not as it was made: one bit in the word INTEGER of a
        key, and every query would find nothing.
        """
        made = sqlite3.connect(":memory:")
        try:
            made.executescript("".join(migrations))
            if _tables(made) != _tables(self._connection):
                raise damaged(self.path, "its tables are not those that were made")
        finally:
            made.close()

    def _check_pages(self, checks: PageChecks) -> None:
        """Raise LedgerError where pages, the order of rows in them, or indexes do not fit."""
        if not checks.is_due(self.path):
            return
        (words,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if words != "ok":
            raise damaged(self.path, " ".join(str(words).split()))
        checks.passed(self.path)


def sum_of(values: Sequence[object], seed: int = 0) -> int:
    """Checksum of the values of a row: the same for 1, 1.0 and true, which columns may turn around.

    >>> sum_of([1, "a"]) == sum_of([True, "a"]) != sum_of([1, "b"])
    True
    """
    alike = [float(each) if isinstance(each, int | float) else repr(each) for each in values]
    return crc32(json.dumps(alike).encode(), seed)


def seed_of(owner: str) -> int:
    """What the checksums of an owner's rows start from.

    >>> seed_of("monday") == seed_of("tuesday")
    False
    """
    return crc32(owner.encode())


def _owner_line(owner: str, seed: int) -> tuple[str, int, int]:
    return owner, seed, crc32(f"{owner} {seed}".encode())


class DatabaseOwner:
    """What keeps its record in a database; a context that lets go of it in the end."""

    _database: Database

    def close(self) -> None:
        """Let go of the file; what was recorded is on the disk."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing and has looked at nothing. Raises sqlite3.Error."""
    return _connect(path, "ro", WAIT_S)


def _connect(path: Path, mode: str, wait_s: float) -> sqlite3.Connection:
    """A connection to a file that is there; SQLite would make a missing one."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=wait_s,
        isolation_level=None,
        check_same_thread=False,
    )


def _commits(connection: sqlite3.Connection) -> int:
    """How many there were: the number that SQLite keeps for applications in the file's head."""
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def _tables(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    query = "SELECT name, sql FROM sqlite_master ORDER BY name"
    return connection.execute(query).fetchall()


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit on its own.

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

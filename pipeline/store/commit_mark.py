"""Records the number of a database's last commit in a mark beside it, and in a witness elsewhere.

SQLite treats the first unsound frame of its log as the end of the log. That is right for a torn
commit. After a flipped bit, completed commits would be lost silently. So each commit is numbered in
the file, and once it is durable its number is written to the mark. A kill loses neither. The mark
is not synced: after a loss of power it may be older than the file, never newer.

The witness is a copy of the mark in another folder. It remains if somebody restores an older copy
of the file together with its mark, or of its whole folder.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from pipeline.store.wal import SALTS_AT, begins_with_a_commit, read_head

_RECORD = struct.Struct("<q8sI")
_NO_SALTS = bytes(8)
_TRIES = 3


class Marked(NamedTuple):
    """The content of a mark; the defaults if there is none.

    commits  number of the last commit that returned
    salts    salts of the newest log that began with a whole commit
    """

    commits: int = 0
    salts: bytes = _NO_SALTS


class CommitMark:
    """The mark of one file, and its witness; creates them if they are missing. Raises OSError.

    witness  path of the witness; None for none

    Safe between processes. It does not open the database file itself, because closing it would
    release SQLite's locks on it.
    """

    def __init__(self, path: Path, witness: Path | None = None) -> None:
        self._log_path = path.with_name(f"{path.name}-wal")
        self._file = _opened(mark_of(path))
        self._witness = None if witness is None else _opened(witness)
        self._log: FileIO | None = None
        self._salts = _NO_SALTS

    def read(self) -> Marked:
        """The newer of mark and witness. Raises ValueError if either was changed."""
        found = [_read(self._file, "mark beside it")]
        if self._witness is not None:
            found.append(_read(self._witness, f"mark {self._witness.name}"))
        return max(found)

    def note(self, commits: int) -> None:
        """Record that the commit of this number is durable.

        If the disk fails, the mark stays older; the commit remains valid.
        """
        with suppress(OSError, ValueError):
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                if _read(self._file, "").commits < commits:
                    data = _RECORD.pack(commits, self._newest_salts(), 0)[:-4]
                    data += struct.pack("<I", crc32(data))
                    for file in filter(None, (self._file, self._witness)):
                        os.pwrite(file.fileno(), data, 0)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _newest_salts(self) -> bytes:
        """Salts of the current log, or of the previous one if another process just restarted it."""
        if self._log is None:  # the same log file while the database is open
            self._log = self._log_path.open("rb", buffering=0)
        if os.pread(self._log.fileno(), *SALTS_AT) != self._salts and (
            salts := _sound_salts(self._log_path)
        ):
            self._salts = salts
        return self._salts

    def fault_of_log(self) -> str | None:
        """Why SQLite would ignore a log that has commits; None if it would not."""
        fault = None
        for _ in range(_TRIES):  # a writing process may restart the log meanwhile
            marked = self.read()
            fault = _fault(self._log_path, marked.salts)
            if fault is None:
                return None
        return fault

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._witness is not None:
            self._witness.close()
        if self._log is not None:
            self._log.close()


def mark_of(path: Path) -> Path:
    """The mark beside a file.

    >>> mark_of(Path("run/ledger.db")).as_posix()
    'run/ledger.db-mark'
    """
    return path.with_name(f"{path.name}-mark")


def commits_in(mark: Path) -> int:
    """The number in a mark or witness; 0 if it is missing or damaged."""
    try:
        with mark.open("rb", buffering=0) as file:
            return _read(file, "").commits
    except (OSError, ValueError):
        return 0


def _opened(path: Path) -> FileIO:
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb+", buffering=0)


def _read(file: FileIO, name: str) -> Marked:
    data = os.pread(file.fileno(), _RECORD.size, 0)
    if not any(data):
        return Marked()
    try:
        commits, salts, checksum = _RECORD.unpack(data)
    except struct.error:
        checksum = None
    if checksum != crc32(data[:-4]):
        raise ValueError(f"the {name} is not what was written")
    return Marked(commits, salts)


def _sound_salts(log_path: Path) -> bytes | None:
    with log_path.open("rb") as log:
        head = read_head(log)
        return head.salts if head is not None and begins_with_a_commit(log, head) else None


def _fault(log_path: Path, salts: bytes) -> str | None:
    try:
        with log_path.open("rb") as log:
            head = read_head(log)
            if head is None or head.salts != salts or begins_with_a_commit(log, head):
                return None
            return "its first commit is not what was written"
    except FileNotFoundError:
        return None
    except ValueError as error:
        return str(error)

"""How far a record had come when its last commit returned: a mark beside its file, and elsewhere.

SQLite takes the first unsound frame of its log for the end of the log. That is right for a commit
that was torn; where a byte was flipped, commits that had returned would be gone without a word. So
each one is counted in the file, and once it is durable its number goes into the mark. A kill takes
nothing from either. The mark is not synced: after loss of power it may be an older one, never one
ahead of the file.

The witness is the same in another folder: it stays where the record is put back as it was some time
ago, together with the mark beside it, or with its whole folder.
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
_LOOKS = 3


class Marked(NamedTuple):
    """What a mark says; of a file that has none, nothing is known.

    commits  number of the last one that returned
    salts    of a log that begins with a whole commit, and was the newest such log by then
    """

    commits: int = 0
    salts: bytes = _NO_SALTS


class CommitMark:
    """The mark of one file and its witness, which it makes where there are none. Raises OSError.

    witness  where that is; None: there is none

    Safe between processes. Of the file itself nothing is opened: closing it would take away
    SQLite's locks on it.
    """

    def __init__(self, path: Path, witness: Path | None = None) -> None:
        self._log_path = path.with_name(f"{path.name}-wal")
        self._file = _opened(mark_of(path))
        self._witness = None if witness is None else _opened(witness)
        self._log: FileIO | None = None
        self._salts = _NO_SALTS

    def read(self) -> Marked:
        """What the newer of the two says. Raises ValueError where one is not what was written."""
        found = [_read(self._file, "mark beside it")]
        if self._witness is not None:
            found.append(_read(self._witness, f"mark {self._witness.name}"))
        return max(found)

    def note(self, commits: int) -> None:
        """The commit of that number is durable.

        Where the disk refuses, the mark stays behind; the commit stands all the same.
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
        """Of the log as it is; of an earlier one, where another process has just begun it anew."""
        if self._log is None:  # it stays this one while the file is open
            self._log = self._log_path.open("rb", buffering=0)
        if os.pread(self._log.fileno(), *SALTS_AT) != self._salts and (
            salts := _sound_salts(self._log_path)
        ):
            self._salts = salts
        return self._salts

    def fault_of_log(self) -> str | None:
        """Why SQLite will take nothing of a log from which there is something to take, or None."""
        fault = None
        for _ in range(_LOOKS):  # a process that writes may begin it anew meanwhile
            marked = self.read()
            fault = _fault(self._log_path, marked.salts)
            if fault is None:
                return None
        return fault

    def close(self) -> None:
        """Let go of it."""
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
    """What a mark or a witness says, whatever became of it; 0 where that is nothing sound."""
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

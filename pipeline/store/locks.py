"""Locks between processes of one machine, held as long as a file is open: the kernel lets go of a
dead process's lock, whatever it died of.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from pipeline.store.database import ledger_errors

_READ_BYTES = 65_536


class Holder(NamedTuple):
    """Who holds a lock, as it wrote itself down.

    since  UTC
    """

    pid: int
    command: str
    since: datetime


class Lock:
    """One lock. The file says who holds it, and stays when nobody does.

    command  what the holder is called; None: the command line of this process

    Leaving it as a context releases it. Two `Lock`s of one file exclude each other, within one
    process too. Raises RunAborted where the file cannot be used.
    """

    def __init__(self, path: Path, command: str | None = None) -> None:
        self._path = path
        self._command = shlex.join(sys.argv) if command is None else command
        self._file: int | None = None

    def acquire(self, *, wait: bool) -> bool:
        """Take the lock: True once it is held, False where another holds it.

        wait  until it is free, however long; in a thread, nothing can break that off
        """
        if self._file is not None:
            return True
        with ledger_errors(self._path):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                _write(file, self._command)
            except BlockingIOError:
                os.close(file)
                return False
            except BaseException:
                os.close(file)
                raise
            self._file = file
            return True

    def holder(self) -> Holder | None:
        """Who holds it; None where nobody wrote that down. To be asked where `acquire` failed: of
        a holder that was killed the name stays until the next.
        """
        try:
            found = json.loads(self._path.read_bytes()[:_READ_BYTES])
            return Holder(
                int(found["pid"]), str(found["command"]), datetime.fromisoformat(found["since"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_in_place(self) -> bool:
        """Whether it is held, and its file still stands where others look for it."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except OSError:
            return False

    def held_by(self) -> str:
        """The same in words."""
        holder = self.holder()
        return f"process {holder.pid} ({holder.command})" if holder else "another process"

    def release(self) -> None:
        """Let go, where it is held."""
        if self._file is not None:
            file, self._file = self._file, None
            with ledger_errors(self._path):
                try:
                    os.ftruncate(file, 0)
                finally:
                    os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _write(file: int, command: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "command": command, "since": now})
    os.ftruncate(file, 0)
    os.pwrite(file, text.encode(), 0)

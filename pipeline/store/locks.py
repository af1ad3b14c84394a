"""Locks between processes of one machine. The kernel releases the lock of a process that ends."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from pipeline.store.database import ledger_errors

_READ_BYTES = 65_536


class Holder(NamedTuple):
    """The process that holds a lock.

    since  UTC
    """

    pid: int
    command: str
    since: datetime


class Lock:
    """A lock on a file. The file names the holder, and remains after the release.

    command  name of the holder; None uses the command line of this process

    Leaving it as a context releases it. Two `Lock`s of one file exclude each other, also within one
    process. Raises RunAborted if the file cannot be used.
    """

    def __init__(self, path: Path, command: str | None = None) -> None:
        self._path = path
        self._command = shlex.join(sys.argv) if command is None else command
        self._file: int | None = None

    def acquire(self, *, wait: bool, unless: Callable[[], bool] = lambda: False) -> bool:
        """Acquire the lock. Return False if another holds it.

        wait    wait until it is free; this cannot be cancelled in a thread
        unless  called once no other holds it: if it returns True, the lock is left as it was
        """
        if self._file is not None:
            return True
        with ledger_errors(self._path):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if unless():
                    os.close(file)
                    return False
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
        """The holder in the file; None if there is none.

        Call it after `acquire` failed: the name of a killed holder remains until the next one.
        """
        try:
            found = json.loads(self._path.read_bytes()[:_READ_BYTES])
            return Holder(
                int(found["pid"]), str(found["command"]), datetime.fromisoformat(found["since"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_locked(self) -> bool:
        """True if a process holds the lock. Those that only ask do not disturb each other."""
        try:
            with self._path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def is_in_place(self) -> bool:
        """True if the lock is held and its file still has its path."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except OSError:
            return False

    def held_by(self) -> str:
        """The holder, for messages."""
        holder = self.holder()
        return f"process {holder.pid} ({holder.command})" if holder else "another process"

    def release(self) -> None:
        """Release the lock if it is held."""
        if self._file is not None:
            file, self._file = self._file, None
            with ledger_errors(self._path):
                try:
                    os.ftruncate(file, 0)
                finally:
                    os.close(file)

    def abandon(self) -> None:
        """Release the lock as the end of the process would: its file still names the holder."""
        if self._file is not None:
            file, self._file = self._file, None
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

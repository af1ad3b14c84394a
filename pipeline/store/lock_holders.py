"""Finds the processes that keep a SQLite file locked, to name them in an error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_LOCKS = Path("/proc/locks")
_PROCESSES = Path("/proc")
_STOPPED = {"T", "t"}  # by a signal, or by a debugger


def who_locks(path: Path) -> str:
    """The processes that lock a database against others, in words; empty if none is known.

    Only Linux tells, and only of processes in the same container.
    """
    if sys.platform != "linux":
        return ""
    places = []
    for file in (path, path.with_name(f"{path.name}-shm")):
        with suppress(OSError):
            found = file.stat()
            device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
            places.append(f"{device}:{found.st_ino}")
    try:
        holders = sorted(set(holders_of(places, _LOCKS.read_text().splitlines())))
    except OSError:
        return ""
    return in_words((pid, _is_stopped(pid)) for pid in holders if pid != os.getpid())


def holders_of(places: Iterable[str], locks: Iterable[str]) -> Iterator[int]:
    """The processes that hold a lock for writing, from lines of /proc/locks (see proc_locks(5)).

    places  of files: device and inode, as these lines have them

    >>> lines = ["1: POSIX  ADVISORY  WRITE 71 fe:00:12 120 120",
    ...          "1: -> POSIX  ADVISORY  WRITE 72 fe:00:12 120 120",
    ...          "2: POSIX  ADVISORY  READ 73 fe:00:12 123 123",
    ...          "3: FLOCK  ADVISORY  WRITE 74 fe:00:12 0 EOF",
    ...          "4: POSIX  ADVISORY  WRITE 75 fe:00:13 120 120"]
    >>> list(holders_of(["fe:00:12"], lines))
    [71]
    """
    wanted = set(places)
    for line in locks:
        match line.split():
            case [_, "POSIX", _, "WRITE", pid, place, *_] if place in wanted:
                yield int(pid)


def in_words(holders: Iterable[tuple[int, bool]]) -> str:
    """Processes, and for each if it is stopped, in words.

    >>> in_words([(71, True), (72, False)])
    'process 71, which is stopped (`kill -CONT 71` lets it go on), and process 72'
    """
    return " and ".join(
        f"process {pid}, which is stopped (`kill -CONT {pid}` lets it go on),"
        if is_stopped
        else f"process {pid}"
        for pid, is_stopped in holders
    ).rstrip(",")


def _is_stopped(pid: int) -> bool:
    try:
        text = (_PROCESSES / str(pid) / "stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] in _STOPPED  # its name may hold anything

"""Lets another process stand still where it is in nobody's way."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.waiting import until

STANDS = "TtZX"
"""States of a process that does nothing: it was stopped, or has ended."""


def stand_still(pid: int, folder: Path) -> None:
    """SIGSTOP, and it stands still when this returns, or has ended.

    It does not stand amid a commit to the registry in `folder`: all others would wait for it.
    """

    def stands_well() -> bool:
        os.kill(pid, signal.SIGSTOP)
        until(lambda: _state(pid) in STANDS)
        if _is_free(folder / ".pipeline" / "ledger.db"):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    until(stands_well)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _is_free(path: Path) -> bool:
    """Whether anybody can write to a database."""
    with closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
        return True

"""Stops processes."""

import os
import signal
from pathlib import Path

from pipeline.store.lock_holders import who_locks
from tests.waiting import until


def stop_between_commits(pid: int, ledger: Path) -> None:
    """SIGSTOP, and it stands still when this returns.

    Not amid a commit to the registry: SQLite would keep all others out of it until it goes on.
    """
    while True:
        os.kill(pid, signal.SIGSTOP)
        until(lambda: _state_of(pid) in {"T", "Z"})
        if f"process {pid}" not in who_locks(ledger):
            return
        os.kill(pid, signal.SIGCONT)


def _state_of(pid: int) -> str:
    text = Path("/proc", str(pid), "stat").read_text(encoding="utf-8")
    return text.rpartition(")")[2].split()[0]

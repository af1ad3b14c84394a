"""Which signals stop a run."""

from __future__ import annotations

import signal


def stop_signals() -> list[signal.Signals]:
    """Those that ask a process to end: Ctrl-C, SIGTERM, and a terminal that was closed.

    `nohup` ignores the last one, and so does its child.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers

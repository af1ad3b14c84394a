"""What the exit code of a command says."""

from __future__ import annotations

FAILED_ROWS, NOTHING_SENT, STOPPED, BUSY = 1, 2, 3, 4
INTERRUPTED = 128
"""Plus the number of the signal."""

"""By how much a machine that does other things may be late: bounds on time are longer by that."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STEPS = 4  # of processes, from one that hears to one that heeds


class Busyness:
    """How late the machine was so far.

    worst_s  most seconds by which it was late to wake a sleeper and to put a file on its disk
    """

    def __init__(self) -> None:
        self.worst_s = 0.0

    @property
    def late_s(self) -> float:
        """By so much what takes several steps may be late; next to nothing if nothing else runs."""
        return STEPS * self.worst_s


@contextmanager
def busyness(folder: Path) -> Iterator[Busyness]:
    """How late the machine is while the block runs; a file is written to the folder."""
    found, is_over = Busyness(), threading.Event()

    def look() -> None:
        before_s = time.monotonic()
        while not is_over.wait(0.01):
            with (folder / "busy").open("wb", buffering=0) as file:
                file.write(b"0")
                os.fsync(file.fileno())
            now_s = time.monotonic()
            found.worst_s = max(found.worst_s, now_s - before_s - 0.01)
            before_s = now_s

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()

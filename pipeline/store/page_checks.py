"""When files were last compared page by page: that takes longer the more a file holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

AGAIN_AFTER_S = 60.0
"""A check of the same file holds so long."""


class PageChecks:
    """The checks of one process, held by whoever opens the same files again and again.

    clock  seconds, rising

    A file is known by its place on the disk: one that another has replaced was not checked.

    >>> from tempfile import NamedTemporaryFile
    >>> now_s = [0.0]
    >>> checks = PageChecks(clock=lambda: now_s[0])
    >>> with NamedTemporaryFile() as file:
    ...     path = Path(file.name)
    ...     before = checks.is_due(path)
    ...     checks.passed(path)
    ...     after = checks.is_due(path)
    ...     now_s[0] = AGAIN_AFTER_S
    ...     before, after, checks.is_due(path)
    (True, False, True)
    """

    __slots__ = ("_clock", "_passed_s")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._passed_s: dict[tuple[int, int], float] = {}

    def is_due(self, path: Path) -> bool:
        """Whether the file has to be checked before it is used. Raises OSError."""
        passed_s = self._passed_s.get(_place(path))
        return passed_s is None or self._clock() - passed_s >= AGAIN_AFTER_S

    def passed(self, path: Path) -> None:
        """The file was checked and is sound. Raises OSError."""
        self._passed_s[_place(path)] = self._clock()


def _place(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino

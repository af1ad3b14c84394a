"""Remembers when files were last checked page by page, which takes longer for larger files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

AGAIN_AFTER_S = 60.0
"""Time after which a file is checked again."""


class PageChecks:
    """The page checks of one process, for files that it opens repeatedly.

    clock  monotonic seconds

    A file is identified by its inode, so a replacement counts as not checked.

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
        """True if the file must be checked before use. Raises OSError."""
        passed_s = self._passed_s.get(_place(path))
        return passed_s is None or self._clock() - passed_s >= AGAIN_AFTER_S

    def passed(self, path: Path) -> None:
        """Record that the file was checked and is sound. Raises OSError."""
        self._passed_s[_place(path)] = self._clock()


def _place(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino

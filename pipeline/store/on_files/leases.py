"""Leases on files: locks of the kernel, and the registry for who waits.

A lease that is held ends only with its process. A process that waits writes that to the registry,
with the time, again and again; of those that wait the first gets the lease. The wish of a process
that was stopped or killed counts no more after WISH_LASTS_S.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from pipeline.model import RunAborted
from pipeline.store.contract import LedgerError
from pipeline.store.locks import Lock
from pipeline.store.on_files.boot_clock import Moment
from pipeline.store.on_files.registry_file import RegistryFile
from pipeline.store.seam import LeaseHolder

LOCKS = "locks"
"""Name of the folder of locks that belong to no run."""

WISH_AGAIN_S = 0.5
"""A wish is written again after so long at the earliest: each time is a commit."""

WISH_LASTS_S = 2.0
"""A wish counts for so long. It is written once a second, by a process that may be late."""

_FORGET = "DELETE FROM wishes WHERE lease = ? AND NOT (boot = ? AND at_s > ?)"
_WISH = """
INSERT INTO wishes (lease, wisher, boot, at_s) VALUES (?, ?, ?, ?)
ON CONFLICT (wisher) DO UPDATE SET at_s = excluded.at_s
"""
_WISHERS = """
SELECT wisher FROM wishes WHERE lease = ? AND boot = ? AND at_s > ? ORDER BY number
"""


class FileLease:
    """A lease on a file.

    key   name of the lease in the registry
    path  of its lock
    now   reads all clocks
    """

    def __init__(self, key: str, path: Path, file: RegistryFile, now: Callable[[], Moment]) -> None:
        self.key = key
        self._path = path
        self._lock = Lock(path)
        self._file = file
        self._now = now
        self._wisher = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._wished_s = -math.inf
        self._epoch = 0
        self._is_held = False

    @property
    def epoch(self) -> int:
        """How often this object took it."""
        return self._epoch

    @property
    def sure_until_s(self) -> float:
        """Infinity while it is held: it ends with the process."""
        return math.inf if self._is_held else -math.inf

    def take(self) -> bool:
        """Take the lease unless another holds it, or waits for it for longer."""
        if self._is_held:
            return True
        self._make_folder()
        if not self._lock.acquire(wait=False, unless=self._is_others_turn):
            self._wish()
            return False
        self._withdraw()
        self._is_held = True
        self._epoch += 1
        return True

    def renew(self) -> bool:
        """True while it is held: it ends with the process."""
        return self._is_held

    def is_wanted(self) -> bool:
        """True if another process waits; False if that cannot be read."""
        with suppress(RunAborted):
            return any(wisher != self._wisher for wisher in self._wishers())
        return False

    def is_held(self) -> bool:
        """True if a process holds the lock."""
        return self._is_held or self._lock.is_locked()

    def is_alive(self) -> bool:
        """True if a process holds the lock: it ends with the process."""
        return self.is_held()

    def holder(self) -> LeaseHolder | None:
        """The holder that the lock's file names."""
        found = self._lock.holder()
        return None if found is None else LeaseHolder("", *found)

    def release(self) -> None:
        """Let others take it, and wait for it no more."""
        self._is_held = False
        self._withdraw()
        self._lock.release()

    def abandon(self) -> None:
        """Let others take it, as if this process had been killed."""
        self._is_held = False
        self._lock.abandon()

    def _make_folder(self) -> None:
        folder = self._path.parent
        if folder.name == LOCKS:  # that of a run must be there
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise RunAborted(f"{folder} cannot be made: {error.strerror}") from error

    def _is_others_turn(self) -> bool:
        """True if another process is the first of those that wait."""
        try:
            return next(iter(self._wishers()), self._wisher) != self._wisher
        except LedgerError:
            raise
        except RunAborted:  # then nobody could write a wish either
            return False

    def _wishers(self) -> list[str]:
        now = self._now()
        values = self.key, now.boot, now.boot_s - WISH_LASTS_S
        return [wisher for (wisher,) in self._file.rows(_WISHERS, values)]

    def _wish(self) -> None:
        """Write the wish unless that was just done. Who was late stands in line again."""
        if time.monotonic() < self._wished_s + WISH_AGAIN_S:
            return
        now = self._now()
        try:
            with self._file.commit() as connection:
                connection.execute(_FORGET, (self.key, now.boot, now.boot_s - WISH_LASTS_S))
                connection.execute(_WISH, (self.key, self._wisher, now.boot, now.boot_s))
        except LedgerError:
            raise
        except RunAborted:  # the holder hears of it later
            return
        self._wished_s = time.monotonic()

    def _withdraw(self) -> None:
        if self._wished_s == -math.inf:
            return
        self._wished_s = -math.inf
        with suppress(RunAborted), self._file.commit() as connection:  # it will not last
            connection.execute("DELETE FROM wishes WHERE wisher = ?", (self._wisher,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

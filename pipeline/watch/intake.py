"""Takes dropped files that are complete, and says once of each that cannot be taken why."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.watch.claims import Drops
from pipeline.watch.events import Event, FileStuck, FileWaiting
from pipeline.watch.notes import Claim
from pipeline.watch.problems import DropError
from pipeline.watch.settling import ObservedFile

RETRY_S = 60.0
"""So often it is tried again to take a file that could not be taken."""
HELD_TOLD_S = 30.0
"""That a file is complete but for a process that has it open is said after so long."""


@dataclass(slots=True)
class _Waiting:
    """A file that was not taken. `since_s` and `again_s` are of a monotonic clock."""

    version: object
    since_s: float
    again_s: float
    is_held: bool = False
    is_told: bool = False


class FileIntake:
    """One process's memory of what it could not take.

    drops  where files are taken from
    tell   is told of each file that stays, once
    """

    def __init__(self, drops: Drops, tell: Callable[[Event], None]) -> None:
        self._drops = drops
        self._tell = tell
        self._waiting: dict[Path, _Waiting] = {}
        self._troubles: set[str] = set()

    @property
    def held(self) -> int:
        """How many files are complete but for a process that has them open for writing."""
        return sum(each.is_held for each in self._waiting.values())

    def take(self, look: ObservedFile, now_s: float) -> Claim | None:
        """The claim of a file; None where it is gone or stays for now.

        now_s  monotonic

        Raises RunAborted where the folder as a whole cannot be used.
        """
        waiting = self._waiting.get(look.path)
        if waiting is None or waiting.version != look.version:
            waiting = self._waiting[look.path] = _Waiting(look.version, now_s, now_s)
        if now_s < waiting.again_s:
            return None
        waiting.is_held = self._drops.is_being_written(look.path)
        if waiting.is_held:
            self._tell_held(look.path, waiting, now_s)
            return None
        try:
            claim = self._drops.claim(look.path, datetime.now(UTC))
        except DropError as error:
            waiting.again_s = now_s + RETRY_S
            self._tell_once(FileStuck(look.path, str(error)), waiting)
            return None
        del self._waiting[look.path]
        return claim

    def _tell_held(self, file: Path, waiting: _Waiting, now_s: float) -> None:
        if now_s >= waiting.since_s + HELD_TOLD_S:
            self._tell_once(FileWaiting(file, "a process has it open for writing"), waiting)

    def _tell_once(self, event: Event, waiting: _Waiting) -> None:
        if not waiting.is_told:
            waiting.is_told = True
            self._tell(event)

    def looked(self, seen: Collection[Path]) -> None:
        """Forget files that are gone; say what could not be looked into, unless that was said."""
        self._waiting = {path: each for path, each in self._waiting.items() if path in seen}
        troubles = dict(self._drops.troubles)
        for path, reason in troubles.items():
            if reason not in self._troubles:
                self._tell(FileStuck(path, reason))
        self._troubles = set(troubles.values())

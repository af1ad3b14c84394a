"""Claims complete files and reports each file that cannot be claimed once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

from pipeline.watch.drop_place import DropPlace
from pipeline.watch.events import Event, FileStuck, FileWaiting
from pipeline.watch.notes import Claim
from pipeline.watch.problems import DropError
from pipeline.watch.settling import ObservedFile

RETRY_S = 60.0
"""Seconds between attempts to claim a file that could not be claimed."""
REPORT_OPEN_AFTER_S = 30.0
"""Seconds after which a complete file that a process has open for writing is reported."""


@dataclass(slots=True)
class _Waiting:
    """A file that was not claimed.

    since_s  when it was first seen in this version; monotonic
    again_s  when to try again; monotonic
    """

    version: object
    since_s: float
    again_s: float
    is_held: bool = False
    is_reported: bool = False


class FileIntake:
    """Claims files and remembers those that it could not claim.

    tell  called once for each file that stays
    """

    def __init__(self, drops: DropPlace, tell: Callable[[Event], None]) -> None:
        self._drops = drops
        self._tell = tell
        self._waiting: dict[PurePath, _Waiting] = {}
        self._problems: set[str] = set()

    @property
    def held(self) -> int:
        """Number of complete files that a process has open for writing."""
        return sum(each.is_held for each in self._waiting.values())

    def claim(self, file: ObservedFile, now_s: float) -> Claim | None:
        """Claim a file; None if it is gone or stays for now.

        now_s  monotonic

        Raises RunAborted if the drop folder as a whole cannot be used.
        """
        waiting = self._waiting.get(file.path)
        if waiting is None or waiting.version != file.version:
            waiting = self._waiting[file.path] = _Waiting(file.version, now_s, now_s)
        if now_s < waiting.again_s:
            return None
        waiting.is_held = self._drops.is_being_written(file.path)
        if waiting.is_held:
            if now_s >= waiting.since_s + REPORT_OPEN_AFTER_S:
                event = FileWaiting(file.path, "a process has it open for writing")
                self._report_once(event, waiting)
            return None
        try:
            claim = self._drops.claim(file.path, datetime.now(UTC))
        except DropError as error:
            waiting.again_s = now_s + RETRY_S
            self._report_once(FileStuck(file.path, str(error)), waiting)
            return None
        del self._waiting[file.path]
        return claim

    def _report_once(self, event: Event, waiting: _Waiting) -> None:
        if not waiting.is_reported:
            waiting.is_reported = True
            self._tell(event)

    def on_scan(self, seen: Collection[PurePath]) -> None:
        """Forget files that are gone, and report new problems of the last scan.

        seen  the files that the scan found
        """
        self._waiting = {path: each for path, each in self._waiting.items() if path in seen}
        problems = dict(self._drops.problems)
        for path, reason in problems.items():
            if reason not in self._problems:
                self._tell(FileStuck(path, reason))
        self._problems = set(problems.values())

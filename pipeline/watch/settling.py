"""Decides which dropped files are complete. Pure: observations and times are arguments."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from pipeline.model.file_names import is_hidden

SETTLE_S = 2.0
"""Seconds without a change after which a file counts as complete."""

KINDS = (".csv", ".csv.gz", ".parquet")
REFUSED_KINDS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
"""Files that are claimed only to be quarantined with advice."""

MARKER = ".done"
"""Suffix of marker files: `a.csv.done` says that `a.csv` is complete."""

_TEMPORARY = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".swp", "~")


def is_candidate(name: str) -> bool:
    """Return whether a file of this name is to be claimed. Names of unfinished uploads are not.

    >>> [is_candidate(name) for name in ("a.csv", "A.Parquet", ".a.csv", "a.csv.part", "notes.txt")]
    [True, True, False, False, False]
    """
    lower = name.lower()
    if is_hidden(lower) or lower.startswith("~") or lower.endswith(_TEMPORARY):
        return False
    return lower.endswith(KINDS + REFUSED_KINDS)


@dataclass(frozen=True, slots=True)
class ObservedFile:
    """A file as a scan found it.

    version     equal as long as the file does not change
    arrived_ns  when it arrived or was last written to, for the order
    is_marked   True if its marker exists
    """

    path: PurePath
    version: Hashable
    arrived_ns: int
    is_marked: bool = False


class Settling:
    """Remembers when each file last changed.

    settle_s  seconds without a change after which a file is complete
    waiting   files of the last scan that are not complete

    >>> file = ObservedFile(PurePath("a.csv"), (3,), 7)
    >>> settling = Settling(settle_s=2.0)
    >>> settling.complete([file], now_s=10.0), settling.waiting
    ([], 1)
    >>> [each.path.name for each in settling.complete([file], now_s=12.0)]
    ['a.csv']
    """

    def __init__(self, settle_s: float = SETTLE_S) -> None:
        self._settle_s = settle_s
        self._since: Mapping[PurePath, tuple[Hashable, float]] = {}
        self.waiting = 0

    def complete(self, files: Iterable[ObservedFile], now_s: float) -> list[ObservedFile]:
        """Return the complete files of a scan in the order of their arrival.

        now_s  monotonic
        """
        since: dict[PurePath, tuple[Hashable, float]] = {}
        found = []
        for file in files:
            version, since_s = self._since.get(file.path, (None, now_s))
            if version != file.version:
                since_s = now_s
            since[file.path] = file.version, since_s
            if file.is_marked or now_s - since_s >= self._settle_s:
                found.append(file)
        self._since = since
        self.waiting = len(since) - len(found)
        return sorted(found, key=lambda file: (file.arrived_ns, str(file.path)))

"""Which dropped files are complete. Pure: the looks and their times are arguments."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SETTLE_S = 2.0
"""A file that did not change for so long is complete, unless a marker says so sooner."""

KINDS = (".csv", ".csv.gz", ".parquet")
REFUSED_KINDS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
"""These are taken too, so that whoever dropped one learns what to do."""

MARKER = ".done"
"""`a.csv.done` says that `a.csv` is complete."""

_TEMPORARY = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".swp", "~")


def is_candidate(name: str) -> bool:
    """Whether a file of this name is one to be sent. What is uploaded under another name is not.

    >>> [is_candidate(name) for name in ("a.csv", "A.Parquet", ".a.csv", "a.csv.part", "notes.txt")]
    [True, True, False, False, False]
    """
    lower = name.lower()
    if is_hidden(lower) or lower.startswith("~") or lower.endswith(_TEMPORARY):
        return False
    return lower.endswith(KINDS + REFUSED_KINDS)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is nobody's input: what is written beside the data.

    >>> [is_hidden(name) for name in ("_temporary", "_SUCCESS", ".staging", "2026_05")]
    [True, True, True, False]
    """
    return name.startswith((".", "_"))


@dataclass(frozen=True, slots=True)
class ObservedFile:
    """A file as it was seen.

    version  what changes with it: its size, its times, which file it is; two are equal or not
    arrived_ns  when it came or was last written to, for the order
    """

    path: Path
    version: Hashable
    arrived_ns: int
    is_marked: bool = False


class Settling:
    """Remembers when files were last seen to change.

    >>> look = ObservedFile(Path("a.csv"), (3,), 7)
    >>> settling = Settling(settle_s=2.0)
    >>> settling.complete([look], now_s=10.0), settling.waiting
    ([], 1)
    >>> [each.path.name for each in settling.complete([look], now_s=12.0)]
    ['a.csv']
    """

    def __init__(self, settle_s: float = SETTLE_S) -> None:
        self._settle_s = settle_s
        self._since: Mapping[Path, tuple[Hashable, float]] = {}
        self.waiting = 0

    def complete(self, looks: Iterable[ObservedFile], now_s: float) -> list[ObservedFile]:
        """Those that may be taken, in the order in which they arrived."""
        since: dict[Path, tuple[Hashable, float]] = {}
        found = []
        for look in looks:
            version, since_s = self._since.get(look.path, (None, now_s))
            if version != look.version:
                since_s = now_s
            since[look.path] = look.version, since_s
            if look.is_marked or now_s - since_s >= self._settle_s:
                found.append(look)
        self._since = since
        self.waiting = len(since) - len(found)
        return sorted(found, key=lambda look: (look.arrived_ns, str(look.path)))

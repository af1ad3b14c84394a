"""Counts faults and warnings of many rows by kind, with a few examples of each."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.model import Fault

SHOWN = 5
KINDS_MOST = 200


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault.

    column    None if it is not about one column
    rows      number of rows with the fault
    examples  the first faults, each with its row and line
    """

    what: str
    column: str | None
    rows: int
    examples: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class WarningKind:
    """One warning.

    rows      number of rows with the warning
    examples  the first row numbers
    """

    text: str
    rows: int
    examples: tuple[int, ...]


K = TypeVar("K", bound=Hashable)
E = TypeVar("E")


class IssueCounts(Generic[K, E]):
    """Counts by kind, with the first SHOWN examples. Kinds beyond KINDS_MOST count as `rest`."""

    def __init__(self, rest: K) -> None:
        self._rest = rest
        self._kinds: dict[K, tuple[int, tuple[E, ...]]] = {}

    def add(self, kind: K, example: E) -> None:
        """Count one issue of `kind`.

        >>> counts = IssueCounts[str, int]("others")
        >>> counts.add("odd", 7)
        >>> counts.most_first()
        [('odd', 1, (7,))]
        """
        if kind not in self._kinds and len(self._kinds) >= KINDS_MOST:
            kind = self._rest
        count, examples = self._kinds.get(kind, (0, ()))
        if count < SHOWN:
            examples = (*examples, example)
        self._kinds[kind] = count + 1, examples

    def most_first(self) -> list[tuple[K, int, tuple[E, ...]]]:
        """Kind, count and examples, the most frequent kind first."""
        found = [(kind, count, examples) for kind, (count, examples) in self._kinds.items()]
        return sorted(found, key=lambda entry: -entry[1])

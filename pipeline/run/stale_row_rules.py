"""What becomes of a row that others of its entity have passed in time. Pure.

What an update writes is a set of JSON Pointers, None where it is the whole entity. A pointer covers
itself and what lies below it. One with `-` or a number among its steps names a place in a list,
which is another one after each change of the list: it is covered by what stands above that step,
covers nothing itself, and touches the whole list.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from pipeline.model import Effect

Writes = frozenset[str] | None


class NewerRow(NamedTuple):
    """A row of the same entity whose place in time is a later one.

    effect  MAYBE where nobody knows
    """

    run: str
    row: int
    writes: Writes
    effect: Effect


class StaleRowDecision(Enum):
    """What becomes of an older row."""

    SENT = "it is sent in its turn"
    IN_DOUBT = "it is sent as one that may have been applied before"
    UNCHANGED = "it was applied before, and nothing took its place"
    SUPERSEDED = "what it wants was replaced by the newer row"
    OVERTAKEN = "part of it was replaced, or may have been"
    UNSETTLED = "it may have been applied before, and must not be repeated"


def covers(newer: Writes, older: Writes) -> bool:
    """Whether an update leaves nothing of what an earlier one wrote.

    >>> covers(frozenset({"/a"}), frozenset({"/a/b", "/a"})), covers(frozenset({"/a/b"}), None)
    (True, False)
    >>> covers(frozenset({"/tags"}), frozenset({"/tags/-"}))
    True
    >>> covers(frozenset({"/tags/-"}), frozenset({"/tags/-"}))
    False
    """
    if newer is None:
        return True
    if older is None:
        return "" in newer
    firm = {pointer for pointer in newer if _lasting(pointer) == pointer}
    return all(any(above in firm for above in _upwards(pointer)) for pointer in older)


def overlap(one: Writes, other: Writes) -> bool:
    """Whether two updates write something in common.

    >>> overlap(frozenset({"/a/b"}), frozenset({"/a"})), overlap(frozenset({"/a"}), None)
    (True, True)
    >>> overlap(frozenset({"/name"}), frozenset({"/names"})), overlap(frozenset(), None)
    (False, False)
    """
    if one is None or other is None:
        return one != frozenset() != other
    return _reaches(one, other) or _reaches(other, one)


def fate_of(
    writes: Writes,
    newer: Iterable[NewerRow],
    *,
    before: Effect = Effect.NONE,
    is_repeatable: bool = True,
    can_be_read: bool = False,
) -> tuple[StaleRowDecision, NewerRow | None]:
    """What becomes of a row, and the newer one that is to blame.

    writes         what it wants to write
    newer          rows that passed it, the newest first
    before         what an earlier sending of this very row did
    is_repeatable  whether sending it twice is harmless
    can_be_read    whether its entity can be read back

    >>> later = NewerRow("tuesday", 9, frozenset({"/a"}), Effect.APPLIED)
    >>> fate_of(frozenset({"/a"}), [later])[0].name, fate_of(None, [later])[0].name
    ('SUPERSEDED', 'OVERTAKEN')
    >>> fate_of(frozenset({"/b"}), [later])
    (<Fate.SENT: 'it is sent in its turn'>, None)
    """
    in_the_way = [
        row for row in newer if row.effect is not Effect.NONE and overlap(row.writes, writes)
    ]
    for row in in_the_way:
        if row.effect is Effect.APPLIED and covers(row.writes, writes):
            return StaleRowDecision.SUPERSEDED, row
    if before is Effect.APPLIED:
        return StaleRowDecision.UNCHANGED, None
    if in_the_way:
        return StaleRowDecision.OVERTAKEN, in_the_way[0]
    if before is Effect.NONE:
        return StaleRowDecision.SENT, None
    return (
        StaleRowDecision.IN_DOUBT if is_repeatable or can_be_read else StaleRowDecision.UNSETTLED
    ), None


def _reaches(upper: frozenset[str], lower: frozenset[str]) -> bool:
    """Whether a pointer of `lower` lies at or below what one of `upper` touches."""
    touched = {_lasting(pointer) for pointer in upper}
    return any(above in touched for pointer in lower for above in _upwards(_lasting(pointer)))


def _lasting(pointer: str) -> str:
    """A pointer up to its first step that may name a place in a list.

    >>> _lasting("/tags/0/name"), _lasting("/name")
    ('/tags', '/name')
    """
    steps = pointer.split("/")
    for place, step in enumerate(steps):
        if step == "-" or (step.isascii() and step.isdecimal()):
            return "/".join(steps[:place])
    return pointer


def _upwards(pointer: str) -> Iterable[str]:
    """A pointer and all that it lies below, down to the whole.

    >>> list(_upwards("/a/b"))
    ['/a/b', '/a', '']
    """
    while pointer:
        yield pointer
        pointer = pointer.rpartition("/")[0]
    yield ""

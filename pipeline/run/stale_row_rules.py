"""Decides about a stale row: a row with newer rows of the same entity. Pure.

The writes of an update are a set of JSON Pointers; None is the whole entity. A pointer covers
itself and all below it. A pointer with `-` or a number as a step names a position in a list, which
changes with each change of the list: it is covered by a pointer above that step, covers nothing
itself, and overlaps with the whole list.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from pipeline.model import Effect

Writes = frozenset[str] | None


class NewerRow(NamedTuple):
    """A row of the same entity with a later position in time.

    effect  MAYBE if unknown
    """

    run: str
    row: int
    writes: Writes
    effect: Effect


class StaleRowDecision(Enum):
    """The decision about a stale row."""

    SENT = "it is sent"
    IN_DOUBT = "it is sent, and may have been applied before"
    UNCHANGED = "it was applied before and not replaced"
    SUPERSEDED = "the newer row replaced all that it writes"
    OVERTAKEN = "a newer row replaced a part of it, or may have"
    UNSETTLED = "it may have been applied before and must not be repeated"


def covers(newer: Writes, older: Writes) -> bool:
    """True if `newer` replaces all that `older` wrote.

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
    """True if two updates write something in common.

    >>> overlap(frozenset({"/a/b"}), frozenset({"/a"})), overlap(frozenset({"/a"}), None)
    (True, True)
    >>> overlap(frozenset({"/name"}), frozenset({"/names"})), overlap(frozenset(), None)
    (False, False)
    """
    if one is None or other is None:
        return one != frozenset() != other
    return _reaches(one, other) or _reaches(other, one)


def decide_stale_row(
    writes: Writes,
    newer: Iterable[NewerRow],
    *,
    before: Effect = Effect.NONE,
    is_repeatable: bool = True,
    can_be_read: bool = False,
) -> tuple[StaleRowDecision, NewerRow | None]:
    """The decision about a stale row, and the newer row that is the reason.

    writes         what the row writes
    newer          newer rows of the entity, the newest first
    before         effect of an earlier attempt of this row in another run
    is_repeatable  sending it twice is harmless
    can_be_read    its entity can be read

    >>> later = NewerRow("tuesday", 9, frozenset({"/a"}), Effect.APPLIED)
    >>> decide_stale_row(frozenset({"/a"}), [later])[0].name
    'SUPERSEDED'
    >>> decide_stale_row(None, [later])[0].name
    'OVERTAKEN'
    >>> decide_stale_row(frozenset({"/b"}), [later])
    (<StaleRowDecision.SENT: 'it is sent'>, None)
    """
    conflicting = [
        row for row in newer if row.effect is not Effect.NONE and overlap(row.writes, writes)
    ]
    for row in conflicting:
        if row.effect is Effect.APPLIED and covers(row.writes, writes):
            return StaleRowDecision.SUPERSEDED, row
    if before is Effect.APPLIED:
        return StaleRowDecision.UNCHANGED, None
    if conflicting:
        return StaleRowDecision.OVERTAKEN, conflicting[0]
    if before is Effect.NONE:
        return StaleRowDecision.SENT, None
    return (
        StaleRowDecision.IN_DOUBT if is_repeatable or can_be_read else StaleRowDecision.UNSETTLED
    ), None


def _reaches(upper: frozenset[str], lower: frozenset[str]) -> bool:
    """True if a pointer of `lower` is at or below one that `upper` overlaps."""
    touched = {_lasting(pointer) for pointer in upper}
    return any(above in touched for pointer in lower for above in _upwards(_lasting(pointer)))


def _lasting(pointer: str) -> str:
    """A pointer up to its first step that may name a position in a list.

    >>> _lasting("/tags/0/name"), _lasting("/name")
    ('/tags', '/name')
    """
    steps = pointer.split("/")
    for place, step in enumerate(steps):
        if step == "-" or (step.isascii() and step.isdecimal()):
            return "/".join(steps[:place])
    return pointer


def _upwards(pointer: str) -> Iterable[str]:
    """A pointer and all pointers above it, up to the whole.

    >>> list(_upwards("/a/b"))
    ['/a/b', '/a', '']
    """
    while pointer:
        yield pointer
        pointer = pointer.rpartition("/")[0]
    yield ""

"""Counts and examples of a plan, for one screen. Pure; memory does not grow with the plan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from pipeline.model import EntityKey
from pipeline.model.plan import PlanKind, PlanRow

_FIELDS_MOST = 1_000
_NOTES_EACH = 2
_VALUE_CHARS = 40
_CHANGING = frozenset({PlanKind.CHANGES, PlanKind.BLIND})


class FieldCount(NamedTuple):
    """Key of a count: a field of an operation."""

    operation: str
    name: str


class ChangeExample(NamedTuple):
    """One change of a field, formatted for people."""

    entity: str
    old: str
    new: str


class PlanSummary:
    """Counts and first examples of a plan's rows.

    hide      masks the secrets of an account, given by name, in a text

    changed   rows per changed field; from 1,000 fields on, the others count as "other fields"
    cleared   of these, the rows that empty the field
    examples  the first change of each field
    notes     the first rows with a note per kind: row number, entity, note
    """

    def __init__(self, hide: Callable[[str, str], str] = lambda _account, text: text) -> None:
        self._hide = hide
        self.changed: Counter[FieldCount] = Counter()
        self.cleared: Counter[FieldCount] = Counter()
        self.examples: dict[FieldCount, ChangeExample] = {}
        self.notes: dict[PlanKind, list[tuple[int, str, str]]] = {}

    def add(self, rows: Iterable[PlanRow]) -> None:
        """Count more rows."""
        for row in rows:
            if row.kind in _CHANGING:
                self._add_changes(row)
            if row.note and row.kind is not PlanKind.BLIND:
                notes = self.notes.setdefault(row.kind, [])
                if len(notes) < _NOTES_EACH:
                    notes.append((row.row, EntityKey.parse(row.entity).id, row.note))

    def _add_changes(self, row: PlanRow) -> None:
        for change in row.changes:
            field = FieldCount(row.operation, change.field)
            if field not in self.changed and len(self.changed) >= _FIELDS_MOST:
                field = FieldCount(row.operation, "other fields")
            self.changed[field] += 1
            if change.new in (None, [], {}) and change.old not in (None, [], {}):
                self.cleared[field] += 1
            if field not in self.examples:
                self.examples[field] = ChangeExample(
                    EntityKey.parse(row.entity).id,
                    shown(change.old, partial(self._hide, row.account)),
                    shown(change.new, partial(self._hide, row.account)),
                )


def shown(value: Any, hide: Callable[[str], str] = str) -> str:
    """Format a JSON value in at most 40 characters; `hide` is applied before it is cut.

    >>> shown(None), shown([{"sku": "a"}]), shown("x")
    ('nothing', '[{"sku": "a"}]', '"x"')
    """
    if value is None:
        return "nothing"
    text = hide(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _VALUE_CHARS else f"{text[: _VALUE_CHARS - 3]}..."

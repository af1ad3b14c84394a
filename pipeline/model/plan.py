"""A plan: for each row, the current state of its entity and the changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

MadeOf = Literal["file", "plan", "undo"]
"""Source of the rows of a run: a file, the plan of a file, or the plan that undoes a run."""


class PlanKind(StrEnum):
    """The effect of sending a row, named for the reader of the plan."""

    CHANGES = "changes"
    BLIND = "blind"  # the entity cannot be read: it is sent without a comparison
    UNCHANGED = "unchanged"  # the entity already has these values
    MISSING = "missing"  # the vendor has no such entity
    UNREAD = "unread"  # reading the entity failed
    CONFLICT = "conflict"  # the entity was changed since the run to undo
    FINAL = "final"  # it cannot be undone
    INVALID = "invalid"  # the row never became a job


SENT_KINDS = frozenset({PlanKind.CHANGES, PlanKind.BLIND})
"""Rows of a plan that are sent."""


class FieldChange(NamedTuple):
    """One field, JSON values; None where it is absent."""

    field: str
    old: Any
    new: Any


class PlanRow(NamedTuple):
    """One row of a plan.

    row      row of the file that the plan was made from, from 1; for an undo, of the plan itself
    note     reason, if the kind needs one
    changes  fields that would change
    before   current state of the entity, as `State.text`; empty if unknown
    job      canonical JSON of the job; empty if nothing can be sent
    origin_run, origin_row  as in a JobRow
    """

    row: int
    kind: PlanKind
    operation: str
    account: str
    entity: str
    note: str = ""
    changes: tuple[FieldChange, ...] = ()
    before: str = ""
    job: str = ""
    origin_run: str = ""
    origin_row: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The facts of a plan.

    source        source of its rows: a file as the user named it, or `run <name>`
    made          time when it was made, UTC, ISO 8601
    undoes        run that it undoes; None for the plan of a file
    accounts      fingerprint of each account that rows go to, by name
    is_simulated  True if it was made with a simulator
    kinds         rows per kind
    requests      number of reads that it took
    gaps          changes that may go unnoticed between comparing and sending, by operation
    """

    source: str
    made: str
    accounts: Mapping[str, str]
    undoes: str | None = None
    is_simulated: bool = False
    kinds: Mapping[PlanKind, int] = field(default_factory=dict)
    requests: int = 0
    gaps: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return sum(self.kinds.values())

    @property
    def sends(self) -> int:
        """Number of rows that would be sent."""
        return sum(count for kind, count in self.kinds.items() if kind in SENT_KINDS)

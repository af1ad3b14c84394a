"""What a plan says: of each row, what stands there and what would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

MadeOf = Literal["file", "plan", "undo"]
"""What the rows of a run came from: a file, the plan of a file, the plan that takes a run back."""


class PlanKind(StrEnum):
    """What sending a row would do, named for the reader of the plan."""

    CHANGES = "changes"
    BLIND = "blind"  # nothing is known that reads the vendor: it is sent without a comparison
    UNCHANGED = "unchanged"  # the vendor holds it already
    MISSING = "missing"  # the vendor has no such entity
    UNREAD = "unread"  # the vendor did not tell what it holds
    CONFLICT = "conflict"  # somebody else changed the entity since the run that is taken back
    FINAL = "final"  # it cannot be taken back
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

    row      of the file that the plan was made from, from 1; of an undo, of the plan itself
    note     why, where the kind needs words
    changes  what would change
    before   what the entity holds, as a vendor's `State.text`; empty where that is not known
    job      canonical JSON of what is sent; empty where nothing can be
    since_run, since_row  as of a JobRow
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
    """What a plan says of itself.

    source        of its rows: a file as the user named it, or `run <name>`
    made          when, UTC, ISO 8601
    undoes        the run that it takes back; None for the plan of a file
    accounts      fingerprint of each account that rows go to, by name
    is_simulated  it was made at a simulator
    kinds         rows per kind
    requests      reads that it took
    gaps          what may slip through between comparing and sending, by operation
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
        """All of them."""
        return sum(self.kinds.values())

    @property
    def sends(self) -> int:
        """Rows that would be sent."""
        return sum(count for kind, count in self.kinds.items() if kind in SENT_KINDS)

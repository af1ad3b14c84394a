"""What killed runs left, held against the simulator's log. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.torture.rows import WRITES, Row, updates_of

NEVER_APPLIED = frozenset({"rejected", "failed", "not_attempted", "invalid", "conflict"})
GIVES_WAY = "not_attempted"

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What was on record when the process was dead.

    point     where it died
    mark      number of the first request that arrived after that
    claimed   rows that are claimed and have no result
    statuses  row -> status of its result
    """

    point: str
    mark: int
    claimed: frozenset[int]
    statuses: Mapping[int, str]

    @property
    def ended(self) -> frozenset[int]:
        """Rows that must never be sent again."""
        return frozenset(row for row, status in self.statuses.items() if status != GIVES_WAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file and all that happened to it.

    log       the simulator's lines, in order of arrival
    reported  row and status of every line of the final report
    held      entity -> marks in what the vendor holds in the end
    """

    rows: Sequence[Row]
    log: Sequence[Entry]
    kills: Sequence[Kill]
    reported: Sequence[tuple[int, str]]
    held: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def status(self) -> dict[int, str]:
        """Row -> status in the report."""
        return dict(self.reported)

    @property
    def in_doubt(self) -> frozenset[int]:
        """Rows that some kill left in doubt."""
        return frozenset(row for kill in self.kills for row in kill.claimed)


@dataclass(frozen=True, slots=True)
class Write:
    """An update that a request carried, and the rows it may be of: several if they are the same."""

    rows: tuple[int, ...]
    entity: str
    entry: Entry

    @property
    def seq(self) -> int:
        """Place in the order of arrival."""
        return int(self.entry["seq"])


def writes_in(case: Case) -> list[Write]:
    """All updates that arrived, in order of arrival."""
    of_mark: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row in case.rows:
        of_mark[row.entity, row.mark].append(row.number)
    return [
        Write(tuple(of_mark[entity, mark]), entity, entry)
        for entry in case.log
        for entity, mark in updates_of(entry)
    ]


def violations(case: Case) -> Iterator[str]:
    """Every promise that was broken, in words."""
    writes = writes_in(case)
    yield from broken_records(case)
    yield from _sent_unclaimed(case, writes)
    yield from _sent_twice(case, writes)
    yield from _out_of_order(writes)
    yield from _untrue(case, writes)
    yield from _held_by_another(case)


def broken_records(case: Case) -> Iterator[str]:
    """Those promises that speak of the record alone."""
    yield from _lost(case)
    yield from _records_that_changed(case)
    yield from _sent_after_its_end(case, writes_in(case))
    yield from _two_in_doubt(case)


def _lost(case: Case) -> Iterator[str]:
    found = sorted(row for row, _ in case.reported)
    if found != [row.number for row in case.rows]:
        wrong = set(found) ^ {row.number for row in case.rows}
        yield f"the report has {len(found)} lines for {len(case.rows)} rows: {sorted(wrong)[:20]}"


def _records_that_changed(case: Case) -> Iterator[str]:
    for kill in case.kills:
        for row in kill.ended:
            before, after = kill.statuses[row], case.status.get(row)
            if before != after:
                yield f"row {row} was {before} on record ({kill.point}) and is reported {after}"


def _sent_after_its_end(case: Case, writes: Sequence[Write]) -> Iterator[str]:
    for kill in case.kills:
        ended = kill.ended
        for write in writes:
            if write.seq > kill.mark and ended.issuperset(write.rows):
                yield f"rows {write.rows} were on record ({kill.point}) and sent: {write.seq}"


def _sent_unclaimed(case: Case, writes: Sequence[Write]) -> Iterator[str]:
    for kill in case.kills:
        known = kill.claimed | kill.ended
        for write in writes:
            if write.seq < kill.mark and known.isdisjoint(write.rows):
                yield f"rows {write.rows} were sent ({write.seq}) and not on record ({kill.point})"


def _two_in_doubt(case: Case) -> Iterator[str]:
    entity = {row.number: row.entity for row in case.rows}
    for kill in case.kills:
        seen: dict[str, int] = {}
        for row in sorted(kill.claimed):
            first = seen.setdefault(entity[row], row)
            if first != row:
                yield f"rows {first} and {row} of one entity were in doubt ({kill.point})"


def _sent_twice(case: Case, writes: Sequence[Write]) -> Iterator[str]:
    """What may not be repeated goes out again after a 429 or after a read that told."""
    reads = defaultdict(list)
    for entry in case.log:
        if entry["method"] == "GET" and entry["status"] == 200 and not entry["fault"]:
            reads[entry["id"]].append(entry["seq"])
    marks = [kill.mark for kill in case.kills]
    for first, second in _repetitions(case, writes):
        between = range(first.seq, second.seq)
        was_read = any(seq in between for seq in reads[first.entity])
        was_killed = any(mark in between for mark in marks)
        was_refused = first.entry["status"] == 429 and not was_killed
        if first.entry["applied"] or not (was_read or was_refused):
            row = first.rows[0]
            yield f"row {row} may not be repeated and was sent: {first.seq}, {second.seq}"


def _repetitions(case: Case, writes: Sequence[Write]) -> Iterator[tuple[Write, Write]]:
    """Two requests, one after the other, for a row that may not be repeated."""
    once = {row.number for row in case.rows if not row.is_repeatable}
    of_row: defaultdict[int, list[Write]] = defaultdict(list)
    for write in writes:
        if once.issuperset(write.rows):
            of_row[write.rows[0]].append(write)
    for sent in of_row.values():
        yield from pairwise(sent)


def _out_of_order(writes: Sequence[Write]) -> Iterator[str]:
    last: defaultdict[str, int] = defaultdict(int)
    for write in writes:
        if write.entry["applied"]:
            after = [row for row in write.rows if row >= last[write.entity]]
            if not after:
                yield f"rows {write.rows} took effect after row {last[write.entity]}: {write.seq}"
            else:
                last[write.entity] = after[0]


def _untrue(case: Case, writes: Sequence[Write]) -> Iterator[str]:
    applied: set[int] = set()
    maybe: set[int] = set()  # of rows that are the same, any may have been it
    for write in writes:
        if write.entry["applied"]:
            (applied if len(write.rows) == 1 else maybe).update(write.rows)
    for row, status in case.reported:
        if status in NEVER_APPLIED and row in applied:
            yield f"row {row} is reported {status} and was applied"
        if status == "updated" and row not in applied | maybe:
            yield f"row {row} is reported updated and was not applied"


def _held_by_another(case: Case) -> Iterator[str]:
    of_entity: defaultdict[str, list[Row]] = defaultdict(list)
    for row in case.rows:
        of_entity[row.entity].append(row)
    for entity, rows in of_entity.items():
        held = set(case.held.get(entity, ()))
        updated = [row for row in rows if case.status.get(row.number) == "updated"]
        unknown = [row for row in rows if case.status.get(row.number) == "unknown"]
        if rows[0].adds:
            is_right = {r.mark for r in updated} <= held <= {r.mark for r in [*updated, *unknown]}
        else:
            newest = updated[-1:]
            later = [r for r in unknown if not newest or r.number > newest[0].number]
            allowed = {row.mark for row in [*newest, *later]}
            is_right = held <= allowed and bool(held or not newest)
        if not is_right:
            statuses = {row.number: case.status.get(row.number) for row in rows}
            yield f"{entity} holds {sorted(held)} after {statuses}"


def sent_again(case: Case) -> int:
    """Rows that a kill left in doubt and that were sent after it."""
    writes = writes_in(case)
    return sum(
        any(row in write.rows and write.seq > kill.mark for write in writes)
        for kill in case.kills
        for row in kill.claimed
    )


def sent_twice(case: Case) -> int:
    """Requests that went out again for rows that may not be repeated."""
    return sum(1 for _ in _repetitions(case, writes_in(case)))


def sent(case: Case) -> int:
    """Requests that carried updates."""
    return sum(entry["method"] in WRITES for entry in case.log)

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
ATTEMPTS = 4
"""How often a row is sent or read at most."""
CLOCK_SLACK_S = 0.02
"""By which the clocks of the log and of the record may differ."""
MAX_OUTAGE_S = 2.0
"""After so many seconds of nothing but failures a row's next failure is its last."""

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kill:
    """What was on record when the process was dead.

    point     where it died
    mark      number of the first request that arrived after that
    claimed   rows that are claimed and have no result
    statuses  row -> status of its result
    previous  row -> marks in the previous state of its entity; None if the run records none
    is_amid   other processes of the run lived: `mark` is of a moment between those at which
              `statuses` and `claimed` were read, and claimed are rows of any of them, and those
              that ended in between
    """

    point: str
    mark: int
    claimed: frozenset[int]
    statuses: Mapping[int, str]
    previous: Mapping[int, Collection[str]] | None = None
    is_amid: bool = False

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
    first     entity -> marks in what the vendor held before
    previous  as in `Kill`, in the end
    recorded_s  row -> when its result was on record, by the clock of the log; empty: not known
    """

    rows: Sequence[Row]
    log: Sequence[Entry]
    kills: Sequence[Kill]
    reported: Sequence[tuple[int, str]]
    held: Mapping[str, Collection[str]] = field(default_factory=dict)
    first: Mapping[str, Collection[str]] = field(default_factory=dict)
    previous: Mapping[int, Collection[str]] | None = None
    recorded_s: Mapping[int, float] = field(default_factory=dict)

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
    yield from _needlessly_unknown(case, writes)
    yield from _of_nobody(writes)
    yield from _parted(case, writes)
    yield from _overwritten_unrecorded(case, writes)
    yield from _held_by_another(case)


def broken_records(case: Case) -> Iterator[str]:
    """Those promises that speak of the record alone."""
    yield from _lost(case)
    yield from _records_that_changed(case)
    yield from _sent_after_its_end(case, writes_in(case))
    yield from _sent_after_its_commit(case, writes_in(case))
    yield from _two_in_doubt(case)
    yield from _claimed_unread(case)


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


def _sent_after_its_commit(case: Case, writes: Sequence[Write]) -> Iterator[str]:
    """Whoever sends it, and whether or not anything was killed."""
    recorded_s = {
        row: at_s for row, at_s in case.recorded_s.items() if case.status.get(row) != GIVES_WAY
    }
    for write in writes:
        if write.rows and recorded_s.keys() >= set(write.rows):
            late_s = write.entry["arrived_s"] - max(recorded_s[row] for row in write.rows)
            if late_s > CLOCK_SLACK_S:
                yield f"rows {write.rows} were sent {late_s:.3f} s after their result: {write.seq}"


def _sent_unclaimed(case: Case, writes: Sequence[Write]) -> Iterator[str]:
    for kill in case.kills:
        known = kill.claimed | kill.ended
        for write in writes:
            if write.seq < kill.mark and known.isdisjoint(write.rows):
                yield f"rows {write.rows} were sent ({write.seq}) and not on record ({kill.point})"


def _two_in_doubt(case: Case) -> Iterator[str]:
    entity = {row.number: row.entity for row in case.rows}
    for kill in case.kills:
        if kill.is_amid:
            continue
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
        # a connection is of one process, so another one was killed if both requests came on it
        connections = {each.entry["connection"] for each in (first, second)}
        was_killed = any(mark in between for mark in marks) and len(connections) > 1
        was_refused = first.entry["status"] == 429 and not was_killed
        is_guarded = _precondition(first) == _precondition(second) != ""
        is_twice = first.entry["applied"] and (second.entry["applied"] or not is_guarded)
        if is_twice or not (was_read or was_refused or is_guarded):
            row = first.rows[0]
            yield f"row {row} may not be repeated and was sent: {first.seq}, {second.seq}"


def _precondition(write: Write) -> str:
    """The state that the vendor must hold for the update to be applied; empty: any."""
    return str(write.entry.get("headers", {}).get("if-match", ""))


def _repetitions(case: Case, writes: Sequence[Write]) -> Iterator[tuple[Write, Write]]:
    """Two requests, one after the other, for a row that may not be repeated."""
    once = {row.number for row in case.rows if not row.is_repeatable}
    of_row: defaultdict[int, list[Write]] = defaultdict(list)
    for write in writes:
        if write.rows and once.issuperset(write.rows):
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


def _needlessly_unknown(case: Case, writes: Sequence[Write]) -> Iterator[str]:
    """A row is `unknown` only if an update of it may have been applied, and nothing can tell."""
    of_row: defaultdict[int, list[Write]] = defaultdict(list)
    for write in writes:
        for row in write.rows:
            of_row[row].append(write)
    for row in case.rows:
        if case.status.get(row.number) != "unknown":
            continue
        if not (row.number in case.in_doubt or any(map(_is_doubtful, of_row[row.number]))):
            yield f"row {row.number} is reported unknown and was never in doubt"
        elif _can_be_resolved(case, row, of_row[row.number]) and not _was_tried(
            case, row, of_row[row.number]
        ):
            yield f"row {row.number} is reported unknown and could have been resolved"


def _can_be_resolved(case: Case, row: Row, writes: Sequence[Write]) -> bool:
    is_untouched = not any(write.entry["applied"] for write in writes)
    return row.is_repeatable or (row.is_told and is_untouched) or case.previous is not None


def _is_doubtful(write: Write) -> bool:
    status = write.entry["status"]
    return status is None or status >= 500 or (write.entry["fault"] and status != 429)


def _was_tried(case: Case, row: Row, writes: Sequence[Write]) -> bool:
    """True if the last process got trouble for all its tries, a refusal after a doubt, or nothing
    but trouble for MAX_OUTAGE_S.
    """
    marks = [kill.mark for kill in case.kills if row.number in kill.claimed and not kill.is_amid]
    since = max(marks, default=0)
    troubles = sum(
        entry["seq"] > since
        and row.entity in (entry["id"], *(entry.get("ids") or ()))
        and (entry["fault"] is not None or (entry["status"] or 500) >= 400)
        for entry in case.log
    )
    is_refused = bool(writes) and writes[-1].entry["status"] == 422
    return troubles >= ATTEMPTS or is_refused or _failing_s(case, writes, since) > MAX_OUTAGE_S


def _failing_s(case: Case, writes: Sequence[Write], since: int) -> float:
    """How long updates had done nothing but fail when the last of `writes` arrived."""
    last = max((write.seq for write in writes), default=since)
    arrived_s: list[float] = []
    for entry in case.log:
        if since < entry["seq"] <= last and entry["method"] in WRITES:
            is_failure = entry["fault"] or (entry["status"] or 500) >= 500
            arrived_s = [*arrived_s, entry["arrived_s"]] if is_failure else []
    return arrived_s[-1] - arrived_s[0] if arrived_s else 0.0


def _of_nobody(writes: Sequence[Write]) -> Iterator[str]:
    for write in writes:
        if not write.rows:
            yield f"{write.entity} was sent what no row says: {write.seq}"


def _parted(case: Case, writes: Sequence[Write]) -> Iterator[str]:
    """Rows that were confirmed together are on record together, and no entity is sent twice."""
    groups: defaultdict[int, list[Write]] = defaultdict(list)
    last: dict[int, int] = {}  # row -> its last request
    for write in writes:
        groups[write.seq].append(write)
    for seq, group in groups.items():
        if len({write.entity for write in group}) < len(group):
            yield f"an entity is there twice in one request: {seq}"
    for kill in case.kills:
        if kill.is_amid:
            continue
        last = {row: w.seq for w in writes if w.seq < kill.mark for row in w.rows}
        for seq, group in groups.items():
            rows = {row for write in group for row in write.rows if last.get(row) == seq}
            entry = group[0].entry
            if entry.get("ids") and seq < kill.mark and entry["applied"] and not entry["fault"]:
                ended = {row for row in rows if row in kill.ended}
                if ended and ended != rows:
                    yield f"rows {sorted(rows)} were confirmed together, {sorted(ended)} are ended"


def _claimed_unread(case: Case) -> Iterator[str]:
    """What a row overwrites is on record before its claim."""
    for kill in case.kills:
        if kill.previous is not None:
            for row in sorted(kill.claimed - kill.previous.keys()):
                yield f"row {row} was claimed without its previous state ({kill.point})"


def _overwritten_unrecorded(case: Case, writes: Sequence[Write]) -> Iterator[str]:
    """The previous state on record is the one before the first time that the row was applied."""
    if case.previous is None:
        return
    adding = {row.entity for row in case.rows if row.adds}
    held = {entity: set(marks) for entity, marks in case.first.items()}
    mark_of = {row.number: row.mark for row in case.rows}
    seen: set[int] = set()
    for write in writes:
        if not write.entry["applied"] or not write.rows:
            continue
        row, now = write.rows[0], held.setdefault(write.entity, set())
        if len(write.rows) == 1 and row not in seen and set(case.previous.get(row, "?")) != now:
            found = case.previous.get(row)
            yield f"row {row} overwrote {sorted(now)}, and on record is {found}: {write.seq}"
        seen.add(row)
        held[write.entity] = {mark_of[row], *(now if write.entity in adding else ())}


def not_restored(
    case: Case,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    undone: Sequence[tuple[str, str]],
) -> Iterator[str]:
    """Entities that do not hold what they held before the run that was undone.

    before, after  entity -> what the vendor holds
    undone         entity and status of each row of the undo
    """
    unsure = {row.entity for row in case.rows if case.status.get(row.number) == "unknown"}
    sure = {"updated", "unchanged", "conflict"}
    unsure |= {entity for entity, status in undone if status not in sure}
    for entity, status in undone:
        if status == "conflict" and entity not in unsure:
            yield f"the undo of {entity} is a conflict, and nobody else has changed it"
            unsure.add(entity)
    for entity in sorted(before.keys() - unsure):
        if before[entity] != after.get(entity):
            yield f"{entity} holds {after.get(entity)} after the undo, and held {before[entity]}"


def _held_by_another(case: Case) -> Iterator[str]:
    of_entity: defaultdict[str, list[Row]] = defaultdict(list)
    for row in case.rows:
        of_entity[row.entity].append(row)
    for entity, rows in of_entity.items():
        held, first = set(case.held.get(entity, ())), set(case.first.get(entity, ()))
        updated = [row for row in rows if case.status.get(row.number) == "updated"]
        unknown = [row for row in rows if case.status.get(row.number) == "unknown"]
        if rows[0].adds:
            known = {row.mark for row in updated} | first
            is_right = known <= held <= known | {row.mark for row in unknown}
        else:
            newest = updated[-1:]
            later = [r for r in unknown if not newest or r.number > newest[0].number]
            allowed = {row.mark for row in [*newest, *later]} | (set() if newest else first)
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

"""The ledger of one run in the database, or of a share of it.

A commit is one call of a function of the database. It inserts a line of its own, which has its
number, its claims and a digest of all it holds. So a commit whose answer was lost is not taken for
one that failed.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import starmap
from operator import itemgetter
from typing import Any, LiteralString, NamedTuple, Self
from zlib import crc32

import psycopg
from psycopg import errors

from pipeline.model import RowResult, Status
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import Sample
from pipeline.store import exchanges as exchanges_table
from pipeline.store.contract import MAX_EXCHANGE_CHARS, LedgerError
from pipeline.store.postgres.connections import PgConnection, PgConnections, PgRow, damaged
from pipeline.store.postgres.open_claims import OpenClaims
from pipeline.store.postgres.schema import CLAIM_OF_RESULT, LEASE_LOST, RESULT_EXISTS
from pipeline.store.postgres.text import array, lines, stored
from pipeline.store.previous_states import checksum_of
from pipeline.store.result_lines import STATUSES, Line, is_sound, line_of, result_of
from pipeline.store.seam import LeaseLostError, LostRecordError

_PAGE_ROWS = 4096
_COMMIT: LiteralString = """(
    %s, %s::smallint, %s, %s, %s, %s, %s, %s, %s::bigint[], %s::bigint[], %s::bigint[],
    %s::text[], %s::bigint[], %s
"""
_RECORD: LiteralString = "select pipeline.record" + _COMMIT + ")"
_RECORD_ALL: LiteralString = (
    "select pipeline.record_all"
    + _COMMIT
    + """, %s::bigint[], %s::bigint[], %s::bigint[], %s, %s, %s::bigint[], %s::bigint[], %s)"""
)
_PAGE = "select * from pipeline.page_of_results(%s, %s::smallint, %s, %s, %s)"
_COMMITTED = """
select epoch, digest from pipeline.commits where ledger = %s and part = %s and number = %s
"""
_RESULTS_LEFT: LiteralString = """
select row, status, checksum::bigint & 4294967295, record from pipeline.results
where ledger = %(ledger)s and (%(parts)s::smallint[] is null or part = any (%(parts)s))
and status in ('unknown', 'not_attempted') and row > %(after)s order by row limit %(most)s
"""
_COUNTS = """
with newest as (
    select part, max(number) as number from pipeline.commits
    where ledger = %(ledger)s and (%(parts)s::smallint[] is null or part = any (%(parts)s))
    group by part
)
select k.status, sum(k.count) from newest n, unnest(
    pipeline.counted_statuses(), pipeline.counts_at(%(ledger)s, n.part, n.number)
) k (status, count) group by k.status
union all select 'not_attempted', count(*) from pipeline.results
where ledger = %(ledger)s and (%(parts)s::smallint[] is null or part = any (%(parts)s))
and status = 'not_attempted'
"""
_LINES: LiteralString = """
select row, status, checksum::bigint & 4294967295, record from pipeline.results where ledger = %s
"""
# Of the last commit of each part, and those since the first that had open claims before it
_RECENT: LiteralString = """
with recent as materialized (
    select c.* from (
        select part, max(number) as number from pipeline.commits
        where ledger = %(ledger)s and (%(parts)s::smallint[] is null or part = any (%(parts)s))
        group by part
    ) newest
    join pipeline.commits last
    on last.ledger = %(ledger)s and last.part = newest.part and last.number = newest.number
    join pipeline.commits c
    on c.ledger = %(ledger)s and c.part = last.part and c.number >= last.open_from
)
"""
# ruff: disable[S608] - made of the text above
_CLAIMED: LiteralString = (
    _RECENT
    + """, claims as materialized (
    select c.part, c.number, u.row from recent c, unnest(c.claims) u (row)
), unfinished as materialized (
    select c.* from claims c where (  -- looked up row by row: a join would read all results
        select true from pipeline.results r where r.ledger = %(ledger)s and r.row = c.row
    ) is null
)
select u.row, max(u.number) from unfinished u where not exists (
    select from recent c where c.part = u.part and c.released is not null
    and c.number > u.number and u.row = any (c.released)
) group by u.row order by u.row
"""
)
_WRONG_CLAIMS: LiteralString = (
    _RECENT
    + """
select number from recent where claims_digest is distinct from pipeline.digest(concat_ws(
    ' ', %(seed)s, part, number, open_from, claims::text, released::text
)) limit 1
"""
)
# ruff: enable[S608]
_SAMPLE = """
select pipeline.sample(
    %s, %s::smallint, %s, %s, %s, %s::float8[], %s::bigint[], %s, %s::bigint[], %s, %s::bigint[], %s
)
"""
_SAMPLES = """
select at_s, number, checksum, record from pipeline.samples
where ledger = %(ledger)s and (%(parts)s::smallint[] is null or part = any (%(parts)s))
and (at_s, number) > (%(at_s)s, %(number)s)
order by at_s, number limit %(most)s
"""
_LEGS = """
select checksum, record from pipeline.legs
where ledger = %(ledger)s and (%(parts)s::smallint[] is null or part = any (%(parts)s))
"""

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Fence(NamedTuple):
    """What must still be true when a commit is made.

    lease  key of the lease; None: nobody else writes
    epoch  of the lease when it was taken
    """

    lease: str | None = None
    epoch: int = 0


class Part(NamedTuple):
    """The part of a record that a ledger writes, and reads.

    ledger   number of the record
    number   of the part; 0: that of the whole run
    commits  number of its last commit
    reads    the parts that are read; None: all
    """

    ledger: int
    number: int
    commits: int
    reads: tuple[int, ...] | None = None


class PgLedger:
    """A ledger in the database.

    fence  None: it is only read
    """

    def __init__(
        self, connections: PgConnections, run: str, part: Part, fence: Fence | None
    ) -> None:
        self._connections = connections
        self._run = run
        self._part = part
        self._fence = fence
        self._seed = crc32(stored(run).encode())
        self._commits = part.commits
        self._reads = {"ledger": part.ledger, "parts": part.reads and [*part.reads]}
        self._open = OpenClaims()
        if fence is not None and part.commits:
            kept = part.ledger, part.number, part.commits
            connections.change("select pipeline.keep_counts(%s, %s::smallint, %s)", kept)
            own = {**self._reads, "parts": [part.number]}
            for row, number in sorted(self._open_claims(own), key=itemgetter(1)):
                self._open.claimed(number, [row])

    @property
    def seed(self) -> int:
        """Of its checksums."""
        return self._seed

    @property
    def commits(self) -> int:
        """Number of the last commit; the sum over all parts, for a run that is only read."""
        return self._commits

    def record(
        self,
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange] = (),
        previous_states: Sequence[tuple[int, str]] = (),
    ) -> None:
        """All in one commit and one trip."""
        found = self._without_replaced([line_of(result, self._seed) for result in results])
        more: tuple[object, ...] = ()
        if exchanges or previous_states:
            more = self._more(exchanges, previous_states)
        try:
            self._commit(claims, None, found, more)
        except _RefusedError as refused:
            self._refuse(refused, found)

    def release(self, rows: Sequence[int]) -> None:
        """Recorded beside the claims, which remain."""
        if rows:
            self._commit((), rows, (), ())

    def _without_replaced(self, found: list[Line]) -> list[Line]:
        """The lines without those that a later one of the same call replaces."""
        by_row: dict[int, Line] = {}
        for line in found:
            before = by_row.get(line[0])
            if before is not None and before[1] != Status.NOT_ATTEMPTED:
                raise self._second(line[0])
            by_row[line[0]] = line
        return found if len(by_row) == len(found) else list(by_row.values())

    def _more(
        self, exchanges: Sequence[Exchange], states: Sequence[tuple[int, str]]
    ) -> tuple[object, ...]:
        kept = [exchanges_table.line_of(exchange, self._seed) for exchange in exchanges]
        latest = dict(states)
        return (
            *(array(line[0] for line in kept), array(line[1] for line in kept)),
            *(array(line[2] for line in kept), lines(line[3] for line in kept)),
            *(MAX_EXCHANGE_CHARS, array(latest)),
            array(self._sum_of_state(row, state) for row, state in latest.items()),
            lines(_encode(state).encode() for state in latest.values()),
        )

    def _sum_of_state(self, row: int, state: str) -> int:
        return checksum_of(row, stored(state), self._seed)

    def _commit(
        self,
        claims: Sequence[int],
        released: Sequence[int] | None,
        found: Sequence[Line],
        more: tuple[object, ...],
    ) -> None:
        fence = self._writable()
        part, number = self._part, self._commits + 1
        claimed = array(dict.fromkeys(claims))
        freed = None if released is None else array(released)
        rows, statuses, checksums, records = zip(*found, strict=True) if found else ((),) * 4
        content = array(rows), array(statuses), array(checksums), lines(records)
        digest = _digest(self._seed, claimed, freed, *content[1:3], *more)
        open_from = self._open.oldest(number)
        claims_digest = _digest(self._seed, part.number, number, open_from, claimed, freed)
        values = (
            *(part.ledger, part.number, number, *fence, digest, claims_digest),
            open_from,
            *(claimed, freed, *content, *more),
        )
        query = _RECORD_ALL if more else _RECORD
        tries = 0

        def step(connection: PgConnection) -> None:
            nonlocal tries
            tries += 1
            try:
                connection.execute(query, values)
            except errors.UniqueViolation as error:
                if tries == 1 or self._committed(connection, number) != (fence.epoch, digest):
                    raise self._foreign(number) from error
            except psycopg.Error as error:
                self._explain(error)
                raise

        self._connections.do(step)
        self._commits = number
        self._open.claimed(number, claims)
        self._open.ended(released or rows)

    def _writable(self) -> Fence:
        if self._fence is None:
            raise LedgerError(f"the record of run {self._run} was opened to read")
        return self._fence

    def _committed(self, connection: PgConnection, number: int) -> PgRow | None:
        """Epoch and digest of a commit, which may be ours, with an answer that was lost."""
        values = self._part.ledger, self._part.number, number
        return connection.execute(_COMMITTED, values).fetchone()

    def _foreign(self, number: int) -> LedgerError:
        return LedgerError(
            f"commit {number} of run {self._run} in {self._connections.address.label} was made by "
            "another process, or holds other rows"
        )

    def _explain(self, error: psycopg.Error) -> None:
        """Raise the error of the contract for one that a function of ours raised."""
        code, words = error.sqlstate, error.diag.message_primary or ""
        if code == LEASE_LOST:
            raise LeaseLostError(
                f"another process works on run {self._run} by now; nothing was recorded"
            ) from error
        if code == CLAIM_OF_RESULT:
            raise LedgerError(
                f"row {words} has a result in {self._connections.address.label} and was about to "
                "be sent again"
            ) from error
        if code == RESULT_EXISTS:
            raise _RefusedError from error

    def _refuse(self, refused: _RefusedError, found: Sequence[Line]) -> None:
        ended = self.ended([line[0] for line in found])
        row = next(line[0] for line in found if line[0] in ended)
        raise self._second(row) from refused

    def _second(self, row: int) -> LedgerError:
        label = self._connections.address.label
        return LedgerError(f"row {row} has a result already in {label}")

    def results(self, first: int, last: int) -> Iterator[RowResult]:
        """The lines' values."""
        return starmap(result_of, self.lines(first, last))

    def lines(self, first: int, last: int) -> Iterator[Line]:
        """Read in pages, of each part apart; each row's checksum is checked."""
        parts = self._part.reads or [None]
        pages = [self._lines(part, first, last) for part in parts]
        return map(self._sound, heapq.merge(*pages, key=itemgetter(0)))

    def _lines(self, part: int | None, first: int, last: int) -> Iterator[PgRow]:
        while True:
            values = self._part.ledger, part, first, last, _PAGE_ROWS
            found = self._connections.rows(_PAGE, values)
            yield from found
            if len(found) < _PAGE_ROWS:
                return
            first = found[-1][0] + 1

    def results_left(self) -> Iterator[RowResult]:
        """Found by the database, read in pages."""
        chosen = {**self._reads, "most": _PAGE_ROWS, "after": -1}
        while found := self._connections.rows(_RESULTS_LEFT, chosen):
            for line in found:
                yield result_of(*self._sound(line))
            chosen["after"] = found[-1][0]

    def sound_results(self) -> Iterator[RowResult]:
        """The intact results of a damaged ledger."""
        for line in self._lines(None, -(2**62), 2**62):
            with suppress(LedgerError):
                yield result_of(*self._sound(line))

    def sound_previous_states(self) -> Iterator[tuple[int, str]]:
        """The intact previous states of a damaged ledger."""
        query: LiteralString = """
        select row from pipeline.previous_states where ledger = %s and row > %s
        order by row limit %s
        """
        last = -(2**62)
        while found := self._connections.rows(query, (self._part.ledger, last, _PAGE_ROWS)):
            for (last,) in found:
                with suppress(LedgerError):
                    yield from self.previous_states([last]).items()

    def _sound(self, line: Sequence[Any]) -> Line:
        row, status, checksum, text = line
        record = text.encode()
        if not is_sound(row, status, checksum, record, self._seed):
            raise self._damaged(f"the result of row {row} is not what was written")
        return row, status, checksum, record

    def claimed(self) -> Iterator[int]:
        """Found by the database; all claims are checked."""
        return iter([row for row, _ in self._open_claims(self._reads)])

    def _open_claims(self, chosen: Mapping[str, object]) -> list[PgRow]:
        """Rows with a claim and no result, ascending, and the last commit that claimed each."""
        chosen = {**chosen, "seed": self._seed}
        for (number,) in self._connections.rows(_WRONG_CLAIMS, chosen):
            what = f"claims of the run are not what was written (commit {number})"
            raise self._damaged(what)
        return self._connections.rows(_CLAIMED, chosen)

    def ended(self, rows: Sequence[int]) -> dict[int, Status]:
        """Looked up in one query, and checked."""
        query = _LINES + "and row = any (%s::bigint[]) and status <> 'not_attempted'"
        found = self._connections.rows(query, (self._part.ledger, array(rows)))
        return {line[0]: STATUSES[self._sound(line)[1]] for line in found}

    def counts(self) -> dict[Status, int]:
        """Kept with the last commit of each part; those that may be replaced are counted."""
        found = self._connections.rows(_COUNTS, self._reads)
        return {STATUSES[status]: count for status, count in found if count}

    def exchanges(self, row: int | None = None) -> Iterator[Exchange]:
        """Read at once: they are few."""
        query: LiteralString = """
        select row, checksum, record from pipeline.exchanges
        where ledger = %s and (%s::bigint is null or row = %s) order by row
        """
        for number, checksum, record in self._connections.rows(
            query, (self._part.ledger, row, row)
        ):
            found = exchanges_table.exchange_of(number, checksum, record.encode(), self._seed)
            if found is None:
                raise self._damaged(f"the exchange of row {number} is not what was written")
            yield found

    def previous_states(self, rows: Sequence[int]) -> dict[int, str]:
        """Looked up in one query, and checked."""
        query: LiteralString = """
        select row, checksum, record from pipeline.previous_states
        where ledger = %s and row = any (%s::bigint[])
        """
        found: dict[int, str] = {}
        for row, checksum, record in self._connections.rows(
            query, (self._part.ledger, array(rows))
        ):
            state = _decoded(record)
            if state is None or self._sum_of_state(row, state) != checksum:
                raise self._damaged(f"what row {row} overwrote is not what was written")
            found[row] = state
        return found

    def has_previous_states(self) -> bool:
        """True if one was recorded."""
        query: LiteralString = "select 1 from pipeline.previous_states where ledger = %s limit 1"
        return bool(self._connections.rows(query, (self._part.ledger,)))

    def sample(self, samples: Sequence[Sample], legs: Sequence[Leg] = ()) -> None:
        """Append samples and replace legs, in one commit, unless the lease is lost."""
        fence = self._writable()
        texts = [_encode(sample) for sample in samples]
        leg_texts = [_encode(leg) for leg in legs]
        values = (
            *(self._part.ledger, self._part.number, *fence),
            *("\n".join(stored(sample.account) for sample in samples), [s.at_s for s in samples]),
            *(array(map(self._sum, texts)), "\n".join(texts), array(leg.number for leg in legs)),
            "\n".join(stored(leg.account) for leg in legs),
            *(array(map(self._sum, leg_texts)), "\n".join(leg_texts)),
        )

        def step(connection: PgConnection) -> None:
            try:
                connection.execute(_SAMPLE, values)
            except psycopg.Error as error:
                self._explain(error)
                raise

        self._connections.do(step)

    def samples(self) -> Iterator[Sample]:
        """Read in pages, by time."""
        chosen = {**self._reads, "at_s": -math.inf, "number": 0, "most": _PAGE_ROWS}
        while True:
            found = self._connections.rows(_SAMPLES, chosen)
            for _, _, checksum, record in found:
                yield sample_of(self._checked(checksum, record, "a sample"))
            if len(found) < _PAGE_ROWS:
                return
            chosen["at_s"], chosen["number"] = found[-1][:2]

    def legs(self) -> list[Leg]:
        """Read at once: they are few."""
        found = self._connections.rows(_LEGS, self._reads)
        return sorted(
            Leg._make(self._checked(checksum, record, "a leg of the run"))
            for checksum, record in found
        )

    def _checked(self, checksum: int, record: str, what: str) -> list[Any]:
        if self._sum(record) != checksum:
            raise self._damaged(f"{what} is not what was written")
        return list(json.loads(record))

    def _sum(self, record: str) -> int:
        return crc32(record.encode(), self._seed)

    def _damaged(self, what: str) -> LostRecordError:
        why = damaged(self._connections.address, f"{what}, in run {self._run}")
        return LostRecordError.of(self._run, str(why))

    def close(self) -> None:
        """Nothing to close: connections are the store's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class _RefusedError(Exception):
    """A row of the commit has a result already."""


def sample_of(values: Sequence[Any]) -> Sample:
    """A sample from its JSON."""
    sample = Sample._make(values)
    return sample._replace(latencies=tuple(sample.latencies))


def _decoded(record: str) -> str | None:
    try:
        return str(json.loads(record))
    except ValueError:
        return None


def _digest(*parts: object) -> int:
    """The start of a digest, as the database computes it for claims; None is left out."""
    text = " ".join(str(part) for part in parts if part is not None)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], signed=True)

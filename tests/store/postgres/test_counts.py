"""How many rows ended in which way is kept with each commit, and not counted for each look."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from pipeline.model import RowResult, Status
from pipeline.store.postgres.address import read_address
from pipeline.store.postgres.connections import OUTAGE, WAITING, PgConnections
from pipeline.store.postgres.ledger import Fence, Part, PgLedger
from pipeline.store.postgres.schema import MIGRATIONS
from pipeline.store.postgres.store import PgStore
from pipeline.store.seam import Share, run_lease, share_lease

SHARES = [Share("shop", number, 2) for number in (0, 1)]
UPDATED, UNKNOWN, NOT_ATTEMPTED = Status.UPDATED, Status.UNKNOWN, Status.NOT_ATTEMPTED


def result(row: int, status: Status = UPDATED) -> RowResult:
    return RowResult(row, "xsolla.coupon", "shop", status)


@pytest.fixture
def store(database: str) -> Iterator[PgStore]:
    """With a run: five rows by the run itself and its shares."""
    with PgStore(database, environ={}) as each:
        each.new_ledger("monday")
        with each.lease(run_lease("monday")) as lease:
            assert lease.take()
            with each.ledger("monday", None, lease) as ledger:
                ledger.record([5], [result(1, Status.INVALID), result(3, NOT_ATTEMPTED)])
        for share, row in zip(SHARES, (2, 3), strict=True):
            with each.lease(share_lease("monday", share)) as lease:
                assert lease.take()
                with each.ledger("monday", share, lease) as ledger:
                    ledger.record([row], [])
                    ledger.record([], [result(row)])
        yield each


WHOLE = {Status.INVALID: 1, UPDATED: 2}


def counts(store: PgStore, share: Share | None = None) -> dict[Status, int]:
    with store.ledger("monday", share, None) as ledger:
        return ledger.counts()


def test_the_statuses_of_final_results_are_counted(store, database):
    with psycopg.connect(database) as connection:
        (found,) = connection.execute("select pipeline.counted_statuses()").fetchone() or ()
    assert {*found} == {*Status} - {NOT_ATTEMPTED}


def test_results_are_not_looked_at_to_count_them(store, database):
    assert counts(store) == WHOLE
    with psycopg.connect(database) as connection:
        connection.execute("delete from pipeline.results")
    assert counts(store) == WHOLE
    assert counts(store, SHARES[0]) == {Status.INVALID: 1, UPDATED: 1}


SET = "update pipeline.commits set "


@pytest.mark.parametrize(
    "change",
    [
        SET + "counts = null, counts_digest = null",  # of an earlier version
        SET + "counts[1] = 7",
        SET + "counts_digest = 7",
    ],
)
def test_counts_that_are_missing_or_damaged_are_counted_and_kept_by_the_next_writer(
    store, database, change
):
    with psycopg.connect(database) as connection:
        connection.execute(change)
    assert counts(store) == WHOLE
    with store.lease(share_lease("monday", SHARES[0])) as lease:
        assert lease.take()
        with store.ledger("monday", SHARES[0], lease) as ledger:
            ledger.record([4], [])
            ledger.record([], [result(4, UNKNOWN)])
    assert counts(store) == {**WHOLE, UNKNOWN: 1}
    with psycopg.connect(database) as connection:
        connection.execute("delete from pipeline.results where part = 1")
    assert counts(store) == {**WHOLE, UNKNOWN: 1}


def test_tables_of_the_first_version_are_changed_while_a_worker_of_it_records(database: str):
    """Its commits have no counts, so theirs are counted; a writer of this version keeps them."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create schema pipeline")
        connection.execute(MIGRATIONS[0])
        connection.execute("update pipeline.installation set version = 1")
        connection.execute("insert into pipeline.ledgers (run) values ('monday')")
    address = read_address(database, {})
    old = PgConnections(address, outage=OUTAGE, silence_s=5.0, waiting=WAITING)
    try:
        worker = PgLedger(old, "monday", Part(1, 0, 0), Fence())
        worker.record([1, 2, 3], [])
        worker.record([], [result(1), result(2, NOT_ATTEMPTED)])
        with PgStore(database, environ={}) as store:
            assert counts(store) == {UPDATED: 1, NOT_ATTEMPTED: 1}
            worker.record([2], [result(3)])
            assert counts(store) == {UPDATED: 2}
            with store.lease(run_lease("monday")) as lease:
                assert lease.take()
                with store.ledger("monday", None, lease) as ledger:
                    ledger.record([], [result(2, UNKNOWN)])
                    assert [each.row for each in ledger.results_left()] == [2]
            assert counts(store) == {UPDATED: 2, UNKNOWN: 1}
    finally:
        old.close()

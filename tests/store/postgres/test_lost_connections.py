"""A connection that is lost in the middle of a call: the call has its effect once, or none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from pipeline.model import RowResult, Status
from pipeline.store import LedgerError
from pipeline.store.postgres.store import PgStore
from pipeline.store.run_entry import Run
from pipeline.store.seam import StoredPause, quota_lease, run_lease
from tests.store.postgres.cutter import ANSWER, REQUEST, Cutter, cutter

START = datetime(2026, 5, 1, tzinfo=UTC)
LOSSES = pytest.mark.parametrize("what", [REQUEST, ANSWER])


def result(row: int, **fields) -> RowResult:
    return RowResult(row, "xsolla.coupon", "shop", Status.UPDATED, **fields)


@pytest.fixture
def way(database: str) -> Iterator[Cutter]:
    with cutter(database) as each:
        yield each


@pytest.fixture
def store(way: Cutter) -> Iterator[PgStore]:
    with PgStore(way.url, environ={}) as each:
        yield each


@LOSSES
def test_a_commit_is_made_once(way, store, what):
    with store.lease(run_lease("monday")) as lease:
        assert lease.take()
        store.new_ledger("monday")
        with store.ledger("monday", None, lease) as ledger:
            ledger.record([1, 2], [])
            way.lose(what)
            ledger.record([3], [result(1), result(2)])
            assert way.cuts == 1
            assert ledger.commits == 2
            assert list(ledger.results(1, 9)) == [result(1), result(2)]
            assert list(ledger.claimed()) == [3]
            ledger.record([], [result(3)])
        with store.ledger("monday", None, None, commits=3) as ledger:
            assert ledger.commits == 3


def test_a_commit_that_another_made_meanwhile_is_not_taken_for_ours(way, database, store):
    """Two with one lease are against the rules; what they record must not be lost in silence."""
    with store.lease(run_lease("monday")) as lease:
        assert lease.take()
        store.new_ledger("monday")
        ledger = store.ledger("monday", None, lease)
        with psycopg.connect(database, autocommit=True) as other:
            other.execute(
                "insert into pipeline.commits select number, 0, 1, 1, 7, 7, 1, '{9}', null "
                "from pipeline.ledgers"
            )
        way.lose(REQUEST)
        with pytest.raises(LedgerError, match="commit 1 of run monday"):
            ledger.record([], [result(1)])
        assert list(store.ledger("monday", None, None).results(1, 9)) == []


@LOSSES
def test_the_very_same_result_again_is_refused_and_a_lost_answer_changes_nothing(way, store, what):
    with store.lease(run_lease("monday")) as lease:
        assert lease.take()
        store.new_ledger("monday")
        with store.ledger("monday", None, lease) as ledger:
            ledger.record([], [result(1)])
            way.lose(what)
            with pytest.raises(LedgerError, match="row 1 has a result already"):
                ledger.record([], [result(1)])
            ledger.record([], [result(2)])
            assert [each.row for each in ledger.results(1, 9)] == [1, 2]


@LOSSES
def test_a_lease_is_taken_renewed_and_released_once(way, store, what):
    lease = store.lease(quota_lease("a"))
    way.lose(what)
    assert lease.take()
    assert lease.epoch == 1
    way.lose(what)
    assert lease.renew()
    way.lose(what)
    lease.release()
    assert way.cuts == 3
    other = store.lease(quota_lease("a"))
    assert other.take()
    assert other.epoch == 2


@LOSSES
def test_a_run_is_added_and_changed_once(way, store, what):
    run = Run(name="monday", source="a.csv", sha256="ab", rows=3, started=START, run_id="7")
    way.lose(what)
    added = store.runs.add(run)
    way.lose(what)
    store.runs.change_state("monday", "ended", ended=START)
    way.lose(what)
    store.orders.clear("monday")
    assert way.cuts == 3
    assert [each.sequence for each in store.runs.since(0)] == [added.sequence]


@LOSSES
def test_what_left_is_counted_at_least_once(way, store, what):
    way.lose(what)
    number = store.quotas.left("a", [(0.0, 3)], under_way=0, forget_s=60.0)
    found = store.quotas.since("a", after=0)
    assert found[-1].number == number
    assert len(found) == (1 if what == REQUEST else 2)
    way.lose(what)
    store.quotas.pause("a", StoredPause(9.0, 0.0))
    assert list(store.quotas.pauses("a")) == ["a"]


@LOSSES
def test_a_file_is_put_and_fetched_once(way, database, store, what, tmp_path):
    path = tmp_path / "jobs.parquet"
    path.write_bytes(bytes(range(256)) * 10_000)
    way.lose(what)
    store.files("monday").put(path)
    way.lose(what)
    with PgStore(database, environ={}) as other:
        assert other.files("monday").fetch(path.name).read_bytes() == path.read_bytes()


def test_connections_that_were_ended_while_idle_are_opened_again(postgres, store):
    store.runs.add(Run(name="monday", source="a.csv", sha256="ab", rows=3, started=START))
    postgres.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pipeline'"
    )
    assert store.runs.names() == {"monday"}

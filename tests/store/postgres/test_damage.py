"""What changed in the database after it was written is noticed when it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from pipeline.model import DamagedError, RowResult, RunAborted, Status
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.quota import Quota
from pipeline.model.sample import Sample
from pipeline.store import LedgerError
from pipeline.store.postgres.store import PgStore
from pipeline.store.run_entry import Run
from pipeline.store.seam import LostRecordError, Order, StoredPause, run_lease

START = datetime(2026, 5, 1, tzinfo=UTC)
RECORDED = Exchange(3, Status.REJECTED, "0401", "curl -X PUT https://a.example", "HTTP 422")
SAMPLE = Sample("shop", 1.0, 1.0, 20, 3, 16)


def written(store: PgStore, folder) -> None:
    """A run with one of everything."""
    store.runs.add(Run(name="monday", source="a.csv", sha256="ab", rows=3, started=START))
    store.new_ledger("monday")
    with store.lease(run_lease("monday")) as lease:
        assert lease.take()
        with store.ledger("monday", None, lease) as ledger:
            ledger.record([1, 2], [], (), [(1, '{"name": "old"}')])
            results = [
                RowResult(row, "xsolla.coupon", "shop", Status.UPDATED, error=f"{row}")
                for row in (1, 3)
            ]
            ledger.record([4], results, [RECORDED])
            ledger.sample([SAMPLE], [Leg(1, "shop", 1.0, 2.0)])
    store.quotas.left("a", [(0.5, 2)], under_way=0, forget_s=60.0)
    store.quotas.pause("a", StoredPause(9.0, 0.0, "monday", "wait"))
    store.orders.give("monday", Order(quotas={"shop": Quota(5, 1.0)}))
    path = folder / "jobs.parquet"
    path.write_bytes(bytes(range(256)) * 10_000)
    store.files("monday").put(path)


@pytest.fixture
def store(database: str, tmp_path) -> Iterator[PgStore]:
    with PgStore(database, environ={}) as each:
        written(each, tmp_path)
        yield each


def whole(store: PgStore, commits: int = 2):
    return store.ledger("monday", None, None, commits=commits)


def everything(store: PgStore) -> list[object]:
    """Read all there is."""
    ledger = whole(store)
    return [
        *(list(ledger.results(1, 9)), list(ledger.claimed()), ledger.ended([1, 2, 3, 4])),
        *(list(ledger.exchanges()), ledger.previous_states([1]), list(ledger.samples())),
        *(ledger.legs(), store.quotas.since("a", after=0), store.quotas.pauses("a")),
        *(store.orders.given("monday"), store.runs.get("monday")),
        store.files("monday").fetch("jobs.parquet"),
    ]


def test_nothing_is_damaged_at_first(store):
    found = everything(store)
    assert found[1] == [2, 4]
    assert found[4] == {1: '{"name": "old"}'}


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        # a result: its text, its status, its row, its checksum
        ("update results set record = replace(record, 'shop', 'shot') where row = 1", "results"),
        ("update results set status = 'unchanged' where row = 1", "results"),
        ("update results set status = 'unchanged' where row = 1", "ended"),
        ("update results set row = 2 where row = 1", "results"),
        ("update results set row = 2 where row = 1", "ended"),
        ("update results set checksum = checksum # 1 where row = 3", "results"),
        # claims: a row less, a row more, one released that was not
        ("update commits set claims = '{1}' where number = 1", "claimed"),
        ("update commits set claims = '{4,5}' where number = 2", "claimed"),
        ("update commits set released = '{2}' where number = 2", "claimed"),
        ("update commits set open_from = 2 where number = 2", "claimed"),
        # everything else
        ("update exchanges set record = replace(record, '422', '423')", "exchanges"),
        ("update previous_states set record = replace(record, 'old', 'odd')", "previous"),
        ("update previous_states set record = 'x'", "previous"),
        ("update samples set record = replace(record, '20', '21')", "samples"),
        ("update legs set record = replace(record, '2.0', '2.5')", "legs"),
        ("update departures set counts = '{1}'", "departures"),
        ("update departures set ages_s = '{9}'", "departures"),
        ("update pauses set record = replace(record, 'wait', 'wade')", "pauses"),
        ("update orders set record = replace(record, '5/s', '9/s')", "order"),
        ("update runs set record = replace(record, 'a.csv', 'b.csv')", "run"),
        ("update runs set sequence = default", "run"),
    ],
)
def test_a_changed_row_is_noticed(database, store, statement, read):
    readers: dict[str, Callable[[], object]] = {
        "results": lambda: list(whole(store).results(1, 9)),
        "ended": lambda: whole(store).ended([1, 2, 3, 4]),
        "claimed": lambda: list(whole(store).claimed()),
        "exchanges": lambda: list(whole(store).exchanges()),
        "previous": lambda: whole(store).previous_states([1]),
        "samples": lambda: list(whole(store).samples()),
        "legs": lambda: whole(store).legs(),
        "departures": lambda: store.quotas.since("a", after=0),
        "pauses": lambda: store.quotas.pauses("a"),
        "order": lambda: store.orders.given("monday"),
        "run": lambda: store.runs.get("monday"),
    }
    readers[read]()
    changed(database, statement)
    with pytest.raises(LedgerError, match="not what was written"):
        readers[read]()


def changed(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("set search_path = pipeline")
        assert connection.execute(statement).rowcount >= 1


@pytest.mark.parametrize(
    "statement",
    [
        "update pieces set data = set_byte(data, 9, 7) where number = 1",
        "delete from pieces where number = 1",
        "update pieces set number = 5 where number = 1",
        "update pieces set checksum = checksum + 1 where number = 0",
    ],
)
def test_a_changed_file_is_noticed(database, store, statement):
    changed(database, statement)
    with pytest.raises(DamagedError, match=r"jobs\.parquet of run monday is not what was written"):
        store.files("monday").fetch("jobs.parquet")


def test_a_fetched_copy_that_was_changed_is_fetched_again(store):
    path = store.files("monday").fetch("jobs.parquet")
    path.write_bytes(b"changed")
    assert len(store.files("monday").fetch("jobs.parquet").read_bytes()) == 2_560_000


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("delete from commits where number = 2", "has 1 commits, and 2 were on record"),
        ("delete from commits where number = 1", "of 2 commits 1 are there"),
        ("delete from ledgers", "has no record"),
    ],
)
def test_a_missing_commit_is_noticed(database, store, statement, words):
    """As if an older copy of the database had been put in its place."""
    changed(database, statement)
    with pytest.raises(LostRecordError, match=words):
        whole(store)


def test_a_database_that_was_replaced_is_noticed(database, store):
    store.check()
    changed(database, "update installation set id = gen_random_uuid()")
    with pytest.raises(RunAborted, match="is not the one that was opened"):
        store.check()


def test_a_database_that_was_emptied_cannot_be_used(database, store):
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("drop schema pipeline cascade")
    with pytest.raises(RunAborted, match="cannot be used"):
        store.runs.names()

"""Many rows, many processes at once."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from pipeline.model import RowResult, Status
from pipeline.store import LedgerError, MemoryLedger
from pipeline.store.postgres.store import PgStore
from pipeline.store.run_entry import Run
from pipeline.store.seam import Share, run_lease
from tests.quick_start import CODE, QuickPopen

WORK = """
import sys, time
from pipeline.model import RowResult, Status
from pipeline.store.postgres.store import PgStore
from pipeline.store.seam import Share, ShareChange, share_lease
store = PgStore(sys.argv[1], environ={}, ttl_s=5.0)
left = {Share("shop", number, 8) for number in range(8)}
while left:
    for share in sorted(left):
        with store.lease(share_lease("monday", share)) as lease:
            state = next(each for each in store.runs.shares("monday") if each.share == share)
            if state.is_done:
                left.discard(share)
            elif lease.take():
                with store.ledger("monday", share, lease) as ledger:
                    for first in range(0, 400, 20):
                        rows = [share.number + 8 * each for each in range(first, first + 20)]
                        ledger.record(rows, [])
                        ledger.record(
                            [], [RowResult(row, "o", "shop", Status.UPDATED) for row in rows]
                        )
                store.runs.change_share("monday", share, ShareChange(is_done=True))
                print(share.number, flush=True)
    time.sleep(0.02)
"""


def result(row: int, **fields) -> RowResult:
    return RowResult(row, "xsolla.coupon", "shop", Status.UPDATED, **fields)


@pytest.fixture
def store(database: str) -> Iterator[PgStore]:
    with PgStore(database, environ={}) as each:
        yield each


def test_large_batches(store):
    store.new_ledger("monday")
    with store.lease(run_lease("monday")) as lease:
        assert lease.take()
        with store.ledger("monday", None, lease) as ledger:
            rows = range(1, 10_001)
            ledger.record(rows, [])
            ledger.record(range(10_001, 20_001), [result(row, error="é\n" * 9) for row in rows])
            assert ledger.counts() == {Status.UPDATED: 10_000}
            assert list(ledger.claimed()) == list(range(10_001, 20_001))
            with pytest.raises(LedgerError, match="row 10000 has a result already"):
                ledger.record([], [result(row) for row in range(10_000, 20_000)])
            assert [each.row for each in ledger.results(1, 10**9)] == list(rows)


def test_workers_share_a_run(database, store):
    """Two processes take its shares in turn: each row gets one result."""
    store.runs.add(Run(name="monday", source="a", sha256="", rows=3200, started=datetime.now(UTC)))
    store.runs.share("monday", [Share("shop", number, 8) for number in range(8)])
    store.new_ledger("monday")
    workers = [
        QuickPopen([*CODE, WORK, database], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    done = sorted(int(line) for each in workers for line in each.communicate()[0].split())
    assert [each.returncode for each in workers] == [0, 0]
    assert done == list(range(8))
    with store.ledger("monday", None, None) as ledger:
        assert [each.row for each in ledger.results(0, 10**9)] == list(range(3200))
        assert list(ledger.claimed()) == []
        assert ledger.commits == 8 * 40


def test_numbers_of_what_left_are_seen_in_order(store):
    """A reader that knows the last number never misses a lower one."""
    is_over = threading.Event()
    found: list[int] = []

    def write() -> None:
        for _ in range(40):
            store.quotas.left("a", [(0.0, 1)], under_way=0, forget_s=60.0)

    def read() -> None:
        while not is_over.is_set():
            found.extend(
                each.number for each in store.quotas.since("a", after=found[-1] if found else 0)
            )

    writers = [threading.Thread(target=write) for _ in range(3)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    is_over.set()
    reader.join()
    found.extend(each.number for each in store.quotas.since("a", after=found[-1]))
    assert len(found) == 120
    assert found == sorted(set(found))


@pytest.mark.parametrize("seed", range(3))
def test_claims_of_a_long_run_are_those_of_a_ledger_in_memory(store, seed):
    """Also for those that open it later: it reads only the commits that may hold open claims."""
    chance = random.Random(seed)
    model = MemoryLedger()
    store.new_ledger("monday")
    with store.lease(run_lease("monday")) as lease:
        assert lease.take()
        ledger = store.ledger("monday", None, lease)
        for _ in range(150):
            claimed, free = list(model.claimed()), range(1, 60)
            ended = model.ended(free)
            claims = [row for row in free if row not in ended and chance.random() < 0.05]
            results = [
                result(row)._replace(status=chance.choice([Status.UPDATED, Status.NOT_ATTEMPTED]))
                for row in claimed
                if row not in claims and chance.random() < 0.2
            ]
            released = [row for row in claimed if chance.random() < 0.03]
            for each in (ledger, model):
                each.record(claims, results)
                each.release([row for row in released if row not in {r.row for r in results}])
            if chance.random() < 0.1:
                ledger = store.ledger("monday", None, lease)
            assert list(ledger.claimed()) == list(model.claimed())
        assert ledger.counts() == model.counts()

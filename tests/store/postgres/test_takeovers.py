"""Leases that end by themselves: who may record, and when a lease may be taken."""

from __future__ import annotations

import math
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from pipeline.model import RowResult, Status
from pipeline.store.postgres.connections import Waiting
from pipeline.store.postgres.store import PgStore
from pipeline.store.seam import LeaseLostError, Share, run_lease, share_lease
from tests.postgres import postgres_server
from tests.quick_start import CODE, QuickPopen
from tests.waiting import seconds_until

TTL_S = 2.0
BUSY_S = 60.0  # of a machine that does other things
HOLD = f"""
import sys
from pipeline.model import RowResult, Status
from pipeline.store.postgres.store import PgStore
from pipeline.store.seam import LeaseLostError, run_lease
store = PgStore(sys.argv[1], environ={{}}, ttl_s={TTL_S})
lease = store.lease(run_lease("monday"))
assert lease.take()
ledger = store.ledger("monday", None, lease)
ledger.record([1, 2], [RowResult(7, "xsolla.coupon", "shop", Status.UPDATED)])
print("recorded", flush=True)
sys.stdin.readline()
try:
    ledger.record([3], [RowResult(1, "xsolla.coupon", "shop", Status.UPDATED)])
except LeaseLostError:
    print("lost", lease.renew(), flush=True)
"""


def result(row: int) -> RowResult:
    return RowResult(row, "xsolla.coupon", "shop", Status.UPDATED)


@pytest.fixture
def store(database: str) -> Iterator[PgStore]:
    with PgStore(database, environ={}, ttl_s=TTL_S) as each:
        yield each


def test_a_process_that_wakes_after_another_took_over_records_nothing(database, store):
    store.new_ledger("monday")
    child = QuickPopen(
        [*CODE, HOLD, database],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child, store.lease(run_lease("monday")) as lease:
        assert child.stdout.readline() == "recorded\n"
        child.send_signal(signal.SIGSTOP)
        assert seconds_until(lease.take) <= TTL_S + BUSY_S
        assert lease.epoch == 2
        with store.ledger("monday", None, lease) as ledger:
            assert list(ledger.claimed()) == [1, 2]  # what it may have sent
            ledger.record([], [result(2)])
            child.send_signal(signal.SIGCONT)
            child.stdin.write("go on\n")
            child.stdin.flush()
            assert child.stdout.readline() == "lost False\n"
            assert [each.row for each in ledger.results(1, 9)] == [2, 7]
            assert list(ledger.claimed()) == [1]


def test_everything_that_a_ledger_writes_needs_the_lease(database, store):
    store.new_ledger("monday")
    lease = store.lease(share_lease("monday", Share("shop")))
    assert lease.take()
    ledger = store.ledger("monday", Share("shop"), lease)
    ledger.record([1], [])
    time.sleep(TTL_S + 0.1)
    ledger.record([2], [])  # its time is over and nobody took it
    with PgStore(database, environ={}, ttl_s=TTL_S) as other:
        assert other.lease(share_lease("monday", Share("shop"))).take()
    for write in (
        lambda: ledger.record([3], []),
        lambda: ledger.release([1]),
        lambda: ledger.sample([], []),
    ):
        with pytest.raises(LeaseLostError):
            write()
    assert list(ledger.claimed()) == [1, 2]
    assert not lease.renew()
    assert lease.sure_until_s == -math.inf


def test_it_is_sure_for_less_than_its_time_from_before_it_was_asked(database):
    now_s = [1000.0]

    def later() -> float:
        now_s[0] += 1.0
        return now_s[0]

    with PgStore(database, environ={}, ttl_s=10.0, waiting=Waiting(clock=later)) as store:
        lease = store.lease(run_lease("monday"))
        now_s[0] = 2000.0
        assert lease.take()
        assert 2000.0 + 8 < lease.sure_until_s < 2000.0 + 2 + 9.01


def test_a_machine_that_slept_for_longer_is_not_sure_when_it_wakes(database):
    """Its monotonic clock stood still, and that of the database did not."""
    slept_s = [0.0]
    waiting = Waiting(slept=lambda: slept_s[0])
    with PgStore(database, environ={}, ttl_s=300.0, waiting=waiting) as store:
        lease = store.lease(run_lease("monday"))
        assert lease.take()
        assert lease.sure_until_s > time.monotonic()
        slept_s[0] = 400.0
        assert lease.sure_until_s < time.monotonic()
        assert lease.renew()
        assert lease.sure_until_s > time.monotonic()


def test_clocks_of_machines_may_differ(database):
    """A lease and an age mean the same to a process whose clock is a year ahead."""
    ahead = Waiting(clock=lambda: time.monotonic() + 31e6)
    with (
        PgStore(database, environ={}, ttl_s=300.0) as here,
        PgStore(database, environ={}, ttl_s=300.0, waiting=ahead) as there,
    ):
        held = there.lease(run_lease("monday"))
        assert held.take()
        assert held.sure_until_s > 31e6
        assert not here.lease(run_lease("monday")).take()
        there.quotas.left("a", [(5.0, 1)], under_way=0, forget_s=60.0)
        ((age_s, _),) = here.quotas.since("a", after=0)[0].counts
        assert 5.0 <= age_s < 5.0 + BUSY_S


def test_the_holder_has_its_time_after_the_start_of_the_database():
    """Nobody could renew while it was down."""
    with postgres_server() as server, PgStore(server.url(), environ={}, ttl_s=300.0) as store:
        lease, other = (store.lease(run_lease("monday")) for _ in range(2))
        assert lease.take()
        server.stop(signal.SIGKILL)
        server.start()
        passed = "update pipeline.leases set until = clock_timestamp() - interval '1 second'"
        server.execute(passed)  # as if it had been down for longer
        assert not other.take()
        assert lease.renew()
        assert lease.epoch == 1
        assert not other.take()
        server.execute(f"{passed}, ttl_s = 0")  # as if it had started long ago
        assert other.take()
        assert not lease.renew()

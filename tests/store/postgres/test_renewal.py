"""A lease that is renewed is kept for as long as the work takes, and its loss is reported."""

from __future__ import annotations

import signal
import time

from pipeline.store.lease_renewal import RenewedLease, renewed
from pipeline.store.postgres.connections import Outage
from pipeline.store.postgres.store import PgStore
from pipeline.store.seam import run_lease
from tests.postgres import postgres_server
from tests.waiting import until


def test_it_is_kept_beyond_its_time(database):
    lost: list[str] = []
    with (
        PgStore(database, environ={}, ttl_s=6.0) as store,
        PgStore(database, environ={}, ttl_s=6.0) as other,
        store.lease(run_lease("monday")) as lease,
    ):
        assert lease.take()
        with renewed(lease, lost.append):
            end_s = time.monotonic() + 7.0
            while time.monotonic() < end_s:
                assert not other.lease(run_lease("monday")).take()
                time.sleep(0.2)
        assert lease.epoch == 1
    assert lost == []


def test_its_loss_is_reported_once(postgres, database):
    lost: list[str] = []
    with PgStore(database, environ={}, ttl_s=1.0) as store:
        lease, other = (store.lease(run_lease("monday")) for _ in range(2))
        assert lease.take()
        with renewed(lease, lost.append):
            name = database.partition("///")[2].partition("?")[0]

            def is_taken_over() -> bool:  # unless it is renewed in between
                postgres.execute("update pipeline.leases set until = null", name)
                return other.take()

            until(is_taken_over)
            until(lambda: lost)
        assert lost == ["another process has taken it over"]


def test_a_database_that_stays_away_is_a_loss():
    lost: list[str] = []
    with (
        postgres_server() as server,
        PgStore(server.url(), environ={}, ttl_s=1.0, outage=Outage(most_s=0.5)) as store,
    ):
        lease = store.lease(run_lease("monday"))
        assert lease.take()
        with renewed(lease, lost.append):
            server.stop(signal.SIGKILL)
            until(lambda: lost)
        assert "cannot be used" in lost[0]
        server.start()


def test_it_is_taken_after_a_holder_and_a_waiter_that_were_killed(database):
    """What they hold, and their place in the line, ends a while after them."""
    with (
        PgStore(database, environ={}, ttl_s=60.0) as store,
        PgStore(database, environ={}, ttl_s=2.0) as other,
    ):
        killed, waited = (other.lease(run_lease("monday")) for _ in range(2))
        assert killed.take()
        assert not waited.take()
        time.sleep(0.1)
        lease = RenewedLease(store.lease(run_lease("monday")))
        assert lease.take_unless_alive()
        assert not RenewedLease(other.lease(run_lease("monday"))).take_unless_alive()
        lease.release()

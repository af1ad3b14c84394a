"""A database that goes away: calls wait, what was acknowledged is there, and in the end words."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
import pytest

from pipeline.model import RowResult, RunAborted, Status
from pipeline.store.postgres.connections import Outage, durable
from pipeline.store.postgres.store import PgStore
from pipeline.store.run_entry import Run
from pipeline.store.seam import run_lease
from tests.postgres import LOSES_POWER, PostgresServer, postgres_server

POWER_CUTS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that tests may stop."""
    with postgres_server() as each:
        yield each


def result(row: int) -> RowResult:
    return RowResult(row, "xsolla.coupon", "shop", Status.UPDATED)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["crash", "restart"])
def test_a_run_goes_on_when_the_database_is_back(server, how):
    with PgStore(server.new_database(), environ={}, ttl_s=120.0) as store:
        store.new_ledger("monday")
        lease = store.lease(run_lease("monday"))
        assert lease.take()
        ledger = store.ledger("monday", None, lease)
        acknowledged: list[int] = []
        is_over = threading.Event()

        def record() -> None:
            row = 1
            while not is_over.is_set():
                ledger.record([row + 1], [result(row)])
                acknowledged.append(row)
                row += 1

        thread = threading.Thread(target=record)
        thread.start()
        for _ in range(2):
            enough = len(acknowledged) + 20
            while len(acknowledged) < enough:
                time.sleep(0.01)
            server.stop(how)
            time.sleep(0.5)
            server.start()
        enough = len(acknowledged) + 20
        while len(acknowledged) < enough:
            time.sleep(0.01)
        is_over.set()
        thread.join()
        assert [each.row for each in ledger.results(1, 10**9)] == acknowledged
        assert list(ledger.claimed()) == [acknowledged[-1] + 1]
        assert ledger.commits == len(acknowledged)


def test_what_was_acknowledged_survives_loss_of_power():
    """After each commit, among them those of leases and send times, which may be lost."""
    with (
        postgres_server(LOSES_POWER) as server,
        PgStore(server.new_database(), environ={}, ttl_s=600.0) as store,
    ):
        server.execute("checkpoint")
        store.new_ledger("monday")
        lease = store.lease(run_lease("monday"))
        assert lease.take()
        ledger = store.ledger("monday", None, lease)
        for row in range(1, POWER_CUTS + 1):
            ledger.record([row + 1], [result(row)])
            server.stop(signal.SIGKILL)
            server.start()
            assert [each.row for each in ledger.results(1, 10**9)] == list(range(1, row + 1))
            assert list(ledger.claimed()) == [row + 1]


def test_a_server_that_loses_power_loses_what_no_commit_waited_for():
    """Otherwise the test above could not fail."""
    with postgres_server(LOSES_POWER) as server:
        server.execute("create table kept (row int)")
        server.execute("checkpoint")
        server.execute("insert into kept values (1)")
        server.stop(signal.SIGKILL)
        server.start()
        assert server.execute("select row from kept") == []


def test_a_database_that_stays_away_ends_the_run_in_words(server):
    outage = Outage(most_s=1.0)
    with PgStore(server.new_database(), environ={}, outage=outage) as store:
        server.stop()
        began_s = time.monotonic()
        try:
            with pytest.raises(RunAborted, match=r"database .* cannot be used: .* Check that"):
                store.runs.names()
            assert time.monotonic() - began_s < 30.0
        finally:
            server.start()
        assert store.runs.names() == set()


def test_a_database_that_answers_nothing_counts_as_away(server):
    """A frozen machine: its kernel still takes what is sent."""
    outage = Outage(answer_s=0.5, most_s=1.0)
    with PgStore(server.new_database(), environ={}, outage=outage) as store:
        server.suspend()
        began_s = time.monotonic()
        try:
            with pytest.raises(RunAborted, match="cannot be used"):
                store.runs.names()
            assert time.monotonic() - began_s < 30.0
        finally:
            server.resume()
        assert store.runs.names() == set()


def test_no_call_waits_longer_for_an_answer_than_the_database_is_waited_for(server):
    outage = Outage(answer_s=600.0, most_s=1.0)
    with PgStore(server.new_database(), environ={}, outage=outage, ttl_s=6.0) as store:
        lease = store.lease(run_lease("monday"))
        assert lease.take()
        with ThreadPoolExecutor() as threads:
            server.suspend()
            try:
                waiting = threads.submit(store.runs.names)
                with pytest.raises(RunAborted, match="cannot be used"):
                    lease.renew()  # it expects an answer soon
                with pytest.raises(RunAborted, match="has not answered for too long"):
                    waiting.result(timeout=30.0)
            finally:
                server.resume()
        assert store.runs.names() == set()


def test_a_change_without_an_answer_is_not_rolled_back_behind_it(server, caplog):
    outage = Outage(answer_s=0.5, most_s=0.5)
    with PgStore(server.new_database(), environ={}, outage=outage) as store:
        server.suspend()
        try:
            with pytest.raises(RunAborted, match="cannot be used"):
                store.new_ledger("monday")
        finally:
            server.resume()
    assert not caplog.records


def test_a_process_that_stops_in_the_middle_holds_no_lock_for_long(database):
    def vanish() -> None:
        with PgStore(database, environ={}) as store, suppress(psycopg.Error):
            with store._connections._borrowed(None) as connection, durable(connection):
                connection.execute("lock table pipeline.runs")
                has_lock.set()
                is_over.wait(60.0)
                connection.execute("select 1")
            was_committed.set()

    has_lock, is_over, was_committed = (threading.Event() for _ in range(3))
    thread = threading.Thread(target=vanish)
    thread.start()
    with PgStore(database, environ={}) as store:
        assert has_lock.wait(30.0)
        store.runs.add(
            Run(name="monday", source="a.csv", sha256="", rows=1, started=datetime.now(UTC))
        )
    is_over.set()
    thread.join()
    assert not was_committed.is_set()


def test_a_command_does_not_wait_long_for_a_database_that_is_not_there(tmp_path):
    began_s = time.monotonic()
    with pytest.raises(RunAborted, match="cannot be used"):
        PgStore(f"postgresql:///a?host={tmp_path}", environ={})
    assert time.monotonic() - began_s < 30.0

"""The process that starts workers: when its work is over."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.run.event_loop import run_async
from pipeline.run.live_overrides import orders_obeyed
from pipeline.run.outcome import RunOutcome
from pipeline.run.share_driver import _Driver
from pipeline.runs import open_store
from pipeline.store.seam import Order
from tests.run.test_share_records import sent_in_shares


class Gone:
    """Workers that have ended."""

    def alive(self) -> bool:
        return False


def driver_without_workers(folder: Path) -> _Driver:
    """Shares are left, and nobody has one."""
    prepared = sent_in_shares(folder)
    workers: Any = Gone()
    nowhere: Any = None
    driver = _Driver(prepared, nowhere, RunOutcome(), workers, count=1)
    driver.states = open_store(prepared.config).runs.shares(prepared.run)
    driver._due_s.clear()
    return driver


def test_a_run_whose_workers_have_all_ended_fails(tmp_path):
    driver = driver_without_workers(tmp_path)
    assert driver._is_over()
    assert "no worker is left" in str(driver.outcome.failure)


def test_workers_that_obeyed_an_order_before_their_starter_read_it_are_no_failure(tmp_path):
    driver = driver_without_workers(tmp_path)
    open_store(driver.prepared.config).orders.give(driver.prepared.run, Order(is_stop=True))
    assert not driver._is_over()
    assert driver.outcome.failure is None
    driver.outcome.pool = driver
    driver.outcome.obey(Order(is_stop=True))
    driver._is_passed_on = True  # the order is there already
    assert driver._is_over()
    assert driver.outcome.failure is None


def test_who_may_have_lost_the_run_to_another_process_stops_none_of_its_workers(tmp_path):
    """It stood still for longer than its lease, and wakes with a signal."""
    driver = driver_without_workers(tmp_path)
    prepared, store = driver.prepared, open_store(driver.prepared.config)
    driver.outcome.signal = signal.SIGTERM
    driver.stop("interrupted by SIGTERM")
    assert not driver._look().is_stop
    with prepared.lease as lease:
        assert lease.take()
        driver._look()
        assert store.orders.given(prepared.run).is_stop


@pytest.mark.parametrize("is_held", [True, False])
def test_orders_are_forgotten_at_the_end_unless_another_process_may_have_the_run(tmp_path, is_held):
    prepared = driver_without_workers(tmp_path).prepared
    orders = open_store(prepared.config).orders

    async def main() -> None:
        async with orders_obeyed(prepared, RunOutcome()):
            orders.give(prepared.run, Order(is_stop=True))
            if not is_held:
                prepared.lease.release()

    with prepared.lease as lease:
        assert lease.take()
        run_async(main)
    assert orders.given(prepared.run).is_stop != is_held

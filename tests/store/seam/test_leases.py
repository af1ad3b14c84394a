"""Leases: one process at a time, those that wait in turn."""

from __future__ import annotations

import math
import os
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.store.seam import Share, place_lease, quota_lease, run_lease, share_lease
from tests.quick_start import CODE, QuickPopen
from tests.store.seam.conftest import began
from tests.waiting import seconds_until, until

NAME = quota_lease("xsolla|https://a.example|ab")
BUSY_S = 60.0  # of a machine that does other things
HOLD = """
from pipeline.store.seam import quota_lease
lease = store.lease(quota_lease("xsolla|https://a.example|ab"))
while not lease.take():
    pass
print("held", flush=True)
import time
time.sleep(600)
"""
WISH = HOLD.replace("while not lease.take():\n    pass\n", "assert not lease.take()\n")


def started(maker, folder, source: str) -> subprocess.Popen[str]:
    child = QuickPopen(
        [*CODE, maker.source + source, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "held\n"
    return child


def killed(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    child.stdout.close()


def test_one_at_a_time(store, other):
    with store.lease(NAME) as first, other.lease(NAME) as second:
        assert first.take()
        assert first.take()  # it is ours already
        assert first.renew()
        assert first.sure_until_s > time.monotonic()
        assert not second.take()
        assert second.sure_until_s == -math.inf
        first.release()
        assert first.sure_until_s == -math.inf
        until(second.take)
        assert not first.take()
    with store.lease(NAME) as third:
        until(third.take)


def test_two_objects_of_one_process_exclude_each_other(store):
    with store.lease(NAME) as first, store.lease(NAME) as second:
        assert first.take()
        assert not second.take()


def test_leases_of_different_names_are_different(store):
    began(store)
    names = [
        *(run_lease("monday"), quota_lease("monday"), place_lease("monday")),
        *(share_lease("monday", Share("shop", number, 2)) for number in (0, 1)),
        share_lease("monday", Share("billing")),
    ]
    held = [store.lease(name) for name in names]
    assert all(lease.take() for lease in held)
    for lease in held:
        lease.release()


def test_the_epoch_rises_when_it_is_taken(store):
    with store.lease(NAME) as lease:
        assert lease.epoch == 0
        assert lease.take()
        first = lease.epoch
        assert first > 0
        lease.release()
        assert lease.take()
        assert lease.epoch > first


def test_the_holder_is_named(store, other):
    lease = store.lease(NAME)
    assert lease.holder() is None
    assert lease.take()
    holder = other.lease(NAME).holder()
    assert holder is not None
    assert holder.pid == os.getpid()
    assert f"process {os.getpid()}" in holder.text
    assert abs(datetime.now(UTC) - holder.since) < timedelta(minutes=1)
    lease.release()
    assert other.lease(NAME).holder() is None


def test_whether_it_is_held_can_be_asked_without_a_wish(store, other):
    with store.lease(NAME) as lease:
        asks = other.lease(NAME)
        assert not asks.is_held()
        assert lease.take()
        assert asks.is_held()
        assert lease.is_held()
        assert not lease.is_wanted()
    assert not asks.is_held()


def test_a_killed_process_holds_nothing(maker, store, tmp_path):
    child = started(maker, tmp_path, HOLD)
    try:
        with store.lease(NAME) as lease:
            assert not lease.take()
            assert lease.holder().pid == child.pid
            killed(child)
            assert seconds_until(lease.take) <= maker.frees_s + BUSY_S
            assert lease.holder().pid == os.getpid()
    finally:
        killed(child)


def test_the_holder_that_was_killed_is_still_named(maker, store, tmp_path):
    """It did not release the lease: its last requests may not be on record."""
    child = started(maker, tmp_path, HOLD)
    killed(child)
    lease = store.lease(NAME)
    assert lease.holder().pid == child.pid


def test_the_holder_hears_that_it_is_wanted(store, other):
    with store.lease(NAME) as lease, other.lease(NAME) as waits:
        assert lease.take()
        assert not lease.is_wanted()
        assert not waits.take()
        assert seconds_until(lease.is_wanted) < BUSY_S
        lease.release()
        until(waits.take)
        assert not waits.is_wanted()


def test_who_gives_up_wants_it_no_more(store, other):
    with store.lease(NAME) as lease, other.lease(NAME) as waits:
        assert lease.take()
        assert not waits.take()
        waits.release()
        until(lambda: not lease.is_wanted())
        lease.release()
        assert lease.take()


def test_the_first_in_line_is_next(store, other):
    with (
        store.lease(NAME) as holder,
        other.lease(NAME) as first,
        other.lease(NAME) as second,
    ):
        assert holder.take()
        assert not first.take()
        assert not second.take()
        holder.release()
        assert not holder.take()
        assert not second.take()
        assert first.take()
        first.release()
        assert not first.take()
        assert second.take()


def test_a_process_that_stopped_waiting_delays_others_by_seconds(maker, store, tmp_path):
    with store.lease(NAME) as lease:
        assert lease.take()
        child = started(maker, tmp_path, WISH)  # it asks once
        try:
            lease.release()
            assert 0.1 < seconds_until(lease.take) < BUSY_S
        finally:
            killed(child)


@pytest.mark.parametrize("kind", [run_lease, quota_lease, place_lease])
def test_any_text_is_a_name(store, kind):
    name = "20260501T020000Z-a-bcde" if kind is run_lease else "x|https://a.example/|../ é\n'\""
    if kind is run_lease:
        began(store, name)
    with store.lease(kind(name)) as lease, store.lease(kind(name)) as other:
        assert lease.take()
        assert not other.take()


def test_an_abandoned_lease_still_names_its_holder_and_can_be_taken(store):
    with store.lease(NAME) as lease:
        assert lease.take()
        lease.abandon()
        assert lease.sure_until_s == -math.inf
        holder = lease.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
        assert lease.take()

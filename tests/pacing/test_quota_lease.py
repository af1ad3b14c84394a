"""One process's hold on a gate, with real files; two of them stand for two processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.model.pause import AskedPause
from pipeline.model.quota import Quota
from pipeline.pacing import quota_lease
from pipeline.pacing.limiter import LimiterSettings
from pipeline.pacing.margin import MAX_WAY_S
from pipeline.pacing.pause import ANNOUNCED_S
from pipeline.pacing.quota_lease import Handover, QuotaLease, most_in, this_moment
from pipeline.pacing.quota_parts import QuotaPart
from pipeline.pacing.unrecorded import AgeCount
from pipeline.store import Departures, Runs
from pipeline.store.on_files.boot_clock import Moment
from tests.workers.drive import limiter_of

QUOTA = Quota(20, 1.0)
HOLD = """
import sys, time
from pathlib import Path
from pipeline.model.quota import Quota
from pipeline.pacing.quota_lease import QuotaLease
from pipeline.pacing.quota_parts import QuotaPart
from tests.workers.drive import limiter_of

held = QuotaLease(QuotaPart("group"), limiter_of(Quota(20, 1.0)), Path(sys.argv[1]))
assert held.acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with Runs(tmp_path / "ledger.db") as each:
        yield each


def ages(*seconds: float) -> list[AgeCount]:
    return [AgeCount(each_s) for each_s in seconds]


def seconds(handover: Handover) -> list[float]:
    """The age of each request."""
    return [age_s for age_s, count in handover.ages for _ in range(count)]


def lease_of(folder: Path, *quotas: Quota, now=this_moment) -> QuotaLease:
    return QuotaLease(QuotaPart("group"), limiter_of(*(quotas or (QUOTA,))), folder, now=now)


@pytest.mark.parametrize(
    ("seconds", "quotas", "most"),
    [
        (2.0, [Quota(20, 1.0)], 40),  # what two windows allow
        (2.0, [Quota(600, 60.0)], 22),  # spread: what two seconds allow, and two at once
        (2.0, [Quota(20, 1.0), Quota(600, 60.0)], 22),  # the slowest spreads
        (2.0, [Quota(20, 1.0, is_burst=True)], 40),  # two windows at most
        (2.0, [Quota(600, 60.0, is_burst=True)], 600),  # all that a window allows, at once
        (2.0, [Quota(30, 1.0, is_burst=True), Quota(50, 60.0, is_burst=True)], 50),
        (2.0, [Quota(1, 3600.0)], 1),
        (2.0, [], 0),  # nothing is stated: the vendor says when it is too much
    ],
)
def test_most_requests_off_the_record(seconds, quotas, most):
    assert most_in(seconds, LimiterSettings(quotas=tuple(quotas))) == most


def test_one_process_holds_the_lease_and_the_first_in_line_is_next(tmp_path):
    first, second, third = (lease_of(tmp_path) for _ in range(3))
    assert first.acquire()
    assert not first.is_wanted()
    assert not second.acquire()
    assert first.is_wanted()
    assert not third.acquire()
    first.release()
    assert not first.is_held
    assert not first.acquire()  # it comes back, and finds that another one stands in line
    assert second.acquire()
    assert not second.is_wanted()
    assert not first.acquire()
    assert second.is_wanted()
    second.release()
    assert first.acquire()


def test_two_groups_do_not_wait_for_each_other(tmp_path):
    first = lease_of(tmp_path)
    other = QuotaLease(QuotaPart("another"), limiter_of(QUOTA), tmp_path)
    assert first.acquire()
    assert other.acquire()


def test_parts_do_not_wait_for_each_other_and_have_records_of_their_own(tmp_path, runs):
    quota = Quota(20, 1.0)
    first, second, again = (
        QuotaLease(QuotaPart("group", number, 2), limiter_of(quota), tmp_path)
        for number in (0, 1, 0)
    )
    assert first.acquire()
    assert second.acquire()
    assert not again.acquire()
    first.record(runs, ages(0.5, 0.25))
    first.release()
    assert second.take_over(runs).ages == []
    assert again.acquire()
    assert len(again.take_over(runs).ages) == 2


def test_requests_of_when_there_was_another_number_of_shares_count(tmp_path, runs):
    """In each part those of the last window, divided by their number and rounded up; once."""
    whole = lease_of(tmp_path)
    assert whole.acquire()
    whole.record(runs, ages(0.5, 0.4, 0.3, 0.2, 0.1))
    whole.release()
    for number in range(4):
        part = QuotaLease(QuotaPart("group", number, 4), limiter_of(QUOTA), tmp_path)
        assert part.acquire()
        assert len(part.take_over(runs).ages) == 2
        part.record(runs, ages(0.05))
        assert part.take_over(runs).ages == []
        part.release()
    later = lease_of(tmp_path)
    assert later.acquire()
    assert len(later.take_over(runs).ages) == 5 + 4


def test_a_waiting_process_may_give_up(tmp_path):
    first, second = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    assert not second.acquire()
    second.release()
    assert not first.is_wanted()
    first.release()
    assert first.acquire()


def test_a_stopped_process_that_is_first_in_line_delays_others_briefly(tmp_path, monkeypatch):
    monkeypatch.setattr(quota_lease, "FIRST_WITHIN_S", 0.2)
    first, stopped = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    assert not stopped.acquire()
    first.release()
    began_s = time.monotonic()
    while not first.acquire():
        time.sleep(0.01)
    assert 0.15 < time.monotonic() - began_s < 2
    assert not stopped.acquire()


def test_a_handover_has_each_request_of_others_once_and_none_of_its_own(tmp_path, runs):
    first, second = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    assert first.take_over(runs) == ([], None, 0)
    first.record(runs, ages(0.5, 0.25))
    first.record(runs, ages(0.2))
    first.release()
    assert second.acquire()
    taken = second.take_over(runs)
    later_s = [
        age_s - each_s for age_s, each_s in zip(seconds(taken), [0.5, 0.25, 0.2], strict=True)
    ]
    assert all(-0.001 < each_s < 1.0 for each_s in later_s)  # as old as it takes here, or less
    assert taken.unrecorded == 0
    second.record(runs, [])
    second.record(runs, ages(0.1))
    second.release()
    assert first.acquire()
    (age_s,) = seconds(first.take_over(runs))
    assert 0.099 < age_s < 1.0
    first.release()
    assert second.acquire()
    assert seconds(second.take_over(runs)) == []


def test_requests_that_may_still_arrive_are_recorded(tmp_path, runs):
    first, second = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    first.record(runs, ages(-0.05, -40.0))
    first.release()
    assert second.acquire()
    later_s, sooner_s = sorted(seconds(second.take_over(runs)))
    assert -0.05 <= sooner_s < 0.1
    assert later_s == -MAX_WAY_S  # a machine that was set back keeps nobody waiting for longer


def test_requests_older_than_every_window_are_left_out(tmp_path, runs):
    first, second = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    first.record(runs, ages(1.5, 0.9))
    first.release()
    assert second.acquire()
    assert len(seconds(second.take_over(runs))) == 1


@pytest.mark.parametrize("step_s", [-86_400.0, -120.0, 0.0, 120.0, 86_400.0])
def test_a_step_of_the_wall_clock_changes_nothing(tmp_path, runs, step_s):
    first = lease_of(tmp_path, Quota(20, 60.0), now=lambda: Moment("a", 500.0, 1e9))
    second = lease_of(tmp_path, Quota(20, 60.0), now=lambda: Moment("a", 530.0, 1e9 + 30 + step_s))
    assert first.acquire()
    first.record(runs, ages(10.0, 1.0))
    first.release()
    assert second.acquire()
    assert seconds(second.take_over(runs)) == [40.0, 31.0]


@pytest.mark.parametrize(
    ("since_s", "up_s", "ages_s"),
    [
        (40.0, 20.0, [50.0, 41.0]),  # by the wall clock
        (40.0, 45.0, [50.0, 45.0]),  # it left before this boot at the latest
        (-900.0, 20.0, [20.0, 20.0]),  # a clock that went back
        (900.0, 20.0, []),
    ],
)
def test_requests_of_another_boot_get_their_age_from_the_wall_clock(
    tmp_path, runs, since_s, up_s, ages_s
):
    first = lease_of(tmp_path, Quota(20, 60.0), now=lambda: Moment("a", 500.0, 1e9))
    second = lease_of(tmp_path, Quota(20, 60.0), now=lambda: Moment("b", up_s, 1e9 + since_s))
    assert first.acquire()
    first.record(runs, ages(10.0, 1.0))
    first.release()
    assert second.acquire()
    assert seconds(second.take_over(runs)) == ages_s


def test_the_clock_advances_and_the_boot_is_constant():
    before, after = this_moment(), this_moment()
    assert before.boot == after.boot
    assert before.boot_s <= after.boot_s
    assert (before.boot == "") is (sys.platform != "linux")


def test_a_handover_has_the_pause_and_its_origin(tmp_path, runs):
    first, second = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    asked = AskedPause(time.time() + 60.0, time.time(), "a-run", "HTTP 429, Retry-After: 60")
    runs.pause(first.part.group, asked)
    first.release()
    assert second.acquire()
    assert second.take_over(runs).pause == asked


def test_what_could_not_be_recorded_goes_on_record_with_the_next(tmp_path, runs):
    first, second = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    first.keep(ages(0.5))
    first.record(runs, ages(0.2))
    first.record(runs, [])
    first.release()
    assert second.acquire()
    assert len(seconds(second.take_over(runs))) == 2


def test_lost_requests_of_a_killed_process_count(tmp_path, runs):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        mine = lease_of(tmp_path)
        assert not mine.acquire()
    finally:
        process.kill()
        process.communicate()
    assert mine.acquire()
    assert mine.take_over(runs).unrecorded == mine.most_unrecorded == 40
    mine.release()
    assert mine.acquire()
    assert mine.take_over(runs).unrecorded == 0  # this one was let go


def test_requests_in_flight_of_a_killed_process_count(tmp_path, runs):
    runs.depart("group", Departures("a", 1.0, 1.0, under_way=7), longest_s=60.0)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.communicate()
    mine = lease_of(tmp_path)
    assert mine.acquire()
    assert mine.take_over(runs).unrecorded == mine.most_unrecorded + 7


def test_a_process_that_holds_the_quota_for_long_is_named_once(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        mine = lease_of(tmp_path)
        assert not mine.acquire()
        assert mine.held_by_another() is None
        time.sleep(ANNOUNCED_S)
        assert str(mine.held_by_another()).startswith(f"process {process.pid} (")
        assert mine.held_by_another() is None
    finally:
        process.kill()
        process.communicate()
    assert mine.acquire()
    assert mine.held_by_another() is None

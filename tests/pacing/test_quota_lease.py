"""One process's hold on a gate, with real files; two of them stand for two processes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.model.pause import AskedPause
from pipeline.model.quota import Quota
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.pacing.margin import MAX_WAY_S
from pipeline.pacing.pause import ANNOUNCED_S
from pipeline.pacing.quota_lease import Handover, QuotaLease, most_in
from pipeline.pacing.quota_parts import QuotaPart
from pipeline.pacing.unrecorded import AgeCount
from pipeline.store.on_files import FileStore
from tests.quick_start import CODE, QuickPopen
from tests.waiting import until
from tests.workers.drive import limiter_of

QUOTA = Quota(20, 1.0)
GROUP = QuotaPart("group")
HOLD = """
import sys, time
from pathlib import Path
from pipeline.model.quota import Quota
from pipeline.pacing.quota_lease import QuotaLease
from pipeline.pacing.quota_parts import QuotaPart
from pipeline.store.on_files import FileStore
from tests.workers.drive import limiter_of

store = FileStore(Path(sys.argv[1]) / "ledger.db")
held = QuotaLease(QuotaPart("group"), limiter_of(Quota(20, 1.0)), store)
assert held.acquire()
print("held", flush=True)
time.sleep(600)
"""


def ages(*seconds: float) -> list[AgeCount]:
    return [AgeCount(each_s) for each_s in seconds]


def seconds(handover: Handover) -> list[float]:
    """The age of each request."""
    return [age_s for age_s, count in handover.ages for _ in range(count)]


def store_in(folder: Path) -> FileStore:
    """Another process's."""
    return FileStore(folder / "ledger.db")


def lease_of(folder: Path, part: QuotaPart = GROUP, quota: Quota = QUOTA) -> QuotaLease:
    return QuotaLease(part, limiter_of(quota), store_in(folder))


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
    assert second.is_wanted()
    assert not first.acquire()
    second.release()
    until(third.acquire)  # it was before the first one, this time
    third.release()
    until(first.acquire)


def test_two_groups_do_not_wait_for_each_other(tmp_path):
    first = lease_of(tmp_path)
    other = lease_of(tmp_path, QuotaPart("another"))
    assert first.acquire()
    assert other.acquire()


def test_parts_do_not_wait_for_each_other_and_have_records_of_their_own(tmp_path):
    first, second, again = (
        lease_of(tmp_path, QuotaPart("group", number, 2), Quota(20, 60.0)) for number in (0, 1, 0)
    )
    assert first.acquire()
    assert second.acquire()
    assert not again.acquire()
    first.record(ages(0.5, 0.25))
    first.release()
    assert second.take_over().ages == []
    assert again.acquire()
    assert len(again.take_over().ages) == 2


def test_requests_of_when_there_was_another_number_of_shares_count(tmp_path):
    """In each part those of the last window, divided by their number and rounded up; once."""
    minute = Quota(20, 60.0)
    whole = lease_of(tmp_path, quota=minute)
    assert whole.acquire()
    whole.record(ages(0.5, 0.4, 0.3, 0.2, 0.1))
    whole.release()
    for number in range(4):
        part = lease_of(tmp_path, QuotaPart("group", number, 4), minute)
        assert part.acquire()
        assert len(part.take_over().ages) == 2
        part.record(ages(0.05))
        assert part.take_over().ages == []
        part.release()
    later = lease_of(tmp_path, quota=minute)
    assert later.acquire()
    assert len(later.take_over().ages) == 5 + 4


def test_a_waiting_process_may_give_up(tmp_path):
    first, second = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    assert not second.acquire()
    second.release()
    assert not first.is_wanted()
    first.release()
    assert first.acquire()


def test_a_handover_has_each_request_of_others_once_and_none_of_its_own(tmp_path):
    first, second = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    assert first.take_over() == ([], None, 0)
    first.record(ages(0.5, 0.25))
    first.record(ages(0.2))
    first.release()
    assert second.acquire()
    taken = second.take_over()
    later_s = [
        age_s - each_s for age_s, each_s in zip(seconds(taken), [0.5, 0.25, 0.2], strict=True)
    ]
    assert all(-0.001 < each_s < 1.0 for each_s in later_s)  # as old as it takes here, or less
    assert taken.unrecorded == 0
    second.record([])
    second.record(ages(0.1))
    second.release()
    assert first.acquire()
    (age_s,) = seconds(first.take_over())
    assert 0.099 < age_s < 1.0
    first.release()
    assert second.acquire()
    assert seconds(second.take_over()) == []


def test_requests_that_may_still_arrive_are_recorded(tmp_path):
    first, second = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    first.record(ages(-0.05, -40.0))
    first.release()
    assert second.acquire()
    later_s, sooner_s = sorted(seconds(second.take_over()))
    assert -0.05 <= sooner_s < 2.0
    assert later_s == -MAX_WAY_S  # a machine that was set back keeps nobody waiting for longer


def test_requests_older_than_every_window_are_left_out(tmp_path):
    first, second = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    first.record(ages(1.5, 0.2))
    first.release()
    assert second.acquire()
    assert len(seconds(second.take_over())) == 1


def test_a_handover_has_the_pause_and_its_origin(tmp_path):
    first, second = lease_of(tmp_path), lease_of(tmp_path)
    assert first.acquire()
    now_s = time.time()
    asked = AskedPause(now_s + 60.0, now_s - 5.0, "a-run", "HTTP 429, Retry-After: 60")
    first.record_pause(asked)
    first.release()
    assert second.acquire()
    pause = second.take_over().pause
    assert pause is not None
    assert pause[2:] == asked[2:]
    assert pause[:2] == pytest.approx(asked[:2], abs=0.01)


def test_what_could_not_be_recorded_goes_on_record_with_the_next(tmp_path):
    quota = Quota(20, 600.0)  # its window outlives a slow machine
    first, second = lease_of(tmp_path, quota=quota), lease_of(tmp_path, quota=quota)
    assert first.acquire()
    first.keep(ages(0.5))
    first.record(ages(0.2))
    first.record([])
    first.release()
    assert second.acquire()
    assert len(seconds(second.take_over())) == 2


@contextmanager
def killed_at_end(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lease."""
    process = QuickPopen([*CODE, HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_lost_requests_of_a_killed_process_count(tmp_path):
    with killed_at_end(tmp_path):
        mine = lease_of(tmp_path)
        assert not mine.acquire()
    until(mine.acquire)
    assert mine.take_over().unrecorded == mine.most_unrecorded == 40
    mine.release()
    until(mine.acquire)
    assert mine.take_over().unrecorded == 0  # this one was let go


def test_requests_in_flight_of_a_killed_process_count(tmp_path):
    store_in(tmp_path).quotas.left("group", (), under_way=7, forget_s=60.0)
    with killed_at_end(tmp_path):
        pass
    mine = lease_of(tmp_path)
    until(mine.acquire)
    assert mine.take_over().unrecorded == mine.most_unrecorded + 7


def test_a_process_that_holds_the_quota_for_long_is_named_once(tmp_path):
    with killed_at_end(tmp_path) as process:
        mine = lease_of(tmp_path)
        assert not mine.acquire()
        assert mine.held_by_another() is None
        time.sleep(ANNOUNCED_S)
        assert str(mine.held_by_another()).startswith(f"process {process.pid} (")
        assert mine.held_by_another() is None
    until(mine.acquire)
    assert mine.held_by_another() is None

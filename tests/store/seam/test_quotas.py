"""What quota groups sent, in ages; the pauses of vendors."""

from __future__ import annotations

import math
import time

import pytest

from pipeline.store.seam import StoredPause

GROUP = "xsolla|https://a.example|ab"


def test_requests_are_read_with_the_time_that_has_passed(store, other):
    number = store.quotas.left(GROUP, [(0.5, 2), (0.25, 1), (-0.1, 3)], under_way=4, forget_s=60.0)
    (entry,) = other.quotas.since(GROUP, after=0)
    assert entry.number == number > 0
    assert [count for _, count in entry.counts] == [2, 1, 3]
    passed_s = [age - at for (age, _), at in zip(entry.counts, (0.5, 0.25, -0.1), strict=True)]
    assert all(-0.01 < each_s < 10.0 for each_s in passed_s)
    assert max(passed_s) - min(passed_s) < 0.001
    assert entry.under_way == 4
    time.sleep(0.2)
    (later,) = other.quotas.since(GROUP, after=0)
    assert 0.19 < later.counts[0][0] - entry.counts[0][0] < 10.0


def test_entries_that_are_known_and_those_of_other_groups_are_left_out(store):
    first = store.quotas.left(GROUP, [(0.5, 1)], under_way=0, forget_s=60.0)
    store.quotas.left("other", [(0.5, 1)], under_way=0, forget_s=60.0)
    second = store.quotas.left(GROUP, (), under_way=2, forget_s=60.0)
    assert second > first
    found = store.quotas.since(GROUP, after=first)
    assert [(each.number, each.counts, each.under_way) for each in found] == [(second, (), 2)]
    assert [each.number for each in store.quotas.since(GROUP, after=0)] == [first, second]
    assert store.quotas.left(GROUP, (), under_way=0, forget_s=60.0) == 0  # nothing to record
    assert store.quotas.since("nobody", after=0) == []


def test_what_no_window_needs_is_forgotten_and_numbers_rise(store):
    old = store.quotas.left(GROUP, [(100.0, 1)], under_way=0, forget_s=1000.0)
    kept = store.quotas.left(GROUP, [(100.0, 1), (1.0, 1)], under_way=0, forget_s=1000.0)
    new = store.quotas.left(GROUP, [(0.0, 1)], under_way=0, forget_s=50.0)
    assert new > kept > old
    assert kept in [each.number for each in store.quotas.since(GROUP, after=0)]
    assert [each.number for each in store.quotas.since(GROUP, after=kept)] == [new]


def test_a_pause_has_its_origin_and_ends(store, other):
    asked = StoredPause(60.0, 0.0, "monday", "HTTP 429, Retry-After: 60")
    store.quotas.pause(GROUP, asked)
    found = other.quotas.pauses(GROUP)[GROUP]
    assert found[2:] == asked[2:]
    assert 50.0 < found.left_s <= 60.0
    assert 0.0 <= found.age_s < 10.0
    time.sleep(0.2)
    later = other.quotas.pauses(GROUP)[GROUP]
    assert later.left_s <= found.left_s - 0.19
    assert later.age_s >= found.age_s + 0.19


def test_nobody_shortens_a_pause_and_the_longest_keeps_its_origin(store):
    store.quotas.pause(GROUP, StoredPause(60.0, 5.0, "monday", "long"))
    store.quotas.pause(GROUP, StoredPause(10.0, 0.0, "tuesday", "short"))
    assert store.quotas.pauses("")[GROUP].words == "long"
    store.quotas.pause(GROUP, StoredPause(90.0, math.inf))
    found = store.quotas.pauses("")[GROUP]
    assert (found.run, found.words, found.age_s) == ("", "", math.inf)


def test_pauses_are_found_by_the_start_of_the_name(store):
    for group in ("xsolla|a|1", "xsolla|b|1", "xsolla|a|2", "x%"):
        store.quotas.pause(group, StoredPause(60.0, 0.0))
    assert sorted(store.quotas.pauses("xsolla|a|")) == ["xsolla|a|1", "xsolla|a|2"]
    assert list(store.quotas.pauses("x%")) == ["x%"]
    assert len(store.quotas.pauses("")) == 4


def test_a_pause_that_is_lifted_is_gone_and_others_stay(store, other):
    store.quotas.pause(GROUP, StoredPause(60.0, 0.0, "monday", "wait"))
    store.quotas.pause("other", StoredPause(60.0, 0.0))
    lifted = other.quotas.lift_pause(GROUP)
    assert lifted is not None
    assert lifted.words == "wait"
    assert other.quotas.lift_pause(GROUP) is None
    assert list(store.quotas.pauses("")) == ["other"]


@pytest.mark.parametrize("left_s", [-5.0, 0.0])
def test_a_pause_that_is_over_may_be_read(store, left_s):
    store.quotas.pause(GROUP, StoredPause(left_s, 10.0))
    assert store.quotas.pauses(GROUP)[GROUP].left_s <= left_s

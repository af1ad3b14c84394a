"""A bucket gives its slots at an even rate, and never more at once than it holds."""

from __future__ import annotations

import pytest

from pipeline.pacing.spacing import SpacingBucket


def taken_of(bucket: SpacingBucket, most: int, now_s: float) -> int:
    """Takes as many slots as are free, at most `most`."""
    slots = bucket.free(most, now_s)
    bucket.take(slots)
    return slots


@pytest.mark.parametrize("most", [1, 3, 100])
@pytest.mark.parametrize("every_s", [0.001, 0.01, 0.037])
def test_slots_come_at_the_rate_however_they_are_taken(most, every_s):
    bucket, taken, now_s = SpacingBucket(5, 0.05, now_s=7.0), 0, 7.0
    while now_s < 17.0:
        while slots := taken_of(bucket, most, now_s):
            taken += slots
        now_s += every_s
    assert taken == pytest.approx(100 * 10 + 5, abs=5)


def test_a_full_bucket_says_when_its_next_slot_comes():
    bucket = SpacingBucket(2, 0.1, now_s=0.0)
    assert bucket.free_in_s(0.0) == 0
    assert [taken_of(bucket, 1, 0.0) for _ in range(3)] == [1, 1, 0]
    assert bucket.free_in_s(0.0) == pytest.approx(0.05)
    assert bucket.free_in_s(0.03) == pytest.approx(0.02)
    assert bucket.free_in_s(0.051) == 0
    assert [taken_of(bucket, 1, 0.051) for _ in range(2)] == [1, 0]


def test_a_bucket_that_was_filled_is_as_one_that_was_used():
    bucket = SpacingBucket(10, 1.0, now_s=0.0)
    bucket.fill()
    assert not bucket.free(1, 0.0)
    assert bucket.free_in_s(0.0) == pytest.approx(0.1)
    assert bucket.free(1, 0.1001) == 1


@pytest.mark.parametrize("rest_s", [0.0, 0.05, 10.0])
def test_a_rest_allows_no_more_at_once_than_the_bucket_holds(rest_s):
    bucket, now_s = SpacingBucket(5, 0.05, now_s=0.0), 0.0
    for _ in range(2):
        now_s += rest_s
        assert [taken_of(bucket, 20, now_s), taken_of(bucket, 20, now_s)] == [5, 0]
        now_s += 0.051

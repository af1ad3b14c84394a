"""What the bucket relies on in aiolimiter, and that both ways of taking a slot share one level."""

from __future__ import annotations

import anyio
import pytest

from pipeline.pacing.spacing import SpacingBucket
from tests.scenarios import virtual_time


def taken_of(bucket: SpacingBucket, most: int) -> int:
    """Takes as many slots as are free, at most `most`."""
    slots = bucket.free(most)
    bucket.take(slots)
    return slots


def test_slots_come_at_the_rate_whichever_way_they_are_taken():
    """A slot taken at once is one that nobody gets by waiting, and the other way round."""

    async def main() -> int:
        bucket, taken = SpacingBucket(5, 0.05), 0
        with anyio.move_on_after(10.0):
            while True:
                taken += taken_of(bucket, 1)
                await bucket.acquire()
                taken += 1
        return taken

    assert virtual_time.run(main) == pytest.approx(100 * 10 + 5, abs=2)


def test_a_full_bucket_says_when_its_next_slot_comes():
    async def main() -> None:
        bucket = SpacingBucket(2, 0.1)
        assert bucket.free_in_s() == 0
        assert [taken_of(bucket, 1) for _ in range(3)] == [1, 1, 0]
        assert bucket.free_in_s() == pytest.approx(0.05)
        await anyio.sleep(0.03)
        assert bucket.free_in_s() == pytest.approx(0.02)
        await anyio.sleep(0.021)
        assert bucket.free_in_s() == 0
        assert [taken_of(bucket, 1) for _ in range(2)] == [1, 0]

    virtual_time.run(main)


def test_a_bucket_that_was_filled_is_as_one_that_was_used():
    async def main() -> None:
        bucket = SpacingBucket(10, 1.0)
        bucket.fill()
        assert not bucket.free(1)
        assert not bucket.has_capacity()
        assert bucket.free_in_s() == pytest.approx(0.1)

    virtual_time.run(main)


@pytest.mark.parametrize("rest_s", [0.0, 0.05, 10.0])
def test_a_rest_allows_no_more_at_once_than_the_bucket_holds(rest_s):
    async def main() -> None:
        bucket = SpacingBucket(5, 0.05)
        for _ in range(2):
            await anyio.sleep(rest_s)
            assert [taken_of(bucket, 20), taken_of(bucket, 20)] == [5, 0]
            await anyio.sleep(0.051)

    virtual_time.run(main)

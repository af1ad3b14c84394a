"""What the bucket relies on in aiolimiter, and that both ways of taking a slot share one level."""

from __future__ import annotations

import anyio
import pytest

from pipeline.pacing.spacing import SpacingBucket
from tests.scenarios import virtual_time


def test_slots_come_at_the_rate_whichever_way_they_are_taken():
    """A slot taken at once is one that nobody gets by waiting, and the other way round."""

    async def main() -> int:
        bucket, taken = SpacingBucket(5, 0.05), 0
        with anyio.move_on_after(10.0):
            while True:
                taken += bucket.try_acquire()
                await bucket.acquire()
                taken += 1
        return taken

    assert virtual_time.run(main) == pytest.approx(100 * 10 + 5, abs=2)


def test_a_full_bucket_says_when_its_next_slot_comes():
    async def main() -> None:
        bucket = SpacingBucket(2, 0.1)
        assert bucket.free_in_s() == 0
        assert [bucket.try_acquire() for _ in range(3)] == [True, True, False]
        assert bucket.free_in_s() == pytest.approx(0.05)
        await anyio.sleep(0.03)
        assert bucket.free_in_s() == pytest.approx(0.02)
        await anyio.sleep(0.021)
        assert bucket.free_in_s() == 0
        assert [bucket.try_acquire() for _ in range(2)] == [True, False]

    virtual_time.run(main)


def test_a_bucket_that_was_filled_is_as_one_that_was_used():
    async def main() -> None:
        bucket = SpacingBucket(10, 1.0)
        bucket.fill()
        assert not bucket.try_acquire()
        assert not bucket.has_capacity()
        assert bucket.free_in_s() == pytest.approx(0.1)

    virtual_time.run(main)


@pytest.mark.parametrize("rest_s", [0.0, 0.05, 10.0])
def test_a_rest_allows_no_more_at_once_than_the_bucket_holds(rest_s):
    async def main() -> None:
        bucket = SpacingBucket(5, 0.05)
        for _ in range(2):
            await anyio.sleep(rest_s)
            assert sum(bucket.try_acquire() for _ in range(20)) == 5
            await anyio.sleep(0.051)

    virtual_time.run(main)

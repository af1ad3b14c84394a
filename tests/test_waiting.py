"""A wait returns what it found, or says what it waited for."""

import pytest

from tests.waiting import until, until_async


def test_it_returns_the_first_find_that_counts():
    finds = iter([0, None, [], "found", "later"])
    assert until(lambda: next(finds), every_s=0) == "found"


def test_in_vain_it_shows_the_look_its_last_find_and_the_state():
    with pytest.raises(AssertionError) as failed:
        until(lambda: [][:1], lambda: "the worker has ended", within_s=0)
    assert "until(lambda: [][:1]," in str(failed.value)
    assert "found at last: []" in str(failed.value)
    assert "the worker has ended" in str(failed.value)


def test_a_function_is_shown_by_its_name():
    def is_there() -> bool:
        return False

    with pytest.raises(AssertionError, match="is_there"):
        until(is_there, within_s=0)


async def test_in_an_event_loop_as_well():
    finds = iter([0, 7])
    assert await until_async(lambda: next(finds), every_s=0) == 7
    with pytest.raises(AssertionError, match="found at last: 0"):
        await until_async(lambda: 0, within_s=0)

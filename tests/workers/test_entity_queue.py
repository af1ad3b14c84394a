from __future__ import annotations

from collections import defaultdict
from itertools import cycle

from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import JobRow, Status
from pipeline.workers.batches import Row
from pipeline.workers.entity_queue import EntityQueue

ADDS, TAKES, ENDS, ENDS_THE_LATER = 1, 2, 4, 8


def jobs(*entities: str) -> list[JobRow]:
    return [JobRow(row, "op", entity, True, "{}") for row, entity in enumerate(entities, 1)]


def queue_of(*entities: str) -> EntityQueue:
    queue = EntityQueue()
    queue.add(jobs(*entities))
    return queue


def test_a_row_waits_only_behind_its_own_entity():
    queue = queue_of("a", "a", "b")
    assert (queue.free, queue.waiting) == (2, 1)
    (first,), (other,) = queue.take(), queue.take()
    assert (first.job.row, other.job.row) == (1, 3)
    assert queue.are_awaited([first])
    assert not queue.are_awaited([other])


def test_a_row_that_was_waited_for_lets_the_next_one_go_before_others():
    """A long line of rows of one entity decides when the file is through."""
    queue = queue_of("a", "a", "b", "c")
    (first,) = queue.take()
    queue.done(first, Status.UPDATED)
    assert [row.job.row for _ in range(3) for row in queue.take()] == [2, 3, 4]


@given(st.lists(st.sampled_from("abc")), st.lists(st.integers(0, 15)))
def test_every_row_is_given_out_once_and_in_order_whatever_ends_first(entities, choices):
    queue = EntityQueue()
    under_way: dict[str, Row] = {}
    went: dict[str, list[int]] = defaultdict(list)
    waiting = jobs(*entities)
    steps = cycle([*choices, ADDS | TAKES | ENDS])
    while waiting or not queue.is_empty:
        step = next(steps)
        if waiting and step & ADDS:
            queue.add([waiting.pop(0)])
        if (batch := queue.take()) and step & TAKES:
            (row,) = batch
            assert row.job.entity not in under_way  # never two rows of one entity at once
            under_way[row.job.entity] = row
            went[row.job.entity].append(row.job.row)
        else:
            queue.reopen(batch)
        if under_way and step & ENDS:
            row = under_way.pop((max if step & ENDS_THE_LATER else min)(under_way))
            queue.done(row, Status.UPDATED)
        assert queue.failing == len(under_way)
    expected: dict[str, list[int]] = defaultdict(list)
    for job in jobs(*entities):
        expected[job.entity].append(job.row)
    assert went == expected
    assert (queue.free, queue.free_chars, queue.waiting, queue.waiting_chars) == (0, 0, 0, 0)

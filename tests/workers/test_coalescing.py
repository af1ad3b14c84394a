"""A later row that replaces the whole covers earlier ones that were not sent."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import JobRow, Status
from pipeline.workers.backlog import Backlog
from pipeline.workers.entity_queue import EntityQueue

REPLACES = {"whole": True, "part": False}


def jobs(*wanted: tuple[str, str], first: int = 1) -> list[JobRow]:
    return [JobRow(row, op, entity, True, "{}") for row, (op, entity) in enumerate(wanted, first)]


def backlog(*wanted: tuple[str, str], **fields) -> Backlog:
    made = Backlog(EntityQueue(replaces=REPLACES, coalesce=True, **fields))
    made.rows.add(jobs(*wanted))
    made.end()
    return made


def taken(made: Backlog) -> tuple[int, list[int]] | None:
    batch = made.next(0.0)
    return (batch[0].job.row, [job.row for job in batch[0].covered]) if batch else None


def test_of_waiting_rows_the_last_one_is_sent():
    made = backlog(("whole", "a"), ("whole", "b"), ("whole", "a"), ("part", "a"), ("whole", "a"))
    assert taken(made) == (2, [])
    assert taken(made) == (5, [1, 3, 4])
    assert taken(made) is None


def test_a_part_covers_nothing():
    made = backlog(("whole", "a"), ("part", "a"))
    assert taken(made) == (1, [])


def test_a_row_under_way_is_not_covered_and_those_behind_it_are():
    made = Backlog(EntityQueue(replaces=REPLACES, coalesce=True))
    made.rows.add(jobs(("whole", "a")))
    (first,) = made.next(0.0)
    made.rows.add(jobs(("whole", "a"), ("part", "a"), first=2))
    assert made.next(0.0) == []
    made.rows.add(jobs(("whole", "a"), first=4))
    assert made.next(0.0) == []
    made.rows.done(first, Status.UPDATED)
    assert taken(made) == (4, [2, 3])


def test_covered_rows_are_sent_if_the_newer_one_was_not_applied():
    made = backlog(("whole", "a"), ("whole", "a"), ("whole", "a"))
    (last,) = made.next(0.0)
    assert [job.row for job in last.covered] == [1, 2]
    made.rows.done(last, Status.REJECTED)
    (instead,) = made.next(0.0)
    assert (instead.job.row, [job.row for job in instead.covered]) == (2, [1])
    instead.covered = []  # it was applied: the first one is superseded, and has its result
    made.rows.done(instead, Status.UPDATED)
    assert made.is_done


def test_without_the_option_nothing_is_covered():
    made = Backlog(EntityQueue(replaces=REPLACES))
    made.rows.add(jobs(("whole", "a"), ("whole", "a")))
    assert taken(made) == (1, [])


def test_rows_before_one_that_an_earlier_process_may_have_sent_wait_for_it():
    """It had covered them: sent before it is resolved, they would overwrite what is newer."""
    made = backlog(
        ("whole", "a"), ("whole", "a"), ("whole", "a"), ("whole", "b"),
        in_doubt={2}, overtaking={"a": 2},
    )  # fmt: skip
    (second,) = made.next(0.0)
    assert (second.job.row, second.in_doubt) == (2, True)
    assert [job.row for job in second.covered] == [1]
    assert taken(made) == (4, [])
    made.rows.done(second, Status.FAILED)
    assert taken(made) == (3, [1])


@given(
    wanted=st.lists(st.tuples(st.sampled_from(list(REPLACES)), st.sampled_from("abc"))),
    data=st.data(),
)
def test_every_row_ends_once_and_no_older_one_overwrites_a_newer(wanted, data):
    made = Backlog(EntityQueue(replaces=REPLACES, coalesce=True))
    made.rows.add(jobs(*wanted))
    made.end()
    ended: list[int] = []
    applied: dict[str, list[int]] = defaultdict(list)
    under_way = []
    while not made.is_done:
        if batch := made.next(0.0):
            under_way += batch
            continue
        row = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
        ended.append(row.job.row)
        if data.draw(st.booleans()):
            applied[row.job.entity].append(row.job.row)
            ended += [job.row for job in row.covered]
            row.covered = []
            made.rows.done(row, Status.UPDATED)
        else:
            made.rows.done(row, Status.REJECTED)
    assert sorted(ended) == list(range(1, len(wanted) + 1))
    left = made.rows
    assert (left.free, left.free_chars, left.waiting, left.waiting_chars) == (0, 0, 0, 0)
    assert all(rows == sorted(rows) for rows in applied.values())

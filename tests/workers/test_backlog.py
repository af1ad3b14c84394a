from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import JobRow, Status
from pipeline.workers.backlog import (
    FEW_FREE,
    LOOK_AHEAD,
    LOW_WATER,
    MAX_FRESH_CHARS,
    MAX_WAITING_CHARS,
    Backlog,
)
from pipeline.workers.batches import Batch, Row
from pipeline.workers.entity_queue import EntityQueue

OK = Status.UPDATED


def jobs(*entities: str, first: int = 1, batch: str = "") -> list[JobRow]:
    return [
        JobRow(row, "op", entity, True, "{}", batch) for row, entity in enumerate(entities, first)
    ]


def numbers(batch: Batch) -> list[int]:
    return [row.job.row for row in batch]


def sent(batch: Batch) -> Batch:
    for row in batch:
        row.attempts += 1
    return batch


def test_a_retrying_row_holds_up_only_its_own_entity():
    backlog = Backlog()
    backlog.rows.add(jobs("a", "a", "b"))
    first = backlog.next(0.0)
    backlog.retry(first, due_s=5.0)
    assert backlog.due_s == 5.0
    assert numbers(backlog.next(0.0)) == [3]  # b overtakes, the second a does not
    assert backlog.next(4.9) == []
    assert backlog.next(5.0) is first
    backlog.rows.done(first[0], OK)
    assert numbers(backlog.next(5.0)) == [2]


def test_a_due_retry_is_sent_before_fresh_rows():
    backlog = Backlog()
    backlog.rows.add(jobs("a", "b"))
    first = backlog.next(0.0)
    backlog.retry(first, due_s=1.0)
    assert backlog.next(1.0) is first


def test_while_it_is_in_question_whether_the_vendor_works_others_go_first():
    backlog = Backlog()
    backlog.rows.add(jobs("a", "b", "c"))
    first = sent(backlog.next(0.0))
    backlog.retry(first, due_s=1.0)
    apart = backlog.next(0.0)
    backlog.put_back(apart)
    assert backlog.next(1.0, others_first=True) is apart
    assert numbers(backlog.next(1.0, others_first=True)) == [3]
    assert backlog.next(1.0, others_first=True) is first
    assert backlog.next(1.0, others_first=True) == []


def test_reading_stops_while_too_many_rows_wait():
    backlog = Backlog(look_ahead=2)
    backlog.rows.add(jobs("a", "a"))
    (first,) = backlog.next(0.0)
    assert (backlog.is_held_up, backlog.needs_more) == (False, True)
    backlog.rows.add(jobs("a", first=3))
    assert (backlog.is_held_up, backlog.needs_more) == (True, False)
    assert backlog.next(0.0) == []
    backlog.rows.done(first, OK)
    assert (backlog.is_held_up, backlog.needs_more) == (False, True)
    assert numbers(backlog.next(0.0)) == [2]


def test_more_is_read_where_most_rows_wait():
    backlog = Backlog()
    backlog.rows.add(jobs(*["a"] * LOW_WATER))
    assert backlog.needs_more  # only one of them may be sent
    backlog.rows.add(jobs(*map(str, range(FEW_FREE)), first=LOW_WATER + 1))
    assert not backlog.needs_more


def test_nothing_fresh_is_given_out_where_the_first_request_is_alone():
    backlog = Backlog()
    backlog.rows.add(jobs("a", "b"))
    first = backlog.next(0.0)
    assert not backlog.is_untouched
    backlog.retry(first, due_s=1.0)
    assert backlog.next(0.5, fresh=False) == []
    assert backlog.next(1.0, fresh=False) is first


def test_it_is_done_when_all_are_done_and_no_more_come():
    backlog = Backlog()
    backlog.rows.add(jobs("a"))
    (row,) = backlog.next(0.0)
    backlog.end()
    assert not backlog.is_done  # under way
    backlog.rows.done(row, OK)
    assert backlog.is_done
    assert not Backlog().is_done  # more may come


def test_it_needs_more_rows_before_it_is_empty():
    backlog = Backlog()
    assert backlog.needs_more
    backlog.rows.add(jobs(*map(str, range(LOW_WATER))))
    assert not backlog.needs_more
    backlog.next(0.0)
    assert backlog.needs_more


LONG = 1_000_000


def of_length(entity: str, part: str, row: int = 1) -> JobRow:
    """A row that is long because of one of its parts."""
    values = {"text": "x" * LONG, "path": "x" * LONG, "body": b"x" * LONG}
    return JobRow(row, "op", entity, True, "{}")._replace(**{part: values[part]})


@pytest.mark.parametrize("part", ["text", "path", "body"])
def test_long_rows_are_bounded_whichever_part_is_long(part: str):
    fresh, waiting = Backlog(), Backlog()
    fresh.rows.add(of_length(str(row), part, row) for row in range(MAX_FRESH_CHARS // LONG + 1))
    assert not fresh.needs_more
    fresh.next(0.0)
    fresh.next(0.0)
    assert fresh.needs_more  # they no longer count

    long = of_length("a", part)
    waiting.rows.add(long._replace(row=row) for row in range(MAX_WAITING_CHARS // LONG + 3))
    (first,) = waiting.next(0.0)
    assert waiting.next(0.0) == []
    assert waiting.is_held_up
    waiting.rows.done(first, OK)
    assert not waiting.is_held_up


def test_what_was_given_out_is_taken_out_and_the_rest_stays():
    backlog = Backlog()
    backlog.rows.add(jobs("a", "b", "c"))
    first, waiting = sent(backlog.next(0.0)), backlog.next(0.0)
    backlog.retry(first, due_s=9.0)
    backlog.put_back(waiting)
    assert backlog.drain() == [*waiting, *first]
    assert backlog.drain() == []
    assert backlog.retrying == 0
    assert numbers(backlog.next(9.0)) == [3]


def test_a_row_that_an_earlier_process_may_have_sent_is_in_doubt_and_claimed():
    backlog = Backlog(EntityQueue(in_doubt={2}))
    backlog.rows.add(jobs("a", "b", "b"))
    given_out = [backlog.next(0.0)[0] for _ in range(2)]
    assert [(row.in_doubt, row.is_claimed) for row in given_out] == [(False, False), (True, True)]


# Rows that share a request...


def grouping(size: int = 3) -> Backlog:
    return Backlog(EntityQueue(batch_size=lambda _operation: size))


def test_rows_of_one_kind_share_a_request_up_to_its_size():
    backlog = grouping()
    backlog.rows.add(jobs("a", "b", "c", "d", batch="x"))
    assert numbers(backlog.next(0.0)) == [1, 2, 3]
    assert numbers(backlog.next(0.0)) == [4]


def test_rows_of_another_kind_are_passed_over_and_not_forgotten():
    backlog = grouping()
    backlog.rows.add(jobs("a", batch="x") + jobs("b", "c", first=2, batch="y"))
    backlog.rows.add([*jobs("d", first=4), *jobs("e", first=5, batch="x")])
    given_out = [numbers(backlog.next(0.0)) for _ in range(3)]
    assert given_out == [[1, 5], [2, 3], [4]]  # the row without a kind travels alone
    assert backlog.next(0.0) == []


def test_an_entity_is_never_twice_in_a_group_and_keeps_its_order():
    backlog = grouping()
    backlog.rows.add([*jobs("a", batch="y"), *jobs("a", "b", "a", first=2, batch="y")])
    first = backlog.next(0.0)
    assert numbers(first) == [1, 3]
    for row in first:
        backlog.rows.done(row, OK)
    assert numbers(backlog.next(0.0)) == [2]


def test_parts_of_a_refused_group_take_no_company():
    backlog = grouping()
    backlog.rows.add(jobs("a", "b", batch="x"))
    batch = sent(backlog.next(0.0))
    backlog.send_apart([batch[:1], batch[1:]])
    backlog.rows.add(jobs("c", first=3, batch="x"))
    assert numbers(backlog.next(0.0)) == [1]


# Rows behind one that ended unknown...


def test_behind_an_unknown_row_only_full_replaces_go_on():
    backlog = Backlog(EntityQueue(replaces={"set": True, "patch": False}))
    backlog.rows.add([JobRow(n, op, "a", True, "{}") for n, op in enumerate(["patch"] * 3, 1)])
    (first,) = backlog.next(0.0)
    assert backlog.next(0.0) == []  # 2 and 3 wait behind it
    backlog.rows.done(first, Status.UNKNOWN)
    assert [job.row for job in backlog.rows.take_blocked()] == [2, 3]
    backlog.rows.add([JobRow(4, "patch", "a", True, "{}"), JobRow(5, "patch", "b", True, "{}")])
    backlog.rows.add([JobRow(6, "set", "a", True, "{}"), JobRow(7, "patch", "a", True, "{}")])
    assert numbers(backlog.next(0.0)) == [5]  # another entity
    assert [job.row for job in backlog.rows.take_blocked()] == [4]
    (replacing,) = backlog.next(0.0)
    assert replacing.job.row == 6
    backlog.rows.done(replacing, OK)  # what the entity holds is known again
    assert numbers(backlog.next(0.0)) == [7]
    assert backlog.rows.take_blocked() == []


def test_where_all_updates_replace_nothing_is_blocked():
    backlog = Backlog(EntityQueue(replaces={"op": True}))
    backlog.rows.add(jobs("a", "a"))
    (first,) = backlog.next(0.0)
    backlog.rows.done(first, Status.UNKNOWN)
    assert numbers(backlog.next(0.0)) == [2]


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["", "x", "y"])), max_size=40),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_whatever_order_answers_come_in_all_rows_go_once_and_in_order(given_rows, size, chance):
    backlog = Backlog(EntityQueue(batch_size=lambda _operation: size))
    rows = [
        JobRow(n, "op", entity, True, "{}", batch)
        for n, (entity, batch) in enumerate(given_rows, start=1)
    ]
    backlog.rows.add(rows)
    backlog.end()
    under_way: list[Row] = []
    order: dict[str, list[int]] = {}
    while not backlog.is_done:
        batch = backlog.next(0.0)
        assert len(batch) <= size
        assert len({row.job.batch for row in batch}) <= 1
        assert len(batch) <= 1 or batch[0].job.batch
        under_way += batch
        assert len({row.job.entity for row in under_way}) == len(under_way)
        for row in sent(batch):
            order.setdefault(row.job.entity, []).append(row.job.row)
        if under_way and (not batch or chance.random() < 0.5):
            backlog.rows.done(under_way.pop(chance.randrange(len(under_way))), OK)
    assert sorted(n for numbers in order.values() for n in numbers) == [job.row for job in rows]
    assert all(numbers == sorted(numbers) for numbers in order.values())


# Probes, while the vendor is down...


def probed(backlog: Backlog, numbers: range) -> list[int]:
    """The rows that probe with these numbers; 0 where none may."""
    batches = [backlog.probe(number) for number in numbers]
    return [batch[0].job.row if batch else 0 for batch in batches]


def with_failed(
    count: int, rows: list[JobRow], *, look_ahead: int = LOOK_AHEAD, **rules
) -> Backlog:
    """The first rows have failed, and wait for long."""
    backlog = Backlog(EntityQueue(**rules), look_ahead)
    backlog.rows.add(rows)
    for _ in range(count):
        backlog.retry(sent(backlog.next(0.0)), due_s=100.0)
    return backlog


def test_probes_alternate_between_new_rows_and_failed_rows():
    backlog = with_failed(2, jobs(*"abcdef"))
    assert probed(backlog, range(1, 8)) == [5, 3, 1, 6, 4, 2, 0]


def test_probes_try_rows_that_stand_far_apart():
    backlog = with_failed(1, jobs(*map(str, range(1, 502))))
    rows = [row for row in probed(backlog, range(1, 6)) if row > 1]
    assert rows[0] > 250
    gaps = [abs(a - b) for n, a in enumerate(rows) for b in rows[:n]]
    assert min(gaps) > 50


def test_a_row_that_may_not_be_repeated_has_its_turn_and_no_more():
    """In an outage it is lost to doubt; if it is none, it may be the only one that is answered."""
    rows = [JobRow(n, "op", f"e{n}", n <= 5, "{}") for n in range(1, 50)]
    backlog = with_failed(5, rows)
    probes = {}
    for number in range(1, 30):
        (row,) = backlog.probe(number)
        probes[number] = row
        if row.job.is_repeatable:
            backlog.retry([row], due_s=100.0 + number)
    assert [n for n, row in probes.items() if not row.job.is_repeatable] == [4, 12, 20, 28]
    assert {row.job.row for row in probes.values() if row.job.is_repeatable} == {1, 2, 3, 4, 5}


def test_a_row_that_may_not_be_repeated_probes_where_there_is_no_other():
    backlog = Backlog()
    backlog.rows.add([JobRow(n, "op", f"e{n}", False, "{}") for n in range(1, 4)])
    assert sorted(probed(backlog, range(1, 5))) == [0, 1, 2, 3]


def test_probes_keep_the_order_of_an_entity():
    backlog = with_failed(1, jobs("x", *"aaaaaaaa", "b"))
    assert sorted(probed(backlog, range(1, 5))) == [0, 1, 2, 10]  # 3 to 9 wait behind 2


def test_what_an_earlier_process_may_have_sent_counts_as_sent():
    backlog = Backlog(EntityQueue(in_doubt={1, 2, 3, 4, 6}))
    backlog.rows.add(jobs(*"abcdef"))
    backlog.end()
    assert backlog.has_unsent()
    assert probed(backlog, range(1, 3)) == [5, 1]
    assert not backlog.has_unsent()


def test_a_group_probes_with_one_row():
    backlog = with_failed(1, jobs(*"abcdef", batch="x"), batch_size=lambda _operation: 3)
    assert len(backlog.probe(1)) == 1


def test_what_a_probe_had_to_wait_for_lets_it_go_on_first():
    backlog = with_failed(1, jobs(*"abcdef"))
    batch = backlog.probe(1)
    backlog.send_next(batch)
    assert backlog.probe(2) is batch


def test_nothing_unsent_is_left_once_all_have_failed_or_wait_behind_such():
    backlog = with_failed(2, jobs("a", "b"), look_ahead=3)
    assert backlog.has_unsent()  # more may come
    backlog.end()
    assert (backlog.has_unsent(), backlog.rows.failing) == (False, 2)
    crowded = with_failed(1, jobs(*"aaaaab"), look_ahead=3)
    assert crowded.probe(1)
    assert not crowded.has_unsent()  # b is there, and too many wait


# What is left to ask...


def test_rows_that_are_kept_count_as_not_given_out_and_go_with_others():
    backlog = grouping()
    backlog.rows.add(jobs(*"abcd", batch="x"))
    batch = backlog.next(0.0)
    backlog.rows.reopen(batch[1:])
    assert backlog.rows.failing == 1
    assert backlog.next(0.0, fresh=False) == []  # not parts of a group that was sent
    assert backlog.drain() == []
    assert numbers(backlog.next(0.0)) == [2, 3, 4]


def backlog_of(
    entities: str, given: int = 0, *, more: bool = False, look_ahead: int = 50, back: int = 0
) -> Backlog:
    """`given` rows are on their way, `back` more were taken and came back, unsent."""
    backlog = Backlog(look_ahead=look_ahead)
    backlog.rows.add(jobs(*entities))
    if not more:
        backlog.end()
    for _ in range(given):
        assert backlog.next(0.0)
    for batch in [backlog.next(0.0) for _ in range(back)]:
        assert batch
        backlog.put_back(batch)
    return backlog


def crowded() -> Backlog:
    """Two rows wait behind the first, as many as may: no more are read for now."""
    return backlog_of("aaa", 1, look_ahead=2, more=True)


LEFT = {
    "nothing was read and nothing will be": (backlog_of(""), False),
    "rows are still being read": (backlog_of("", more=True), True),
    "all that were read are on their way, more are read": (backlog_of("a", 1, more=True), True),
    "none is on its way": (backlog_of("a"), True),
    "the only one is on its way": (backlog_of("a", 1), False),
    "one of another entity is there": (backlog_of("ab", 1), True),
    "what is there waits behind the one on its way": (backlog_of("aa", 1), False),
    "one waits, and one of another entity is there": (backlog_of("aab", 1), True),
    "one was taken and came back": (backlog_of("ab", 1, back=1), True),
}


@pytest.mark.parametrize(("backlog", "has_others"), LEFT.values(), ids=LEFT.keys())
def test_others_are_rows_that_may_go_and_were_not_given_out(backlog, has_others):
    assert backlog.has_others is has_others


RESTS = {
    "nothing is left": (backlog_of(""), 0, False, True),
    "rows are still being read": (backlog_of("", more=True), 0, False, False),
    "it is read on, though none would go now": (backlog_of("a", 1, more=True), 1, True, False),
    "the held one is all there is": (backlog_of("a", 1), 1, False, True),
    "what is there waits behind the held one": (backlog_of("aa", 1), 1, False, True),
    "one of another entity may go": (backlog_of("ab", 1), 1, False, False),
    "it may not go now": (backlog_of("ab", 1), 1, True, True),
    "one besides the held one is on its way": (backlog_of("ab", 2), 1, False, False),
    "two are held": (backlog_of("abab", 2), 2, False, True),
    "one came back and goes again": (backlog_of("ab", 1, back=1), 1, False, False),
    "too many wait for any other to go": (crowded(), 1, False, True),
}


@pytest.mark.parametrize(("backlog", "held", "is_kept", "rests"), RESTS.values(), ids=RESTS.keys())
def test_all_rests_on_held_rows_where_no_other_can_go(backlog, held, is_kept, rests):
    assert backlog.is_blocked_by(held, is_fresh_kept=is_kept) is rests

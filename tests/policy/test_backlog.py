from __future__ import annotations

from pipeline.model import JobRow
from pipeline.policy.backlog import LOW_WATER, Backlog


def jobs(*entities: str, first: int = 1) -> list[JobRow]:
    return [JobRow(row, "op", entity, True, "{}") for row, entity in enumerate(entities, first)]


def test_a_retrying_row_holds_up_only_its_own_entity():
    backlog = Backlog()
    backlog.add(jobs("a", "a", "b"))
    first = backlog.next(0.0)
    backlog.again(first, due_s=5.0)
    assert backlog.due_s == 5.0
    assert backlog.next(0.0).job.row == 3  # b overtakes, the second a does not
    assert backlog.next(4.9) is None
    assert backlog.next(5.0) is first
    backlog.done(first)
    assert backlog.next(5.0).job.row == 2


def test_a_due_retry_goes_before_fresh_rows():
    backlog = Backlog()
    backlog.add(jobs("a", "b"))
    first = backlog.next(0.0)
    backlog.again(first, due_s=1.0)
    assert backlog.next(1.0) is first


def test_reading_stops_while_too_many_rows_wait():
    backlog = Backlog(look_ahead=2)
    backlog.add(jobs("a", "a", "a", "b"))
    first = backlog.next(0.0)
    assert backlog.next(0.0) is None  # two wait behind a: b is not looked for
    backlog.done(first)
    assert backlog.next(0.0).job.row == 2
    assert backlog.next(0.0).job.row == 4  # one waits: there is room again


def test_nothing_fresh_is_given_out_where_the_first_request_is_alone():
    backlog = Backlog()
    backlog.add(jobs("a", "b"))
    first = backlog.next(0.0)
    backlog.again(first, due_s=1.0)
    assert backlog.next(0.5, fresh=False) is None
    assert backlog.next(1.0, fresh=False) is first


def test_it_is_done_when_all_are_done_and_no_more_come():
    backlog = Backlog()
    backlog.add(jobs("a"))
    row = backlog.next(0.0)
    backlog.end()
    assert not backlog.is_done  # under way
    backlog.done(row)
    assert backlog.is_done
    assert not Backlog().is_done  # more may come


def test_it_asks_for_more_before_it_runs_dry():
    backlog = Backlog()
    assert backlog.needs_more
    backlog.add(jobs(*map(str, range(LOW_WATER))))
    assert not backlog.needs_more
    backlog.next(0.0)
    assert backlog.needs_more


def test_what_was_attempted_is_taken_out_and_the_rest_stays():
    backlog = Backlog()
    backlog.add(jobs("a", "b", "c"))
    sent, waiting = backlog.next(0.0), backlog.next(0.0)
    sent.attempts = 1
    backlog.again(sent, due_s=9.0)
    backlog.put_back(waiting)
    assert list(backlog.attempted()) == [sent]
    assert list(backlog.attempted()) == []
    assert backlog.next(9.0) is waiting

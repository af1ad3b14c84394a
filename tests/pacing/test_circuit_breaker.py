from __future__ import annotations

import itertools

import pytest

from pipeline.pacing.circuit_breaker import (
    DOWN_AFTER,
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    CircuitBreaker,
    are_rows_at_fault,
)


def down(at_s: float = 10.0) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for n in range(DOWN_AFTER):
        breaker.on_failure(f"e{n}", left_s=at_s - 1, now_s=at_s)
    assert breaker.down_since_s == at_s
    return breaker


@pytest.mark.parametrize(
    ("entities", "is_down"),
    [
        (range(DOWN_AFTER), True),
        (range(DOWN_AFTER - 1), False),
        ([7] * 50, False),  # one that is bad, however often it is tried
        ([1, 2] * 50, False),
    ],
)
def test_several_entities_that_fail_are_an_outage(entities, is_down):
    breaker = CircuitBreaker()
    for now_s, entity in enumerate(entities):
        breaker.on_failure(f"e{entity}", left_s=now_s - 0.5, now_s=float(now_s))
    assert breaker.is_down is is_down


def test_a_success_between_failures_restarts_the_count():
    breaker = CircuitBreaker()
    for row in range(10 * DOWN_AFTER):
        breaker.on_failure(f"e{row}", left_s=row, now_s=row + 0.5)
        if row % (DOWN_AFTER - 1) == 0:
            breaker.on_success(left_s=row)
    assert not breaker.is_down


def test_a_success_of_a_request_sent_before_the_failures_ends_no_outage():
    breaker = down(at_s=10.0)
    breaker.on_success(left_s=8.0)
    assert breaker.is_down
    breaker.on_success(left_s=9.5)
    assert not breaker.is_down


def test_probes_come_ever_later_up_to_the_longest_wait():
    breaker, now_s, times_s = down(at_s=0.0), 0.0, []
    while now_s < 600:
        now_s = breaker.due_s
        assert not breaker.may_probe(now_s - 0.001)
        assert breaker.may_probe(now_s)
        breaker.on_probe(now_s)
        breaker.on_failure("e99", left_s=now_s, now_s=now_s)  # makes no difference
        times_s.append(now_s)
    gaps_s = [b - a for a, b in itertools.pairwise(times_s)]
    assert times_s[0] == FIRST_WAIT_S
    assert gaps_s == sorted(gaps_s)
    assert max(gaps_s) == LONGEST_WAIT_S
    assert len(times_s) <= 75  # in ten minutes


def test_the_end_of_an_outage_is_detected_soon():
    """At the latest after half of its absence, and after the longest wait."""
    for back_s in (0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0):
        breaker = down(at_s=0.0)
        while (seen_s := breaker.due_s) < back_s:
            breaker.on_probe(seen_s)
        assert seen_s - back_s <= max(FIRST_WAIT_S, min(LONGEST_WAIT_S, back_s / 2))


def test_after_it_ended_the_next_one_begins_with_short_waits():
    breaker = down()
    for now_s in range(100, 200, 10):
        breaker.on_probe(float(now_s))
    breaker.on_success(left_s=200.0)
    assert breaker.due_s is None
    for n in range(DOWN_AFTER):
        breaker.on_failure(f"e{n}", left_s=300.0, now_s=301.0)
    assert breaker.due_s == 301.0 + FIRST_WAIT_S


def fail(breaker: CircuitBreaker, entities: str, left_s: float, **more) -> None:
    for entity in entities:
        breaker.on_failure(entity, left_s=left_s, now_s=left_s + 1.0, **more)


@pytest.mark.parametrize(
    ("left_s", "before_s", "is_down"),
    [
        (20.0, None, True),
        (9.0, None, False),  # what left later was carried out
        (20.0, 9.0, False),  # they failed before, and the vendor worked since
        (20.0, 11.0, True),  # they failed before, but nothing was carried out since
    ],
)
def test_failures_that_rows_cause_are_no_outage(left_s, before_s, is_down):
    breaker = CircuitBreaker()
    breaker.on_success(left_s=10.0)
    fail(breaker, "abcdefgh", left_s, before_s=before_s)
    assert breaker.is_down is is_down


@pytest.mark.parametrize(
    ("reads", "updates", "is_down_after_a_read"),
    [
        ("abcde", "", False),
        ("", "abcde", True),  # reads are answered, updates are not
        ("abc", "de", True),
    ],
)
def test_an_answered_read_proves_nothing_about_updates(reads, updates, is_down_after_a_read):
    breaker = CircuitBreaker()
    fail(breaker, reads, 1.0, is_read=True)
    fail(breaker, updates, 1.0)
    assert breaker.is_down
    breaker.on_success(left_s=3.0, is_read=True)
    assert breaker.is_down is is_down_after_a_read
    breaker.on_success(left_s=3.0)
    assert not breaker.is_down


def test_reads_between_updates_that_fail_hide_no_outage():
    breaker = CircuitBreaker()
    for n, entity in enumerate("abcde"):
        breaker.on_success(left_s=n, is_read=True)
        fail(breaker, entity, n)
    assert breaker.is_down


def test_bad_reads_among_good_ones_are_no_outage():
    breaker = CircuitBreaker()
    for n in range(100):
        breaker.on_success(left_s=n, is_read=True)
        fail(breaker, f"{n % 10}", n, is_read=True)
    assert not breaker.is_down


def test_an_answered_read_allows_a_probe_at_once():
    breaker = down(at_s=10.0)
    breaker.on_probe(10.5)
    breaker.probe_now(10.6)
    assert breaker.may_probe(10.6)
    breaker.on_success(left_s=11.0)
    breaker.probe_now(11.1)
    assert breaker.due_s is None


@pytest.mark.parametrize(
    ("answered", "failing", "may_others_go", "is_resumed", "expected"),
    [
        (120, 12, False, False, True),
        (119, 12, False, False, False),  # more than a few of what was answered
        (120, 12, True, False, False),  # others can tell
        (120, 0, False, False, False),
        (1, 12, False, True, True),  # they have been waited for twice
        (0, 12, False, True, False),  # the vendor has never answered
        (9999, 12, True, True, False),
    ],
)
def test_when_rows_are_at_fault(answered, failing, may_others_go, is_resumed, expected):
    assert expected is are_rows_at_fault(
        answered=answered,
        failing=failing,
        may_others_go=may_others_go,
        is_resumed=is_resumed,
    )


def test_it_is_in_question_from_the_first_failure_until_something_is_answered():
    breaker = CircuitBreaker()
    assert not breaker.is_in_question
    fail(breaker, "a", 1.0)
    assert breaker.is_in_question
    breaker.on_success(left_s=1.5)
    assert not breaker.is_in_question
    fail(breaker, "abcde", 2.0)
    assert (breaker.is_down, breaker.is_in_question) == (True, False)


@pytest.mark.parametrize(
    ("fails", "is_down", "reason"),
    [
        ([None] * 4, False, "four connections that were not made"),
        ([None] * 5, True, "five: whoever they were for"),
        (["a", "b", None, "c", None], True, "the vendor is away, whichever way it shows"),
        ([*[None] * 5, *"abcd"], True, "reached again, and four entities fail"),
        ([*[None] * 5, *"abca"], False, "one fails twice before five did: they are at fault"),
        ([*[None] * 5, *"abcdea"], True, "five have failed since: it is down as before"),
        ([*[None] * 5, "a", None, "a"], False, "that none was made between them proves nothing"),
    ],
)
def test_failed_connections_are_about_no_row(
    fails: list[str | None],
    is_down: bool,  # noqa: FBT001
    reason: str,
) -> None:
    breaker = CircuitBreaker()
    for at_s, entity in enumerate(fails, 1):
        breaker.on_failure(entity, left_s=at_s, now_s=at_s)
    assert breaker.is_down is is_down, reason

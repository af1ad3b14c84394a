from __future__ import annotations

import pytest

from pipeline.model import Answer, Effect, JobRow, Verdict
from pipeline.model.retry import RetryPolicy
from pipeline.pacing.circuit_breaker import DOWN_AFTER
from pipeline.pacing.concurrency import START
from pipeline.workers.batches import Row
from pipeline.workers.concurrency_limiter import ConcurrencyLimiter
from pipeline.workers.row import Facts, after_update

OK = Answer(Verdict.OK, Effect.APPLIED, 204)
FAILED = Answer(Verdict.TRANSIENT, Effect.MAYBE, 503)


class Watched:
    """A limiter whose time is set by hand; what it called for."""

    def __init__(self, most: int = 64, *, at_fault: bool = False) -> None:
        self.now_s = 0.0
        self.answered: list[int] = []
        self.room: list[int] = []
        self.went_down = 0
        self.limiter = ConcurrencyLimiter(
            most,
            clock=lambda: self.now_s,
            on_room=lambda: self.room.append(self.limiter.limit),
            on_down=self._on_vendor_down,
            at_fault=lambda answered: self.answered.append(answered) or at_fault,
            patience_s=60.0,
        )

    def _on_vendor_down(self) -> None:
        self.went_down += 1

    def fail(self, rows: int, first: int = 1) -> None:
        for number in range(first, first + rows):
            self.limiter.on_answer(batch(number), FAILED, sent_s=self.now_s)


def batch(number: int) -> list[Row]:
    return [Row(JobRow(number, "op", f"e{number}", True, "{}"))]


def test_no_more_is_taken_than_will_soon_leave():
    for ahead, most in ((0, 2 * START), (START - 1, 2 * START), (100, START + 100)):
        limiter = Watched().limiter
        while limiter.may_acquire(ahead):
            limiter.acquire([batch(limiter.taken)])
        assert limiter.taken == most


def test_while_the_vendor_is_down_one_batch_is_taken_when_it_is_due():
    watched = Watched()
    limiter = watched.limiter
    watched.fail(DOWN_AFTER)
    assert watched.went_down == 1
    assert (limiter.is_probing, limiter.limit, limiter.may_acquire()) == (True, 1, False)
    watched.now_s = limiter.due_s
    assert limiter.may_acquire()
    probe, other = batch(98), batch(99)
    limiter.acquire([probe])
    assert not limiter.may_acquire()
    assert (limiter.may_send(probe), limiter.may_send(other)) == (True, False)
    limiter.release([probe])
    assert not limiter.is_probe(probe)


def test_once_it_answers_again_others_are_called():
    watched = Watched()
    watched.fail(DOWN_AFTER)
    watched.now_s = watched.limiter.due_s
    watched.limiter.acquire([probe := batch(98)])
    sent_s, watched.now_s = watched.now_s, watched.now_s + 0.1
    watched.limiter.on_answer(probe, OK, sent_s)
    assert not watched.limiter.is_probing
    assert watched.room[-1] >= 1
    assert watched.limiter.down_s == 0.0


def test_a_row_that_failed_before_others_were_answered_is_no_sign_of_an_outage():
    watched = Watched()
    bad = [batch(number) for number in range(DOWN_AFTER + 3)]
    for each in bad[: DOWN_AFTER - 1]:
        watched.limiter.on_answer(each, FAILED, sent_s=0.0)
    watched.limiter.on_answer(batch(99), OK, sent_s=1.0)
    for each in bad:
        watched.limiter.on_answer(each, FAILED, sent_s=2.0)
    assert not watched.limiter.is_probing  # only four of them are new


def tried(counted_attempts: int = 1) -> Row:
    (row,) = batch(1)
    row.attempts = row.counted_attempts = counted_attempts
    return row


def counted(limiter: ConcurrencyLimiter, row: Row) -> int:
    """The attempts of `row` that count, of at most five, after one more that failed."""
    facts = Facts(
        RetryPolicy(max_attempts=5),
        is_counted=limiter.is_counted(row, FAILED),
        is_last_call=limiter.is_last_call(row, FAILED),
    )
    after_update(row, FAILED, facts)
    return row.counted_attempts


def test_while_the_vendor_is_down_no_try_is_counted():
    watched = Watched()
    assert counted(watched.limiter, tried()) == 2
    watched.fail(DOWN_AFTER)
    assert counted(watched.limiter, tried()) == 1


REFUSED = FAILED._replace(effect=Effect.NONE, http_status=None)


@pytest.mark.parametrize(
    ("at_fault", "down_s", "answer", "is_over"),
    [
        (True, 61.0, FAILED, True),
        (True, 59.0, FAILED, False),  # there is patience left
        (False, 61.0, FAILED, False),  # others can still tell
        (True, 61.0, REFUSED, False),  # no row is at fault for a connection that was not made
    ],
)
def test_rows_that_are_at_fault_end_the_outage_and_have_one_try_left(
    at_fault, down_s, answer, is_over
):
    watched = Watched(at_fault=at_fault)
    limiter = watched.limiter
    limiter.on_answer(batch(98) + batch(99), OK, sent_s=0.0)
    watched.fail(DOWN_AFTER)
    watched.now_s += down_s
    limiter.on_answer(batch(1), answer, sent_s=watched.now_s)
    assert limiter.is_probing is not is_over
    assert counted(limiter, tried(2)) == (5 if is_over else 2)
    assert set(watched.answered) <= {2}
    if is_over:
        again = [[tried(2)] for _ in range(2 * DOWN_AFTER)]
        for number, each in enumerate(again):
            each[0].job = each[0].job._replace(entity=f"again{number}")
            limiter.on_answer(each, FAILED, sent_s=watched.now_s)
        assert not limiter.is_probing  # their last try is no outage
        limiter.on_answer(batch(97), OK, sent_s=watched.now_s)
        assert counted(limiter, tried(2)) == 3


def test_a_connection_that_was_not_made_uses_up_no_attempt_once_one_was():
    unreached = Answer(Verdict.TRANSIENT, Effect.NONE)
    (row,) = batch(1)
    limiter = Watched().limiter
    assert limiter.is_counted(row, unreached)  # nothing tells that the vendor can be reached
    limiter.on_answer(batch(2), OK, sent_s=0.0)
    assert not limiter.is_counted(row, unreached)
    assert limiter.is_counted(row, FAILED)

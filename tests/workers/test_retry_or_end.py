from __future__ import annotations

import pytest

from pipeline.model import Answer, Effect, Status, Verdict
from pipeline.model.retry import RetryPolicy
from pipeline.vendors.kit.classify import NOT_CONFIRMED
from pipeline.workers.retry_or_end import Retry, is_in_doubt, is_judged, next_action

POLICY = RetryPolicy(max_attempts=3, base_s=1.0, cap_s=30.0)
V, E = Verdict, Effect


@pytest.mark.parametrize(
    ("effect", "was_in_doubt", "expected"),
    [
        (E.NONE, False, False),  # certainly not applied
        (E.MAYBE, False, True),  # a timeout: who knows
        (E.APPLIED, False, False),
        (E.NONE, True, True),  # a 404 after a silence proves nothing about the silence
        (E.APPLIED, True, False),  # the same request, confirmed: resolve
    ],
)
def test_doubt_stays_until_it_is_applied(effect, was_in_doubt, expected):
    assert is_in_doubt(Answer(V.TRANSIENT, effect), was_in_doubt=was_in_doubt) is expected


@pytest.mark.parametrize(
    ("verdict", "effect", "attempt", "in_doubt", "repeatable", "expected"),
    [
        (V.OK, E.APPLIED, 1, False, True, Status.UPDATED),
        (V.OK, E.APPLIED, 3, False, False, Status.UPDATED),  # the last attempt may succeed
        (V.REJECTED, E.NONE, 1, False, True, Status.REJECTED),
        (V.REJECTED, E.NONE, 2, True, True, Status.UNKNOWN),  # refused after a silence
        (V.FATAL, E.NONE, 1, False, True, Status.FAILED),  # 401: certainly not applied
        (V.FATAL, E.NONE, 2, True, True, Status.UNKNOWN),  # 401 after a silence
        (V.TRANSIENT, E.MAYBE, 1, True, True, Retry(0.5)),  # repeating is harmless
        (V.TRANSIENT, E.MAYBE, 1, True, False, Status.UNKNOWN),  # it is not: never repeated
        (V.TRANSIENT, E.NONE, 1, False, False, Retry(0.5)),  # never left, so it may be sent
        (V.THROTTLED, E.NONE, 2, False, False, Retry(1.0)),
        (V.TRANSIENT, E.NONE, 3, False, True, Status.FAILED),  # out of attempts, never arrived
        (V.THROTTLED, E.NONE, 3, False, True, Status.FAILED),
        (V.THROTTLED, E.NONE, 3, True, True, Status.UNKNOWN),  # an earlier attempt may have
        (V.TRANSIENT, E.MAYBE, 3, True, True, Status.UNKNOWN),
    ],
)
def test_next_act(verdict, effect, attempt, in_doubt, repeatable, expected):  # noqa: PLR0917 - a table's columns
    act = next_action(
        POLICY,
        Answer(verdict, effect),
        attempt=attempt,
        in_doubt=in_doubt,
        is_repeatable=repeatable,
        can_be_read=False,
        jitter=0.5,
    )
    assert act == expected


@pytest.mark.parametrize(
    ("repeatable", "can_be_read", "expected"),
    [
        (True, True, Status.UNKNOWN),  # a read tells; a repetition would be answered likewise
        (False, True, Status.UNKNOWN),
        (True, False, Retry(0.5)),  # nothing else can tell, and it is harmless
        (False, False, Status.UNKNOWN),
    ],
)
def test_what_is_not_confirmed_is_read_before_it_is_repeated(repeatable, can_be_read, expected):
    answer = Answer(V.TRANSIENT, E.MAYBE, 202, NOT_CONFIRMED)
    act = next_action(
        POLICY,
        answer,
        attempt=1,
        in_doubt=True,
        is_repeatable=repeatable,
        can_be_read=can_be_read,
        jitter=0.5,
    )
    assert act == expected
    assert is_judged(answer)  # the vendor is not away

from __future__ import annotations

import pytest

from pipeline.model import Answer, Effect, Verdict
from pipeline.workers.fail_fast import FailFastCheck

OK = Answer(Verdict.OK, Effect.APPLIED, http_status=204)
NO = Answer(Verdict.REJECTED, Effect.NONE, http_status=404, code="9802")
OTHER_NO = Answer(Verdict.REJECTED, Effect.NONE, http_status=422, code="1102")
BUSY = Answer(Verdict.THROTTLED, Effect.NONE, http_status=429)
BROKEN = Answer(Verdict.TRANSIENT, Effect.MAYBE, http_status=503)
SILENCE = Answer(Verdict.TRANSIENT, Effect.MAYBE)
LOGIN_PAGE = Answer(Verdict.TRANSIENT, Effect.MAYBE, http_status=200, code="not_the_vendor")


@pytest.mark.parametrize(
    ("answers", "pulled"),
    [
        ([NO, NO, NO], True),  # a wrong project
        ([NO, NO], False),  # too few to tell
        ([OK, NO, NO, NO, NO], False),  # something worked: the rows are wrong, not the account
        ([NO, NO, OTHER_NO, NO, NO, NO], False),  # different refusals: the rows are wrong
        ([NO, BUSY, NO, BROKEN, SILENCE, NO], True),  # patience is no refusal and no success
        ([BROKEN] * 9, False),  # an outage is not a refusal
        ([LOGIN_PAGE] * 3, True),  # a proxy answers for the vendor
    ],
)
def test_fail_fast(answers, pulled):
    fail_fast = FailFastCheck(after=3)
    for answer in answers:
        fail_fast.on_answer(answer)
    assert fail_fast.is_suspected is pulled
    assert not fail_fast.has_failed


@pytest.mark.parametrize(
    ("asked", "pulled"),
    [
        ([NO] * 3, True),  # others meet the same: it is the account
        ([NO] * 2, False),  # two may be wrong alike
        ([NO, NO, OK], False),  # the first rows were wrong, not the account
        ([NO, OTHER_NO, NO, NO], False),  # judged by what they hold
        ([BUSY, SILENCE, NO, NO, NO], True),  # patience tells nothing
    ],
)
def test_other_rows_are_probed_before_the_account_stops(asked, pulled):
    fail_fast = FailFastCheck(after=3)
    for _ in range(5):  # two more were under way
        fail_fast.on_answer(NO)
    for answer in asked:
        assert not fail_fast.has_failed
        fail_fast.on_answer(answer, is_probe=True)
    assert fail_fast.has_failed is pulled


def test_a_check_that_has_failed_sends_no_further_probe():
    fail_fast = FailFastCheck(after=2)
    for _ in range(9):
        fail_fast.on_answer(NO, is_probe=True)
    assert fail_fast.has_failed
    assert not fail_fast.is_suspected


def test_zero_means_never():
    fail_fast = FailFastCheck(after=0)
    for _ in range(100):
        fail_fast.on_answer(NO, is_probe=True)
    assert not fail_fast.is_suspected
    assert not fail_fast.has_failed

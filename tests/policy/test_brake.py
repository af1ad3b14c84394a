from __future__ import annotations

import pytest

from pipeline.model import Answer, Effect, Verdict
from pipeline.policy.brake import Brake

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
def test_brake(answers, pulled):
    brake = Brake(after=3)
    pulls = [brake.pulls(answer) for answer in answers]
    assert any(pulls) is pulled


def test_the_brake_pulls_once():
    brake = Brake(after=2)
    assert [brake.pulls(NO) for _ in range(5)] == [False, True, False, False, False]


def test_zero_means_never():
    brake = Brake(after=0)
    assert not any(brake.pulls(NO) for _ in range(100))

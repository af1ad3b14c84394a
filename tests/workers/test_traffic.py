from __future__ import annotations

from pipeline.model import Answer, Effect, Verdict
from pipeline.workers.traffic import MAX_KINDS, SHORT_CHARS, RecentErrors


def refused(code: str, message: str = "no") -> Answer:
    return Answer(Verdict.REJECTED, Effect.NONE, code=code, message=message)


def test_a_vendor_that_gives_each_answer_a_code_fills_no_memory():
    recent_errors = RecentErrors()
    for number in range(10 * MAX_KINDS):
        recent_errors.add(refused(f"c{number}", "x" * 10_000))
    kept = recent_errors.latest(most=10 * MAX_KINDS)
    assert [each.code for each in kept] == [
        f"c{number}" for number in range(10 * MAX_KINDS - 1, 9 * MAX_KINDS - 1, -1)
    ]
    assert {len(each.words) for each in kept} == {SHORT_CHARS}


def test_the_message_is_the_last_one_and_success_is_no_error():
    recent_errors = RecentErrors()
    recent_errors.add(refused("a", "first"))
    recent_errors.add(refused("a", "second"))
    recent_errors.add(Answer(Verdict.OK, Effect.APPLIED))
    assert recent_errors.latest() == (("a", "second", 2),)

"""Random walks of one row, by a vendor that does anything, held to what is promised.

The world knows what really happened: whether an update was applied, and whether anything told.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import Answer, JobRow, Status
from pipeline.workers.batches import Row
from pipeline.workers.precheck import PrecheckAction, PrecheckOutcome
from pipeline.workers.row import (
    Action,
    Facts,
    Finish,
    FoundState,
    GuardOutcome,
    Hold,
    Readied,
    Step,
    Then,
    after_connection,
    after_failed_precheck,
    after_guard_read,
    after_precheck,
    after_refusal,
    after_stop,
    after_unread_guard,
    after_update,
    after_verification,
    next_step,
    on_sent,
)
from tests.workers.test_row import ANSWERS, MOST, READ_ANSWERS, RETRY, E, name_of

FAILURES = ("throttled", "early", "failed", "silence")


class World:
    """A vendor and an account that do what `draw` says; knows what really happened to the row."""

    def __init__(self, draw: Any, *, kind: str, can_be_read: bool, prechecks: bool) -> None:
        self._draw = draw
        self.is_healthy = False
        self.row = Row(JobRow(1, "op", "e", kind == "safe", "job"))
        self.has_guard = kind == "guarded"
        self.can_be_read = can_be_read
        self.prechecks = prechecks
        self.etag = 1
        self.applied = 0
        self.is_unsure = False  # an update may have been applied, and nothing has told since
        self.is_confirmed = False
        self.counted = 0
        self.now_s = 0.0

    def draw(self, *choices: Any) -> Any:
        return choices[0] if self.is_healthy else self._draw(st.sampled_from(choices))

    def facts(self) -> Facts:
        self.is_counted = self.draw(True, True, True, False)
        return Facts(
            RETRY,
            can_be_read=self.can_be_read,
            jitter=0.5,
            is_counted=self.is_counted,
            is_last_call=self.draw(*[False] * 9, True),
            has_reply=self.draw(True, False),
            refuses_guard=lambda answer: self.has_guard and answer.http_status == 409,
        )

    def step(self) -> Step | Finish:
        return next_step(
            self.row,
            can_be_read=self.can_be_read,
            is_prechecked_first=self.prechecks and self.can_be_read,
            needs_guard=lambda: self.has_guard,
            has_previous=lambda: self.prechecks,
        )

    def take(self, step: Step | Finish) -> Action:
        """Make a request; return what follows."""
        self.now_s += 1.0
        if isinstance(step, Finish):
            return step
        on_sent(self.row, step, self.now_s)
        if step is Step.UPDATE:
            return self._update()
        answer = ANSWERS[self.draw("ok", *READ_ANSWERS)]
        if step is Step.VERIFICATION:
            return self._verify(answer)
        if step is Step.GUARD_READ:
            return self._read_guard(answer)
        return self._precheck(answer)

    def _update(self) -> Action:
        row = self.row
        assert row.is_repeatable or not row.in_doubt, "sent again in doubt"
        assert not self.is_confirmed, "sent again after a confirmation"
        others = [each for each in ANSWERS if each not in {"ok", "conflict", "split"}]
        name = self.draw("ok", *others, *FAILURES, *FAILURES)
        is_current = not row.guarded_text or row.guarded_text == f"guard {self.etag}"
        if name == "ok" and not is_current:
            name = "conflict"
        if name == "ok" or (ANSWERS[name].effect is E.MAYBE and self.draw(False, True)):
            self.applied += is_current
            self.etag += is_current
        elif self.draw(False, False, True):
            self.etag += 1  # someone else
        self.is_confirmed = name == "ok"
        self.is_unsure = self.is_unsure or ANSWERS[name].effect is E.MAYBE
        facts = self.facts()
        self.counted += facts.is_counted
        return after_update(row, ANSWERS[name], facts)

    def _verify(self, answer: Answer) -> Action:
        found = None
        if answer is ANSWERS["ok"]:
            can_tell = self.draw(True, True, False)
            found = FoundState(bool(self.applied) and can_tell, can_tell, self.draw(0.0, 5.0))
        since_s = self.now_s - self.row.last_sent_s
        action = after_verification(self.row, found, answer, self.facts(), since_attempt_s=since_s)
        if found is not None and found.can_tell and since_s >= found.settle_after_s:
            self.is_unsure, self.is_confirmed = False, bool(self.applied)
        elif found is not None and found.is_held:
            self.is_confirmed = True
        return action

    def _read_guard(self, answer: Answer) -> Action:
        if answer is ANSWERS["ok"] and self.draw(True, False):
            return after_guard_read(self.row, GuardOutcome(f"guard {self.etag}"), RETRY)
        return after_unread_guard(self.row, answer, self.facts(), is_missing=False)

    def _precheck(self, answer: Answer) -> Action:
        if answer is not ANSWERS["ok"]:
            return after_failed_precheck(self.row, answer, self.facts())
        if self.row.in_doubt and self.applied:
            self.is_confirmed = True
            outcome = PrecheckOutcome(PrecheckAction.APPLIED)
            return after_precheck(self.row, outcome, RETRY, readied=None, receipt="")
        guard = f"guard {self.etag}" if self.has_guard else ""
        readied = Readied("job", guard, "before")
        outcome = PrecheckOutcome(PrecheckAction.SEND)
        return after_precheck(self.row, outcome, RETRY, readied=readied, receipt="")

    def judge_end(self, end: Finish) -> None:
        """Compare how the row ended with what happened."""
        if end.status is Status.UPDATED:
            assert self.is_confirmed
            assert self.applied
        elif end.status is not Status.UNKNOWN:
            assert not self.applied, "applied, and not said so"
            assert not self.is_unsure, "doubt is forgotten"


@given(
    st.data(),
    st.sampled_from(["safe", "once", "guarded"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 12),
)
@settings(max_examples=600, deadline=None)
def test_whatever_a_row_meets_the_promises_hold(  # noqa: PLR0917 - what hypothesis draws
    data, kind, can_be_read, prechecks, is_recovered, healthy_after
):
    """Until turn `healthy_after` anything may happen, then the vendor works: the row must end."""
    can_be_read = can_be_read or kind == "guarded"
    world = World(data.draw, kind=kind, can_be_read=can_be_read, prechecks=prechecks)
    row = world.row
    if is_recovered:  # an earlier process may have sent it
        row.in_doubt = row.is_claimed = world.is_unsure = True
        world.applied = world.draw(0, 1)
    step: Step | Finish = Step.UPDATE
    action: Action = Then.FORGET
    for turn in range(60):
        world.is_healthy = turn >= healthy_after
        if isinstance(action, Hold):
            assert isinstance(step, Step)
            about = world.draw(True, False)
            action = after_refusal(row, step, action.answer, was_in_group=False, is_about_row=about)
        elif action is Then.AWAIT_CONNECTION:
            world.counted, action = 0, after_connection(row)
        else:
            is_prechecked = action is Then.SEND and step is Step.PRECHECK
            step = Step.UPDATE if is_prechecked else world.step()
            action = world.take(step)
        if isinstance(action, Finish):
            world.judge_end(action)
            return
        assert row.in_doubt is world.is_unsure, "doubt is forgotten, or made up"
        assert world.counted <= MOST, "an attempt too many"
        if not world.is_healthy and world.draw(*[False] * 11, True):
            judge_stop(world)
            return
    raise AssertionError("it never ends")


def judge_stop(world: World) -> None:
    """A stop leaves in doubt exactly what may have been applied, and can be resolved."""
    row = world.row
    action = after_stop(row, None, can_be_read=world.can_be_read)
    if world.is_unsure:
        can_be_resolved = row.is_repeatable or world.can_be_read
        assert name_of(action, row) == ("keep" if can_be_resolved else "finish unknown")
    else:
        assert action in {Then.RELEASE, Then.FORGET} or action.status is Status.NOT_ATTEMPTED
        assert not world.applied

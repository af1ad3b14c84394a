"""Fail-fast check: an account stops if its first answers are all the same refusal. Pure.

A wrong project should not cost 60,000 refused rows. But the first 20 rows of a file may be wrong in
the same way, so a few other rows are sent as probes, one at a time, before the account stops.
"""

from __future__ import annotations

from pipeline.model import Answer, Effect, Verdict
from pipeline.workers.refusals import MAX_PROBES

FAIL_FAST_AFTER = 20


class FailFastCheck:
    """Checks the first `after` answers of an account, then the answers to its probes.

    Throttling, a 5xx and silence are no refusals and do not count. One success, or a refusal with
    another code, ends the check for good.

    after    equal refusals that put the account under suspicion; 0 turns the check off
    refusal  the last refusal that was counted; None before the first

    >>> fail_fast = FailFastCheck(after=2)
    >>> no = Answer(Verdict.REJECTED, Effect.NONE, http_status=404, code="9802")
    >>> fail_fast.on_answer(no), fail_fast.on_answer(no), fail_fast.is_suspected
    (False, False, True)
    >>> [fail_fast.on_answer(no, is_probe=True) for _ in range(MAX_PROBES)]
    [False, False, True]
    """

    __slots__ = ("_code", "_equal", "_probes", "_released", "after", "refusal")

    def __init__(self, after: int = FAIL_FAST_AFTER) -> None:
        self.after = after
        self._released = after <= 0
        self._code: tuple[int | None, str] | None = None
        self._equal = 0
        self._probes = 0
        self.refusal: Answer | None = None

    @property
    def is_over(self) -> bool:
        """True if no further answer counts."""
        return self._released

    @property
    def is_suspected(self) -> bool:
        """True if probes decide now whether the account stops."""
        return not self._released and self._equal >= self.after

    def end(self) -> None:
        """Count no further answer."""
        self._released = True

    def on_answer(self, answer: Answer, *, is_probe: bool = False) -> bool:
        """Count an answer; True if the account must stop.

        is_probe  True if the request was a probe
        """
        if self._released or not _is_refusal(answer):
            self._released = self._released or answer.verdict is Verdict.OK
            return False
        code = (answer.http_status, answer.code)
        if self._code not in (None, code):
            self._released = True
            return False
        self._code, self.refusal = code, answer
        self._probes += is_probe and self.is_suspected
        self._equal += 1
        return self._end(self._probes >= MAX_PROBES)

    def should_stop_at_end(self) -> bool:
        """True if the account is suspected and no row is left as a probe."""
        return self._end(self.is_suspected)

    def _end(self, does_stop: bool) -> bool:  # noqa: FBT001 - the returned value
        self._released |= does_stop
        return does_stop


def _is_refusal(answer: Answer) -> bool:
    """True for a refusal, or for a 2xx that cannot be the vendor's."""
    if answer.verdict is Verdict.REJECTED:
        return True
    is_success_status = answer.http_status is not None and 200 <= answer.http_status < 300  # noqa: PLR2004
    return is_success_status and answer.effect is Effect.MAYBE

"""Fail-fast check: an account stops if its first answers are all the same refusal. Pure.

A wrong project should not cost 60,000 refused rows. But the first 20 rows of a file may be wrong in
the same way, so a few other rows are sent as probes, one at a time, before the account stops.
"""

from __future__ import annotations

from pipeline.model import Answer, Effect, Verdict
from pipeline.workers.refusals import MAX_PROBES
from pipeline.workers.stop_reason import describe

FAIL_FAST_AFTER = 20


class FailFastCheck:
    """Checks the first `after` answers of an account, then the answers to its probes.

    Throttling, a 5xx and silence are no refusals and do not count. One success, or a refusal with
    another code, ends the check for good.

    after       equal refusals that put the account under suspicion; 0 turns the check off
    refusal     the last refusal that was counted; None before the first
    is_over     no further answer counts
    has_failed  the account must stop

    >>> fail_fast = FailFastCheck(after=2)
    >>> no = Answer(Verdict.REJECTED, Effect.NONE, http_status=404, code="9802")
    >>> fail_fast.on_answer(no), fail_fast.on_answer(no), fail_fast.is_suspected
    (None, None, True)
    >>> for _ in range(MAX_PROBES):
    ...     fail_fast.on_answer(no, is_probe=True)
    >>> fail_fast.has_failed
    True
    """

    __slots__ = ("_code", "_equal", "_probes", "after", "has_failed", "is_over", "refusal")

    def __init__(self, after: int = FAIL_FAST_AFTER) -> None:
        self.after = after
        self._code: tuple[int | None, str] | None = None
        self._equal = 0
        self._probes = 0
        self.refusal: Answer | None = None
        self.is_over = after <= 0
        self.has_failed = False

    @property
    def is_suspected(self) -> bool:
        """True if probes decide now whether the account stops."""
        return not self.is_over and self._equal >= self.after

    def on_answer(self, answer: Answer, *, is_probe: bool = False) -> None:
        """Count an answer to an update.

        is_probe  True if the request was a probe
        """
        if self.is_over or not _is_refusal(answer):
            self.is_over = self.is_over or answer.verdict is Verdict.OK
            return
        code = (answer.http_status, answer.code)
        if self._code not in (None, code):
            self.is_over = True
            return
        self._code, self.refusal = code, answer
        self._probes += is_probe and self.is_suspected
        self._equal += 1
        self.is_over = self.has_failed = self._probes >= MAX_PROBES

    @property
    def reason(self) -> str:
        """Why it stops the account."""
        what = "" if self.refusal is None else describe(self.refusal)
        return (
            f"the first {self.after} answers were all the same refusal, and so were those of other "
            f"rows: {what}. Nothing was sent after that; --no-fail-fast sends all the same"
        )


def _is_refusal(answer: Answer) -> bool:
    """True for a refusal, or for a 2xx that cannot be the vendor's."""
    if answer.verdict is Verdict.REJECTED:
        return True
    is_success_status = answer.http_status is not None and 200 <= answer.http_status < 300  # noqa: PLR2004
    return is_success_status and answer.effect is Effect.MAYBE

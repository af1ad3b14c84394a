"""The brake: if an account's first answers are all one and the same refusal, it stops. Pure.

A wrong project is not 60,000 wrong rows; but the first 20 rows of a file may be wrong alike. So a
few others are asked, one at a time, before the brake is pulled.
"""

from __future__ import annotations

from pipeline.model import Answer, Effect, Verdict
from pipeline.workers.refusals import MOST_PROBES

FAIL_FAST_AFTER = 20


class FailFastCheck:
    """Watches the first `after` answers of an account, then those of the entities that are asked.

    What only asks for patience (throttling, a 5xx, silence) is no refusal and is not counted; one
    success, or a refusal with another code, releases the brake for good.

    is_suspected  others are to be asked now
    refusal         the last answer that was counted; None before

    >>> fail_fast = FailFastCheck(after=2)
    >>> no = Answer(Verdict.REJECTED, Effect.NONE, http_status=404, code="9802")
    >>> fail_fast.on_answer(no), fail_fast.on_answer(no), fail_fast.is_suspected
    (False, False, True)
    >>> [fail_fast.on_answer(no, is_probe=True) for _ in range(MOST_PROBES)]
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
    def is_suspected(self) -> bool:
        """Whether it depends on others if the account stops."""
        return not self._released and self._equal >= self.after

    def on_answer(self, answer: Answer, *, is_probe: bool = False) -> bool:
        """True where this answer makes the account stop.

        is_probe  it came to an entity that was asked since the brake is in question
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
        return self._ends(self._probes >= MOST_PROBES)

    def should_stop_at_end(self) -> bool:
        """True where the account stops since there is nobody left to ask."""
        return self._ends(self.is_suspected)

    def _ends(self, does_pull: bool) -> bool:  # noqa: FBT001 - what it gives back
        self._released |= does_pull
        return does_pull


def _is_refusal(answer: Answer) -> bool:
    """A no, or a 2xx that the vendor cannot have written."""
    if answer.verdict is Verdict.REJECTED:
        return True
    is_success_status = answer.http_status is not None and 200 <= answer.http_status < 300  # noqa: PLR2004
    return is_success_status and answer.effect is Effect.MAYBE

"""The brake: if an account's first answers are all one and the same refusal, it stops. Pure.

A wrong project is not 60,000 wrong rows.
"""

from __future__ import annotations

from pipeline.model import Answer, Effect, Verdict

BRAKE_AFTER = 20


class Brake:
    """Watches the first `after` answers of an account.

    What only asks for patience (throttling, a 5xx, silence) is no refusal and is not counted; one
    success, or a refusal with another code, releases the brake for good.

    >>> brake = Brake(after=2)
    >>> no = Answer(Verdict.REJECTED, Effect.NONE, http_status=404, code="9802")
    >>> brake.pulls(no), brake.pulls(no)
    (False, True)
    """

    __slots__ = ("_code", "_equal", "_released", "after")

    def __init__(self, after: int = BRAKE_AFTER) -> None:
        self.after = after
        self._released = after <= 0
        self._code: tuple[int | None, str] | None = None
        self._equal = 0

    def pulls(self, answer: Answer) -> bool:
        """True where this answer makes the account stop."""
        if self._released or not _is_refusal(answer):
            self._released = self._released or answer.verdict is Verdict.OK
            return False
        code = (answer.http_status, answer.code)
        if self._code not in (None, code):
            self._released = True
            return False
        self._code = code
        self._equal += 1
        self._released = self._equal >= self.after
        return self._released


def _is_refusal(answer: Answer) -> bool:
    """A no, or a 2xx that the vendor cannot have written."""
    if answer.verdict is Verdict.REJECTED:
        return True
    is_success_status = answer.http_status is not None and 200 <= answer.http_status < 300  # noqa: PLR2004
    return is_success_status and answer.effect is Effect.MAYBE

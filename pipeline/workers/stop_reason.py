"""Which answers make it pointless to send further rows to an account. Pure."""

from __future__ import annotations

import math

from pipeline.model import Answer, Verdict
from pipeline.workers.fail_fast import FailFastCheck


def stop_reason(
    answer: Answer,
    fail_fast: FailFastCheck | None,
    *,
    is_probe: bool = False,
    down_s: float = 0.0,
    throttled_s: float = 0.0,
    max_outage_s: float = math.inf,
) -> str | None:
    """Why no further row should go to the account, or None.

    fail_fast          is told of the answer; None where that is no answer to an update
    is_probe       the answer came to one that was sent to learn whether the account works
    down_s         how long the vendor has been down; 0 where it is not
    throttled_s    how long the vendor has refused all that it answered as too many requests
    max_outage_s   neither is waited for longer

    What a vendor refuses may be a row, see `AccountRefusals`; not so what kept us from asking it.

    >>> untrusted = Answer(Verdict.FATAL, "none", code="tls_failed", message="not trusted")
    >>> stop_reason(untrusted, FailFastCheck())
    'tls_failed: not trusted'
    >>> stop_reason(Answer(Verdict.FATAL, "none", 401, "401013"), FailFastCheck())
    """
    if answer.verdict is Verdict.FATAL and answer.http_status is None:
        return describe(answer)
    if fail_fast is not None and fail_fast.on_answer(answer, is_probe=is_probe):
        return fail_fast_reason(fail_fast)
    if down_s > max_outage_s:
        return (
            f"the vendor has been down for {down_s:.0f} s, longer than max_outage_s = "
            f"{max_outage_s:.0f}: {describe(answer)}"
        )
    if answer.verdict is Verdict.THROTTLED and throttled_s > max_outage_s:
        return (
            f"the vendor has refused every request for {throttled_s:.0f} s as too many, longer "
            f"than max_outage_s = {max_outage_s:.0f}: {describe(answer)}"
        )
    return None


def fail_fast_reason(fail_fast: FailFastCheck) -> str:
    """Why the account stops where its first answers were all one refusal."""
    what = "" if fail_fast.refusal is None else describe(fail_fast.refusal)
    return (
        f"the first {fail_fast.after} answers were all the same refusal, and so were those of "
        f"other rows: {what}. Nothing was sent after that; --no-brake sends all the same"
    )


class FirstReply:
    """Requests without any reply, before the first reply of an account.

    A single entity may hang at a vendor that is well; so another one is asked before the account
    is given up. Each process of a run gets further than those before it: it asks for a row for
    which none of them had asked in vain; where there is no such row, it goes on until one has
    ended, behind which others wait.

    >>> first = FirstReply()
    >>> first.on_no_reply("a")
    >>> first.needs_another, first.is_given_up(1, may_read_others=True)
    (True, False)
    >>> first.on_no_reply("b")
    >>> first.needs_another, first.is_given_up(2, may_read_others=True)
    (False, True)
    """

    __slots__ = ("_entities", "_has_news", "_lost")

    def __init__(self) -> None:
        self._entities: set[str] = set()
        self._has_news = False
        self._lost = 0

    def on_no_reply(self, entity: str, *, is_known: bool = False) -> None:
        """No reply came to a request for `entity`.

        is_known  nor had any in an earlier process, and this one may have arrived
        """
        self._entities.add(entity)
        self._has_news |= not is_known
        self._lost += 1

    @property
    def needs_another(self) -> bool:
        """Whether the next request is for another entity."""
        return len(self._entities) == 1

    def is_given_up(
        self, max_attempts: int, *, may_read_others: bool, has_ended: bool = False
    ) -> bool:
        """Whether the account is: so many requests, for two entities where there are two.

        has_ended  a row has ended in this process

        >>> first = FirstReply()
        >>> first.on_no_reply("a", is_known=True)
        >>> first.is_given_up(1, may_read_others=False)
        False
        >>> first.is_given_up(1, may_read_others=False, has_ended=True)
        True
        """
        is_alone = self.needs_another and may_read_others
        if self._lost < max_attempts or is_alone:
            return False
        return self._has_news or has_ended


def describe(answer: Answer) -> str:
    """What was wrong, and what to do, in one phrase."""
    status = f"HTTP {answer.http_status}" if answer.http_status is not None else ""
    parts = [part for part in (status, answer.code, answer.message, answer.hint) if part]
    return ": ".join(parts)

"""Decides when to stop an account: which answers make further rows pointless. Pure."""

from __future__ import annotations

import math

from pipeline.model import Answer, Verdict


def stop_reason(
    answer: Answer, *, down_s: float = 0.0, throttled_s: float = 0.0, max_outage_s: float = math.inf
) -> str | None:
    """Return why the account must stop after `answer`, or None.

    down_s        seconds since the vendor went down; 0 if it is not down
    throttled_s   seconds for which the vendor has answered nothing but 429
    max_outage_s  the limit of both

    A FATAL answer with an HTTP status may be about its row, see `refusals.py`; one without a status
    says that no request can be made, and stops the account at once.

    >>> untrusted = Answer(Verdict.FATAL, "none", code="tls_failed", message="not trusted")
    >>> stop_reason(untrusted)
    'tls_failed: not trusted'
    >>> stop_reason(Answer(Verdict.FATAL, "none", 401, "401013"))
    """
    if answer.verdict is Verdict.FATAL and answer.http_status is None:
        return describe(answer)
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


class FirstReply:
    """Counts requests without a reply before the first reply of an account.

    A single entity may hang at a vendor that works, so a row of another entity is sent before the
    account is given up. Each process of a run gets further than those before it: it gives up only
    after it sent a row that none of them had sent in vain, or after a row has ended.

    >>> first = FirstReply()
    >>> first.on_no_reply("a")
    >>> first.needs_another, first.is_given_up(1, has_others=True)
    (True, False)
    >>> first.on_no_reply("b")
    >>> first.needs_another, first.is_given_up(2, has_others=True)
    (False, True)
    """

    __slots__ = ("_entities", "_has_news", "_lost")

    def __init__(self) -> None:
        self._entities: set[str] = set()
        self._has_news = False
        self._lost = 0

    def on_no_reply(self, entity: str, *, is_known: bool = False) -> None:
        """Count a request for `entity` that got no reply.

        is_known  True if the same happened in an earlier process, and the request may have arrived
        """
        self._entities.add(entity)
        self._has_news |= not is_known
        self._lost += 1

    @property
    def needs_another(self) -> bool:
        """True if the next request must be for another entity."""
        return len(self._entities) == 1

    def is_given_up(self, max_attempts: int, *, has_others: bool, has_ended: bool = False) -> bool:
        """True after `max_attempts` requests for two entities, or one if there is only one.

        has_others  True if rows of other entities may be sent
        has_ended   True if a row has ended in this process

        >>> first = FirstReply()
        >>> first.on_no_reply("a", is_known=True)
        >>> first.is_given_up(1, has_others=False)
        False
        >>> first.is_given_up(1, has_others=False, has_ended=True)
        True
        """
        is_alone = self.needs_another and has_others
        if self._lost < max_attempts or is_alone:
            return False
        return self._has_news or has_ended


def describe(answer: Answer) -> str:
    """Return what an answer says as one phrase: status, code, message and hint.

    A message that begins with the status has both.

    >>> describe(Answer(Verdict.FATAL, "none", 401, code="http_401", message="HTTP 401: no"))
    'HTTP 401: no'
    """
    status = f"HTTP {answer.http_status}" if answer.http_status is not None else ""
    known = () if status and answer.message.startswith(status) else (status, answer.code)
    return ": ".join(part for part in (*known, answer.message, answer.hint) if part)

"""When another connection is opened, and when one is used again. Pure."""

from __future__ import annotations

FIRST_S = 0.005
MAX_S = 0.5

REST_S = 0.05
"""A peer that closes each connection after its reply has done so by then."""


class ConnectBackoff:
    """Delays after connections that brought no reply, so that a server that drops each connection
    is not flooded.

    Times are monotonic seconds. The delay doubles with each round of failures: a failure counts
    only if its connection was opened after the failure before it, so that many connections that
    fail at once count once.

    >>> backoff = ConnectBackoff()
    >>> backoff.failed(opened_s=-2.0, now_s=0.0)
    >>> backoff.failed(opened_s=-1.0, now_s=0.0)
    >>> backoff.delay_s(0.0)
    0.005
    """

    def __init__(self) -> None:
        self._rounds = 0
        self._failed_s = float("-inf")

    def failed(self, opened_s: float, now_s: float) -> None:
        """A connection whose opening began at `opened_s` brought no reply."""
        if opened_s > self._failed_s:
            self._rounds += 1
            self._failed_s = now_s

    def worked(self) -> None:
        """A connection brought a reply."""
        self._rounds = 0

    def delay_s(self, now_s: float) -> float:
        """Return the seconds until another connection may be opened."""
        if not self._rounds:
            return 0.0
        pause_s = min(MAX_S, FIRST_S * 2.0 ** min(self._rounds - 1, 30))
        return max(0.0, self._failed_s + pause_s - now_s)


class ReuseRest:
    """The rest of a connection between two requests: none, unless the peer closes unannounced.

    Some servers close each connection after its reply and do not say so. What is sent before that
    is noticed is lost in doubt. So once a reused connection is cut off, a connection rests before
    it is used again; once one that has rested brings a reply, none rests any more. If any was
    reused before, it takes two in a row: a single one may be an accident.

    >>> rest = ReuseRest()
    >>> rest.cut_off()
    >>> before = rest.rest_s
    >>> rest.worked()
    >>> before, rest.rest_s
    (0.05, 0.0)
    """

    def __init__(self) -> None:
        self._cut_off = 0  # in a row
        self._most = 1

    @property
    def rest_s(self) -> float:
        """Seconds from a reply to the next request on the same connection."""
        return REST_S if self._cut_off >= self._most else 0.0

    def worked(self) -> None:
        """A reused connection brought a reply."""
        self._cut_off, self._most = 0, 2

    def cut_off(self) -> None:
        """A reused connection was closed by its peer without a reply."""
        self._cut_off += 1

"""How long to wait before another connection is opened. Pure."""

from __future__ import annotations

FIRST_S = 0.005
MAX_S = 0.5


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

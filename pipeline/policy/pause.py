"""The vendor's own pause: nobody sends before it is over. Pure: the time is an argument."""

from __future__ import annotations

BLIND_S, LONGEST_BLIND_S = 0.1, 10.0
"""After a refusal that names no time; twice as long after each further one."""


class Pause:
    """Until when an account, or all that share its quota, waits.

    >>> pause = Pause()
    >>> pause.asked(7.0, left_s=0.0, now_s=1.0)
    >>> pause.asked(2.0, left_s=0.0, now_s=1.5)
    >>> pause.until_s
    8.0
    """

    __slots__ = ("_blind_s", "until_s")

    def __init__(self) -> None:
        self.until_s = float("-inf")
        self._blind_s = BLIND_S

    def asked(self, seconds: float | None, left_s: float, now_s: float) -> None:
        """The vendor refused what left at `left_s`; of several pauses the one that ends last holds.

        seconds  that it asks everyone to wait; None where it names none
        """
        if seconds is None:
            if left_s < self.until_s:
                return  # it left before the pause that is on
            seconds = self._blind_s
            self._blind_s = min(LONGEST_BLIND_S, 2.0 * self._blind_s)
        self.until_s = max(self.until_s, now_s + seconds)

    def accepted(self, left_s: float) -> None:
        """The vendor took what left at `left_s`."""
        if left_s >= self.until_s:
            self._blind_s = BLIND_S

    def left_s(self, now_s: float) -> float:
        """Seconds until it is over; 0 where there is none."""
        return max(0.0, self.until_s - now_s)

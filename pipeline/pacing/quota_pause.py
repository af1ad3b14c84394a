"""The pause of one quota that the vendor asked for: its end, its listeners, its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.model.pause import AskedPause
from pipeline.pacing.pause import remaining_s

BLIND_S, LONGEST_BLIND_S = 0.1, 10.0
"""Seconds of the pause after a refusal that names no time, at first and at most; each further one
doubles it."""

OnPause = Callable[[AskedPause, float], None]
"""Called with a pause and the time, in UTC seconds since 1970."""


class QuotaPause:
    """The current pause, which other limiters and processes may have been asked for.

    clock        monotonic seconds
    utc          seconds since 1970
    max_wait_s   longest pause after a refusal that names no time
    on_longer    is called if the pause begins or becomes longer
    on_lift      is called if it ends before its time

    until_s  when it ends, by the monotonic clock; in the past if there is none
    """

    def __init__(
        self,
        max_wait_s: float,
        *,
        clock: Callable[[], float],
        utc: Callable[[], float],
        on_longer: Callable[[], None],
        on_lift: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._utc = utc
        self._on_longer = on_longer
        self._on_lift = on_lift
        self._longest_blind_s = min(LONGEST_BLIND_S, max_wait_s)
        self._blind_s = self._first_blind_s = min(BLIND_S, self._longest_blind_s)
        self.until_s = -math.inf
        self._asked: AskedPause | None = None
        self._is_on_record = False
        self._on_pause: list[OnPause] = []

    @property
    def left_s(self) -> float:
        """Seconds until it ends; 0 if there is none."""
        return max(0.0, self.until_s - self._clock())

    def start(self, seconds: float | None, left_s: float, words: str, run: str = "") -> bool:
        """The vendor refused a request sent at `left_s`. The pause that ends last holds.

        seconds  that it asks to wait; None if it names no time
        words    of the vendor, for people
        run      name of the run that sent the request
        returns  True if a pause began or became longer
        """
        if seconds is None:
            if left_s < self.until_s:
                return False  # sent before the current pause
            seconds = self._blind_s
            self._blind_s = min(self._longest_blind_s, 2.0 * self._blind_s)
        at_s = self._utc()
        asked = AskedPause(at_s + seconds, at_s, run, words)
        return self._lengthen(asked, seconds, is_on_record=False)

    def on_success(self, left_s: float) -> None:
        """The vendor accepted a request sent at `left_s`."""
        if left_s >= self.until_s:
            self._blind_s = self._first_blind_s

    def lift(self) -> None:
        """End it."""
        self.until_s, self._blind_s = -math.inf, self._first_blind_s
        self._asked = None
        self._on_lift()

    def hear(self, asked: AskedPause) -> None:
        """Keep a pause that was asked of another limiter of the same quota."""
        self._lengthen(asked, remaining_s(asked, self._utc()), is_on_record=False)

    def adopt(self, asked: AskedPause | None) -> bool:
        """Adopt the recorded pause, which another process may have changed.

        Returns True if it is longer, and was reported.
        """
        if asked is not None and (left_s := remaining_s(asked, self._utc())) > 0:
            return self._lengthen(asked, left_s, is_on_record=True)
        if self.is_on_record:
            self.lift()
        return False

    def _lengthen(self, asked: AskedPause, seconds: float, *, is_on_record: bool) -> bool:
        until_s = self._clock() + seconds
        if until_s <= self.until_s:
            return False
        self.until_s = until_s
        self._asked, self._is_on_record = asked, is_on_record
        self._on_longer()
        self.notify()
        return True

    @contextmanager
    def watched(self, on_pause: OnPause, *, is_known: bool) -> Iterator[None]:
        """While the block runs, call `on_pause` for the current pause and for each new one.

        is_known  False if the current one may have been lifted meanwhile: it is reported later
        """
        self._on_pause.append(on_pause)
        try:
            if is_known and self._asked is not None and self.left_s > 0:
                on_pause(self._asked, self._utc())
            yield
        finally:
            self._on_pause.remove(on_pause)

    def notify(self) -> None:
        """Report the current pause, if there is one."""
        if self._asked is not None and self.left_s > 0:
            for on_pause in tuple(self._on_pause):
                on_pause(self._asked, self._utc())

    # On record, for other processes...

    @property
    def unrecorded(self) -> AskedPause | None:
        """The pause that is not on record yet; None if there is none."""
        return self._asked if not self._is_on_record and self.left_s > 0 else None

    @property
    def is_on_record(self) -> bool:
        """True if the current pause is on record; if it disappears there, somebody lifted it."""
        return self._asked is not None and self._is_on_record and self.left_s > 0

    def on_recorded(self, asked: AskedPause) -> None:
        """`asked` was put on record."""
        self._is_on_record = self._is_on_record or self._asked is asked

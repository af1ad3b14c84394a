"""The pause of one quota that the vendor asked for: who hears of it, and if it is on record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.model.pause import AskedPause
from pipeline.pacing.pause import LONGEST_BLIND_S, Pause, remaining_s

OnPause = Callable[[AskedPause, float], None]
"""Called with a pause and the time, in UTC seconds since 1970."""


class QuotaPause:
    """The current pause, which other limiters and processes may have been asked for.

    clock        monotonic seconds
    utc          seconds since 1970
    max_wait_s   longest pause after a refusal that names no time
    on_longer    is called if the pause begins or becomes longer
    on_lift      is called if it ends before its time
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
        self._pause = Pause(min(LONGEST_BLIND_S, max_wait_s))
        self._asked: AskedPause | None = None
        self._is_on_record = False
        self._on_pause: list[OnPause] = []

    @property
    def until_s(self) -> float:
        """When it ends, by the monotonic clock; in the past if there is none."""
        return self._pause.until_s

    @property
    def left_s(self) -> float:
        """Seconds until it ends; 0 if there is none."""
        return self._pause.left_s(self._clock())

    def start(self, seconds: float | None, left_s: float, words: str, run: str = "") -> bool:
        """The vendor asked for a pause in its reply to a request sent at `left_s`.

        seconds  None if it names no time
        words    of the vendor, for people
        run      name of the run that sent the request
        returns  True if a pause began or became longer
        """
        now_s, before_s = self._clock(), self.until_s
        self._pause.on_refusal(seconds, left_s, now_s)
        if self.until_s <= before_s:
            return False
        at_s = self._utc()
        asked = AskedPause(at_s + self._pause.left_s(now_s), at_s, run, words)
        self._set(asked, is_on_record=False)
        return True

    def on_success(self, left_s: float) -> None:
        """The vendor accepted a request sent at `left_s`."""
        self._pause.on_success(left_s)

    def lift(self) -> None:
        """End it."""
        self._pause.lift()
        self._asked = None
        self._on_lift()

    def hear(self, asked: AskedPause) -> None:
        """Keep a pause that was asked of another limiter of the same quota."""
        self._lengthen(asked, is_on_record=False)

    def adopt(self, asked: AskedPause | None) -> bool:
        """Adopt the recorded pause, which another process may have changed.

        Returns True if it is longer, and was reported.
        """
        if asked is not None and remaining_s(asked, self._utc()) > 0:
            return self._lengthen(asked, is_on_record=True)
        if self.is_on_record:
            self.lift()
        return False

    def _lengthen(self, asked: AskedPause, *, is_on_record: bool) -> bool:
        left_s, now_s = remaining_s(asked, self._utc()), self._clock()
        if left_s <= self._pause.left_s(now_s):
            return False
        self._pause.on_refusal(left_s, now_s, now_s)
        self._set(asked, is_on_record=is_on_record)
        return True

    def _set(self, asked: AskedPause, *, is_on_record: bool) -> None:
        self._asked, self._is_on_record = asked, is_on_record
        self._on_longer()
        self.notify()

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

"""An event loop that handles what comes within a moment together, while nobody waits for it.

Each time a process wakes up costs as much as some requests.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable

UNDATED_MOMENT_S = 0.004
"""The longest moment if the system does not tell when bytes arrived: round trips seem longer by it,
and the pacing relies on the shortest one to within 5 ms."""


class PatientSelector(selectors.DefaultSelector):
    """A selector that looks only at the end of each moment, while everybody is patient.

    The moments of a process begin at the multiples of their length, so all of its parts that wait
    for something go on together.

    moment_s  seconds of a moment: of the least patient one; 0 while somebody has no patience, and
              if there is nobody
    """

    def __init__(
        self,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._sleep = sleep
        self._clock = clock
        self._patience: dict[object, float] = {}
        self._is_dated = False
        self._arrived_s: dict[int, float] = {}  # by number of the socket
        self._looked_s = self._before_s = 0.0  # when it looked last, and before that
        self.moment_s = 0.0

    def set_patience(self, who: object, moment_s: float | None) -> None:
        """Note how long `who` may wait: 0 for not at all; None forgets it."""
        if moment_s is None:
            self._patience.pop(who, None)
        else:
            self._patience[who] = moment_s
        self._set_moment()

    def _set_moment(self) -> None:
        moment_s = min(self._patience.values(), default=0.0)
        self.moment_s = moment_s if self._is_dated else min(moment_s, UNDATED_MOMENT_S)
        if not self.moment_s:
            self._arrived_s.clear()  # nothing dates what is read from now on

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As usual; what has arrived, and timers, may wait until the moment is over."""
        if not self.moment_s:
            return super().select(timeout)
        if timeout is None or timeout > 0:
            rest_s = self.moment_s - self._clock() % self.moment_s
            self._sleep(rest_s)
            timeout = None if timeout is None else max(0.0, timeout - rest_s)
        found = super().select(timeout)
        self._arrived_s.clear()
        self._before_s, self._looked_s = self._looked_s, self._clock()
        return found

    # When bytes arrived that were read in this turn of the loop...

    def on_read(self, file_number: int, age_s: float | None) -> None:
        """Bytes were read from a socket; they arrived `age_s` seconds ago. None: nobody knows.

        They were not there when this looked before: so a clock that is set does no harm.
        """
        if self._is_dated is (age_s is None):
            self._is_dated = age_s is not None
            self._set_moment()
        if age_s is not None and age_s >= 0:
            arrived_s = self._clock() - age_s
            if arrived_s >= self._before_s:
                self._arrived_s[file_number] = arrived_s

    def arrived_s(self, file_number: int) -> float:
        """When the bytes that were just read from a socket arrived, by its clock; 0: unknown."""
        return self._arrived_s.get(file_number, 0.0)


class PatientLoop(asyncio.SelectorEventLoop):
    """Python's own event loop, with a selector that can be patient."""

    def __init__(self) -> None:
        self.patience = PatientSelector()
        super().__init__(self.patience)

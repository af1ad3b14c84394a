"""An event loop that handles together what comes while nobody waits for it.

Each time a process wakes up costs as much as some requests.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable

UNDATED_S = 0.004
"""The longest wait if the system does not tell when bytes arrived: round trips seem longer by it,
and the pacing relies on the shortest one to within 5 ms."""


class PatientSelector(selectors.DefaultSelector):
    """A selector that does not look before the time until which everybody waits.

    is_patient  True while everybody waits for a time, unless there is nobody
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
        self._until_s = 0.0
        self.is_patient = False

    def set_patience(self, who: object, until_s: float | None) -> None:
        """Note that `who` waits until then: 0 for what arrives; None forgets it."""
        if until_s is None:
            self._patience.pop(who, None)
        else:
            self._patience[who] = until_s
        self._until_s = min(self._patience.values(), default=0.0)
        self.is_patient = self._until_s > 0
        if not self.is_patient:
            self._arrived_s.clear()  # nothing dates what is read from now on

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As usual; what has arrived, and timers, wait as long as everybody does."""
        if not self.is_patient:
            return super().select(timeout)
        if timeout is None or timeout > 0:
            rest_s = self._until_s - self._clock()
            if not self._is_dated:
                rest_s = min(rest_s, UNDATED_S)
            if rest_s > 0:
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
        self._is_dated = age_s is not None
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

"""An event loop that handles what arrives within a moment together, while nobody waits for it.

Each time a process wakes up costs as much as some requests.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable

MOMENT_S = 0.004
"""The longest time that what has arrived waits for more. Timers are never late for it."""


class PatientSelector(selectors.DefaultSelector):
    """A selector that lets `MOMENT_S` pass before it looks, while everybody is patient.

    is_patient  True while they are, and there is anybody
    """

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__()
        self._sleep = sleep
        self._patience: dict[object, bool] = {}
        self.is_patient = False

    def set_patience(self, who: object, is_patient: bool | None) -> None:  # noqa: FBT001 - a state
        """Note if `who` has patience; None forgets it. One that has none is enough to hurry all."""
        if is_patient is None:
            self._patience.pop(who, None)
        else:
            self._patience[who] = is_patient
        self.is_patient = bool(self._patience) and all(self._patience.values())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As usual; what has arrived may wait up to `timeout`, at most MOMENT_S."""
        if self.is_patient and (timeout is None or timeout > 0):
            moment_s = MOMENT_S if timeout is None else min(MOMENT_S, timeout)
            self._sleep(moment_s)
            timeout = None if timeout is None else timeout - moment_s
        return super().select(timeout)


class PatientLoop(asyncio.SelectorEventLoop):
    """Python's own event loop, with a selector that can be patient."""

    def __init__(self) -> None:
        self.patience = PatientSelector()
        super().__init__(self.patience)

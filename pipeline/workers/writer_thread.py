"""A thread that carries out calls one after another and reports each to the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

Call = Callable[[], None]
OnDone = Callable[[BaseException | None], None]


class WriterThread(threading.Thread):
    """Carries out calls in order, until closed. Create and use it in the event loop.

    A daemon, so that a process whose event loop died does not wait for it.

    loop  event loop that it reports to
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[tuple[Call, OnDone] | None] = SimpleQueue()
        self._left = 0
        self.start()

    @property
    def is_busy(self) -> bool:
        """True from `put` until the end of the call was reported."""
        return self._left > 0

    def put(self, call: Call, on_done: OnDone) -> None:
        """Carry out `call`, then call `on_done` in the event loop with what it raised, or None."""
        self._left += 1
        self._calls.put((call, on_done))

    def run(self) -> None:
        """Carry out calls. Never raises."""
        while (item := self._calls.get()) is not None:
            call, on_done = item
            error: BaseException | None = None
            try:
                call()
            except BaseException as raised:  # noqa: BLE001 - who put the call raises it
                error = raised
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                self.loop.call_soon_threadsafe(self._report, on_done, error)
            del item, call, on_done, error  # an idle thread holds no rows

    def _report(self, on_done: OnDone, error: BaseException | None) -> None:
        self._left -= 1
        on_done(error)

    def close(self) -> None:
        """Return once all calls are over and the thread has ended."""
        self._calls.put(None)
        self.join()

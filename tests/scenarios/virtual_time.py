"""An event loop whose time jumps: where nothing is ready, it is at once as late as the next timer.

Ten minutes of waiting take no time, and every run of a program is the same.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
from anyio._backends import _asyncio as anyio_on_asyncio

from pipeline.workers.writer_thread import WriterThread

T = TypeVar("T")

PATIENCE_S = 60.0
"""So much real time a thread may take; a test's own timeout usually ends it before."""

SHORTEST_S = 1e-6


class StuckError(RuntimeError):
    """Everybody waits, and nothing will ever happen."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` is 0 at the start. While a thread of anyio's or the recorder's works, time stands
    still, and so does the loop: what the thread brings is there before anything else goes on.

    Real sockets and processes work, but no time passes for them.
    """

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """As asyncio does, a little later: no timer takes no time."""
        # Else who waits for the rest of a rounding error would do so for ever.
        when = max(when, self._now_s + SHORTEST_S)
        return super().call_at(when, callback, *args, context=context)

    def jump(self, seconds: float) -> None:
        """Be so much later."""
        self._now_s += seconds

    @property
    def busy_threads(self) -> int:
        """Calls of `anyio.to_thread` and of the recorder that are under way."""
        # There is no public way to ask. A worker is put on the idle list in this loop's thread, by
        # the very callback that brings its result.
        known: dict[Any, Any] = anyio.lowlevel._run_vars.get(self, {})
        workers = known.get(anyio_on_asyncio._threadpool_workers, ())
        idle = known.get(anyio_on_asyncio._threadpool_idle_workers, ())
        writers = [each for each in threading.enumerate() if isinstance(each, WriterThread)]
        writing = sum(each.is_busy for each in writers if each.loop is self)
        return len(workers) - len(idle) + writing

    @property
    def has_brought(self) -> bool:
        """Whether what a thread has brought is about to be looked at.

        Two threads that end at once wake the loop once: whoever waited for the second would wait
        for ever.
        """
        brings = (anyio_on_asyncio.WorkerThread._report_result, WriterThread._report)
        ready: Any = self._ready  # type: ignore[attr-defined]
        return any(getattr(each._callback, "__func__", None) in brings for each in list(ready))

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Not here: whether such a thread works, this loop cannot tell."""
        raise NotImplementedError("use anyio.to_thread")


class _Jumping(selectors.DefaultSelector):
    """Where asyncio asks it to wait for a timer, it makes the loop jump instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._loop.busy_threads and not self._loop.has_brought:
            events = super().select(PATIENCE_S)
            if not events:
                raise StuckError(f"a thread has brought nothing in {PATIENCE_S:g} s")
            return events
        # There is something to do already, perhaps since asyncio has looked: a thread brings what
        # it has before it wakes the loop.
        if timeout == 0 or self._loop.has_brought:
            return []
        if events := super().select(0):
            return events
        if timeout is None:
            raise StuckError("no timer is set, no thread works, and every task waits")
        self._loop.jump(timeout)
        return []


def run(main: Callable[[], Awaitable[T]]) -> T:
    """What `main` returns, on a loop of its own.

    raises  StuckError where it would never return
    """
    return anyio.run(main, backend="asyncio", backend_options={"loop_factory": VirtualLoop})

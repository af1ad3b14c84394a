"""Concurrent runs of one command: their order, and one display for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    contextmanager,
)
from typing import TYPE_CHECKING

from pipeline.model import AccountProgress
from pipeline.run.keyed_queue import KeyedQueue

if TYPE_CHECKING:
    from pipeline.run import Progress  # brings all that sends


class SideBySide:
    """The order of runs whose destinations are known in advance.

    places  the destinations of each run
    """

    def __init__(self, places: Iterable[Iterable[str]]) -> None:
        queue = KeyedQueue()
        self._turns = [queue.join(each) for each in places]

    def wait_for(self, number: int) -> AbstractAsyncContextManager[None]:
        """Enter once no earlier run shares a destination with run `number`, counted from 0."""
        return self._turns[number]


class RunDisplay:
    """One display for all runs. It opens with the first run and closes with the last.

    open_display  shows the progress that the given function returns, while its block runs
    """

    def __init__(self, open_display: Callable[[Progress], AbstractContextManager[object]]) -> None:
        self._open_display = open_display
        self._polls: list[Progress] = []
        self._display = ExitStack()

    @contextmanager
    def watch(self, poll: Progress) -> Iterator[None]:
        """Add the progress that `poll` returns to the display while the block runs."""
        if not self._polls:
            self._display.enter_context(self._open_display(self._all))
        self._polls.append(poll)
        try:
            yield
        finally:
            self._polls.remove(poll)
            if not self._polls:
                self._display.close()

    def _all(self) -> Sequence[AccountProgress]:
        return [account for poll in tuple(self._polls) for account in poll()]

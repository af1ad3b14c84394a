"""Runs of one command beside one another: whose turn it is, and one display for all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager

import anyio

from pipeline.model import AccountProgress
from pipeline.run import Progress


class SideBySide:
    """Runs that share a place go one after the other, in their order; the others side by side.

    places  of each run, what it sends to
    """

    def __init__(self, places: Iterable[Iterable[object]]) -> None:
        self._places = [frozenset(each) for each in places]
        self._ended = [anyio.Event() for _ in self._places]

    @asynccontextmanager
    async def wait_for(self, number: int) -> AsyncIterator[None]:
        """Enter once no earlier run shares a place with run `number`, counted from 0."""
        try:
            for places, ended in zip(self._places[:number], self._ended, strict=False):
                if not places.isdisjoint(self._places[number]):
                    await ended.wait()
            yield
        finally:
            self._ended[number].set()


class RunDisplay:
    """One display for all runs: it opens with the first and closes with the last.

    open_display  shows what the given function tells, while its block runs
    """

    def __init__(self, open_display: Callable[[Progress], AbstractContextManager[object]]) -> None:
        self._open_display = open_display
        self._polls: list[Progress] = []
        self._display = ExitStack()

    @contextmanager
    def watch(self, poll: Progress) -> Iterator[None]:
        """Show what `poll` tells beside the others."""
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

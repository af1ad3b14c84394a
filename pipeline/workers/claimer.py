"""Takes an account's batches from its queue, and has them claimed on record before they leave."""

from __future__ import annotations

from collections import deque
from collections.abc import Reversible, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from pipeline.workers.batches import Batch, Row
from pipeline.workers.claim_ahead import ClaimAhead
from pipeline.workers.dependencies import Dependencies
from pipeline.workers.reads import Reads
from pipeline.workers.row import Finish, Step, forget_precheck

if TYPE_CHECKING:
    from pipeline.workers.pump import Pump

Planned = tuple[Batch, Step | Finish]
"""A batch that was taken, and its next request."""


class Claimer:
    """Keeps some batches claimed ahead. Called back, it never waits.

    pump   looks again after batches were claimed

    ready  batches that may be sent now, in order
    soon   as many leave so soon that they may be claimed together
    """

    def __init__(self, deps: Dependencies, reads: Reads, pump: Pump) -> None:
        self._backlog = deps.backlog
        self._concurrency = deps.concurrency
        self._undecided = deps.undecided
        self._recorder = deps.recorder
        self._reads = reads
        self._owner = deps.owner
        self.soon = 0
        self._pump = pump
        self._ahead = ClaimAhead()
        self._claiming: dict[int, list[Planned]] = {}  # id -> window
        self.ready: deque[Planned] = deque()

    @property
    def is_low(self) -> bool:
        """True if `take` would take batches, if there are any."""
        waiting = len(self.ready) + sum(map(len, self._claiming.values()))
        return self._ahead.is_low(self._concurrency.limit, waiting, self.soon)

    def take(self) -> None:
        """Take batches, and claim those together that are not claimed yet."""
        if not self.is_low:
            return
        window: list[Planned] = []
        if self._recorder.is_full:  # maybe with results of other accounts
            self._recorder.call_when_room(self._pump.call_soon)
            return
        ahead = self._ahead.rows(self._concurrency.limit, self.soon)
        batches = iter(partial(self._owner.next_batches, ahead), [])
        for batch in chain.from_iterable(batches):
            step = self._reads.next_step(batch)
            if step is Step.PRECHECK:
                forget_precheck(batch[0])
                self._make_ready((batch, step))
            elif batch[0].is_claimed and all(row.is_claimed for row in batch):
                self._make_ready((batch, step))
            else:
                window.append((batch, step))
        if window:
            self.claim(window)

    def _make_ready(self, planned: Planned) -> None:
        batch, _ = planned
        if self._concurrency.is_probe(batch) or self._undecided.probe is batch:
            self.ready.appendleft(planned)
        else:
            self.ready.append(planned)

    def claim(self, window: list[Planned]) -> None:
        """Record that the batches of `window` may be sent, and their previous states."""
        rows = [row for batch, _ in window for row in batch if not row.is_claimed]
        previous_states = [
            (row.job.row, row.previous_state)
            for batch, _ in window
            for row in batch
            if row.previous_state and not row.in_doubt
        ]
        for row in rows:
            row.is_claimed = True  # if it is released meanwhile, the claim may be on record or not
        self._claiming[id(window)] = window
        self._recorder.claim_then(
            [row.job.row for row in rows],
            previous_states,
            partial(self._pump.guarded, self._on_claimed, window, rows),
        )

    def _on_claimed(
        self,
        window: list[Planned],
        rows: Sequence[Row],
        is_recorded: bool,  # noqa: FBT001 - as the recorder calls it
    ) -> None:
        if self._claiming.pop(id(window), None) is None:
            return  # they were put back meanwhile
        if not is_recorded:
            for row in rows:
                row.is_claimed = False
            self.put_back(window)
            return
        self._ahead.on_claimed(self._concurrency.limit, len(self.ready))
        if self._concurrency.is_calm and self._undecided.probe is None:
            self.ready += window
        else:
            for planned in window:
                self._make_ready(planned)
        self._pump.look()

    def on_places_left(self) -> None:
        """Note that no batch is ready, although there are places for more."""
        if self._claiming:
            self._ahead.on_ran_out()

    def put_back(self, planned: Reversible[Planned]) -> None:
        """Return batches that are not sent now to the queue."""
        for batch, _ in reversed(planned):
            self.give_back(batch)
            self._backlog.put_back(batch)

    def give_back(self, batch: Batch) -> None:
        """Release what `batch` holds: it was sent, or is not sent now."""
        self._concurrency.release([batch])
        if self._undecided.probe is batch:
            self._undecided.probe = None

    def put_back_ready(self) -> None:
        """Return the batches that wait to be sent to the queue."""
        ready = list(self.ready)
        self.ready.clear()
        self.put_back(ready)

    def release(self) -> None:
        """Return all that is claimed and not sent to the queue."""
        for window in self._claiming.values():
            self.put_back(window)
        self._claiming.clear()
        self.put_back_ready()

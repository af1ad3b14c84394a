"""An account's updates in flight: starts them, and acts on what came of them.

Plain successes are acted on together; `tests/workers/test_calm.py` holds that equal to one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.workers.attempts import Attempts, InFlight
from pipeline.workers.batches import Batch
from pipeline.workers.dependencies import Dependencies

if TYPE_CHECKING:
    from pipeline.workers.account_sender import AccountSender


class RequestsInFlight:
    """The requests of one account that were started.

    give_back  called with the batch of a request that is over
    call_soon  called when requests have ended: `act_on_ends` is due

    ended      requests that have ended, in this order, and that nothing has followed from yet
    """

    def __init__(
        self,
        deps: Dependencies,
        account_limiter: AccountLimiter,
        attempts: Attempts,
        owner: AccountSender,
        *,
        give_back: Callable[[Batch], None],
        call_soon: Callable[[], None],
    ) -> None:
        self._wire = deps.wire
        self._queue = deps.queue
        self._traffic = deps.traffic
        self._concurrency = deps.concurrency
        self._clock = deps.environment.clock
        self._account_limiter = account_limiter
        self._attempts = attempts
        self._owner = owner
        self._give_back = give_back
        self._call_soon = call_soon
        self._requests: set[InFlight] = set()
        self.ended: deque[InFlight] = deque()

    def __len__(self) -> int:
        """Return how many there are, those in `ended` included."""
        return len(self._requests)

    def start(self, batches: Sequence[Batch], connections: Sequence[Any]) -> None:
        """Send `batches`, each on its connection; as many permits are free."""
        limiter, now_s = self._account_limiter, self._clock()
        numbers = count(limiter.take(len(batches)))
        requests = [
            InFlight(
                limiter,
                number,
                now_s,
                batch=batch,
                connection=connection,
                on_end=self._on_ended,
            )
            for batch, connection, number in zip(batches, connections, numbers, strict=False)
        ]
        self._requests.update(requests)
        self._attempts.on_started(len(requests), now_s)
        for started, request in enumerate(requests):
            try:
                self._attempts.start(request)
            except BaseException:
                self._end_unstarted(requests[started:])
                raise

    def _end_unstarted(self, requests: Sequence[InFlight]) -> None:
        """End requests after a bug of ours in starting the first of them."""
        for request in requests:
            self._traffic.on_end()
            self._end(request)
        for request in requests[1:]:
            self._wire.give_back(request.connection)
            self._queue.backlog.put_back(request.batch)

    def _on_ended(self, request: InFlight) -> None:
        self.ended.append(request)
        if len(self.ended) == 1:
            self._call_soon()

    def act_on_ends(self) -> None:
        """Act on what came of requests, in its order: on plain successes together."""
        ended, plain = self.ended, list[InFlight]()
        if not ended:
            return
        is_calm = self._owner.is_calm
        while ended:
            if is_calm and self._attempts.is_plain(ended[0]):
                plain.append(ended.popleft())
                continue
            self._on_successes(plain)
            plain = []
            self.act_on_end()
            is_calm = self._owner.is_calm
        self._on_successes(plain)

    def _on_successes(self, requests: Sequence[InFlight]) -> None:
        """As `act_on_end` for each of `requests`."""
        if not requests:
            return
        now_s = self._clock()
        self._requests.difference_update(requests)
        self._concurrency.release([request.batch for request in requests])
        trips_s = [request.trip_s(now_s) for request in requests]
        self._account_limiter.on_successes(requests, trips_s)
        self._attempts.on_successes(requests, trips_s, now_s)
        self._owner.on_successes(requests[-1].batch[0], max(trips_s)[0])

    def act_on_end(self) -> None:
        """Act on what came of the first request that has ended."""
        request = self.ended.popleft()
        if request.came is None:
            raise AssertionError("a request ends with what came of it")
        try:
            outcome = self._attempts.on_end(request.batch, request, request.came)
            self._owner.on_outcome(outcome, request.batch, request.left_s)
        finally:
            self._end(request)

    def _end(self, request: InFlight) -> None:
        self._requests.discard(request)
        self._give_back(request.batch)
        request.on_reply()

    def abort(self) -> None:
        """Abort all requests."""
        for request in tuple(self._requests):
            self._wire.abort(request.connection)
            self._attempts.on_abort(request.batch)
            self._end(request)

"""Limits an account's concurrent requests: adapts to its answers, and to outages.

Connects the decisions in `pacing` (`Concurrency`, `CircuitBreaker`, `Throttle`) with the requests
of one account.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pipeline.model import Answer, Effect, Verdict
from pipeline.model.wire import UNSURE_WHOSE
from pipeline.pacing.circuit_breaker import CircuitBreaker
from pipeline.pacing.concurrency import Concurrency
from pipeline.pacing.throttle import Throttle
from pipeline.workers.answers import is_judged, is_unreached
from pipeline.workers.batches import Batch, Row


class ConcurrencyLimiter:
    """The limit of concurrent requests; one probe at a time while the vendor is down.

    most        the upper limit of concurrent requests
    clock       monotonic seconds
    on_room     called if more batches may be acquired
    on_down     called when the vendor goes down
    at_fault    rows that the vendor has answered -> True if the failing rows are at fault, not the
                vendor
    patience_s  seconds after which failing rows may be at fault while the vendor is down

    taken       batches that were acquired and not released
    limit       how many requests may be in flight; 1 while the vendor is down
    """

    def __init__(
        self,
        most: int,
        *,
        clock: Callable[[], float],
        on_room: Callable[[], None],
        on_down: Callable[[], None],
        at_fault: Callable[[int], bool] = lambda _answered: False,
        patience_s: float = math.inf,
    ) -> None:
        self._concurrency = Concurrency(most)
        self._breaker = CircuitBreaker()
        self._throttle = Throttle()
        self._clock = clock
        self._on_room = on_room
        self._on_down = on_down
        self._at_fault = at_fault
        self._patience_s = patience_s
        self._answered = 0
        self._was_reached = False
        self._is_last_call = False
        self._is_last_refusal = False
        self._most = most
        self._probe: Batch | None = None
        self.taken = 0
        self._throttled = 0
        self.limit = self._concurrency.limit  # both change only with an answer

    @property
    def is_probing(self) -> bool:
        """True while the vendor is down and gets one probe at a time."""
        return self._breaker.is_down

    @property
    def is_suspected(self) -> bool:
        """True if the next answers decide between a vendor that is down and rows that fail."""
        return self._breaker.is_in_question

    @property
    def next_probe(self) -> int | None:
        """Number of the next probe of the outage, from 1; None if the vendor is not down."""
        return self._breaker.asked + 1 if self._breaker.is_down else None

    @property
    def due_s(self) -> float | None:
        """When the next probe is due, in monotonic seconds; None if the vendor is not down."""
        return self._breaker.due_s

    @property
    def down_s(self) -> float:
        """Seconds since the vendor went down; 0 if it is not down."""
        since_s = self._breaker.down_since_s
        return 0.0 if since_s is None else self._clock() - since_s

    # Acquiring and releasing...

    def may_acquire(self, ahead: int = 0) -> bool:
        """True if one more batch may be acquired.

        ahead  how many may wait claimed besides those in flight; at least as many as those
        """
        if self._breaker.is_down:
            return self.taken < 2 * self._most and self._breaker.may_probe(self._clock())
        return self.room(ahead) > 0

    def room(self, ahead: int = 0) -> int:
        """Return how many more batches may be acquired, while `is_calm`; see `may_acquire`."""
        return self.limit + max(self.limit, ahead) - self.taken

    @property
    def places(self) -> int:
        """How many more batches can be sent without waiting for another one to end."""
        return self.limit - self.taken

    def acquire(self, batches: Sequence[Batch]) -> None:
        """Count `batches`; while the vendor is down there is one, the probe."""
        self.taken += len(batches)
        if self._breaker.is_down:
            (self._probe,) = batches
            self._breaker.on_probe(self._clock())

    def release(self, batches: Sequence[Batch]) -> None:
        """Stop counting `batches`: they were sent, or are not sent now."""
        self.taken -= len(batches)
        if self._probe is not None and any(map(self.is_probe, batches)):
            self._probe = None

    def is_probe(self, batch: Batch) -> bool:
        """True if `batch` is the probe: it is sent whatever else is in flight."""
        return self._probe is batch

    def may_send(self, batch: Batch) -> bool:
        """True if a batch that was acquired may still be sent."""
        return not self._breaker.is_down or self.is_probe(batch)

    # Adapting...

    def on_sent(self, in_flight: int) -> None:
        """Count a request that is sent; `in_flight` includes it."""
        self._concurrency.on_sent(in_flight)

    def on_answer(
        self,
        batch: Batch,
        answer: Answer,
        sent_s: float,
        *,
        is_read: bool = False,
        is_stray: bool = False,
    ) -> None:
        """Learn from `answer` to a request for `batch`, sent at `sent_s`.

        is_read   True for a read, False for an update
        is_stray  True for a refusal that says nothing about the number of requests
        """
        down_since_s, before = self._breaker.failing_since_s, self.limit
        was_down = self._breaker.is_down
        now_s = self._clock()
        self._was_reached = self._was_reached or answer.http_status is not None
        if answer.verdict is Verdict.THROTTLED:
            self._on_throttled(batch, now_s)
        works = is_judged(answer)
        if works:
            self._on_success(batch, sent_s, now_s, is_read=is_read)
        elif answer.verdict is Verdict.TRANSIENT and answer.code not in UNSURE_WHOSE:
            self._on_failure(batch, answer, sent_s, now_s, is_read=is_read)
        elif answer.verdict is Verdict.SPLIT and not was_down:
            self._mark_failed(batch, sent_s)
        self._check_patience(answer)
        if not is_stray:
            self._concurrency.on_answer(Verdict.OK if works else answer.verdict, sent_s, now_s)
        if was_down and not self._breaker.is_down:
            self._concurrency.restart(down_since_s, now_s)
        is_down = self._breaker.is_down
        self.limit = 1 if is_down else self._concurrency.limit
        if self.limit > before:
            self._on_room()
        if is_down and not was_down:
            self._on_down()

    @property
    def is_calm(self) -> bool:
        """True if the vendor works and nothing has failed since: `on_successes` is enough."""
        return self._breaker.is_clear and not self._breaker.is_down and self._probe is None

    def on_successes(self, trips_s: Sequence[tuple[float, float]], now_s: float) -> None:
        """As `on_answer` for each request of one row that was OK. Only while `is_calm`.

        trips_s  when each request was sent, and when its reply arrived
        """
        before = self.limit
        self._was_reached = True
        self._breaker.on_success(max(trips_s)[0])
        self._on_judged(len(trips_s), rows=len(trips_s))
        self._concurrency.on_successes(trips_s, now_s)
        self.limit = self._concurrency.limit
        if self.limit > before:
            self._on_room()

    def _on_success(self, batch: Batch, sent_s: float, now_s: float, *, is_read: bool) -> None:
        self._breaker.on_success(sent_s, is_read=is_read)
        if is_read:
            self._breaker.probe_now(now_s)
        else:
            self._on_judged(1, rows=len(batch))

    def _on_judged(self, updates: int, *, rows: int) -> None:
        """Count updates that the vendor applied, or whose rows it refused."""
        self._throttle.accepted(updates)
        self._answered += rows
        self._is_last_refusal = self._is_last_call = False

    def _on_throttled(self, batch: Batch, now_s: float) -> None:
        self._throttled += 1
        refusals = self._throttle.refused(batch[0].throttles, now_s)
        for row in batch:
            row.throttles = refusals
        is_over = self._clock() - (self._throttle.since_s or now_s) > self._patience_s
        self._is_last_refusal = is_over and self._at_fault(self._answered)

    @property
    def throttled_s(self) -> float:
        """Seconds for which the vendor has answered nothing but 429; 0 if it has not, or if the
        few remaining rows are at fault.
        """
        since_s = self._throttle.since_s
        return 0.0 if since_s is None or self._is_last_refusal else self._clock() - since_s

    def is_counted(self, row: Row, answer: Answer) -> bool:
        """True if the answer that just arrived uses up an attempt of `row`: not while the account
        is throttled or the vendor down.
        """
        if self._breaker.is_down or self._is_unreached(answer):
            return False
        if answer.verdict is not Verdict.THROTTLED:
            return True
        return row.throttles.is_counted or self._is_last_refusal

    def _is_unreached(self, answer: Answer) -> bool:
        """True if no connection was made to a vendor that was reached before."""
        return self._was_reached and is_unreached(answer)

    def _on_failure(
        self, batch: Batch, answer: Answer, sent_s: float, now_s: float, *, is_read: bool
    ) -> None:
        row, was_down = batch[0], self._breaker.is_down
        if self._is_unreached(answer):
            self._breaker.on_failure(None, sent_s, now_s, is_read=is_read)
        elif was_down:
            self._breaker.on_failure(row.job.entity, sent_s, now_s, is_read=is_read)
        elif not (self._is_last_call and row.attempts > 1):
            entity, before_s = row.job.entity, row.failed_s
            self._breaker.on_failure(entity, sent_s, now_s, before_s=before_s, is_read=is_read)
            self._is_last_call = self._is_last_call and not self._breaker.is_down
        if not was_down:
            self._mark_failed(batch, sent_s)

    def _mark_failed(self, batch: Batch, sent_s: float) -> None:
        """Remember the failure: a row that fails again while the vendor works is at fault."""
        for row in batch:
            row.failed_s = sent_s

    def _check_patience(self, answer: Answer) -> None:
        """End an outage of more than `patience_s` seconds if the failing rows are at fault.

        A connection that was not made is never a row's fault.
        """
        may_be_rows = answer.verdict is not Verdict.TRANSIENT or answer.effect is Effect.MAYBE
        if self.down_s > self._patience_s and may_be_rows and self._at_fault(self._answered):
            self._breaker.close()
            self._is_last_call = True

    def is_last_call(self, row: Row, answer: Answer) -> bool:
        """True if the answer that just arrived is `row`'s last: only rows that fail are left."""
        is_refusal = answer.verdict is Verdict.THROTTLED and self._is_last_refusal
        return is_refusal or (self._is_last_call and row.attempts > 1)

    def take_throttled(self) -> int:
        """Return the number of 429 answers since the last call."""
        taken, self._throttled = self._throttled, 0
        return taken

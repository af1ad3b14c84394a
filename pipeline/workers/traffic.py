"""Counts an account's requests: how many, how fast they are answered, which errors. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable

from pipeline.model import Answer, RecentError, Verdict
from pipeline.model.sample import LATENCY_BOUNDS_S

MAX_KINDS = 100
"""Bounds the memory if a vendor gives each answer a code of its own."""

SHOWN = 5
SHORT_CHARS = 200


class RecentErrors:
    """Counts answers that are not OK, by code; remembers the last `MAX_KINDS` codes.

    >>> from pipeline.model import Effect
    >>> recent_errors = RecentErrors()
    >>> for code in ("http_503", "0401-9505", "http_503"):
    ...     recent_errors.add(Answer(Verdict.TRANSIENT, Effect.NONE, code=code, message="no"))
    >>> [(each.code, each.times) for each in recent_errors.latest()]
    [('http_503', 2), ('0401-9505', 1)]
    """

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[str, RecentError] = {}  # the newest last

    def add(self, answer: Answer) -> None:
        """Count an answer, unless it is OK."""
        if answer.verdict is Verdict.OK:
            return
        before = self._kinds.pop(answer.code, None)
        if before is None and len(self._kinds) >= MAX_KINDS:
            del self._kinds[next(iter(self._kinds))]
        times = 1 if before is None else before.times + 1
        self._kinds[answer.code] = RecentError(answer.code, answer.message[:SHORT_CHARS], times)

    def latest(self, most: int = SHOWN) -> tuple[RecentError, ...]:
        """Return the last errors, newest first."""
        return tuple(list(self._kinds.values())[: -most - 1 : -1])


class Traffic:
    """Counts requests when they are sent and when they end.

    clock          monotonic seconds
    sent           requests sent, `retries` of them not the first of their row
    in_flight      requests without a reply so far
    has_reply      True once a reply has arrived
    recent_errors  answers that were not OK
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.sent = 0
        self.retries = 0
        self.in_flight = 0
        self.has_reply = False
        self.recent_errors = RecentErrors()
        self._first_s: float | None = None
        self._last_s = 0.0
        self._latencies = [0] * (len(LATENCY_BOUNDS_S) + 1)

    def on_sent(self, sent_s: float, count: int = 1) -> None:
        """Count requests that are sent at `sent_s`."""
        self.sent += count
        self.in_flight += count
        if self._first_s is None:
            self._first_s = sent_s

    def on_end(self, count: int = 1) -> None:
        """Count the end of requests that were counted as sent."""
        self.in_flight -= count
        self._last_s = self._clock()

    def add_latencies(self, latencies_s: Iterable[float]) -> None:
        """Count answers by the seconds that they took."""
        for latency_s in latencies_s:
            self._latencies[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1

    @property
    def sending_s(self) -> float:
        """Seconds from the first request to the last answer so far."""
        return 0.0 if self._first_s is None else max(0.0, self._last_s - self._first_s)

    def take_latencies(self) -> tuple[int, ...]:
        """Return the answers since the last call, counted per bucket of LATENCY_BOUNDS_S."""
        taken, self._latencies = self._latencies, [0] * len(self._latencies)
        return tuple(taken) if any(taken) else ()

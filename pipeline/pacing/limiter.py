"""The rate limiter of a quota: the only place where a request waits for its permit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

from pipeline.model import Answer, Reply, Verdict
from pipeline.model.pause import AskedPause
from pipeline.pacing.departures import Departures
from pipeline.pacing.limit_headers import Allowance, StatedRate, allowance
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.pacing.permit_queue import PermitQueue
from pipeline.pacing.quota_pause import OnPause, QuotaPause
from pipeline.pacing.rate import Rate, in_force
from pipeline.pacing.spacing import SpacingBucket, spacing
from pipeline.pacing.unrecorded import AgeCount

HAND_OVER_S = 1.0
"""Seconds for which a closed limiter waits for replies before another process may have the
quota."""

ACCEPTED = frozenset({Verdict.OK, Verdict.REJECTED})
"""Verdicts of a vendor that did not throttle the request."""

GRAIN_S = 0.001
"""Seconds that a callback waits at least: permits that come meanwhile are used together. No reply
frees a permit sooner."""

TOGETHER_S, MANY = 0.004, 2
"""The same if two permits or more come meanwhile: each look costs as much as sending some requests.
Less than half of `LEARNED_CATCH_UP_S`, or slots would be lost."""

FULL = 0.8
"""Share of the bucket's slots that may be saved up: a late timer loses those that do not fit."""

LOOK_S = 0.001
"""Seconds for which the room in the windows is not computed again until a request is sent."""

MIN_WAIT_S = 1e-4
_LONG_WAIT_S = 0.1  # a reply may end a longer wait


class RateLimiter:
    """Gives one permit per request: windows of every quota, even spacing, the vendor's pause.

    clock   monotonic seconds
    utc     seconds since 1970
    paused  is called if the vendor asks for a pause

    While it is closed, another process may have the quota: `quota_lease.py`.
    """

    def __init__(
        self,
        terms: LimiterSettings,
        *,
        clock: Callable[[], float],
        utc: Callable[[], float],
        paused: Callable[[], None] = lambda: None,
    ) -> None:
        self.terms = terms
        self._clock = clock
        self._utc = utc
        self._paused = paused
        self.pause = QuotaPause(
            terms.max_wait_s,
            clock=clock,
            utc=utc,
            on_longer=self._forget_room,
            on_lift=self._look_again,
        )
        self._rate: Rate | None = None
        self._is_learning = not terms.quotas
        if self._is_learning:
            self._rate = Rate(terms.starts_per_s)
        elif terms.even_per_s < math.inf:
            self._rate = Rate(terms.even_per_s, terms.even_per_s)
        self._stated = StatedRate(terms.max_wait_s)
        self._bucket: SpacingBucket | None = None
        self._limited_per_s = 0.0
        self._caps: dict[str, float] = {}
        self._queue = PermitQueue(self._turn_in_s)
        self.is_open = True
        self._room = 0  # requests that pause, windows and record allow without another look
        self._fresh_until_s = -math.inf  # until then that is all the room there is
        self._can_reply_free = False
        self._closed_s = -math.inf
        self._sure_until_s = math.inf
        day_started_s = terms.day_started_s
        if day_started_s is not None:
            day_started_s += clock() - utc()
        self._departures = Departures(terms, day_started_s=day_started_s)

    @property
    def per_second(self) -> float:
        """The effective rate; infinite if nothing bounds it."""
        return in_force(math.inf if self._rate is None else self._rate.per_s, self._caps.values())

    def slow(self, who: str, per_s: float | None) -> None:
        """Cap the rate at `per_s` in the name of `who`; None removes its cap."""
        if per_s is None:
            self._caps.pop(who, None)
        else:
            self._caps[who] = per_s
        self._room = 0
        self._look_again()

    def now_s(self) -> float:
        """The time by its clock."""
        return self._clock()

    def free(self, most: int) -> int:
        """Return how many requests may be sent now, at most `most`; there may be more.

        0 if others wait; in the turn of the callback that calls, 1.
        """
        queue = self._queue
        if not queue.is_empty:
            most = min(most, int(queue.has_turn))
        if most <= 0 or not self.is_sure or not self._has_room(most):
            return 0
        most = min(most, self._room)
        return most if self._bucket is None else self._bucket.free(most)

    def take(self, count: int) -> int:
        """Count requests that are sent now, as many as are `free`: the number of the first.

        The others have the numbers after it.
        """
        if self._bucket is not None:
            self._bucket.take(count)
        self._queue.has_turn = False
        return self._count_sent(count)

    def call_when_free(
        self, callback: Callable[[], None], look_in_s: float = 0.0
    ) -> Callable[[], None]:
        """Call `callback` once, in the event loop, when it is worth trying again.

        Returns a function that takes it out of the line.

        look_in_s  seconds after which to look first; 0: when there is a permit
        """
        return self._queue.call_when_free(callback, look_in_s)

    def many_in_s(self, many: int) -> float:
        """Seconds until so many requests may be sent at once; a reply may bring that forward.

        Fewer if so many are never sent at once: a slot is lost if none is left.
        """
        now_s, bucket = self._clock(), self._current_bucket()
        if bucket is not None:
            many = min(many, max(1, int(bucket.max_rate * FULL)))
        wait_s = max(self.pause.until_s, self._departures.free_at_s(now_s, many)) - now_s
        return wait_s if bucket is None else max(wait_s, bucket.free_in_s(many))

    def _current_bucket(self) -> SpacingBucket | None:
        """The bucket that spreads requests at the effective rate; None if nothing bounds it."""
        per_s = self.per_second
        if per_s != self._limited_per_s:
            was_limited = self._bucket is not None
            self._limited_per_s = per_s
            self._room, self._bucket = 0, None
            if per_s < math.inf:
                is_learned = per_s < self.terms.even_per_s
                self._bucket = SpacingBucket(*spacing(per_s, is_learned=is_learned))
                if was_limited:
                    self._bucket.fill()
        return self._bucket

    def _look_again(self, within_s: float = 0.0) -> None:
        self._queue.look_again(within_s)

    def _turn_in_s(self) -> float:
        """Seconds until whoever is first may take a permit."""
        wait_s, bucket = self._wait_s(), self._current_bucket()
        if bucket is not None:
            wait_s = max(wait_s, bucket.free_in_s())
            if wait_s > 0 and bucket.max_rate > 1:  # else a late slot is lost
                permits = TOGETHER_S * bucket.max_rate / bucket.time_period
                return max(wait_s, TOGETHER_S if permits >= MANY else GRAIN_S)
        return wait_s

    def _wait_s(self) -> float:
        """Seconds until pause, windows and record allow a request; 0 if they do now."""
        self._can_reply_free = False
        if not self.is_sure:
            return math.inf
        if self._has_room(1):
            return 0.0
        if not self.is_open or self._departures.off_record_room <= 0:
            return math.inf
        now_s = self._clock()
        free_s = self._departures.free_at_s(now_s)
        wait_s = max(self.pause.until_s, free_s, now_s + MIN_WAIT_S) - now_s
        self._can_reply_free = wait_s >= _LONG_WAIT_S
        return wait_s

    def _has_room(self, most: int) -> bool:
        """True if there is room for a request; that for `most` is known then, if it is there."""
        if self._room <= 0 or (self._room < most and self._clock() >= self._fresh_until_s):
            self._find_room()
        return self._room > 0

    def _find_room(self) -> None:
        """Compute `_room`, for some requests at once."""
        self._room, now_s = 0, self._clock()
        self._fresh_until_s = now_s + LOOK_S
        if not self.is_open or now_s < self.pause.until_s:
            return
        self._room, bucket = self._departures.room(now_s), self._current_bucket()
        if bucket is not None:  # the rate may have changed when they were sent
            self._room = min(self._room, int(bucket.max_rate))

    def _forget_room(self) -> None:
        self._room = 0

    def _count_sent(self, count: int = 1) -> int:
        now_s = self._clock()
        if self._rate is not None:
            self._rate.on_sent(now_s, count)
        self._room -= count
        self._fresh_until_s = -math.inf
        return self._departures.on_sent(count, now_s)

    def on_reply(self, number: int, left_s: float, reply: object) -> None:
        """The request of a permit ended. MUST be called once per permit.

        left_s  when it was sent
        reply   a Reply or a NoReply; anything else if no reply was awaited
        """
        now_s = self._clock()
        if not self._departures.on_reply(number, left_s, now_s, reply):
            self._room = 0
        if self._can_reply_free:
            self._look_again(GRAIN_S)
        if self._is_learning and isinstance(reply, Reply):
            self._learn(allowance(reply.headers, self._utc()), now_s)

    def on_successes(self, numbers: Sequence[int], trips_s: Sequence[tuple[float, float]]) -> None:
        """As `on_reply` and `on_answer` for requests whose answers were OK.

        Not if the limit is learned from their replies.

        trips_s  when each was sent, and when its reply arrived
        """
        if not self._departures.on_replies(numbers, trips_s, self._clock()):
            self._room = 0
        if self._can_reply_free:
            self._look_again(GRAIN_S)
        self.pause.on_success(max(trips_s)[0])
        if self._rate is not None:
            self._rate.accepted(len(numbers))

    @property
    def is_plain(self) -> bool:
        """True if a reply changes only counts: `on_successes` is enough for answers that are OK."""
        return not self._is_learning and self._departures.is_plain

    def _learn(self, stated: Allowance | None, now_s: float) -> None:
        if stated is None or self._rate is None:
            return
        reset_s = stated.reset_s
        if stated.remaining == 0 and reset_s is not None and reset_s <= self.terms.max_wait_s:
            self._start_pause(reset_s, now_s, "no request is left before the limit is renewed")
        per_s = self._stated.per_s(stated, now_s)
        if per_s is not None:
            self._rate.set_limit(per_s, now_s)
            self._room = 0

    def on_answer(self, answer: Answer, left_s: float, words: str = "", run: str = "") -> None:
        """Learn from the answer to a request sent at `left_s`: throttling, the pause it asks for.

        words  of the vendor about the pause, for people
        run    name of the run that sent the request
        """
        if answer.verdict is Verdict.THROTTLED:
            now_s, self._room = self._clock(), 0
            self._departures.on_throttled(now_s)
            if answer.retry_after_s or self._rate is None or not self._rate.is_stray:
                self._start_pause(answer.retry_after_s, left_s, words, run)
            if self._rate is not None:
                self._rate.refused(left_s, now_s, self.pause.left_s)
        elif answer.retry_after_s is not None:
            self._start_pause(answer.retry_after_s, left_s, words, run)
        elif answer.verdict is Verdict.OK:
            self.pause.on_success(left_s)
        if self._rate is not None and answer.verdict in ACCEPTED:
            self._rate.accepted()

    @property
    def has_strays(self) -> bool:
        """True if many refusals have another reason than the number of requests."""
        return self._rate is not None and self._rate.has_strays

    def _start_pause(self, seconds: float | None, left_s: float, words: str, run: str = "") -> None:
        if self.pause.start(seconds, left_s, words, run):
            self._paused()

    def watched(self, on_pause: OnPause) -> AbstractContextManager[None]:
        """While the block runs, call `on_pause` for the current pause and for each new one."""
        # a closed limiter reports the recorded pause once it opens: it may be lifted until then
        return self.pause.watched(on_pause, is_known=self.is_open)

    # Sharing with other processes, which know only recorded send times...

    def close(self) -> None:
        """Give no permit until it is opened again."""
        if self.is_open:
            self.is_open, self._room = False, 0
            self._closed_s = self._clock()

    def hold_until(self, sure_until_s: float) -> None:
        """Give no permit from this time on, by its clock, until this is called with a later one.

        It is checked whenever a request is about to leave: a process that was stopped for a while
        sends nothing after it, since another may have the quota by then. Infinity: for ever.
        """
        self._sure_until_s = sure_until_s
        self._look_again()

    @property
    def is_sure(self) -> bool:
        """True if no other process can have the quota yet."""
        return self._sure_until_s == math.inf or self._clock() < self._sure_until_s

    def open(
        self,
        ages: Iterable[AgeCount] = (),
        pause: AskedPause | None = None,
        unrecorded: int = 0,
        most_unrecorded: float = math.inf,
    ) -> None:
        """Give permits.

        ages             requests of other processes
        pause            the vendor's pause on record; None if there is none
        unrecorded       requests that a killed process may have sent unrecorded: they count
                         from now, and their quota returns one window later
        most_unrecorded  requests that may be sent before `recorded` is called
        """
        self._room = 0
        self._departures.add_others(ages, unrecorded, self._clock())
        self._departures.most_unrecorded = most_unrecorded
        self.is_open = True
        if not self.pause.adopt(pause):
            self.pause.notify()
        self._look_again()

    @property
    def under_way(self) -> int:
        """Requests in flight: when they count from is not known yet."""
        return len(self._departures.in_flight)

    @property
    def is_settled(self) -> bool:
        """True if another process may have the quota once this is closed.

        Nothing is in flight, or HAND_OVER_S have passed since it was closed.
        """
        return not self.under_way or self._clock() >= self._closed_s + HAND_OVER_S

    def take_unrecorded(self, *, is_all: bool = False) -> list[AgeCount]:
        """Requests that no earlier call returned, oldest first.

        The caller puts them on record and then calls `recorded`. Requests in flight are left for a
        later call; with `is_all` they count from the latest future time at which they may arrive.
        """
        return self._departures.take_unrecorded(self._clock(), is_all=is_all)

    def recorded(self) -> None:
        """All that `take_unrecorded` returned is on record for the next process."""
        self._departures.on_recorded()
        self._look_again()

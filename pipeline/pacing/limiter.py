"""The rate limiter of a quota: the only place where a request waits for its permit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from pipeline.model import Answer, NoReply, Reply, Verdict
from pipeline.model.pause import AskedPause
from pipeline.model.quota import Quota
from pipeline.pacing.limit_headers import SHORTEST_S, Allowance, StatedRate, allowance
from pipeline.pacing.margin import MAX_WAY_S, Margin
from pipeline.pacing.pause import LONGEST_BLIND_S, Pause, remaining_s
from pipeline.pacing.permit_queue import MAX_SLEEP_S, PermitQueue
from pipeline.pacing.rate import Rate, in_force
from pipeline.pacing.spacing import SpacingBucket, spacing
from pipeline.pacing.unrecorded import AgeCount, Unrecorded
from pipeline.pacing.windows import log_of

HAND_OVER_S = 1.0
"""Seconds for which a closed limiter waits for replies before another process may have the
quota."""

ACCEPTED = frozenset({Verdict.OK, Verdict.REJECTED})
"""Verdicts of a vendor that did not throttle the request."""

MAX_BLOCK = 256
"""Most requests that are allowed at once, and replies that are learned from together."""

GRAIN_S = 0.001
"""Seconds that a callback waits at least: permits that come meanwhile are used together. No reply
frees a permit sooner."""

MIN_WAIT_S = 1e-4
_LONG_WAIT_S = 0.1  # a reply or a lifted pause may end a longer wait


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterSettings:
    """What a vendor allows, and how it is kept.

    quotas         all hold at once; empty if the limit is learned
    starts_per_s   first rate if the limit is learned
    is_strict      requests count from their replies, whatever the network does
    day_started_s  UTC seconds when a day of the vendor began; None: a day is any 24 hours
    max_wait_s     a stated rate at which a request would wait longer is ignored
    """

    quotas: tuple[Quota, ...]
    starts_per_s: float = 1.0
    is_strict: bool = False
    day_started_s: float | None = None
    max_wait_s: float = 900.0

    @property
    def even_per_s(self) -> float:
        """The rate at which requests are spread; infinite if every quota allows a burst."""
        spread = [quota.per_second for quota in self.quotas if not quota.is_burst]
        return min(spread, default=math.inf)

    @property
    def longest_s(self) -> float:
        """Seconds of the longest window."""
        return max((quota.per_s for quota in self.quotas), default=SHORTEST_S)


OnPause = Callable[[AskedPause, float], None]
"""Called with a pause and the time, in UTC seconds since 1970."""


class RateLimiter:
    """Gives one permit per request: windows of every quota, even spacing, the vendor's pause.

    clock   monotonic seconds
    utc     seconds since 1970
    sleep   waits that many seconds
    paused  is called if the vendor asks for a pause

    While it is closed, another process may have the quota: `quota_lease.py`.
    """

    def __init__(
        self,
        terms: LimiterSettings,
        *,
        clock: Callable[[], float],
        utc: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        paused: Callable[[], None] = lambda: None,
    ) -> None:
        self.terms = terms
        self._clock = clock
        self._utc = utc
        self._sleep = sleep
        self._paused = paused
        self._margin = Margin(is_strict=terms.is_strict)
        self._pause = Pause(min(LONGEST_BLIND_S, terms.max_wait_s))
        self._asked: AskedPause | None = None
        self._is_noted = False
        self._on_pause: list[OnPause] = []
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
        self._spacing: anyio.CancelScope | None = None
        self._queue = PermitQueue(self._turn_in_s)
        self._changed = anyio.Event()
        self.is_open = True
        self._count = 0
        self._room = 0  # requests that pause, windows and record allow without another look
        self._in_flight: dict[int, float] = {}  # number -> when it got its permit
        self._replies: list[tuple[float, float]] = []  # left and came, not learned from yet
        self._can_reply_free = False
        self._unrecorded = Unrecorded()
        self._recorded_in_flight: set[int] = set()
        self._on_record = self._being_recorded = 0  # of `_count`
        self._most_unrecorded: float = math.inf
        self._closed_s = -math.inf
        self._sure_until_s = math.inf
        day_started_s = terms.day_started_s
        if day_started_s is not None:
            day_started_s += clock() - utc()
        self._logs = [log_of(quota, day_started_s=day_started_s) for quota in terms.quotas]

    @property
    def per_second(self) -> float:
        """The effective rate; infinite if nothing bounds it."""
        return in_force(math.inf if self._rate is None else self._rate.per_s, self._caps.values())

    @property
    def mean_per_s(self) -> float:
        """The lowest of the effective rate and the mean rates of all quotas; infinite if none."""
        quotas_per_s = (quota.per_second for quota in self.terms.quotas)
        return min(self.per_second, *quotas_per_s, math.inf)

    def slow(self, who: str, per_s: float | None) -> None:
        """Cap the rate at `per_s` in the name of `who`; None removes its cap."""
        if per_s is None:
            self._caps.pop(who, None)
        else:
            self._caps[who] = per_s
        self._room = 0
        if self._spacing is not None:  # who waits for a slot of the old rate starts again
            self._spacing.cancel()
        self._queue.look_again()

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
        if most <= 0 or not self.is_sure or (self._room <= 0 and not self._find_room()):
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

    def try_permit(self) -> int | None:
        """Count one request if it may be sent now: its number. None if it may not."""
        return self.take(1) if self.free(1) else None

    def call_when_free(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once, in the event loop, when it is worth trying again.

        It stands in line with the coroutines that wait in `permit`. Returns a function that takes
        it out of the line.
        """
        return self._queue.call_when_free(callback)

    async def permit(self) -> int:
        """Wait until one request may be sent, and count it: its number."""
        number = self.try_permit()
        if number is not None:
            return number
        async with self._queue.turn():
            await self._wait_for_slot()
            while (wait_s := self._wait_s()) > 0:
                if wait_s < _LONG_WAIT_S:
                    await self._sleep(wait_s)
                else:
                    await self._wait_for_change(wait_s)
            return self._count_sent()

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

    async def _wait_for_change(self, most_s: float) -> None:
        """Wait at most `most_s`, or until something changes that may free a permit sooner."""
        self._changed = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_with_change, tasks.cancel_scope)
            await self._sleep(min(most_s, MAX_SLEEP_S))
            tasks.cancel_scope.cancel()

    async def _end_with_change(self, waiting: anyio.CancelScope) -> None:
        await self._changed.wait()
        waiting.cancel()

    def _change(self, after_s: float = 0.0) -> None:
        self._changed.set()
        self._queue.look_again(after_s)

    async def _wait_for_slot(self) -> None:
        try:
            while (bucket := self._current_bucket()) is not None:
                with anyio.CancelScope() as self._spacing:
                    await bucket.acquire()
                if not self._spacing.cancelled_caught:
                    break
        finally:
            self._spacing = None

    def _turn_in_s(self) -> float:
        """Seconds until a callback may take a permit."""
        wait_s, bucket = self._wait_s(), self._current_bucket()
        if bucket is not None:
            wait_s = max(wait_s, bucket.free_in_s())
            if bucket.max_rate > 1:  # else a late slot is lost
                return wait_s if wait_s <= 0 else max(wait_s, GRAIN_S)
        return wait_s

    def _wait_s(self) -> float:
        """Seconds until pause, windows and record allow a request; 0 if they do now."""
        self._can_reply_free = False
        if not self.is_sure:
            return math.inf
        if self._room > 0 or self._find_room():
            return 0.0
        if not self.is_open or self._off_record_room <= 0:
            return math.inf
        now_s, in_flight = self._clock(), self._in_flight.values()
        free_s = [log.free_at_s(now_s, in_flight) for log in self._logs]
        wait_s = max(self._pause.until_s, *free_s, now_s + MIN_WAIT_S) - now_s
        self._can_reply_free = wait_s >= _LONG_WAIT_S
        return wait_s

    @property
    def _off_record_room(self) -> float:
        return self._on_record + self._most_unrecorded - self._count

    def _find_room(self) -> bool:
        """Compute `_room`, for some requests at once; False if there is none.

        It holds for any time: until then replies can only add to it, but for late ones.
        """
        self._room, now_s = 0, self._clock()
        if not self.is_open or now_s < self._pause.until_s:
            return False
        self._learn_from_replies()
        bucket, in_flight = self._current_bucket(), self._in_flight.values()
        room = min(MAX_BLOCK, self._off_record_room)
        if bucket is not None:  # the rate may have changed when they were sent
            room = min(room, bucket.max_rate)
        self._room = int(min([room, *(log.room(now_s, in_flight) for log in self._logs)]))
        return self._room > 0

    def _count_sent(self, count: int = 1) -> int:
        now_s = self._clock()
        if self._rate is not None:
            self._rate.on_sent(now_s, count)
        first = self._count
        self._count += count
        self._room -= count
        self._in_flight.update(dict.fromkeys(range(first, self._count), now_s))
        return first

    def on_reply(self, number: int, left_s: float, reply: object) -> None:
        """The request of a permit ended. MUST be called once per permit.

        left_s  when it was sent
        reply   a Reply or a NoReply; anything else if no reply was awaited
        """
        now_s = self._clock()
        if now_s > self._in_flight.pop(number) + MAX_WAY_S:
            self._room = 0  # it counted no more, and does now
        if number in self._recorded_in_flight:
            self._recorded_in_flight.discard(number)
            self._learn_from_replies()
            self._log(left_s, self._counts_from_s(left_s, now_s, reply))
        elif isinstance(reply, Reply):
            self._replies.append((left_s, now_s))
            if len(self._replies) >= MAX_BLOCK:
                self._learn_from_replies()
        else:
            counts_from_s = self._counts_from_s(left_s, now_s, reply)
            self._log(left_s, counts_from_s)
            self._unrecorded.add(counts_from_s)
        if self._can_reply_free:
            self._change(GRAIN_S)
        if self._is_learning and isinstance(reply, Reply):
            self._learn(allowance(reply.headers, self._utc()), now_s)

    def on_successes(self, numbers: Sequence[int], lefts_s: Sequence[float]) -> None:
        """As `on_reply` and `on_answer` for requests whose answers were OK, sent at `lefts_s`.

        Not if the limit is learned from their replies.
        """
        now_s, in_flight = self._clock(), self._in_flight
        if now_s > min([in_flight.pop(number) for number in numbers]) + MAX_WAY_S:
            self._room = 0  # it counted no more, and does now
        self._replies += [(left_s, now_s) for left_s in lefts_s]
        if len(self._replies) >= MAX_BLOCK:
            self._learn_from_replies()
        if self._can_reply_free:
            self._change(GRAIN_S)
        self._pause.on_success(max(lefts_s))
        if self._rate is not None:
            self._rate.accepted(len(numbers))

    @property
    def is_plain(self) -> bool:
        """True if a reply changes only counts: `on_successes` is enough for answers that are OK."""
        return not (self._is_learning or self._recorded_in_flight)

    def _learn_from_replies(self) -> None:
        """Count the requests that got replies from when they count, in the order of the replies."""
        replies, self._replies = self._replies, []
        counted = Counter[tuple[float, float]]()
        for left_s, came_s in replies:
            counted[left_s, self._margin.on_reply(left_s, came_s)] += 1
        for (left_s, counts_from_s), count in counted.items():
            self._log(left_s, counts_from_s, count)
            self._unrecorded.add(counts_from_s, count)

    def _log(self, left_s: float, counts_from_s: float, count: int = 1) -> None:
        for log in self._logs:
            log.add(left_s, counts_from_s, count)

    def _counts_from_s(self, left_s: float, now_s: float, reply: object) -> float:
        if isinstance(reply, Reply):
            return self._margin.on_reply(left_s, now_s)
        if isinstance(reply, NoReply) and not reply.may_have_arrived:
            return left_s
        return now_s  # it may have arrived until now

    def _learn(self, stated: Allowance | None, now_s: float) -> None:
        if stated is None or self._rate is None:
            return
        reset_s = stated.reset_s
        if stated.remaining == 0 and reset_s is not None and reset_s <= self.terms.max_wait_s:
            self._start_pause(
                reset_s, now_s, words="no request is left before the limit is renewed"
            )
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
            self._learn_from_replies()
            self._margin.on_throttled(now_s)
            self._start_pause(answer.retry_after_s, left_s, words, run)
            if self._rate is not None:
                self._rate.refused(left_s, now_s, self._pause.left_s(now_s))
        elif answer.retry_after_s is not None:
            self._start_pause(answer.retry_after_s, left_s, words, run)
        elif answer.verdict is Verdict.OK:
            self._pause.on_success(left_s)
        if self._rate is not None and answer.verdict in ACCEPTED:
            self._rate.accepted()

    # The vendor's pause...

    def _start_pause(self, seconds: float | None, left_s: float, words: str, run: str = "") -> None:
        now_s, before_s = self._clock(), self._pause.until_s
        self._pause.on_refusal(seconds, left_s, now_s)
        if self._pause.until_s > before_s:
            self._room = 0
            at_s = self._utc()
            asked = AskedPause(at_s + self._pause.left_s(now_s), at_s, run, words)
            self._asked, self._is_noted = asked, False
            self._notify()
            self._paused()

    def _notify(self) -> None:
        if self._asked is not None and self.pause_left_s() > 0:
            for on_pause in tuple(self._on_pause):
                on_pause(self._asked, self._utc())

    def pause_left_s(self) -> float:
        """Seconds until the vendor's pause ends; 0 if there is none."""
        return self._pause.left_s(self._clock())

    def lift_pause(self) -> None:
        """End the vendor's pause."""
        self._pause.lift()
        self._asked = None
        self._change()

    @contextmanager
    def watched(self, on_pause: OnPause) -> Iterator[None]:
        """While the block runs, call `on_pause` for the current pause and for each new one."""
        self._on_pause.append(on_pause)
        try:
            # a closed limiter reports the recorded pause once it opens: it may be lifted until then
            if self.is_open and self._asked is not None and self.pause_left_s() > 0:
                on_pause(self._asked, self._utc())
            yield
        finally:
            self._on_pause.remove(on_pause)

    @property
    def unrecorded_pause(self) -> AskedPause | None:
        """The pause that is not on record yet; None if there is none."""
        is_new = not self._is_noted and self.pause_left_s() > 0
        return self._asked if is_new else None

    @property
    def is_pause_on_record(self) -> bool:
        """True if the current pause is on record; if it disappears there, somebody lifted it."""
        return self._asked is not None and self._is_noted and self.pause_left_s() > 0

    def recorded_pause(self, asked: AskedPause) -> None:
        """`asked` was put on record."""
        self._is_noted = self._is_noted or self._asked is asked

    def hear_pause(self, asked: AskedPause) -> None:
        """Keep a pause that was asked of another limiter of the same quota."""
        left_s, now_s = remaining_s(asked, self._utc()), self._clock()
        if left_s > self.pause_left_s():
            self._pause.on_refusal(left_s, now_s, now_s)
            self._room = 0
            self._asked, self._is_noted = asked, False
            self._notify()

    def adopt_pause(self, asked: AskedPause | None) -> None:
        """Adopt the recorded pause, which another process may have changed."""
        known = self._asked
        self._adopt_pause(asked)
        if self._asked is not known:
            self._notify()

    def _adopt_pause(self, asked: AskedPause | None) -> None:
        left_s = 0.0 if asked is None else remaining_s(asked, self._utc())
        if asked is None or left_s <= 0:
            if self.is_pause_on_record:
                self.lift_pause()
        elif left_s > self.pause_left_s():
            now_s = self._clock()
            self._pause.on_refusal(left_s, now_s, now_s)
            self._room = 0
            self._asked, self._is_noted = asked, True

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
        self._change()

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
        now_s, self._room = self._clock(), 0
        for age_s, count in ages:
            self._log(now_s - max(0.0, age_s), now_s - age_s, count)
        if unrecorded:
            self._log(now_s, now_s, unrecorded)
            self._unrecorded.add(now_s, unrecorded)
        self._adopt_pause(pause)
        self._most_unrecorded = most_unrecorded
        self.is_open = True
        self._change()
        self._notify()

    @property
    def under_way(self) -> int:
        """Requests in flight: when they count from is not known yet."""
        return len(self._in_flight)

    @property
    def is_settled(self) -> bool:
        """True if another process may have the quota once this is closed.

        Nothing is in flight, or HAND_OVER_S have passed since it was closed.
        """
        return not self._in_flight or self._clock() >= self._closed_s + HAND_OVER_S

    def take_unrecorded(self, *, is_all: bool = False) -> list[AgeCount]:
        """Requests that no earlier call returned, oldest first.

        The caller puts them on record and then calls `recorded`. Requests in flight are left for a
        later call; with `is_all` they count from the latest future time at which they may arrive.
        """
        self._learn_from_replies()
        if is_all:
            for number in self._in_flight.keys() - self._recorded_in_flight:
                self._unrecorded.add(self._in_flight[number] + MAX_WAY_S)
            self._recorded_in_flight.update(self._in_flight)
        self._being_recorded = self._count
        return self._unrecorded.take(self._clock())

    def recorded(self) -> None:
        """All that `take_unrecorded` returned is on record for the next process."""
        self._on_record = self._being_recorded
        self._change()

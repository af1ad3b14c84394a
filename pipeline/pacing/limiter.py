"""The gate of a quota: the one place where a request waits for its turn, and doors to it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
from aiolimiter import AsyncLimiter

from pipeline.model import Answer, NoReply, Reply, Verdict
from pipeline.model.pause import AskedPause
from pipeline.model.quota import Quota
from pipeline.pacing.limit_headers import SHORTEST_S, Allowance, StatedRate, allowance
from pipeline.pacing.margin import MOST_WAY_S, Margin
from pipeline.pacing.pause import LONGEST_BLIND_S, Pause, remaining_s
from pipeline.pacing.rate import Rate, in_force
from pipeline.pacing.windows import log_of

CATCH_UP_S = 0.050
LEARNED_CATCH_UP_S = 0.020
"""Slots that a late timer missed in this time are made up for; the windows hold all the same. Less
where the rate is learned, for then no window holds."""

LATE_MOST_S = 1.0
"""How long a connection that is already open is kept waiting for a second permit."""

MOST_LATE_S = MOST_WAY_S / 2
"""So late a request still leaves with its first permit where a second one takes longer than that,
and longer than a connection stays open for it: else its turn would be lost each time anew. Until
its reply it counts from MOST_WAY_S after its turn: it has arrived by then."""

HAND_OVER_S = 1.0
"""So long a gate that was closed waits for replies before others may have it."""

ACCEPTED = frozenset({Verdict.OK, Verdict.REJECTED})
"""What a vendor answers that did not refuse for the number of requests."""

_LONG_WAIT_S = 0.1  # a reply may end it sooner, or somebody who lifts a pause
_LONGEST_SLEEP_S = 3600.0  # then it is looked again; nobody sleeps for ever


def spacing(per_second: float, *, is_learned: bool = False) -> tuple[float, float]:
    """The two arguments of AsyncLimiter that spread requests evenly.

    is_learned  no window holds besides, so that no more must leave at once than have to
    returns     requests at once, seconds in which the bucket empties

    >>> spacing(100.0), spacing(20.0, is_learned=True)
    ((5, 0.05), (1, 0.05))
    """
    if is_learned:
        at_once = max(1, math.ceil(per_second * LEARNED_CATCH_UP_S))
    else:
        at_once = max(2, math.ceil(per_second * CATCH_UP_S))
    return at_once, at_once / per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterSettings:
    """What a vendor allows, and how that is kept.

    quotas         all hold at once; none where the limit is to be learned
    starts_per_s   where it is: the rate at first
    is_strict      requests count from their replies on, whatever the network does
    day_started_s  UTC seconds when a day of the vendor's began; None: a day is any 24 hours
    max_wait_s     a stated rate at which a request would wait longer is not believed
    """

    quotas: tuple[Quota, ...]
    starts_per_s: float = 1.0
    is_strict: bool = False
    day_started_s: float | None = None
    max_wait_s: float = 900.0

    @property
    def even_per_s(self) -> float:
        """The rate at which requests are spread; infinite where no quota asks for that."""
        spread = [quota.per_second for quota in self.quotas if not quota.is_burst]
        return min(spread, default=math.inf)

    @property
    def longest_s(self) -> float:
        """The longest window."""
        return max((quota.per_s for quota in self.quotas), default=SHORTEST_S)


def is_late(late_s: float, per_s: float) -> bool:
    """Whether a request that leaves so long after its turn needs another one.

    per_s  requests per second that may leave

    >>> is_late(0.3, per_s=20.0), is_late(0.3, per_s=1 / 6), is_late(9.0, per_s=1 / 6)
    (True, False, True)
    """
    return per_s * LATE_MOST_S >= 1.0 or late_s > MOST_LATE_S


OnPause = Callable[[AskedPause, float], None]
"""Is called with a pause and the time, UTC seconds since 1970."""


class RateLimiter:
    """Windows of every quota, even spacing within them, and the vendor's own pause.

    clock  monotonic seconds
    utc    seconds since 1970
    sleep  waits that many seconds
    paused is called where the vendor asks for a pause
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
        self._limiter: AsyncLimiter | None = None
        self._limited_per_s = 0.0
        self._caps: dict[str, float] = {}
        self._spacing: anyio.CancelScope | None = None
        self._turn = anyio.Lock(fast_acquire=True)
        self._waiting = 0
        self._returned = anyio.Event()
        self.is_open = True
        self._opened = anyio.Event()
        self._count = 0
        self._unrecorded: dict[int, float] = {}  # from when on they count, as far as is known
        self._under_way: set[int] = set()
        self._since_record = self._being_recorded = 0  # departures
        self._most_unrecorded: float = math.inf
        self._closed_s = -math.inf
        day_started_s = terms.day_started_s
        if day_started_s is not None:
            day_started_s += clock() - utc()
        self._logs = [log_of(quota, day_started_s=day_started_s) for quota in terms.quotas]

    @property
    def per_second(self) -> float:
        """The rate in force; infinite where nothing bounds it."""
        return in_force(math.inf if self._rate is None else self._rate.per_s, self._caps.values())

    @property
    def mean_per_s(self) -> float:
        """The rate in force, and that of quotas whose requests may leave at once; else infinite."""
        quotas_per_s = (quota.per_second for quota in self.terms.quotas)
        return min(self.per_second, *quotas_per_s, math.inf)

    def slow(self, who: str, per_s: float | None) -> None:
        """At most `per_s` from now on, as `who` asks; None takes back what it asked for."""
        if per_s is None:
            self._caps.pop(who, None)
        else:
            self._caps[who] = per_s
        if self._spacing is not None:  # whoever waits for a slot of the old rate waits anew
            self._spacing.cancel()

    def now_s(self) -> float:
        """The time by its clock."""
        return self._clock()

    async def permit(self) -> int:
        """Wait until one request may leave, and count it as left: its number."""
        if not self._waiting and self.is_open and self._wait_s() <= 0:
            limiter = await self._spaced()
            if limiter is None or limiter.has_capacity():
                if limiter is not None:
                    await limiter.acquire()
                return self._leave()
        self._waiting += 1
        try:
            async with self._turn:
                await self._wait_for_turn()
                return self._leave()
        finally:
            self._waiting -= 1

    async def _spaced(self) -> AsyncLimiter | None:
        """What spreads requests at the rate in force."""
        per_s = self.per_second
        if per_s != self._limited_per_s:
            was_limited = self._limiter is not None
            self._limited_per_s = per_s
            self._limiter = None
            if per_s < math.inf:
                is_learned = per_s < self.terms.even_per_s
                self._limiter = AsyncLimiter(*spacing(per_s, is_learned=is_learned))
                if was_limited:  # a new bucket is empty: as many more would leave at once
                    await self._limiter.acquire(self._limiter.max_rate)
        return self._limiter

    async def _wait_for_turn(self) -> None:
        await self._wait_for_slot()
        while not self.is_open or (wait_s := self._wait_s()) > 0:
            if not self.is_open:
                await self._opened.wait()
            elif wait_s < _LONG_WAIT_S:
                await self._sleep(wait_s)
            else:
                await self._wait_for_reply(wait_s)

    async def _wait_for_reply(self, most_s: float) -> None:
        """Until a reply comes, which may free a permit sooner, or at most so long."""
        self._returned = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_with_reply, tasks.cancel_scope)
            await self._sleep(min(most_s, _LONGEST_SLEEP_S))
            tasks.cancel_scope.cancel()

    async def _end_with_reply(self, waiting: anyio.CancelScope) -> None:
        await self._returned.wait()
        waiting.cancel()

    async def _wait_for_slot(self) -> None:
        try:
            while (limiter := await self._spaced()) is not None:
                with anyio.CancelScope() as self._spacing:
                    await limiter.acquire()
                if not self._spacing.cancelled_caught:
                    break
        finally:
            self._spacing = None

    def _wait_s(self) -> float:
        if self._since_record + self._being_recorded >= self._most_unrecorded:
            return math.inf
        now_s = self._clock()
        free_at_s = self._pause.until_s
        for log in self._logs:
            free_at_s = max(free_at_s, log.free_at_s(now_s))
        return free_at_s - now_s

    def _leave(self) -> int:
        now_s = self._clock()
        if self._rate is not None:
            self._rate.on_sent(now_s)
        counts_from_s = now_s + MOST_WAY_S
        number = self._count_in(counts_from_s, now_s)
        self._unrecorded[number] = counts_from_s
        self._under_way.add(number)
        self._since_record += 1
        return number

    def _count_in(self, counts_from_s: float, left_s: float) -> int:
        for log in self._logs:
            log.on_sent(counts_from_s, left_s)
        self._count += 1
        return self._count - 1

    def on_reply(self, number: int, left_s: float, reply: object) -> None:
        """What became of the request with that number; to be called once for each permit.

        left_s  when it left
        reply   a Reply or a NoReply; whatever else it is, it was not waited for
        """
        now_s = self._clock()
        counts_from_s = self._counts_from_s(left_s, now_s, reply)
        for log in self._logs:
            log.on_reply(number, counts_from_s)
        self._under_way.discard(number)
        if number in self._unrecorded:
            self._unrecorded[number] = counts_from_s
        self._returned.set()
        if self._is_learning and isinstance(reply, Reply):
            self._learn(allowance(reply.headers, self._utc()), now_s)

    def _counts_from_s(self, left_s: float, now_s: float, reply: object) -> float:
        if isinstance(reply, Reply):
            return self._margin.replied(left_s, now_s)
        if isinstance(reply, NoReply) and not reply.may_have_arrived:
            return left_s
        return now_s  # it may have arrived as late as that

    def _learn(self, stated: Allowance | None, now_s: float) -> None:
        if stated is None or self._rate is None:
            return
        reset_s = stated.reset_s
        if stated.remaining == 0 and reset_s is not None and reset_s <= self.terms.max_wait_s:
            self._pauses(reset_s, now_s, words="no request is left before the limit is renewed")
        per_s = self._stated.per_s(stated, now_s)
        if per_s is not None:
            self._rate.allows(per_s, now_s)

    def on_answer(self, answer: Answer, left_s: float, words: str = "", run: str = "") -> None:
        """Learn from an answer to what left at `left_s`: its throttling, the pause it asks for.

        words  of the vendor's, about the pause
        run    that the request belonged to
        """
        if answer.verdict is Verdict.THROTTLED:
            now_s = self._clock()
            self._margin.throttled(now_s)
            self._pauses(answer.retry_after_s, left_s, words, run)
            if self._rate is not None:
                self._rate.refused(left_s, now_s, self._pause.left_s(now_s))
        elif answer.retry_after_s is not None:
            self._pauses(answer.retry_after_s, left_s, words, run)
        elif answer.verdict is Verdict.OK:
            self._pause.accepted(left_s)
        if self._rate is not None and answer.verdict in ACCEPTED:
            self._rate.accepted()

    # The vendor's own pause...

    def _pauses(self, seconds: float | None, left_s: float, words: str, run: str = "") -> None:
        now_s, before_s = self._clock(), self._pause.until_s
        self._pause.asked(seconds, left_s, now_s)
        if self._pause.until_s > before_s:
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
        """Seconds until the vendor's own pause ends; 0 where there is none."""
        return self._pause.left_s(self._clock())

    def lift_pause(self) -> None:
        """Nobody waits for the vendor's pause any more."""
        self._pause.lift()
        self._asked = None
        self._returned.set()

    @contextmanager
    def watched(self, on_pause: OnPause) -> Iterator[None]:
        """While the block runs, `on_pause` is called for the pause that is on, and for each new."""
        self._on_pause.append(on_pause)
        try:
            # while the gate is closed the pause may be lifted: what is on record is told then
            if self.is_open and self._asked is not None and self.pause_left_s() > 0:
                on_pause(self._asked, self._utc())
            yield
        finally:
            self._on_pause.remove(on_pause)

    @property
    def unrecorded_pause(self) -> AskedPause | None:
        """A pause that is to be put on record; then `recorded_pause` is called."""
        is_new = not self._is_noted and self.pause_left_s() > 0
        return self._asked if is_new else None

    @property
    def is_pause_on_record(self) -> bool:
        """Whether there is a pause, and on record: where it is gone from there, it was lifted."""
        return self._asked is not None and self._is_noted and self.pause_left_s() > 0

    def recorded_pause(self, asked: AskedPause) -> None:
        """`asked` is on record."""
        self._is_noted = self._is_noted or self._asked is asked

    def _take_pause(self, asked: AskedPause | None) -> None:
        """What the record says, which another process may have changed."""
        left_s = 0.0 if asked is None else remaining_s(asked, self._utc())
        if asked is None or left_s <= 0:
            if self.is_pause_on_record:
                self.lift_pause()
        elif left_s > self.pause_left_s():
            now_s = self._clock()
            self._pause.asked(left_s, now_s, now_s)
            self._asked, self._is_noted = asked, True

    # Shared with other processes, which know from the record only what left...

    def close(self) -> None:
        """Nothing leaves until it is opened again."""
        if self.is_open:
            self.is_open = False
            self._closed_s = self._clock()
            self._opened = anyio.Event()

    def open(
        self,
        ages_s: Sequence[float] = (),
        pause: AskedPause | None = None,
        unrecorded: int = 0,
        most_unrecorded: float = math.inf,
    ) -> None:
        """Requests may leave.

        ages_s           since when requests of others count, oldest first, in seconds before now
        pause            the vendor's own, as it is on record; None where there is none
        unrecorded       so many more may have left just now
        most_unrecorded  with so many off the record nothing leaves before `take_ages_s` is called
        """
        now_s = self._clock()
        for age_s in ages_s:
            number = self._count_in(now_s - age_s, now_s - max(0.0, age_s))
            for log in self._logs:
                log.on_reply(number, now_s - age_s)
        for _ in range(unrecorded):
            self._unrecorded[self._count_in(now_s, now_s)] = now_s
            for log in self._logs:
                log.on_reply(self._count - 1, now_s)
        self._take_pause(pause)
        self._most_unrecorded = most_unrecorded
        self.is_open = True
        self._opened.set()
        self._notify()

    @property
    def under_way(self) -> int:
        """Requests of which it is not known yet from when on they count."""
        return len(self._under_way)

    @property
    def is_settled(self) -> bool:
        """Whether it may be passed on, once it is closed: nothing is under way, or only what has
        been for long.
        """
        return not self._under_way or self._clock() >= self._closed_s + HAND_OVER_S

    def take_ages_s(self, *, is_all: bool = False) -> list[float]:
        """Since when requests count that no call told of yet, oldest first, in seconds before now.

        To be put on record; then `recorded` is called. Those that are under way are told of later;
        with `is_all` now, as counting from the latest time to come at which they may arrive.
        """
        now_s = self._clock()
        kept = frozenset() if is_all else self._under_way
        told = {n: from_s for n, from_s in self._unrecorded.items() if n not in kept}
        for number in told:
            del self._unrecorded[number]
        self._being_recorded += self._since_record
        self._since_record = 0
        return sorted((now_s - from_s for from_s in told.values()), reverse=True)

    def recorded(self) -> None:
        """All that was told is on record: whoever opens the gate next is told of it."""
        self._being_recorded = 0
        self._returned.set()


class AccountLimiter:
    """One account's way through a gate that others may use as well: closed for it alone.

    run       that goes through it; empty for a command that is none
    announce  is called, with words for people, where something is waited for
    """

    def __init__(
        self,
        limiter: RateLimiter,
        run: str = "",
        *,
        announce: Callable[[str], None] = lambda _words: None,
    ) -> None:
        self.announce = announce
        self._limiter = limiter
        self._run = run
        self._inside: set[anyio.CancelScope] = set()
        self._waiting: set[anyio.CancelScope] = set()
        self._is_closed = False
        self.watched = limiter.watched
        self.on_reply = limiter.on_reply
        self.pause_left_s = limiter.pause_left_s
        self.slow = limiter.slow

    @property
    def per_second(self) -> float:
        """The rate in force at the gate."""
        return self._limiter.per_second

    def on_answer(self, answer: Answer, left_s: float, words: str = "") -> None:
        """As the gate's."""
        self._limiter.on_answer(answer, left_s, words, self._run)

    @contextmanager
    def while_open(self) -> Iterator[None]:
        """The block is broken off, quietly, where the door is closed or closes."""
        with self._in(self._inside):
            yield

    @contextmanager
    def _in(self, place: set[anyio.CancelScope]) -> Iterator[None]:
        with anyio.CancelScope() as scope:
            if self._is_closed:
                scope.cancel()
            place.add(scope)
            try:
                yield
            finally:
                place.discard(scope)

    async def permit(self) -> int | None:
        """Wait until one request may leave, and count it as left: its number.

        None: the door was closed, or whoever waited was sent away.
        """
        if self._is_closed:
            return None
        with self._in(self._waiting):
            return await self._limiter.permit()
        return None

    async def permit_again(self, late_s: float) -> bool:
        """A second permit for a request that did not leave when its first one said, `late_s` ago.

        False where it does not come soon: the request had better stand in line anew.
        """
        if not is_late(late_s, self._limiter.mean_per_s):
            return not self._is_closed and self._limiter.pause_left_s() <= 0
        with anyio.move_on_after(LATE_MOST_S):
            number = await self.permit()
            if number is not None:
                self._limiter.on_reply(number, self._limiter.now_s(), None)
            return number is not None
        return False

    def send_away(self) -> None:
        """Whoever waits for a permit now gets none."""
        for scope in tuple(self._waiting):
            scope.cancel()

    def close(self) -> None:
        """No request leaves here any more; whoever waits is told so."""
        self._is_closed = True
        self.send_away()
        for scope in tuple(self._inside):
            scope.cancel()

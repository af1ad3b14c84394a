"""The requests that were sent at one limiter, and how many more fit. Pure: the time is an argument.

Replies are learned from together: before room is computed, before requests are put on record, and
once there are many.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.model import NoReply, Reply
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.pacing.margin import MAX_WAY_S, Margin, arrival_s
from pipeline.pacing.unrecorded import AgeCount, Unrecorded
from pipeline.pacing.windows import log_of

MAX_BLOCK = 256
"""Most requests that are allowed at once, and replies that are learned from together."""


class Departures:
    """Counts requests in the windows of every quota, and those that are not on record.

    day_started_s  when a day of the vendor began, by the clock of all times; None: any 24 hours

    in_flight        number -> when the request got its permit
    most_unrecorded  requests that may be sent before `on_recorded` is called
    """

    def __init__(self, terms: LimiterSettings, *, day_started_s: float | None) -> None:
        self._logs = [log_of(quota, day_started_s=day_started_s) for quota in terms.quotas]
        self._margin = Margin(is_strict=terms.is_strict)
        self._count = 0
        self.in_flight: dict[int, float] = {}
        self._replies: list[tuple[float, float]] = []  # left and came, not learned from yet
        self._unrecorded = Unrecorded()
        self._recorded_in_flight: set[int] = set()
        self._on_record = self._being_recorded = 0  # of `_count`
        self.most_unrecorded: float = math.inf

    def room(self, now_s: float) -> int:
        """Requests that may be sent from now on without asking again; 0 or less if none.

        Until then replies can only add to it, but for late ones.
        """
        self._learn_from_replies()
        in_flight, room = self.in_flight.values(), min(MAX_BLOCK, self.off_record_room)
        return int(min([room, *(log.room(now_s, in_flight) for log in self._logs)]))

    def free_at_s(self, now_s: float, many: int = 1) -> float:
        """When every window has room for so many requests."""
        self._learn_from_replies()
        in_flight = self.in_flight.values()
        return max((log.free_at_s(now_s, in_flight, many) for log in self._logs), default=now_s)

    @property
    def off_record_room(self) -> float:
        """Requests that may be sent before others are on record."""
        return self._on_record + self.most_unrecorded - self._count

    def on_sent(self, count: int, now_s: float) -> int:
        """Count requests that are sent now: the number of the first; others have those after it."""
        first = self._count
        self._count += count
        self.in_flight.update(dict.fromkeys(range(first, self._count), now_s))
        return first

    def on_reply(self, number: int, left_s: float, now_s: float, reply: object) -> bool:
        """A request ended. False if it counted no more, and does now: room is to be computed again.

        left_s  when it was sent
        reply   a Reply or a NoReply; anything else if no reply was awaited
        """
        is_in_time = now_s <= self.in_flight.pop(number) + MAX_WAY_S
        if number in self._recorded_in_flight:
            self._recorded_in_flight.discard(number)
            self._learn_from_replies()
            self._log(left_s, self._counts_from_s(left_s, now_s, reply))
        elif isinstance(reply, Reply):
            self._add_replies([(left_s, arrival_s(reply, left_s, now_s))])
        else:
            counts_from_s = self._counts_from_s(left_s, now_s, reply)
            self._log(left_s, counts_from_s)
            self._unrecorded.add(counts_from_s)
        return is_in_time

    def on_replies(
        self, numbers: Sequence[int], trips_s: Sequence[tuple[float, float]], now_s: float
    ) -> bool:
        """As `on_reply` for requests that got a Reply, while `is_plain`.

        trips_s  when each was sent, and when its reply arrived
        """
        is_in_time = now_s <= min(map(self.in_flight.pop, numbers)) + MAX_WAY_S
        self._add_replies(trips_s)
        return is_in_time

    @property
    def is_plain(self) -> bool:
        """True if no request in flight is on record: replies come together or one by one."""
        return not self._recorded_in_flight

    def on_throttled(self, now_s: float) -> None:
        """The vendor refused a request for its rate."""
        self._learn_from_replies()
        self._margin.on_throttled(now_s)

    def _add_replies(self, replies: Iterable[tuple[float, float]]) -> None:
        self._replies += replies
        if len(self._replies) >= MAX_BLOCK:
            self._learn_from_replies()

    def _learn_from_replies(self) -> None:
        """Count the requests that got replies from when they count, in the order of the replies."""
        replies, self._replies = self._replies, []
        if not replies:
            return
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
            return self._margin.on_reply(left_s, arrival_s(reply, left_s, now_s))
        if isinstance(reply, NoReply) and not reply.may_have_arrived:
            return left_s
        return now_s  # it may have arrived until now

    # Sharing with other processes, which know only recorded send times...

    def add_others(self, ages: Iterable[AgeCount], lost: int, now_s: float) -> None:
        """Count requests of other processes.

        lost  requests that a killed process may have sent unrecorded: they count from now, and
              their quota returns one window later
        """
        for age_s, count in ages:
            self._log(now_s - max(0.0, age_s), now_s - age_s, count)
        if lost:
            self._log(now_s, now_s, lost)
            self._unrecorded.add(now_s, lost)

    def take_unrecorded(self, now_s: float, *, is_all: bool) -> list[AgeCount]:
        """See `RateLimiter.take_unrecorded`."""
        self._learn_from_replies()
        if is_all:
            for number in self.in_flight.keys() - self._recorded_in_flight:
                self._unrecorded.add(self.in_flight[number] + MAX_WAY_S)
            self._recorded_in_flight.update(self.in_flight)
        self._being_recorded = self._count
        return self._unrecorded.take(now_s)

    def on_recorded(self) -> None:
        """All that `take_unrecorded` returned is on record for the next process."""
        self._on_record = self._being_recorded

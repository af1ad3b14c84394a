"""A modelled vendor: what it does over time with what arrives. Pure: time is an argument.

Times are seconds since the scenario began.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Literal, NamedTuple

from pipeline.model.quota import Quota, parse_quota

BEGAN_UTC_S = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC).timestamp()
"""What the vendor's own clock shows when the scenario begins."""

What = Literal["ok", "limit", "crowd", "chance", "down"]
REFUSED: frozenset[What] = frozenset({"limit", "crowd"})
"""Refused because more came than the vendor takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a vendor does while nothing changes. 0 means: there is no such thing.

    way_s, jitter_s  round trip without the vendor's work, and by how much it varies up and down;
                     half of both on the way there
    service_s        how long the vendor works at a request
    servers          at so many at once; the others queue, whence the knee
    windows          at most so many accepted in a time, all hold at once: "40/s"
    window           `sliding`: in any stretch; `fixed`: in stretches side by side
    over             status of what is beyond a window
    most_in_flight   arrived and not answered; more are refused at once ...
    crowded          ... with this status
    strays           share of requests that meet something that has nothing to do with the load: ...
    stray            ... a `429`, a `503`, a `reset` of the connection, or `silence`
    late_s           so much later than others they arrive
    cold_s           so much later arrives what leaves before anything has arrived ...
    cold_after_s     ... for so long
    one_in           every so-manieth request is answered 429, whatever the load
    retry_after      what a refusal tells: `none`, `seconds` or `date`
    retry_after_s    0: until there is room, and 1 s where that is not the reason
    headers          on every reply: `none`; `ratelimit`: RateLimit-Limit, -Remaining, -Reset;
                     `structured`: RateLimit and RateLimit-Policy; `x-ratelimit`: as the first with
                     X- before them, Reset in seconds since 1970
    """

    way_s: float = 0.05
    jitter_s: float = 0.0
    service_s: float = 0.0
    servers: int = 0
    windows: Sequence[str] = ()
    window: Literal["sliding", "fixed"] = "sliding"
    over: int = 429
    most_in_flight: int = 0
    crowded: int = 503
    strays: float = 0.0
    stray: Literal["429", "503", "reset", "silence"] = "429"
    late_s: float = 0.0
    cold_s: float = 0.0
    cold_after_s: float = 4.0
    one_in: int = 0
    retry_after: Literal["none", "seconds", "date"] = "none"
    retry_after_s: float = 0.0
    headers: Literal["none", "ratelimit", "structured", "x-ratelimit"] = "none"

    def best_per_s(self) -> float:
        """The most requests per second that it answers for ever.

        >>> Behaviour(windows=["40/s"], service_s=0.2, servers=4).best_per_s()
        20.0
        """
        rates = [quota.per_second for quota in self.quotas()]
        if self.service_s:
            rates += [n / self.service_s for n in (self.servers, self.most_in_flight) if n]
        return min(rates, default=math.inf)

    def quotas(self) -> list[Quota]:
        """Its windows."""
        return [parse_quota(text) for text in self.windows]

    @property
    def round_trip_s(self) -> float:
        """Of a request that waits for no other, on average."""
        return self.way_s + self.service_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A time in which nothing gets through, what was under way included.

    how  `503`; `refused`: no connection; `silence`: no reply, ever
    """

    from_s: float
    until_s: float
    how: Literal["503", "refused", "silence"] = "503"


@dataclass(frozen=True, slots=True)
class Course:
    """What a vendor does over time.

    changes  from then on these fields of its behaviour are others; in order of time
    outages  in order of time, apart from each other
    """

    start: Behaviour
    changes: Sequence[tuple[float, Mapping[str, Any]]] = ()
    outages: Sequence[Outage] = ()

    def at(self, now_s: float) -> Behaviour:
        """What it does then, outages apart."""
        behaviour = self.start
        for at_s, fields in self.changes:
            if at_s <= now_s:
                behaviour = replace(behaviour, **fields)
        return behaviour

    def outage(self, from_s: float, until_s: float) -> Outage | None:
        """The first outage that touches a stretch of time."""
        touching = (o for o in self.outages if o.from_s <= until_s and from_s < o.until_s)
        return next(touching, None)

    def best_per_s(self, now_s: float) -> float:
        """The most requests per second then; 0 in an outage."""
        return 0.0 if self.outage(now_s, now_s) else self.at(now_s).best_per_s()

    def events_s(self) -> list[float]:
        """When something changes, for better or worse."""
        return sorted(
            {at_s for at_s, _ in self.changes}
            | {at_s for outage in self.outages for at_s in (outage.from_s, outage.until_s)}
        )


class Outcome(NamedTuple):
    """What becomes of a request that arrived.

    status       None where there is no reply ...
    no_reply     ... and why: `refused`, `reset`, `silence`
    answered_s   when the reply leaves the vendor; infinite for silence
    wait_s       Retry-After in seconds, None without
    wait_until_s Retry-After as a date, None without
    """

    what: What
    status: int | None
    answered_s: float
    headers: Mapping[str, str] = {}
    no_reply: str = ""
    wait_s: float | None = None
    wait_until_s: float | None = None


@dataclass
class Vendor:
    """The state of a vendor. Requests must arrive in order of time."""

    course: Course
    arrived: int = 0
    _accepted_s: deque[float] = field(default_factory=deque)
    _free_s: list[float] = field(default_factory=list)
    _under_way_s: list[float] = field(default_factory=list)

    def arrive(self, now_s: float, *, is_stray: bool = False) -> Outcome:
        """What becomes of a request that arrives now.

        is_stray  it is one of the `strays`
        """
        self.arrived += 1
        if outage := self.course.outage(now_s, now_s):
            return _in_outage(outage, now_s, "refused")
        behaviour = self.course.at(now_s)
        if is_stray:
            outcome = _stray(behaviour, now_s)
        else:
            outcome = self._refused(behaviour, now_s) or self._accept(behaviour, now_s)
        return outcome._replace(headers={**self._told(behaviour, now_s), **outcome.headers})

    def _refused(self, behaviour: Behaviour, now_s: float) -> Outcome | None:
        while self._under_way_s and self._under_way_s[0] <= now_s:
            heapq.heappop(self._under_way_s)
        if behaviour.most_in_flight and len(self._under_way_s) >= behaviour.most_in_flight:
            return _refusal("crowd", behaviour.crowded, behaviour, now_s, 1.0)
        if behaviour.one_in and self.arrived % behaviour.one_in == 0:
            return _refusal("chance", 429, behaviour, now_s, 1.0)
        room_s = max((self._room_s(behaviour, q, now_s) for q in behaviour.quotas()), default=0.0)
        if room_s > 0:
            return _refusal("limit", behaviour.over, behaviour, now_s, room_s)
        return None

    def _accept(self, behaviour: Behaviour, now_s: float) -> Outcome:
        self._accepted_s.append(now_s)
        longest_s = max((quota.per_s for quota in behaviour.quotas()), default=0.0)
        while self._accepted_s and self._accepted_s[0] <= now_s - longest_s:
            self._accepted_s.popleft()
        begin_s = now_s
        if behaviour.servers:
            while len(self._free_s) >= behaviour.servers:
                begin_s = max(begin_s, heapq.heappop(self._free_s))
            heapq.heappush(self._free_s, begin_s + behaviour.service_s)
        done_s = begin_s + behaviour.service_s
        heapq.heappush(self._under_way_s, done_s)
        if outage := self.course.outage(now_s, done_s):
            return _in_outage(outage, max(now_s, outage.from_s), "reset")
        return Outcome("ok", 204, done_s)

    def _used(self, behaviour: Behaviour, quota: Quota, now_s: float) -> int:
        """How much of a window is taken."""
        if behaviour.window == "fixed":
            began_s = math.floor(now_s / quota.per_s) * quota.per_s
            return sum(at_s >= began_s for at_s in self._accepted_s)
        return sum(at_s > now_s - quota.per_s for at_s in self._accepted_s)

    def _room_s(self, behaviour: Behaviour, quota: Quota, now_s: float) -> float:
        """Seconds until a window has room for one more."""
        if self._used(behaviour, quota, now_s) < quota.limit:
            return 0.0
        if behaviour.window == "fixed":
            return quota.per_s - now_s % quota.per_s
        return self._accepted_s[-quota.limit] + quota.per_s - now_s

    def _told(self, behaviour: Behaviour, now_s: float) -> dict[str, str]:
        """What every reply tells of the first window."""
        told = {"date": _http_date(now_s)}
        if behaviour.headers == "none" or not behaviour.windows:
            return told
        quota = behaviour.quotas()[0]
        left = max(0, quota.limit - self._used(behaviour, quota, now_s))
        reset_s = quota.per_s
        if behaviour.window == "fixed":
            reset_s -= now_s % quota.per_s
        reset = math.ceil(reset_s)
        match behaviour.headers:
            case "structured":
                told["ratelimit-policy"] = f'"default";q={quota.limit};w={quota.per_s:g}'
                told["ratelimit"] = f'"default";r={left};t={reset}'
            case "ratelimit":
                told["ratelimit-limit"] = f"{quota.limit}, {quota.limit};w={quota.per_s:g}"
                told |= {"ratelimit-remaining": str(left), "ratelimit-reset": str(reset)}
            case "x-ratelimit":
                until_s = math.ceil(BEGAN_UTC_S + now_s + reset_s)
                told |= {
                    "x-ratelimit-limit": str(quota.limit),
                    "x-ratelimit-remaining": str(left),
                    "x-ratelimit-reset": str(until_s),
                }
        return told


def _in_outage(outage: Outage, now_s: float, how_lost: str) -> Outcome:
    """Of a request that meets an outage now; `how_lost` where connections are refused."""
    match outage.how:
        case "503":
            return Outcome("down", 503, now_s)
        case "refused":
            return Outcome("down", None, now_s, no_reply=how_lost)
    return Outcome("down", None, math.inf, no_reply="silence")


def _stray(behaviour: Behaviour, now_s: float) -> Outcome:
    match behaviour.stray:
        case "429":
            return _refusal("chance", 429, behaviour, now_s, 1.0)
        case "503":
            return Outcome("chance", 503, now_s)
        case "reset":
            return Outcome("chance", None, now_s, no_reply="reset")
    return Outcome("chance", None, math.inf, no_reply="silence")


def _refusal(what: What, status: int, behaviour: Behaviour, now_s: float, room_s: float) -> Outcome:
    wait_s = behaviour.retry_after_s or room_s
    match behaviour.retry_after:
        case "seconds":
            wait = max(1, math.ceil(wait_s))
            return Outcome(what, status, now_s, {"retry-after": str(wait)}, wait_s=wait)
        case "date":
            until_s = float(math.ceil(now_s + wait_s))
            headers = {"retry-after": _http_date(until_s)}
            return Outcome(what, status, now_s, headers, wait_until_s=until_s)
    return Outcome(what, status, now_s)


def _http_date(at_s: float) -> str:
    """To the second, as HTTP has it."""
    return format_datetime(datetime.fromtimestamp(int(BEGAN_UTC_S + at_s), UTC), usegmt=True)

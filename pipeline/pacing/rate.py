"""Requests per second: the quota's rate, or less if the vendor refuses at that rate. Pure.

Refusals lower the rate if they are more than accidents (`strays.py`), or come after the same
number of requests each time. Otherwise a vendor that refuses one in fifty for no reason would be
sent less and less. An accident costs only the pause that it asks for.

The rate that a vendor accepted in the second before a refusal is the best estimate of its limit:
the rate falls just below it. If the vendor suddenly refuses what it accepted before, there is no
estimate, and the rate is halved. If it goes on refusing and accepted little over a longer time, the
limit is taken over that time. If as large a share is refused at the lower rate, it has another
reason: the rate is what it was before, and so large a share is expected.

After a while the rate rises again: slowly up to the rate that was refused, quickly beyond, and only
if it is used, since an unused rate proves nothing about a higher one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from itertools import chain, dropwhile, islice, takewhile

from pipeline.pacing.strays import Strays

BELOW = 0.95
"""Share of the accepted rate that is used after a refusal."""

HALF = 0.5
"""Share of the rate that remains if nothing shows what the vendor allows."""

CLEARLY_LESS = 0.85
"""The rate is the reason for refusals if at most this share of it was accepted."""

SUDDEN = 4
"""Consecutive refusals after which nothing is accepted any more."""

BUDGETS, SAME = 5, 0.8
"""BUDGETS refusals after about the same number of accepted requests each (at least the share SAME
of the largest) are a limit: by accident this happens once in ten thousand times."""

SETTLE_S = 1.0
"""Seconds after a fall of the rate in which the vendor's window empties."""

MIN_HOLD_S, FIRM_HOLD_S, MAX_HOLD_S, PAUSES = 6.0, 30.0, 300.0, 8
"""Seconds for which the rate stays below the refused one: PAUSES times the pause that a refusal
costs, longer if it was refused at about the same rate before."""

RISE, RISE_TO, QUICK_RISE = 1.04, 1.05, 1.2
"""Factors per second: RISE up to RISE_TO times the refused rate, QUICK_RISE from there on."""

REFUSED_AGAIN = 1.2
"""Up to this factor above a rate refused before, a single refusal is no accident."""

SHORT_S, LONG_S = 1.0, 64.0
"""Seconds over which accepted requests are counted, at first and at most."""

FEWEST = 10
"""Least number of requests in that time; it is extended until it holds as many."""

_USED = 0.8
_EVERY_S = 1.0


class Rate:
    """The rate of one quota, in requests per second.

    start_per_s  at the start
    most_per_s   upper bound; infinite if no quota is stated

    >>> rate = Rate(200.0, most_per_s=200.0)
    >>> for n in range(200):
    ...     rate.on_sent(n / 200)
    ...     rate.accepted()
    >>> rate.refused(left_s=0.99, now_s=1.01), rate.per_s
    (None, 200.0)
    >>> for n in range(1, 200):
    ...     rate.on_sent(1.01 + n / 100)
    ...     rate.accepted() if n % 2 else rate.refused(1.01 + n / 100, 1.02 + n / 100)
    >>> 40 < rate.per_s < 50  # half of the requests were accepted
    True
    """

    def __init__(self, start_per_s: float, most_per_s: float = math.inf) -> None:
        self.per_s = start_per_s
        self.most_per_s = most_per_s
        self._least_per_s = start_per_s / 100.0
        self._left_s: deque[float] = deque(maxlen=100_000)
        self._refused_s: deque[float] = deque(maxlen=10_000)
        self._ceiling_per_s: float | None = None
        self._stretch_s = SHORT_S
        self._cut_s = -math.inf
        self._uncut_per_s = start_per_s  # the rate before it fell
        self._hold_s = MIN_HOLD_S
        self._hold_until_s = -math.inf
        self._rise_s = -math.inf
        self._suspicion = Strays()
        self._accepted = self._in_a_row = 0  # accepted since the last refusal; refusals in a row
        self._before_per_s = 0.0  # accepted rate before the first refusal in a row
        self._budgets: deque[int] = deque(maxlen=BUDGETS)
        self._firm_per_s = 0.0  # the refused rate, unless a lower one was refused

    def on_sent(self, now_s: float, count: int = 1) -> None:
        """`count` requests are sent."""
        self._left_s.extend([now_s] * count)
        if self.per_s < self.most_per_s and now_s >= self._rise_s:
            self._rise(now_s)

    def accepted(self, count: int = 1) -> None:
        """`count` requests were not throttled."""
        self._accepted += count

    def refused(self, left_s: float, now_s: float, pause_s: float = 0.0) -> None:
        """A request sent at `left_s` was throttled, which costs a pause of `pause_s` seconds."""
        self._refused_s.append(left_s)
        accepted, self._accepted = self._accepted, 0
        if left_s <= self._cut_s or now_s < self._cut_s + SETTLE_S:
            return
        if not self._is_probing(now_s):
            self._firm_per_s = 0.0
        accepted_per_s = self._accepted_per_s(left_s)
        self._count_refusal(accepted, accepted_per_s)
        accepted_per_s = min(accepted_per_s, self._before_per_s)
        is_regular = self._is_regular()
        if self._suspicion.learn():
            self._undo_fall()
        elif accepted_per_s > 0 and (
            is_regular or self._is_limit(accepted_per_s, now_s)
        ):  # without accepted requests there is no estimate
            self._budgets.clear()
            self._hold_s = self._next_hold_s(accepted_per_s, pause_s)
            before_per_s = self.per_s
            self._fall(accepted_per_s, now_s, is_regular=is_regular)
            self._suspicion.on_lowered(self.per_s / before_per_s)

    @property
    def has_strays(self) -> bool:
        """True if many refusals have another reason than the rate."""
        return self._suspicion.share > 0

    @property
    def is_stray(self) -> bool:
        """True if a refusal that comes now has another reason."""
        in_a_row = 0 if self._accepted else self._in_a_row
        return self.has_strays and in_a_row < self._suspicion.longest_run

    def _count_refusal(self, accepted: int, accepted_per_s: float) -> None:
        self._suspicion.on_success(accepted)
        self._suspicion.on_failure()
        self._in_a_row = 1 if accepted else self._in_a_row + 1
        if accepted:
            self._before_per_s = accepted_per_s
            self._budgets.append(accepted)

    def _is_regular(self) -> bool:
        budgets = self._budgets
        are_same = len(budgets) == BUDGETS and min(budgets) >= SAME * max(budgets)
        return are_same and not self.has_strays

    def _is_probing(self, now_s: float) -> bool:
        """True if the rate rises after a cut."""
        return self._is_rising() or (self.per_s < self.most_per_s and now_s >= self._hold_until_s)

    def _is_limit(self, accepted_per_s: float, now_s: float) -> bool:
        if math.isinf(self.most_per_s) and self._ceiling_per_s is None:
            return self._suspicion.is_likely
        is_refused_again = (
            self._is_probing(now_s) and accepted_per_s <= REFUSED_AGAIN * self._firm_per_s
        ) and not self.has_strays
        return is_refused_again or self._suspicion.is_enough

    def _fall(self, accepted_per_s: float, now_s: float, *, is_regular: bool) -> None:
        is_sudden = self._in_a_row >= SUDDEN and self._before_per_s > CLEARLY_LESS * self.per_s
        if is_sudden or len(self._left_s) < FEWEST:
            self._cut(self.per_s, HALF, now_s, hold_s=2 * SETTLE_S)
        elif is_regular or self._is_rising() or now_s >= self._hold_until_s:
            self._stretch_s = SHORT_S
            self._cut(accepted_per_s, BELOW, now_s, hold_s=self._hold_s)
        elif accepted_per_s <= CLEARLY_LESS * self.per_s:
            self._cut(accepted_per_s, BELOW, now_s, hold_s=self._hold_s)
        else:
            self._stretch_s = min(LONG_S, 2.0 * self._stretch_s)

    def _undo_fall(self) -> None:
        """The fall was futile."""
        self.per_s = min(max(self.per_s, self._uncut_per_s), self.most_per_s)
        self._ceiling_per_s, self._stretch_s = None, SHORT_S
        self._firm_per_s, self._hold_until_s = 0.0, -math.inf

    def _next_hold_s(self, accepted_per_s: float, pause_s: float) -> float:
        hold_s = MIN_HOLD_S
        ceiling_per_s = self._ceiling_per_s
        if ceiling_per_s is not None and abs(accepted_per_s / ceiling_per_s - 1.0) < 1.0 - BELOW:
            hold_s = min(2.0 * self._hold_s, FIRM_HOLD_S)
        return min(max(PAUSES * pause_s, hold_s), MAX_HOLD_S)

    def _cut(self, ceiling_per_s: float, share: float, now_s: float, *, hold_s: float) -> None:
        if not self._suspicion.is_comparing:
            self._uncut_per_s = self.per_s
        self._ceiling_per_s = min(ceiling_per_s, self.per_s)
        self.per_s = max(self._ceiling_per_s * share, self._least_per_s)
        self._cut_s = now_s
        self._firm_per_s = self._ceiling_per_s
        self._hold_until_s = self._rise_s = now_s + hold_s

    def set_limit(self, per_s: float, now_s: float) -> None:
        """The vendor states a limit: the rate falls to it at once, and rises to it step by step."""
        self.most_per_s = per_s
        if per_s < self.per_s:
            self.per_s = per_s
            self._cut_s = now_s

    def _is_rising(self) -> bool:
        if self.per_s >= self.most_per_s:
            return False
        return self._ceiling_per_s is None or self.per_s > self._ceiling_per_s * BELOW

    def _accepted_per_s(self, until_s: float) -> float:
        """The accepted rate of the stretch that ends at `until_s`, extended to FEWEST requests."""
        recent = dropwhile(lambda at_s: at_s > until_s, reversed(self._left_s))
        fewest = list(islice(recent, FEWEST))
        from_s = min([until_s - self._stretch_s, *fewest])
        sent = _since(from_s, chain(fewest, recent))
        refused = _since(from_s, (at_s for at_s in reversed(self._refused_s) if at_s <= until_s))
        accepted = (sent - refused) / (1.0 - self._suspicion.share)
        return min(accepted, sent) / (until_s - from_s)

    def _rise(self, now_s: float) -> None:
        self._rise_s = now_s + _EVERY_S
        if not self._suspicion.is_lone:
            return
        if _since(now_s - _EVERY_S, reversed(self._left_s)) < _USED * self.per_s * _EVERY_S:
            return
        ceiling_per_s = self._ceiling_per_s
        if ceiling_per_s is not None and self.per_s >= ceiling_per_s * RISE_TO:
            ceiling_per_s = self._ceiling_per_s = None
        grows = QUICK_RISE if ceiling_per_s is None else RISE
        before_per_s = self.per_s
        self.per_s = min(self.most_per_s, before_per_s * grows)
        self._suspicion.on_raised(self.per_s / before_per_s)


def in_force(per_s: float, caps: Iterable[float]) -> float:
    """The effective rate: the lowest of `per_s` and `caps`, which people set.

    A cap is no evidence about the vendor: once it is removed, `per_s` holds as before.

    >>> in_force(20.0, []), in_force(20.0, [5.0, 8.0]), in_force(4.0, [5.0])
    (20.0, 5.0, 4.0)
    """
    return min([per_s, *caps])


def _since(from_s: float, times_s: Iterable[float]) -> int:
    """Number of `times_s`, in descending order, after `from_s`."""
    return sum(1 for _ in takewhile(lambda at_s: at_s > from_s, times_s))

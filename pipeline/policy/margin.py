"""From when on a request counts at the vendor, learned from round trips. Pure.

The vendor counts arrivals, we know departures and replies. A request that took longer than the
fastest one may have lost all of that on its way there: so it counts from its departure plus that
much. The next one that depends on it may be as quick as the fastest. So no way that varies brings
N + 1 arrivals into a window, and what is paid for it is the mean of the delays, not the worst.

A vendor that takes its time, now more, now less, is told from a way that varies by its mean: a few
that are late are believed to be late, however much.

Where all are slow for a while and then quick at once, the fastest of the slow ones would tell too
little: so the fastest is remembered for a minute or two, and of a hundred replies or more.
"""

from __future__ import annotations

STRETCH_S, STRETCH_REPLIES = 60.0, 100
"""The fastest and the slowest are those of this stretch, at least so long and of so many replies,
and of the one before."""

FLOOR_S = 0.005
"""What the fastest round trip seen so far may be above the fastest there is."""

USUAL_MOST_S = 0.100
"""What takes longer as a rule is the vendor thinking, not the way to it."""

MOST_EXCESS_S = 1.0
MEMORY = 0.02
"""The weight of the newest round trip in what is usual."""

MOST_EXTRA_S = 0.250


class Margin:
    """How much the way to the vendor varies.

    initial_s  of a round trip above the fastest, before it is known how much it varies

    It doubles what it adds when the vendor throttles all the same, once for all that left before
    it did, and halves that after a stretch without.
    """

    __slots__ = (
        *(
            "_before",
            "_extra_s",
            "_fastest_s",
            "_grew_s",
            "_in_stretch",
            "_initial_s",
            "_seen",
            "_slowest_s",
        ),
        *("_stretch_ends_s", "_usual_s", "_was_throttled"),
    )

    def __init__(self, initial_s: float = 0.050) -> None:
        self._initial_s = initial_s
        self._extra_s = FLOOR_S
        self._grew_s = float("-inf")
        self._seen = 0
        self._usual_s = 0.0
        self._before: tuple[float, float] | None = None
        self._stretch_ends_s: float | None = None
        self._start_stretch()

    def _start_stretch(self) -> None:
        self._fastest_s = float("inf")
        self._slowest_s = 0.0
        self._in_stretch = 0
        self._was_throttled = False

    def replied(self, round_trip_s: float, now_s: float) -> float:
        """A reply came after `round_trip_s`: how much of that counts as lost on the way there.

        >>> margin = Margin()
        >>> trips_s = (0.030, 0.020, 0.035, 5.0)
        >>> [round(margin.replied(s, now_s=n), 3) for n, s in enumerate(trips_s)]
        [0.05, 0.05, 0.015, 1.0]
        """
        if self._stretch_ends_s is None:
            self._stretch_ends_s = now_s + STRETCH_S
        elif now_s >= self._stretch_ends_s and self._in_stretch >= STRETCH_REPLIES:
            self._end_stretch(now_s)
        self._seen += 1
        self._in_stretch += 1
        self._fastest_s = min(self._fastest_s, round_trip_s)
        self._slowest_s = max(self._slowest_s, round_trip_s)
        excess_s = min(round_trip_s - self._fastest(), MOST_EXCESS_S)
        self._usual_s += MEMORY * (excess_s - self._usual_s)
        if self._seen <= 2:  # noqa: PLR2004 - of one, nothing varies
            return self._initial_s
        return excess_s * USUAL_MOST_S / max(USUAL_MOST_S, self._usual_s)

    def _end_stretch(self, now_s: float) -> None:
        self._before = self._fastest_s, self._slowest_s
        if not self._was_throttled:
            self._extra_s = max(FLOOR_S, self._extra_s / 2.0)
        self._stretch_ends_s = now_s + STRETCH_S
        self._start_stretch()

    def _fastest(self) -> float:
        return self._fastest_s if self._before is None else min(self._fastest_s, self._before[0])

    def throttled(self, left_s: float, now_s: float) -> None:
        """The vendor refused what left at `left_s` although we kept its quota by our own clock."""
        self._was_throttled = True
        if left_s >= self._grew_s:
            self._grew_s = now_s
            self._extra_s = min(self._extra_s * 2.0, MOST_EXTRA_S)

    @property
    def waits_s(self) -> float:
        """How much longer than the fastest a request may take whose reply has not come yet."""
        if self._before is None:
            varies_s = self._slowest_s - self._fastest_s
            return min(max(self._initial_s, varies_s), USUAL_MOST_S)
        slowest_s = max(self._before[1], self._slowest_s)
        return min(slowest_s - self._fastest(), USUAL_MOST_S)

    @property
    def extra_s(self) -> float:
        """What a window takes longer for all of them."""
        return self._extra_s

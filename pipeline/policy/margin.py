"""From when on a request counts at the vendor, learned from round trips. Pure.

The vendor counts arrivals, we know departures and replies. A request that took longer than the
fastest one may have lost all of that on its way there: so it counts from its departure plus that
much. The next one that depends on it may be as quick as the fastest. So no way that varies brings
N + 1 arrivals into a window, and what is paid for it is the mean of the delays, not the worst.
"""

from __future__ import annotations

FLOOR_S = 0.005
"""What the fastest round trip seen so far may be above the fastest there is."""

EXCESS_CAP_S = 0.100
"""What took longer than that was the vendor thinking, not the way to it."""

MOST_EXTRA_S = 0.250


class Margin:
    """How much the way to the vendor varies.

    initial_s  of a round trip above the fastest, before any came
    stretch    replies over which the fastest and the slowest are taken

    It doubles what it adds when the vendor throttles all the same, and halves that after a clean
    stretch.
    """

    __slots__ = (
        *("_before", "_extra_s", "_fastest_s", "_initial_s", "_seen", "_slowest_s"),
        *("_stretch", "_was_throttled"),
    )

    def __init__(self, initial_s: float = 0.050, stretch: int = 100) -> None:
        self._initial_s = initial_s
        self._stretch = stretch
        self._extra_s = FLOOR_S
        self._before: tuple[float, float] | None = None
        self._start_stretch()

    def _start_stretch(self) -> None:
        self._seen = 0
        self._fastest_s = float("inf")
        self._slowest_s = 0.0
        self._was_throttled = False

    def replied(self, round_trip_s: float) -> float:
        """A reply came after `round_trip_s`: how much of that counts as lost on the way there.

        >>> margin = Margin()
        >>> [round(margin.replied(s), 3) for s in (0.030, 0.020, 0.035, 5.0)]
        [0.05, 0.05, 0.015, 0.1]
        """
        is_new = self._before is None and self._seen < 2  # noqa: PLR2004 - of one, nothing varies
        self._fastest_s = min(self._fastest_s, round_trip_s)
        self._slowest_s = max(self._slowest_s, round_trip_s)
        self._seen += 1
        fastest_s = self._fastest_s
        if self._before is not None:
            fastest_s = min(fastest_s, self._before[0])
        if self._seen >= self._stretch:
            self._end_stretch()
        return self._initial_s if is_new else min(round_trip_s - fastest_s, EXCESS_CAP_S)

    def _end_stretch(self) -> None:
        self._before = self._fastest_s, self._slowest_s
        if not self._was_throttled:
            self._extra_s = max(FLOOR_S, self._extra_s / 2.0)
        self._start_stretch()

    def throttled(self) -> None:
        """The vendor refused although we kept its quota by our own clock."""
        self._was_throttled = True
        self._extra_s = min(self._extra_s * 2.0, MOST_EXTRA_S)

    @property
    def waits_s(self) -> float:
        """How much longer than the fastest a request may take whose reply has not come yet."""
        if self._before is None:
            return self._initial_s
        fastest_s, slowest_s = self._before
        return min(max(slowest_s, self._slowest_s) - fastest_s, EXCESS_CAP_S)

    @property
    def extra_s(self) -> float:
        """What a window takes longer for all of them."""
        return self._extra_s

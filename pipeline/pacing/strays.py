"""Distinguishes a limit from refusals that lowering something does not reduce. Pure.

Some vendors refuse one request in five, however slowly they come. That looks like a limit until
something was lowered. A limit then refuses fewer, or none; if the share is the same as before, so
many are accidents. That is believed for a number of requests, since a limit may come.
"""

from __future__ import annotations

import math

from pipeline.pacing.suspicion import ACCIDENTS, Suspicion

COMPARED = 5
"""Least number of failures whose share is compared."""

LEFT = 0.5
"""Something was lowered enough if a limit would leave at most this share of the failures."""

SAME = 0.5
"""It was futile if at least this share remains of the failures that a limit would not leave."""

APART = 0.5
"""Least share of accidents that follow an accepted request, of what chance gives: a limit refuses
many in a row."""

MOST, UNSEEN = 0.7, 2
"""Largest share that may be accidents. Few requests are taken for it as if UNSEEN more had been
accepted."""

ABOVE = 1.25
"""So many times the share that was seen is expected."""

RARELY = 0.01
"""A run of accidents that is rarer is a surprise."""

BELIEVED, LONGEST = 1_000, 8_000
"""Requests for which that is believed: at first, and at most after it doubled each time."""


class Strays(Suspicion):
    """Evidence for a limit that learns how many failures are accidents.

    share  of requests that fail by accident; 0 while it is as small as usual

    >>> strays = Strays()
    >>> def refuse_one_in_four():
    ...     for _ in range(8):
    ...         strays.on_success(3)
    ...         strays.on_failure()
    >>> refuse_one_in_four()
    >>> strays.is_enough
    True
    >>> strays.on_lowered(0.75)
    >>> refuse_one_in_four()
    >>> strays.learn(), strays.share, strays.is_none
    (True, 0.3125, True)
    """

    __slots__ = (
        *("_apart", "_at", "_believe_next", "_believed", "_compared", "_failed", "_futile"),
        *("_is_apart", "_seen", "_to", "share"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.share = 0.0
        self._believed = 0  # requests for which the share is believed
        self._believe_next = BELIEVED
        self._is_apart = True  # the last request was accepted
        self._futile: float | None = None  # from this share of failures on, lowering was futile
        self._compared = 0.0  # the share before
        self._at = 1.0  # the level that is compared, of the one before
        self._start()

    def _start(self) -> None:
        """Count from now on: the evidence begins, or something was lowered."""
        self._seen = self._failed = self._apart = 0
        self._to = 1.0

    def on_success(self, count: int = 1) -> None:
        """`count` requests were accepted."""
        super().on_success(count)
        self._seen += count
        self._is_apart = self._is_apart or count > 0
        if self.is_none and not self.is_comparing:
            self._start()
        self._believe(count)

    def on_failure(self) -> None:
        """A request was refused or failed."""
        super().on_failure()
        self._seen += 1
        self._failed += 1
        self._apart += self._is_apart
        self._is_apart = False
        self._believe(1)

    def _believe(self, count: int) -> None:
        self._believed -= count
        if self.share and self._believed <= 0:
            self.share = 0.0
            self.expect(ACCIDENTS)

    def on_lowered(self, to: float) -> None:
        """Something was lowered on this evidence, to the share `to` of what it was."""
        self.forget()
        self._to *= to
        if self._failed >= COMPARED:
            share = self._failed / self._seen
            if (futile := _futile(share, self._to)) is not None:
                self._compared, self._at, self._futile = share, self._to, futile
                self._start()

    def on_raised(self, by: float) -> None:
        """It was raised again, to `by` times what it was: that proves less."""
        if self.is_comparing:
            self._at *= by
            self._futile = _futile(self._compared, self._at)
            if not self.is_comparing:
                self._start()

    def learn(self) -> bool:
        """True if lowering was futile: then so many failures are accidents, and no evidence."""
        if self._futile is None or self._failed < COMPARED:
            return False
        share = self._failed / self._seen
        is_scattered = self._apart >= APART * (1.0 - share) * self._failed
        least_share = self._failed / (self._seen + UNSEEN)
        if share < self._futile or least_share > MOST or not is_scattered:
            return False
        self._futile = None
        self._believed = self._believe_next
        self._believe_next = min(LONGEST, 2 * self._believe_next)
        self.share = max(ACCIDENTS, min(MOST, ABOVE * share))
        self.expect(self.share)
        self._start()
        self.forget()
        return True

    @property
    def longest_run(self) -> int:
        """So many accidents in a row are no surprise; 0 while few are expected.

        >>> strays = Strays()
        >>> strays.longest_run
        0
        >>> strays.share = 0.5
        >>> strays.longest_run
        7
        """
        return math.ceil(math.log(RARELY) / math.log(self.share)) if self.share else 0

    @property
    def is_comparing(self) -> bool:
        """True if something is lowered and it is not clear yet if that was futile."""
        return self._futile is not None


def _futile(share: float, to: float) -> float | None:
    """The share of failures from which on lowering to the share `to` was futile; None for none.

    share  of failures before

    >>> _futile(0.5, 0.5), _futile(0.5, 0.9)
    (0.25, None)
    """
    left = max(0.0, 1.0 - (1.0 - share) / to)
    return left + SAME * (share - left) if left <= LEFT * share else None

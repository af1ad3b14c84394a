"""Whether an account's vendor is down, and when it is asked again. Pure.

An entity that fails is an entity that fails; several of them one after the other, with no answer
between that a working vendor would give, are an outage. Then one request at a time is the probe;
the others wait, and what fails meanwhile costs no row an attempt. One answer of a working vendor
ends it.
"""

from __future__ import annotations

DOWN_AFTER = 5
"""So many entities failed one after the other, each counted once."""

FIRST_WAIT_S = 0.5
WAIT_GROWS = 1.5
LONGEST_WAIT_S = 10.0
"""Between two probes. A vendor that is back is seen at the latest a third of its absence later."""


class Outage:
    """One account's view of its vendor.

    >>> outage = Outage()
    >>> for at_s, entity in enumerate("abcde", 1):
    ...     outage.failed(entity, left_s=at_s, now_s=at_s)
    >>> outage.is_down, outage.due_s
    (True, 5.5)
    >>> outage.worked(left_s=5.5)
    >>> outage.is_down
    False
    """

    __slots__ = ("_failed", "_wait_s", "down_since_s", "due_s", "failing_since_s")

    def __init__(self) -> None:
        self._up()

    def _up(self) -> None:
        self._failed: set[str] = set()
        self.failing_since_s = float("inf")
        self._wait_s = FIRST_WAIT_S
        self.down_since_s: float | None = None
        self.due_s: float | None = None

    @property
    def is_down(self) -> bool:
        """Whether it is an outage; `down_since_s` is when it was seen, `due_s` the next probe."""
        return self.down_since_s is not None

    def worked(self, left_s: float) -> None:
        """The vendor carried out, or judged, a request that left at `left_s`."""
        if self.down_since_s is None or left_s >= self.failing_since_s:
            self._up()

    def failed(self, entity: str, left_s: float, now_s: float) -> None:
        """It failed, or did not answer, a request for `entity` that left at `left_s`."""
        if self.down_since_s is None:
            self._failed.add(entity)
            self.failing_since_s = min(self.failing_since_s, left_s)
            if len(self._failed) >= DOWN_AFTER:
                self.down_since_s = now_s
                self.due_s = now_s + self._wait_s

    def may_probe(self, now_s: float) -> bool:
        """Whether a request may leave although the vendor is down."""
        return self.due_s is not None and now_s >= self.due_s

    def probes(self, now_s: float) -> None:
        """A probe leaves. The next one does not wait for its answer: that may never come."""
        self._wait_s = min(LONGEST_WAIT_S, self._wait_s * WAIT_GROWS)
        self.due_s = now_s + self._wait_s

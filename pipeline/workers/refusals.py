"""Whether refusals such as 401 and 403 are about an account or about single rows of it. Pure.

A 403 may say that the credentials have lost their rights, or that they reach all entities but this
one. The reply does not tell; what the same credentials meet elsewhere does. A refusal is about its
row once the vendor judged a request that left after the refusal had come. Until then it is open.
With too many open ones the account is in question: one entity at a time is asked, and if those are
refused too, the account is given up.
"""

from __future__ import annotations

FIRST_SUSPECTED = 1
"""So many open refusals put an account in question of which nothing was accepted yet ..."""

SUSPECTED_AFTER = 4
"""... and so many put one in question of which something was, if more have not meant nothing."""

SUSPECTED_AT_MOST = 50
"""However many refusals were about rows before."""

MOST_PROBES = 3
"""So many further entities are asked before an account is given up; in a run that is carried on as
many as were refused before, so that it does not take many to come to the end of such rows; and each
time twice as many after it was shown that refusals were about rows."""


class AccountRefusals:
    """The refusals that one account met with its updates, or with its reads.

    refused_before  rows that were refused in earlier processes of the run, those left out that were
                    so with a 401: that is about credentials, and many of them may lock an account

    is_proven    something was judged by its content: the credentials worked
    is_given_up  the entities that were asked were refused as well

    >>> refusals = AccountRefusals()
    >>> refusals.on_refusal("a", came_s=1.0)
    >>> refusals.is_suspected
    True
    >>> refusals.on_judged(sent_s=2.0)
    >>> refusals.is_suspected, refusals.is_about_row(came_s=1.0)
    (False, True)
    """

    __slots__ = ("_judged_sent_s", "_most_cleared", "_most_probes", "_open", "_probes", "is_proven")

    def __init__(self, refused_before: int = 0) -> None:
        self._most_probes = min(SUSPECTED_AT_MOST, max(MOST_PROBES, refused_before))
        self._open: dict[str, float] = {}
        self._judged_sent_s = float("-inf")
        self._most_cleared = 0
        self._probes = 0
        self.is_proven = False

    def on_refusal(self, entity: str, came_s: float, *, is_probe: bool = False) -> None:
        """A refusal of a request for `entity` came at `came_s`.

        is_probe  it was sent to learn whether the account works
        """
        self._open[entity] = came_s
        self._probes += is_probe

    def on_judged(self, sent_s: float) -> None:
        """The vendor carried out, or judged by its content, a request that left at `sent_s`."""
        self._judged_sent_s = max(self._judged_sent_s, sent_s)
        before, was_in_question = len(self._open), self.is_suspected
        self.is_proven = True
        if not before:
            return
        self._open = {entity: came_s for entity, came_s in self._open.items() if came_s > sent_s}
        if len(self._open) < before:
            self._most_cleared = max(self._most_cleared, before - len(self._open))
            self._probes = 0
            if was_in_question and not self.is_suspected:
                self._most_probes = min(SUSPECTED_AT_MOST, 2 * self._most_probes)

    def is_about_row(self, came_s: float) -> bool:
        """Whether a refusal that came at `came_s` is known to be about its row."""
        return came_s <= self._judged_sent_s

    @property
    def is_suspected(self) -> bool:
        """Whether it is open if the account works."""
        if not self.is_proven:
            return len(self._open) >= FIRST_SUSPECTED
        # where many refusals at once were about rows, as many more do not mean the account
        usual = min(SUSPECTED_AT_MOST, 2 * self._most_cleared + 1)
        return len(self._open) >= max(SUSPECTED_AFTER, usual)

    @property
    def is_given_up(self) -> bool:
        """Whether enough entities were asked."""
        return self.is_suspected and self._probes >= self._most_probes

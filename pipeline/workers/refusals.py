"""Decides whether a 401 or 403 is about the account or about single rows. Pure.

A 403 may mean that the credentials lost their rights, or that they do not reach this one entity.
The reply does not tell which; answers to other rows do. A refusal is about its row once the vendor
has judged a request that was sent after the refusal arrived. Until then the refusal is open. Too
many open refusals put the account under suspicion: other rows are sent one at a time as probes. If
the probes are refused too, the account is given up.
"""

from __future__ import annotations

FIRST_SUSPECTED = 1
"""Open refusals that put an account under suspicion before it has accepted anything ..."""

SUSPECTED_AFTER = 4
"""... and after; more, if more than that turned out to be about rows before."""

SUSPECTED_AT_MOST = 50
"""The limit, however many refusals were about rows before."""

MAX_PROBES = 3
"""Probes that are refused before an account is given up.

A resumed run sends as many as were refused in earlier processes, so that it gets past such rows.
The number doubles each time it turns out that refusals were about rows."""


class AccountRefusals:
    """Refusals of an account's updates, or of its reads.

    refused_before  rows that earlier processes of the run got refused, without 401s: a 401 is about
                    credentials, and many of them may lock an account

    is_proven       True once a request was judged by its content: the credentials work
    had_any         True once a request was refused

    >>> refusals = AccountRefusals()
    >>> refusals.on_refusal("a", came_s=1.0)
    >>> refusals.is_suspected
    True
    >>> refusals.on_judged(sent_s=2.0)
    >>> refusals.is_suspected, refusals.is_about_row(came_s=1.0)
    (False, True)
    """

    __slots__ = (
        *("_judged_sent_s", "_most_cleared", "_most_probes", "_open", "_probes"),
        *("had_any", "is_proven"),
    )

    def __init__(self, refused_before: int = 0) -> None:
        self._most_probes = min(SUSPECTED_AT_MOST, max(MAX_PROBES, refused_before))
        self._open: dict[str, float] = {}
        self._judged_sent_s = float("-inf")
        self._most_cleared = 0
        self._probes = 0
        self.is_proven = False
        self.had_any = False

    def on_refusal(self, entity: str, came_s: float, *, is_probe: bool = False) -> None:
        """Count a refusal for `entity` that arrived at `came_s`.

        is_probe  True if the request was a probe
        """
        self.had_any = True
        self._open[entity] = came_s
        self._probes += is_probe

    def on_judged(self, sent_s: float) -> None:
        """Count a request sent at `sent_s` that the vendor applied, or judged by its content."""
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

    @property
    def is_clear(self) -> bool:
        """True if no refusal is open."""
        return not self._open

    def is_about_row(self, came_s: float) -> bool:
        """True if a refusal that arrived at `came_s` is known to be about its row."""
        return came_s <= self._judged_sent_s

    @property
    def is_suspected(self) -> bool:
        """True if open refusals leave it unknown whether the account works."""
        if not self._open:
            return False
        if not self.is_proven:
            return len(self._open) >= FIRST_SUSPECTED
        # if many refusals at once were about rows, that many more do not mean the account
        usual = min(SUSPECTED_AT_MOST, 2 * self._most_cleared + 1)
        return len(self._open) >= max(SUSPECTED_AFTER, usual)

    @property
    def is_given_up(self) -> bool:
        """True if enough probes were refused as well."""
        return self.is_suspected and self._probes >= self._most_probes

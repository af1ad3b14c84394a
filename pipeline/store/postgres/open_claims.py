"""The claims of a ledger that have no result yet, to know from which commit on there are some."""

from __future__ import annotations

from collections.abc import Iterable


class OpenClaims:
    """Rows with a claim and no result, by the commit that claimed them last.

    >>> claims = OpenClaims()
    >>> claims.claimed(1, [10, 11])
    >>> claims.claimed(2, [12])
    >>> claims.ended([10, 12])
    >>> claims.oldest(3)
    1
    >>> claims.ended([11])
    >>> claims.oldest(3)
    3
    """

    def __init__(self) -> None:
        self._commit_of: dict[int, int] = {}
        self._left: dict[int, int] = {}  # number of a commit, ascending -> its rows without result

    def oldest(self, following: int) -> int:
        """Number of the first commit with an open claim; `following` if there is none."""
        return min(next(iter(self._left), following), following)

    def claimed(self, number: int, rows: Iterable[int]) -> None:
        """Note the claims of a commit; a row that was claimed before belongs to this one now."""
        fresh = dict.fromkeys(rows, number)
        self.ended(self._commit_of.keys() & fresh.keys())
        if fresh:
            self._commit_of.update(fresh)
            self._left[number] = self._left.get(number, 0) + len(fresh)

    def ended(self, rows: Iterable[int]) -> None:
        """Note results of rows, or their release."""
        commit_of, left = self._commit_of, self._left
        for row in rows:
            number = commit_of.pop(row, None)
            if number is not None:
                left[number] -= 1
                if not left[number]:
                    del left[number]

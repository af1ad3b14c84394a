"""The error for one cell."""

from __future__ import annotations


class CellError(ValueError):
    """A cell that cannot be read.

    what      what is wrong; the same text for every cell with this fault
    expected  what would be right; None if `what` says it
    todo      how to fix it; None if that is obvious
    """

    def __init__(self, what: str, expected: str | None = None, todo: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.todo = todo

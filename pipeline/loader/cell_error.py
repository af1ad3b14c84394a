"""What is wrong with one cell."""

from __future__ import annotations


class CellError(ValueError):
    """A cell that cannot be read.

    what      what is wrong, the same words for every cell with this trouble
    expected  what would have been right; None where `what` says it
    todo      what to do about it; None where that is plain
    """

    def __init__(self, what: str, expected: str | None = None, todo: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.todo = todo

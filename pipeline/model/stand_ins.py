"""What stands in place of a cell that is not handed out as a value. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CELL_BYTES = 1 << 20
"""Of text in UTF-8. A cell of JSON may be long; the csv module stops at 131,072 characters."""


@dataclass(frozen=True, slots=True, repr=False)
class BeyondCalendar:
    """Stands for a timestamp of a Parquet file that Python cannot hold, being outside 1 to 9999.

    text  what it is: `infinity`, `-infinity`, or the count and unit that the file holds
    """

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, repr=False)
class TooLong:
    """Stands for text that is longer than MAX_CELL_BYTES, with the start of it."""

    start: str

    def __repr__(self) -> str:
        return repr(self.start)

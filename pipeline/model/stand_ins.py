"""Stand-ins for cells that cannot be returned as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CELL_BYTES = 1 << 20
"""Limit on a cell's text in UTF-8. JSON may be long; Python's csv module allows 131,072."""


@dataclass(frozen=True, slots=True, repr=False)
class BeyondCalendar:
    """A timestamp of a Parquet file outside the years 1 to 9999.

    text  `infinity`, `-infinity`, or the count and unit in the file
    """

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, repr=False)
class TooLong:
    """Text that is longer than MAX_CELL_BYTES.

    start  its first characters
    """

    start: str

    def __repr__(self) -> str:
        return repr(self.start)

"""A pause that a vendor asked for, and who was asked."""

from __future__ import annotations

from typing import NamedTuple


class AskedPause(NamedTuple):
    """Until when nobody sends with a credential.

    until_s  when it ends, UTC seconds since 1970
    asked_s  when it was asked for; 0 where that is not on record
    run      whose request was answered so; empty where it was no run's, or is not on record
    words    what the vendor said, to be shown; empty where that is not on record
    """

    until_s: float
    asked_s: float = 0.0
    run: str = ""
    words: str = ""

"""A pause that a vendor asked for."""

from __future__ import annotations

from typing import NamedTuple


class AskedPause(NamedTuple):
    """A time until which no request is sent with a credential.

    until_s  end of the pause, UTC seconds since 1970
    asked_s  time when the vendor asked for it; 0 if unknown
    run      run whose request the vendor answered; empty if none or unknown
    words    the vendor's message; empty if unknown
    """

    until_s: float
    asked_s: float = 0.0
    run: str = ""
    words: str = ""

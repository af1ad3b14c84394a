"""What one process did for one account of a run: a run that was resumed has several."""

from __future__ import annotations

from typing import NamedTuple


class Leg(NamedTuple):
    """One account in one process's part of a run.

    number      of the process, from 1
    began_at_s  UTC seconds since 1970, when it began to send
    last_at_s   when this was noted last: what a killed process did after it is not known
    requests    that left, `retries` of them not the first of their row
    sending_s   seconds from the first request to the last answer
    is_over     whether the process has said that it sends no more; of a killed one it stays False
    """

    number: int
    account: str
    began_at_s: float
    last_at_s: float
    requests: int = 0
    retries: int = 0
    sending_s: float = 0.0
    is_over: bool = False

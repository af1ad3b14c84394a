"""The work of one process for one account of a run. A resumed run has several legs."""

from __future__ import annotations

from typing import NamedTuple


class Leg(NamedTuple):
    """One account in one process of a run.

    number      of the process, from 1
    began_at_s  start of sending, UTC seconds since 1970
    last_at_s   time of the last update of this entry; work of a killed process after it is unknown
    requests    requests sent, including `retries`
    sending_s   seconds from the first request to the last answer
    is_over     True once the process stopped sending; stays False for a killed process
    """

    number: int
    account: str
    began_at_s: float
    last_at_s: float
    requests: int = 0
    retries: int = 0
    sending_s: float = 0.0
    is_over: bool = False

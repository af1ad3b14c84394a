"""How far a run is: what a display needs to know, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.model.result import Status


class RecentError(NamedTuple):
    """A kind of answer that was no success.

    words  of the last one of them
    times  that it came so far
    """

    code: str
    words: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountProgress:
    """One account at one moment.

    rows             jobs of this account in the run
    done             rows that this process gave a result, per status
    done_before      rows that had one before, as far as they were read
    sent             requests that left, `retries` of them not the first of their row
    sending_s        seconds from the first request to the last answer so far
    in_flight        requests under way now, of at most `in_flight_limit`
    retrying         rows that wait for their next attempt
    pause_left_s     seconds until the vendor allows the next request; 0 where it asks for no pause
    quota            as configured, for example "20/s, 1000/min", or "auto"
    quota_per_s      the rate that it allows in the long run; 0 where that is learned
    rate_per_s       the rate in force: less than that where the vendor refuses it or somebody asks
                     for less, more within a quota that is used in bursts; 0 where nothing bounds it
    is_probing       the vendor is down, and asked with one request at a time
    is_held_up       no more rows are read: too many wait for others of their entity, or for their
                     next attempt
    stopped          why the account takes no more rows; None while it does
    troubles         the last kinds of answers that were no success, newest first
    """

    account: str
    rows: int
    done: Mapping[Status, int]
    done_before: Mapping[Status, int] = field(default_factory=dict)
    sent: int = 0
    retries: int = 0
    sending_s: float = 0.0
    in_flight: int = 0
    in_flight_limit: int = 0
    retrying: int = 0
    pause_left_s: float = 0.0
    quota: str = ""
    quota_per_s: float = 0.0
    rate_per_s: float = 0.0
    is_probing: bool = False
    is_held_up: bool = False
    stopped: str | None = None
    troubles: tuple[RecentError, ...] = ()

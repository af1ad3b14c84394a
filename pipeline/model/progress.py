"""How far a run is: what a display needs to know, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.model.result import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountProgress:
    """One account at one moment.

    rows             jobs of this account in the run
    done             rows that have a result, per status
    sent             requests that left, `retries` of them not the first of their row
    sending_s        seconds from the first request to the last answer so far
    in_flight        requests under way now, of at most `in_flight_limit`
    retrying         rows that wait for their next attempt
    pause_left_s     seconds until the vendor allows the next request; 0 where it asks for no pause
    quota            as configured, for example "20/s, 1000/min"
    quota_per_s      the rate in force: what that allows, or less where the vendor refuses at that;
                     0 where nothing bounds it
    is_probing       the vendor is down, and asked with one request at a time
    stopped          why the account takes no more rows; None while it does
    """

    account: str
    rows: int
    done: Mapping[Status, int]
    sent: int = 0
    retries: int = 0
    sending_s: float = 0.0
    in_flight: int = 0
    in_flight_limit: int = 0
    retrying: int = 0
    pause_left_s: float = 0.0
    quota: str = ""
    quota_per_s: float = 0.0
    is_probing: bool = False
    stopped: str | None = None

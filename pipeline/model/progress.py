"""The progress of a run, for displays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.model.result import Status


class RecentError(NamedTuple):
    """A kind of error among recent answers.

    words  message of the last one
    times  number of times so far
    """

    code: str
    words: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountProgress:
    """One account at one moment.

    rows             jobs of this account in the run
    done             results of this process, per status
    done_before      results of earlier processes, per status, as far as they were read
    sent             requests sent, including `retries`
    sending_s        seconds from the first request to the last answer so far
    in_flight        requests in flight now, of at most `in_flight_limit`
    retrying         rows that wait for their next attempt
    pause_left_s     seconds until the vendor allows the next request; 0 without a pause
    quota            as configured, for example "20/s, 1000/min", or "auto"
    quota_per_s      long-term rate of the quota; 0 if the rate is learned
    rate_per_s       current rate: lower than the quota's if the vendor or a user lowers it, higher
                     in a burst; 0 if unlimited
    is_probing       True while the vendor is down and gets one request at a time
    is_held_up       True if no more rows are read, because too many wait for another row of their
                     entity or for their next attempt
    stopped          reason why the account was stopped; None if it was not
    recent_errors    recent kinds of errors, newest first
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
    recent_errors: tuple[RecentError, ...] = ()

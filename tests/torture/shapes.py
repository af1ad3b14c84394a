"""What a run is of: its operations, how its accounts are configured, and whether it is undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.torture.judge import ATTEMPTS, MAX_OUTAGE_S
from tests.torture.rows import (
    BAD_IDS,
    COUPONS,
    OFFERS,
    PROMOTIONS,
    STATUSES,
    File,
    Sorts,
    file_of,
)
from tests.workplace import BILLING, CONFIG, JOURNEY, Simulator

MORE = f"attempts = {ATTEMPTS}\nmax_outage_s = {MAX_OUTAGE_S}"
IN_FLIGHT = 8
MAX_BATCH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A sort of run.

    times              how often entities and rows of `sorts` are there
    has_preconditions  Adobe's rows that may not be repeated carry a precondition
    records_previous   it records previous states, and is undone at its end
    shares             shares of each account
    workers            processes that send it, beside the one that began it; None: none
    timeout_s          of a request; the vendor MUST answer within it, unless it is told not to
    """

    name: str
    sorts: Sorts
    times: int = 1
    has_preconditions: bool = True
    records_previous: bool = False
    shares: int = 1
    workers: int | None = None
    timeout_s: float = 1.0

    def file(self, run: int, seed: int) -> File:
        """The file of a run."""
        return file_of(run, seed, tuple((self.times * count, rows) for count, rows in self.sorts))

    def config(self, vendor: Simulator) -> str:
        """`pipeline.toml`, with an account of each vendor."""
        more = f"{MORE}\nshares = {self.shares}\ntimeout_s = {self.timeout_s}"
        preconditions = f"preconditions = {str(self.has_preconditions).lower()}"
        url, shared = vendor.url, {"in_flight": IN_FLIGHT, "more": more}
        return "".join(
            (
                CONFIG.format(base_url=vendor.base_url, quota='"100000/s"', **shared),
                JOURNEY.format(url=url, in_flight=IN_FLIGHT, more=f"{more}\n{preconditions}"),
                BILLING.format(url=url, max_batch=MAX_BATCH, **shared),
            )
        )

    @property
    def options(self) -> tuple[str, ...]:
        """Options of its `pipeline run`."""
        return (*self.options_to_resume, *("--record-previous",) * self.records_previous)

    @property
    def options_to_resume(self) -> tuple[str, ...]:
        """Options of its `pipeline resume`."""
        return () if self.workers is None else ("--workers", str(self.workers))


ALL = (*COUPONS, *PROMOTIONS, *OFFERS, *STATUSES)
SHAPES = (
    Shape(name="all", sorts=(*ALL, *BAD_IDS), has_preconditions=False),
    Shape(name="all, guarded", sorts=ALL),
    Shape(name="all, in shares", sorts=ALL, has_preconditions=False, shares=3),
    Shape(name="offers, bare", sorts=OFFERS, times=3, has_preconditions=False),
    Shape(name="offers, undone", sorts=OFFERS, times=2, records_previous=True),
    Shape(name="coupons", sorts=COUPONS, times=3),
    Shape(name="coupons, undone", sorts=COUPONS, records_previous=True),
    Shape(name="promotions", sorts=PROMOTIONS, times=8),
    Shape(name="promotions, undone", sorts=PROMOTIONS, times=3, records_previous=True),
    Shape(name="statuses", sorts=(*STATUSES, *BAD_IDS), times=3),
)
_BY_WORKERS: dict[str, Any] = {
    "shares": 4,
    "workers": 2,
    "timeout_s": 5.0,
}  # many processes on a busy machine
BY_WORKERS = (
    Shape(name="all, by workers", sorts=ALL, times=2, has_preconditions=False, **_BY_WORKERS),
    Shape(name="coupons, by workers", sorts=COUPONS, times=3, **_BY_WORKERS),
)
"""In a database only: what a worker leaves on files is in a record of each share."""

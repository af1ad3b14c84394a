"""Simulates many workers that send the shares of a run, in virtual time.

Events are shares that are taken or done. Between two events every rate is constant: the quota of
a share, the core of its worker and the database bound it. The numbers of the policy come from the
code that sends; what a row costs comes from measurements.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.jobs.shares import shares_for
from pipeline.pacing.quota_parts import QuotaPart
from pipeline.run.share_rules import rest_s
from pipeline.store.lease_renewal import _PARTS
from pipeline.store.postgres.leases import TTL_S
from pipeline.workers.claim_ahead import MAX_AHEAD
from pipeline.workers.recorder import COMMIT_EVERY_S

RENEW_EVERY_S = TTL_S / _PARTS
MICRO = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is sent.

    per_s      quota of an account; infinity: none
    shares     parts of an account, as configured
    in_flight  requests of an account
    latency_s  of a request
    """

    rows: int
    accounts: int = 1
    per_s: float = math.inf
    shares: int = 1
    in_flight: int = 64
    latency_s: float = 0.02

    @property
    def parts(self) -> list[QuotaPart]:
        """The shares of all accounts."""
        of = shares_for(self.rows // self.accounts, self.shares)
        return [
            QuotaPart(f"account {account}", number, of)
            for account in range(self.accounts)
            for number in range(of)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What sends it: workers with a core each, databases that share the accounts, and processes
    that each prepare and report a file of their own.
    """

    workers: int = 1
    databases: int = 1
    planners: int = 1


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of it; times in seconds, uses as shares of what there is.

    limit          what bounds the rate while most shares are sent
    spread_s       until no share was left to take, or the end
    commit_wait_s  longest time from a result to its record
    worker_use     of the core of the busiest worker
    """

    prepare_s: float
    send_s: float = 0.0
    report_s: float
    limit: str = "quota"
    rows_per_s: float = 0.0
    spread_s: float = 0.0
    commit_wait_s: float = 0.0
    database_use: float = 0.0
    worker_use: float = 0.0
    renewals_per_s: float = 0.0

    @property
    def hours(self) -> float:
        """From the file to the report."""
        return (self.prepare_s + self.send_s + self.report_s) / 3600


@dataclass(slots=True)
class _Share:
    rate: float  # rows per second that quota and connections allow
    left: float  # rows, at the virtual time `at`
    at: float = 0.0
    version: int = 0


@dataclass(slots=True)
class _Worker:
    held: set[int] = field(default_factory=set)  # numbers of shares
    wanted: float = 0.0  # rows per second of its shares
    factor: float = 1.0  # of all rates, by its core
    is_claiming: bool = True


@dataclass(frozen=True, slots=True)
class Database:
    """What a database does to rates.

    factor    of all rates
    wait_s    time between two commits of a share
    use       of the time of the database
    """

    factor: float
    wait_s: float
    use: float


def database(rows_per_s: float, shares: int, costs: Mapping[str, float], many: int) -> Database:
    """How `many` databases bear so many rows a second of so many shares.

    Each share has one commit under way at most. While commits queue, they grow: up to as many rows
    as are claimed ahead.

    >>> costs = {"commit_us": 1000.0, "commit_row_us": 10.0}
    >>> database(100.0, 1, costs, 1)
    Database(factor=1.0, wait_s=0.02, use=0.051)
    >>> round(database(1e6, 1000, costs, 1).factor, 4)  # 1 / (10 us + 1 ms / 512 rows) of 1e6
    0.0837
    """
    if not (rows_per_s and shares):
        return Database(1.0, COMMIT_EVERY_S, 0.0)
    fixed, per_row = costs["commit_us"] * MICRO / many, costs["commit_row_us"] * MICRO / many
    busy = rows_per_s * per_row
    wait_s = max(COMMIT_EVERY_S, shares * fixed / (1 - busy)) if busy < 1 else math.inf
    if rows_per_s / shares * wait_s <= MAX_AHEAD:
        commits_per_s = min(shares / wait_s, rows_per_s)
        return Database(1.0, wait_s, round(commits_per_s * fixed + busy, 6))
    factor = min(1.0, 1 / (rows_per_s * (per_row + fixed / MAX_AHEAD)))
    return Database(factor, MAX_AHEAD * shares / (rows_per_s * factor), 1.0)


class Simulation:
    """One run.

    costs  name -> value, as in docs/limits.json
    """

    def __init__(self, load: Workload, fleet: Fleet, costs: Mapping[str, float]) -> None:
        self._costs, self._fleet = costs, fleet
        self._row_s = (costs["send_us"] + costs["record_us"]) * MICRO
        parts = load.parts
        rows = load.rows / len(parts)
        self._shares = [
            _Share(
                min(
                    load.per_s * costs["quota_used"] / part.of,
                    load.in_flight / part.of / load.latency_s,
                ),
                rows,
            )
            for part in parts
        ]
        self._next_share = 0
        self._workers = [_Worker() for _ in range(fleet.workers)]
        self._claims = [(number * MICRO, number) for number in range(fleet.workers)]
        self._ends: list[tuple[float, int, int, int]] = []  # virtual time, share, version, worker
        self._now_s = self._virtual = 0.0  # virtual time runs as fast as the database allows
        self._wanted, self._rate, self._held = 0.0, 0.0, 0
        self._database = database(0.0, 0, costs, fleet.databases)
        self._time_of: dict[str, float] = {}
        planners = fleet.planners / MICRO
        self._outcome = Outcome(
            prepare_s=load.rows * (costs["take_us"] + costs["bind_us"]) / planners,
            report_s=load.rows * costs["report_us"] / planners,
        )

    def run(self) -> Outcome:
        """Send all rows."""
        total = sum(share.left for share in self._shares)
        while self._claims or self._ends:
            claim_s = self._claims[0][0] if self._claims else math.inf
            if self._ends:
                ahead = max(0.0, self._ends[0][0] - self._virtual)
                end_s = self._now_s + ahead / self._database.factor
            else:
                end_s = math.inf
            self._advance(min(claim_s, end_s))
            if claim_s <= end_s:
                self._claim(heapq.heappop(self._claims)[1])
            else:
                self._end(heapq.heappop(self._ends))
        outcome = self._outcome
        outcome.send_s = self._now_s
        outcome.rows_per_s = total / self._now_s
        outcome.limit = max(self._time_of, key=self._time_of.__getitem__)
        return outcome

    def _advance(self, to_s: float) -> None:
        passed_s = to_s - self._now_s
        limit = self._limit()
        self._time_of[limit] = self._time_of.get(limit, 0.0) + passed_s * self._rate
        self._now_s = to_s
        self._virtual += passed_s * self._database.factor

    def _limit(self) -> str:
        if self._database.factor < 1:
            return "database"
        return "cores of workers" if self._wanted > self._rate * 1.001 else "quota"

    def _claim(self, number: int) -> None:
        worker = self._workers[number]
        worker.is_claiming = self._next_share < len(self._shares)
        if not worker.is_claiming:
            return
        self._change(number, gained=self._next_share)
        self._next_share += 1
        next_s = self._now_s + rest_s(len(worker.held)) + 1 / self._costs["claims_per_s"]
        heapq.heappush(self._claims, (next_s, number))
        if self._next_share == len(self._shares):
            self._outcome.spread_s = self._now_s

    def _end(self, event: tuple[float, int, int, int]) -> None:
        _, index, version, number = event
        if self._shares[index].version != version:
            return  # its rate has changed since
        self._change(number, lost=index)
        if not self._workers[number].is_claiming:
            heapq.heappush(self._claims, (self._now_s, number))

    def _change(self, number: int, *, gained: int | None = None, lost: int | None = None) -> None:
        """Give a share to a worker, or take one away. Its core may change the rates of all."""
        worker = self._workers[number]
        wanted, factor = worker.wanted, worker.factor
        if gained is not None:
            worker.held.add(gained)
            worker.wanted += self._shares[gained].rate
        if lost is not None:
            worker.held.remove(lost)
            worker.wanted = sum(self._shares[each].rate for each in worker.held)
        use = worker.wanted * self._row_s
        worker.factor = min(1.0, 1 / use) if use else 1.0
        for index in worker.held if worker.factor != factor else {gained} & worker.held:
            self._plan_end(index, number, 0.0 if index == gained else factor)
        self._held += (gained is not None) - (lost is not None)
        self._wanted += worker.wanted - wanted
        self._rate = max(0.0, self._rate + worker.wanted * worker.factor - wanted * factor)
        self._database = database(self._rate, self._held, self._costs, self._fleet.databases)
        self._note(min(1.0, use) * self._database.factor)

    def _plan_end(self, index: int, number: int, old_factor: float) -> None:
        share = self._shares[index]
        share.left = max(0.0, share.left - share.rate * old_factor * (self._virtual - share.at))
        share.at = self._virtual
        share.version += 1
        end = self._virtual + share.left / (share.rate * self._workers[number].factor)
        heapq.heappush(self._ends, (end, index, share.version, number))

    def _note(self, worker_use: float) -> None:
        outcome = self._outcome
        outcome.worker_use = max(outcome.worker_use, worker_use)
        outcome.commit_wait_s = max(outcome.commit_wait_s, self._database.wait_s)
        outcome.database_use = max(outcome.database_use, self._database.use)
        outcome.renewals_per_s = max(outcome.renewals_per_s, self._held / RENEW_EVERY_S)


def simulate(load: Workload, fleet: Fleet, costs: Mapping[str, float]) -> Outcome:
    """What becomes of a workload on a fleet."""
    return Simulation(load, fleet, costs).run()

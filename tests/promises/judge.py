"""What became of a file: whether each row that can be sent was, in time, and nothing besides."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import anyio

from pipeline.model import RowResult
from pipeline.model.quota import parse_quota
from tests.promises.files import Case
from tests.promises.shop import ATTEMPTS, Sent, Shop, account, jobs
from tests.scenarios import virtual_time
from tests.scenarios.ours import Leg, send_jobs

FACTOR = 3.0
PER_BAD_S = 20.0
BEGIN_S = 60.0
MAX_LEGS, LEGS_PER_BAD = 20, 2
RESUMED_AFTER_S = 10.0
DONE = 204
TOO_FEW = 12
FOREVER_S = 1e7


@dataclass(frozen=True)
class Run:
    """What happened: the legs of a run, and all that arrived."""

    case: Case
    legs: Sequence[Leg]
    log: Sequence[Sent]

    @cached_property
    def updates(self) -> list[Sent]:
        """What was sent to change something, in order."""
        return sorted((s for s in self.log if not s.is_read), key=lambda sent: sent.left_s)

    @cached_property
    def results(self) -> dict[int, RowResult]:
        """By row."""
        return {each.row: each for leg in self.legs for each in leg.results}


def play(case: Case, stops_s: Sequence[float] = ()) -> Run:
    """Send the file. Where the account stops, the run is carried on.

    stops_s  after so long the first process is stopped, the second one, ...
    """

    async def main() -> Run:
        clock = asyncio.get_running_loop().time
        shop = Shop(case.terms, case.lines, clock)
        legs: list[Leg] = []
        most_legs = MAX_LEGS + LEGS_PER_BAD * sum(bool(line.bad) for line in case.lines)
        while len(legs) <= len(stops_s) or (legs[-1].stopped and len(legs) < most_legs):
            leg = await send_jobs(
                account(case.terms),
                jobs(case.terms, case.lines),
                shop.send,
                lasts_s=stops_s[len(legs)] if len(legs) < len(stops_s) else FOREVER_S,
                clock=clock,
                seed=case.seed,
                earlier=legs,
                fail_fast_after=0,
            )
            legs.append(leg)
            if len(legs) > len(stops_s):
                await anyio.sleep(RESUMED_AFTER_S)
        return Run(case, legs, shop.log)

    return virtual_time.run(main)


def within_s(run: Run) -> float:
    """Until when the last row that can be sent is sent first."""
    case, terms = run.case, run.case.terms
    rows = len(case.lines)
    requests = rows * (3 if terms.manner == "adobe" else 1)
    quota_s = requests / parse_quota(terms.quota).per_second
    bad = sum(bool(line.bad) for line in case.lines)
    hang_s = (ATTEMPTS + math.ceil(math.log2(terms.groups))) * terms.timeout_s
    down_s = sum(2 * (outage.until_s - outage.from_s) + 20 for outage in terms.outages)
    legs_s = len(run.legs) * (terms.max_outage_s + BEGIN_S)
    return FACTOR * quota_s + bad * (PER_BAD_S + hang_s) + down_s + legs_s


def unsafe(run: Run) -> list[str]:
    """What was lost, sent once more though it was answered, or sent out of order."""
    return [*_results_wrong(run), *_sent_again(run), *_disorder(run)]


def _results_wrong(run: Run) -> list[str]:
    ended: dict[int, str] = {}
    found = []
    applied = {row for sent in run.updates if sent.met == DONE for row in sent.rows}
    for leg in run.legs:
        for row, status in ((each.row, str(each.status)) for each in leg.results):
            if ended.get(row, "not_attempted") != "not_attempted":
                found.append(f"row {row} ended {ended[row]}, then {status}")
            ended[row] = status
    for row, status in ended.items():
        if (row in applied) is not (status == "updated") and status != "unknown":
            found.append(f"row {row} ended {status}, applied: {row in applied}")
    left = set(range(1, len(run.case.lines) + 1)) - ended.keys()
    if not run.legs[-1].stopped and left:
        found.append(f"rows {sorted(left)} have no result")
    return found


def _sent_again(run: Run) -> list[str]:
    answered: set[int] = set()
    in_doubt: set[int] = set()  # a refusal does not settle what a lost request before it did
    found = []
    for sent in run.updates:
        if answered & set(sent.rows):
            found.append(f"{sent} was answered already")
        if sent.met == DONE or (sent.met == 422 and len(sent.rows) == 1):
            answered |= set(sent.rows) - (in_doubt if sent.met != DONE else set())
        elif sent.met != 422:
            in_doubt |= set(sent.rows)
    return found


def _disorder(run: Run) -> list[str]:
    latest: dict[str, int] = defaultdict(int)
    found = []
    for sent in run.updates:
        for row in sent.rows:
            entity = run.case.lines[row - 1].entity
            if row < latest[entity]:
                found.append(f"row {row} left after row {latest[entity]} of {entity}")
            latest[entity] = max(latest[entity], row)
    return found


def starved(run: Run) -> list[str]:
    """Rows that can be sent and were not, or not in time, or not to their end."""
    first_s = {row: sent.left_s for sent in reversed(run.updates) for row in sent.rows}
    found = []
    until_s = within_s(run)
    for row, line in enumerate(run.case.lines, 1):
        result = run.results.get(row)
        status = "" if result is None else str(result.status)
        if line.bad or _is_behind(result) or (status != "updated" and _is_excused(run, row)):
            continue
        if row not in first_s:
            found.append(f"row {row} was never sent: {status or run.legs[-1].stopped}")
        elif first_s[row] > until_s:
            found.append(f"row {row} was sent at {first_s[row]:.0f} s, not within {until_s:.0f} s")
        if status != "updated":
            found.append(f"row {row} ended {status or 'not'}: {run.legs[-1].stopped}")
    return found


def _is_excused(run: Run, row: int) -> bool:
    """Whether the vendor was down when the row was sent, or the process stopped; if it may be
    repeated, each time, and when next to nothing else was left to tell a vendor that is down from a
    row that is bad.
    """
    sent = [each for each in run.log if row in each.rows]
    faults = [each for each in sent if each.is_fault]
    if run.case.lines[row - 1].is_once:
        return bool(faults) or any(not each.met for each in sent)
    if not faults or sum(each.met != DONE for each in sent) < ATTEMPTS:
        return False
    later = (each for each in run.log if each.left_s > faults[0].left_s)
    entities = {run.case.lines[other - 1].entity for each in later for other in each.rows}
    return len(entities) < TOO_FEW


def _is_behind(result: RowResult | None) -> bool:
    return result is not None and result.error_code == "behind_unknown"

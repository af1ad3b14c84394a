"""Estimate how long a prepared run takes per account, and whether it finishes in time."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pipeline.jobs import JobsFile
from pipeline.jobs.shares import shares_for
from pipeline.model import EntityKey
from pipeline.model.formatting import about, counted, duration
from pipeline.model.pause import AskedPause
from pipeline.pacing.pause import describe_stop, describe_wait, remaining_s
from pipeline.run import Prepared, ScheduleWindow, recorded_latency_s, rows_left, to_the_minute
from pipeline.run.estimate import ASSUMED_LATENCY_S, Bottleneck, Estimate, estimate_sending
from pipeline.run.pauses import pause_on_record
from pipeline.vendors import Account


class AccountEstimate(NamedTuple):
    """Estimate for one account.

    rows       operation -> rows without a recorded result
    requests   including reads before rows
    latency_s  usual latency of a reply; None if unknown
    pause      recorded pause that the vendor asked for; None if there is none
    pause_s    seconds left of it
    """

    account: Account
    jobs: JobsFile
    rows: Mapping[str, int]
    requests: int
    forecast: Estimate
    latency_s: float | None
    pause: AskedPause | None = None
    pause_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds until the last row, including a pause that the account waits for."""
        return self.forecast.seconds + (0.0 if self.is_stopped else self.pause_s)

    @property
    def is_stopped(self) -> bool:
        """True if the pause is longer than the account's `max_wait_s`, so it would stop at once."""
        return self.pause_s > self.account.max_wait_s

    @property
    def pause_text(self) -> str | None:
        """A warning about a recorded pause; None if there is none."""
        if self.pause is None:
            return None
        name, most_s, now_s = self.account.name, self.account.max_wait_s, time.time()
        if self.is_stopped:
            words = describe_stop(self.pause, now_s, name, most_s)
            return f"{name} would send nothing now: {words}"
        return f"{name}: {describe_wait(self.pause, now_s, name)}"

    @property
    def bound(self) -> str:
        """The limit of the speed if it is not the quota; else empty."""
        if self.forecast.bound is Bottleneck.IN_FLIGHT and self.latency_s is not None:
            usual = duration(self.latency_s)
            return f"in_flight {self.account.in_flight} and a usual reply time of {usual}"
        if self.forecast.bound is Bottleneck.ENTITY and self.jobs.hottest is not None:
            rows = counted(self.jobs.hottest.jobs, "row")
            return f"{rows} for one entity are sent one by one"
        return "" if self.account.quotas else f"{self.account.mean_per_s:.3g}/s at the start"

    @property
    def warning(self) -> str | None:
        """A warning if rows of one entity determine the duration; else None."""
        hottest = self.jobs.hottest
        if hottest is None or self.forecast.bound is not Bottleneck.ENTITY:
            return None
        key = EntityKey.parse(hottest.entity)
        each = "" if self.latency_s else f" if a reply takes {ASSUMED_LATENCY_S:g} s"
        return (
            f"{key.kind}:{key.id} (first in row {hottest.row}) appears {hottest.jobs:,} times. "
            f"These rows are sent one by one: about {about(self.forecast.seconds)}{each}"
        )


class RunEstimate:
    """Estimates for the files of one command; files for one account are sent one after the other.

    window  when rows may be sent
    """

    def __init__(self, window: ScheduleWindow) -> None:
        self._window = window
        self._ahead_s: defaultdict[str, float] = defaultdict(float)

    def accounts(self, prepared: Prepared) -> list[AccountEstimate]:
        """The estimate of each account of a run."""
        return list(_estimates(prepared))

    def until(self, found: list[AccountEstimate]) -> tuple[str, bool]:
        """When the run stops and how that fits, for messages; and True if it finishes in time.

        The files of earlier calls are counted as sent before this one.
        """
        end = self._window.until
        start_at = self._window.start_at
        for each in found:
            waits_s = self._ahead_s.get(each.account.name)
            self._ahead_s[each.account.name] += (
                each.seconds if waits_s is None else each.forecast.seconds
            )
        if end is None or not found:
            return "", True
        begins_s = self._window.utc() if start_at is None else start_at.timestamp()
        needs_s = max(self._ahead_s[each.account.name] for each in found)
        spare_s = end.timestamp() - begins_s - needs_s
        when = to_the_minute(end)
        if spare_s >= 0:
            return f"{when}: expected to finish about {about(spare_s)} earlier", True
        return (
            f"Will not finish by {when}: about {about(-spare_s)} more needed; "
            "continue with `pipeline resume`"
        ), False


def _estimates(prepared: Prepared) -> Iterator[AccountEstimate]:
    left = rows_left(prepared)
    for account in prepared.accounts:
        jobs = prepared.bound.jobs[account.name]
        latency_s = recorded_latency_s(prepared.config, account)
        requests = jobs.requests + _reads_beforehand(prepared, account, jobs)
        requests = _share_of(requests, left[account.name].total(), jobs.rows)
        sent = account if shares_for(jobs.rows, account.shares) > 1 else account.part(0)
        lasts = estimate_sending(
            requests,
            _hottest(jobs, left[account.name].total(), coalesce=prepared.options.coalesce),
            per_s=sent.mean_per_s,
            in_flight=sent.in_flight,
            latency_s=latency_s,
        )
        now_s = time.time()
        pause = pause_on_record(prepared.config, account.name, os.environ, now_s)
        pause_s = 0.0 if pause is None else remaining_s(pause, now_s)
        yield AccountEstimate(
            account, jobs, left[account.name], requests, lasts, latency_s, pause, pause_s
        )


def _share_of(requests: int, left: int, rows: int) -> int:
    """Requests for `left` of `rows` rows, rounded up in whole numbers: 62 of 120 are not 63.

    >>> _share_of(120, 62, 120), _share_of(7, 62, 120)
    (62, 4)
    """
    return -(-requests * left // rows)


def _hottest(jobs: JobsFile, left: int, *, coalesce: bool) -> int:
    """The most rows of one entity that are sent one by one; 0 if no entity has several."""
    return 0 if jobs.hottest is None or coalesce else min(jobs.hottest.jobs, left)


def _reads_beforehand(prepared: Prepared, account: Account, jobs: JobsFile) -> int:
    """Reads before rows are sent, one per row that the options or the row itself require."""
    if not (prepared.prechecks.skips or prepared.prechecks.remembers):
        return jobs.reads
    readable = {op.name for op in account.vendor.operations if op.reading and op.change}
    return sum(rows for name, rows in jobs.operations.items() if name in readable)

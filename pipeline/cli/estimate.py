"""How long a prepared run will take, account by account, and whether it ends in time."""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pipeline.jobs import JobsFile
from pipeline.model import EntityKey
from pipeline.model.formatting import about, counted, duration
from pipeline.model.pause import AskedPause
from pipeline.pacing.pause import describe_stop, describe_wait, remaining_s
from pipeline.run import Prepared, ScheduleWindow, recorded_latency_s, rows_left, to_the_minute
from pipeline.run.estimate import ASSUMED_LATENCY_S, Bottleneck, Estimate, estimate_sending
from pipeline.run.pauses import pause_on_record
from pipeline.vendors import Account


class AccountEstimate(NamedTuple):
    """What sending to one account takes.

    rows       operation -> rows of it that are not on record yet
    requests   reads that go before included
    latency_s  of a reply, as it usually is; None where nothing on record tells
    pause      of the vendor's, on record; None where there is none
    pause_s    so long it lasts still
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
        """From now on until it is through, a pause included that it waits for."""
        return self.forecast.seconds + (0.0 if self.is_stopped else self.pause_s)

    @property
    def is_stopped(self) -> bool:
        """Whether the account would stop at once, since the pause is longer than it waits."""
        return self.pause_s > self.account.max_wait_s

    @property
    def pause_words(self) -> str | None:
        """What is to be said of a pause on record; None where there is none."""
        if self.pause is None:
            return None
        name, most_s, now_s = self.account.name, self.account.max_wait_s, time.time()
        if self.is_stopped:
            words = describe_stop(self.pause, now_s, name, most_s)
            return f"{name} would send nothing now: {words}"
        return f"{name}: {describe_wait(self.pause, now_s, name)}"

    @property
    def bound(self) -> str:
        """Why it takes so long, where it is not the quota."""
        if self.forecast.bound is Bottleneck.IN_FLIGHT and self.latency_s is not None:
            usual = duration(self.latency_s)
            return f"in_flight {self.account.in_flight}, where a reply usually takes {usual}"
        if self.forecast.bound is Bottleneck.ENTITY and self.jobs.hottest is not None:
            rows = counted(self.jobs.hottest.jobs, "row")
            return f"one entity with {rows}, one after the other"
        return "" if self.account.quotas else f"{self.account.mean_per_s:.3g}/s to begin with"

    @property
    def warning(self) -> str | None:
        """What is to be said of an entity that holds up the run; None where none does."""
        hottest = self.jobs.hottest
        if hottest is None or self.forecast.bound is not Bottleneck.ENTITY:
            return None
        key = EntityKey.parse(hottest.entity)
        each = "" if self.latency_s else f" where a reply takes {ASSUMED_LATENCY_S:g} s"
        return (
            f"{key.kind}:{key.id} (first in row {hottest.row}) appears {hottest.jobs:,} times: "
            f"one after the other, about {about(self.forecast.seconds)}{each}"
        )


class RunEstimate:
    """Over the files of one command: those of one account go one after the other.

    window  when they may be sent
    """

    def __init__(self, window: ScheduleWindow) -> None:
        self._appointment = window
        self._ahead_s: defaultdict[str, float] = defaultdict(float)

    def prospects(self, prepared: Prepared) -> list[AccountEstimate]:
        """What each account of a run takes."""
        return list(_prospects(prepared))

    def until(self, found: list[AccountEstimate]) -> tuple[str, bool]:
        """When it stops and whether it is through by then, in words; and whether it is.

        The next files are taken to come after this one.
        """
        end = self._appointment.until
        start_at = self._appointment.start_at
        for each in found:
            waits_s = self._ahead_s.get(each.account.name)
            self._ahead_s[each.account.name] += (
                each.seconds if waits_s is None else each.forecast.seconds
            )
        if end is None or not found:
            return "", True
        begins_s = self._appointment.utc() if start_at is None else start_at.timestamp()
        needs_s = max(self._ahead_s[each.account.name] for each in found)
        spare_s = end.timestamp() - begins_s - needs_s
        when = to_the_minute(end)
        if spare_s >= 0:
            return f"{when}: through about {about(spare_s)} before", True
        return f"{when}: needs about {about(-spare_s)} more; the rest is for `resume`", False


def _prospects(prepared: Prepared) -> Iterator[AccountEstimate]:
    left = rows_left(prepared)
    for account in prepared.accounts:
        jobs = prepared.bound.jobs[account.name]
        share = left[account.name].total() / jobs.rows
        latency_s = recorded_latency_s(prepared.config, account)
        requests = math.ceil(share * (jobs.requests + _reads_beforehand(prepared, account, jobs)))
        lasts = estimate_sending(
            requests,
            _hottest(jobs, left[account.name].total(), coalesce=prepared.options.coalesce),
            per_s=account.mean_per_s,
            in_flight=account.in_flight,
            latency_s=latency_s,
        )
        now_s = time.time()
        pause = pause_on_record(prepared.config, account.name, os.environ, now_s)
        pause_s = 0.0 if pause is None else remaining_s(pause, now_s)
        yield AccountEstimate(
            account, jobs, left[account.name], requests, lasts, latency_s, pause, pause_s
        )


def _hottest(jobs: JobsFile, left: int, *, coalesce: bool) -> int:
    """Rows of one entity that go one after the other, at most; 0 where none has several."""
    return 0 if jobs.hottest is None or coalesce else min(jobs.hottest.jobs, left)


def _reads_beforehand(prepared: Prepared, account: Account, jobs: JobsFile) -> int:
    """One for each row that is read before it is sent: what the options or the rows ask for."""
    if not (prepared.looking.skips or prepared.looking.remembers):
        return jobs.reads
    readable = {op.name for op in account.vendor.operations if op.reading and op.change}
    return sum(rows for name, rows in jobs.operations.items() if name in readable)

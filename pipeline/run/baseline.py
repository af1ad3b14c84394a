"""Latencies and failures of earlier runs, as a baseline for new ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from operator import itemgetter

from pipeline.config import Config
from pipeline.model import SUCCESS, PipelineError, Status
from pipeline.run.anomaly import MAX_RUNS, FailureRate, describe_anomaly
from pipeline.run.estimate import mean_latency_s
from pipeline.run.prepared import Prepared
from pipeline.runs.registry import fingerprint, is_simulated, open_store
from pipeline.store import Run
from pipeline.vendors import Account

_RUNS_READ = 50
_SAMPLES = 600  # the last ten minutes of a run


def recorded_latency_s(config: Config, account: Account) -> float | None:
    """Mean seconds until a reply, in the last run that reached what the account reaches.

    None if there is no such run or its record cannot be read: this is only an estimate.
    """
    reached = fingerprint(account)
    store = open_store(config)
    for run in store.runs.all(states=("reported",), most=_RUNS_READ):
        names = [name for name, each in run.accounts.items() if each == reached]
        for name in names:
            samples = store.recent_samples(run.name, name, most=_SAMPLES)
            mean_s = mean_latency_s(each.latencies for each in samples)
            if mean_s is not None:
                return mean_s
    return None


def last_ends(config: Config) -> tuple[float | None, float | None]:
    """When the last run ended, and the last with exit code 0, without simulated runs.

    UTC seconds since 1970; None if there is none or the registry cannot be read.
    """
    try:
        found = open_store(config).runs.all(states=("reported",), most=_RUNS_READ)
    except PipelineError:
        return None, None
    ends = [(run.ended.timestamp(), run) for run in found if run.ended is not None]
    newest = sorted(ends, key=itemgetter(0), reverse=True)

    def last_of(some: Iterable[tuple[float, Run]]) -> float | None:
        return next((end_s for end_s, run in some if not is_simulated(config, run.name)), None)

    return last_of(newest), last_of(each for each in newest if each[1].exit_code == 0)


def failure_anomaly(prepared: Prepared, counts: Mapping[Status, int]) -> str:
    """A warning if far more rows failed than in the last runs of the same operations and accounts.

    counts  results of this run per status; rows that were not attempted are ignored

    Empty if that is not so, or if the registry cannot be read.
    """
    reached = {fingerprint(account) for account in prepared.accounts}
    operations = {name for file in prepared.bound.jobs.values() for name in file.operations}
    try:
        found = open_store(prepared.config).runs.all(states=("reported",), most=_RUNS_READ)
    except PipelineError:
        return ""
    like = [
        _share(run.counts)
        for run in found
        if run.name != prepared.run
        and run.continues is None
        and run.operations.keys() == operations
        and set(run.accounts.values()) == reached
    ]
    return describe_anomaly(_share(counts), [share for share in like if share.rows][:MAX_RUNS])


def _share(counts: Mapping[Status, int]) -> FailureRate:
    tried = Counter(counts)
    tried[Status.NOT_ATTEMPTED] = 0
    return FailureRate(sum(n for s, n in tried.items() if s not in SUCCESS), tried.total())

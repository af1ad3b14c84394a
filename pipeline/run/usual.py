"""What requests to an account usually take, as earlier runs have it on record."""

from __future__ import annotations

from pipeline.config import Config
from pipeline.ledger import recent_samples
from pipeline.policy.forecast import mean_latency_s
from pipeline.run.prepare import LEDGER
from pipeline.run.registry import fingerprint, open_registry
from pipeline.vendors import Account

_RUNS_LOOKED_AT = 50
_SAMPLES = 600  # the last ten minutes of a run


def usual_latency_s(config: Config, account: Account) -> float | None:
    """Seconds until a reply, in the last run that reached what the account reaches.

    None where none is on record, or its record cannot be read: it is only an estimate.
    """
    reached = fingerprint(account)
    with open_registry(config) as runs:
        found = runs.all(states=("reported",), most=_RUNS_LOOKED_AT)
    for run in found:
        names = [name for name, each in run.accounts.items() if each == reached]
        path = config.ledger_folder / "runs" / run.name / LEDGER
        for name in names:
            samples = recent_samples(path, name, most=_SAMPLES)
            mean_s = mean_latency_s(each.latencies for each in samples)
            if mean_s is not None:
                return mean_s
    return None

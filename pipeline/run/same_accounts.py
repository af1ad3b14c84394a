"""Checks that a run reaches the accounts that it began with, in the same shares."""

from __future__ import annotations

from pipeline.config import Config
from pipeline.config.shares import of_one_credential
from pipeline.loader import Bound
from pipeline.model import ConfigError, Fault, OtherSharesError, RunAborted
from pipeline.runs.registry import fingerprint, open_store
from pipeline.runs.run_folder import StoredRun, is_stored, load


def fits(stored: StoredRun, config: Config) -> bool:
    """True if the configuration still reaches the same accounts."""
    return all(
        name in config.accounts and fingerprint(config.outline(name)) == reached
        for name, reached in stored.accounts.items()
    )


def check_fits(stored: StoredRun, config: Config) -> None:
    """Raise ConfigError if the configuration leads elsewhere now."""
    if fits(stored, config):
        return
    if stored.is_simulated:
        gone = f"run {stored.run} was sent to a simulator, which is gone"
        raise ConfigError(Fault(what=gone, todo="Name a run that was sent to a vendor"))
    wanted = ", ".join(f"{name} ({reached})" for name, reached in stored.accounts.items())
    raise ConfigError(
        Fault(
            what=f"run {stored.run} was prepared for {wanted}, and the configuration leads "
            "elsewhere now",
            todo="Use the configuration that it began with",
        )
    )


def several_shares(config: Config, bound: Bound) -> dict[str, int]:
    """The number of shares of each account that has several."""
    numbers = {name: config.outline(name).shares for name in bound.jobs}
    return {name: shares for name, shares in numbers.items() if shares > 1}


def check_shares(stored: StoredRun, config: Config) -> None:
    """Raise OtherSharesError if an account has another number of shares than when the run began."""
    faults = [
        Fault(
            what=f"run {stored.run} began with shares = {before} for account {name}, and the "
            f"configuration says {now}",
            todo=f"Resume it with shares = {before}; later runs may have another number",
        )
        for name in stored.accounts
        if (now := config.outline(name).shares) != (before := stored.shares_of(name))
    ]
    if faults:
        raise OtherSharesError(faults)


def check_unfinished(stored: StoredRun, config: Config) -> None:
    """Raise OtherSharesError if an unfinished run uses one of its credentials in other shares.

    The two would send at parts of the quota that do not add up, if both were sent at once. Once it
    is on record, only runs from before count: of two that are prepared at once, the first goes on.
    """
    names = of_one_credential(config.accounts, stored.accounts)
    name_of = {fingerprint(config.outline(name)): name for name in names}
    store = open_store(config)
    own = store.runs.get(stored.run)
    for run in store.runs.unfinished(tuple(name_of)):
        files = store.files(run.name)
        is_later = own is not None and run.sequence >= own.sequence
        if is_later or not is_stored(files):
            continue
        try:
            other = load(files)
        except RunAborted:  # damaged: it is not resumed as it is
            continue
        for account, reached in other.accounts.items():
            before = other.shares_of(account)
            if reached in name_of and config.outline(name_of[reached]).shares != before:
                raise OtherSharesError([_other_shares(run.name, account, before)])


def _other_shares(run: str, account: str, shares: int) -> Fault:
    return Fault(
        what=f"run {run} is unfinished and began with shares = {shares} for account {account}",
        todo=f"Resume it with shares = {shares}, or remove it: `pipeline runs {run} --prune`",
    )

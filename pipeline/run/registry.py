"""The runs that this configuration's ledger knows, and what they have in common with new ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.config import Config
from pipeline.ledger import Lock, Run, Runs
from pipeline.model import RunAborted
from pipeline.run.stored import is_stored, load
from pipeline.vendors import Account

UNFINISHED = frozenset({"prepared", "sending"})


def fingerprint(account: Account) -> str:
    """What an account reaches; it stays the same while quotas, secrets and the name change."""
    settings = account.settings.model_dump(mode="json", include={"api"})
    api = settings.get("api", "")
    scope = account.vendor.scope(account.settings)
    return f"{account.vendor.name}|{account.link.base_url}|{api}|{scope}"


@contextmanager
def open_registry(config: Config) -> Iterator[Runs]:
    """The file that runs share. Raises RunAborted where it cannot be used."""
    try:
        config.ledger_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RunAborted(
            f"{config.ledger_folder} cannot be made: {error.strerror}. Mend its permissions, or "
            "set `ledger`"
        ) from error
    runs = Runs(config.ledger)
    try:
        yield runs
    finally:
        runs.close()


def lock_of(config: Config, run: str) -> Lock:
    """Held while a process works on the run."""
    return Lock(config.ledger_folder / "runs" / run / "lock")


def is_alive(config: Config, run: Run) -> bool:
    """Whether a process works on the run now."""
    if not (config.ledger_folder / "runs" / run.name).is_dir():
        return False
    with lock_of(config, run.name) as lock:
        return not lock.acquire(wait=False)


def is_rehearsal(config: Config, run: str) -> bool:
    """Whether the run was prepared for a simulator: where it went is gone with that."""
    folder = config.ledger_folder / "runs" / run
    return is_stored(folder) and load(folder).is_simulated

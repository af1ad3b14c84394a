"""The registry: the file that says which runs there are, shared by all runs of a configuration."""

from __future__ import annotations

import secrets
import string
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config import Config
from pipeline.model import RunAborted
from pipeline.runs.record import WITNESSES
from pipeline.runs.run_folder import StoredRun, is_stored, load
from pipeline.store import LedgerError, Lock, Run, Runs
from pipeline.store.on_files.registry_file import DamagedRegistryError
from pipeline.vendors import Account

UNFINISHED = frozenset({"prepared", "sending"})


def fingerprint(account: Account) -> str:
    """What an account reaches, whatever its name, quotas and secrets are.

    Who signs in there is known only once secrets are read: see `run/credentials.py`.
    """
    settings = account.settings.model_dump(mode="json", include={"api"})
    api = settings.get("api", "")
    scope = account.vendor.scope(account.settings)
    return f"{account.vendor.name}|{account.link.base_url}|{api}|{scope}"


@contextmanager
def open_registry(config: Config) -> Iterator[Runs]:
    """Open the registry: the file that all runs share.

    Raises RunAborted if it cannot be used, DamagedRegistryError if it is damaged.
    """
    try:
        config.ledger_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RunAborted(
            f"{config.ledger_folder} cannot be made: {error.strerror}. Fix its permissions, or "
            "set `ledger`"
        ) from error
    witness = config.ledger_folder / WITNESSES / config.ledger.name
    with _with_advice(config.ledger):
        runs = Runs(config.ledger, witness=witness, checks=config.checks)
        try:
            yield runs
        finally:
            runs.close()


@contextmanager
def _with_advice(ledger: Path) -> Iterator[None]:
    """Add to an error about damage of `ledger` what to do."""
    try:
        yield
    except DamagedRegistryError:
        raise
    except LedgerError as error:
        if not str(error).startswith(str(ledger)):  # about a run, or about another file
            raise
        raise DamagedRegistryError(
            f"{error}. It says which runs there are and what their quotas remember; nothing is "
            "sent without it. Reports stay. To continue without it, check at the vendor what "
            "unfinished runs have sent, then set `ledger` to a file in another folder"
        ) from error


def lock_of(config: Config, run: str) -> Lock:
    """The lock that a process holds while it works on the run."""
    return Lock(config.ledger_folder / "runs" / run / "lock")


def is_alive(config: Config, run: Run) -> bool:
    """True if a process works on the run now."""
    if not (config.ledger_folder / "runs" / run.name).is_dir():
        return False
    with lock_of(config, run.name) as lock:
        return not lock.acquire(wait=False)


def is_simulated(config: Config, run: str) -> bool:
    """True if the run was prepared for an embedded simulator, which is gone with its process.

    False if `run.json` is damaged.
    """
    folder = config.ledger_folder / "runs" / run
    try:
        return is_stored(folder) and load(folder).is_simulated
    except RunAborted:
        return False


def run_name(stem: str) -> str:
    """A new name, `<UTC time>-<stem>-<4 letters>`, safe as the name of a folder."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in stem)[:60]
    letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{safe or 'file'}-{letters}"


def register(
    stored: StoredRun, config: Config, checksum: str, *, continues: str | None = None
) -> str | None:
    """Put a new run on record, which fixes its position in time.

    checksum   of its description, as `save` returned it
    continues  the run whose failed rows it sends; None if it sends a file
    returns    the last run of the same content to the same accounts; None if there is none
    """
    operations: Counter[str] = Counter()
    for file in stored.bound.jobs.values():
        operations.update(file.operations)
    with open_registry(config) as runs:
        repeats = None
        if continues is None:
            same = (run for run in runs.find(stored.snapshot.sha256) if run.continues is None)
            repeats = next((run.name for run in same if run.accounts == stored.accounts), None)
        runs.add(
            Run(
                name=stored.run,
                source=str(stored.snapshot.source),
                sha256=stored.snapshot.sha256,
                rows=stored.snapshot.selected,
                operations=dict(operations),
                accounts=stored.accounts,
                started=datetime.now(UTC),
                repeats=repeats,
                continues=continues,
                run_id=stored.options.run_id if continues is None else None,
                description=checksum,
                credentials=stored.credentials,
            )
        )
    return repeats

"""The store of a configuration, and the runs in its registry."""

from __future__ import annotations

import secrets
import string
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from pipeline.config import Config
from pipeline.model import RunAborted
from pipeline.runs.run_folder import StoredRun, is_stored, load
from pipeline.store import Run, run_entry
from pipeline.store.lease_renewal import RenewedLease
from pipeline.store.seam import Lease, LeaseHolder, Share, Store, run_lease, share_lease
from pipeline.vendors import Account

STATES = run_entry.STATES
UNFINISHED = frozenset({"prepared", "sending"})


def fingerprint(account: Account) -> str:
    """The destination of an account, whatever its name, quotas and secrets are.

    Who signs in there is known only once secrets are read: see `run/credentials.py`.
    """
    settings = account.settings.model_dump(mode="json", include={"api"})
    api = settings.get("api", "")
    scope = account.vendor.scope(account.settings)
    return f"{account.vendor.name}|{account.link.base_url}|{api}|{scope}"


def open_store(config: Config) -> Store:
    """The store that `ledger` names, which holds all that runs share.

    It is opened once for a configuration, and raises RunAborted, when it is used, if it cannot be
    used.
    """
    return config.kept_store.of(config.ledger, config.database)


def run_lease_of(config: Config, run: str) -> RenewedLease:
    """The lease that a process holds while it works on the run."""
    return RenewedLease(open_store(config).lease(run_lease(run)))


def is_alive(config: Config, run: Run) -> bool:
    """True if a process works on the run now, or on a share of it; of a killed one that may take a
    while to show.
    """
    return is_driven(config, run) or bool(workers_of(config, run.name))


def is_driven(config: Config, run: Run) -> bool:
    """True if a process works on the whole run now: it sends it, or shows what workers send."""
    return run_lease_of(config, run.name).is_alive()


def workers_of(config: Config, run: str) -> dict[Share, LeaseHolder | None]:
    """The shares of a run that processes work on now, and the processes, as far as it is known.

    Of a killed one that may take a while to show.
    """
    return {share: lease.holder() for share, lease in _held_shares(config, run) if lease.is_alive()}


def held_shares(config: Config, run: str) -> dict[Share, LeaseHolder | None]:
    """The shares of a run that cannot be taken now, although their processes may be dead."""
    return {share: lease.holder() for share, lease in _held_shares(config, run)}


def _held_shares(config: Config, run: str) -> Iterator[tuple[Share, Lease]]:
    store = open_store(config)
    for each in store.runs.shares(run):
        lease = store.lease(share_lease(run, each.share))
        if lease.is_held():
            yield each.share, lease


def is_simulated(config: Config, run: str) -> bool:
    """True if the run was prepared for an embedded simulator, which is gone with its process.

    False if `run.json` is damaged.
    """
    files = open_store(config).files(run)
    try:
        return is_stored(files) and load(files).is_simulated
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
    store = open_store(config)
    runs = store.runs
    with store.together():
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

"""A run before its first request, or before its next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.config import Config
from pipeline.loader import Bound
from pipeline.model import (
    Snapshot,
)
from pipeline.model.plan import MadeOf
from pipeline.runs.options import RunOptions
from pipeline.runs.registry import (
    open_store,
)
from pipeline.runs.run_folder import StoredRun
from pipeline.store.lease_renewal import Holds, RenewedLease
from pipeline.vendors import Account
from pipeline.workers.precheck import PrecheckPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run before its first request, or before its next one.

    refusal      why nothing may be sent although the file is sound; None if it may be sent
    is_resumed   an earlier process sent some of its rows, or may have
    repeats      the last run of the same content to the same accounts; None if there is none
    credentials  account -> digest of its credential, if recorded
    commits      number of the last commit to its record, as the registry knew it
    results      number of results in its record, at least, as the registry knew it
    lease        held until the run is carried out or discarded: no other process works on it
    holds        it, and the other leases under which the run sends
    """

    run: str
    folder: Path
    report_folder: Path
    config: Config
    options: RunOptions
    snapshot: Snapshot
    bound: Bound
    lease: RenewedLease
    holds: Holds
    credentials: Mapping[str, str] = field(default_factory=dict)
    commits: int = 0
    results: int = 0
    refusal: str | None = None
    is_sample: bool = False
    made_of: MadeOf = "file"
    is_resumed: bool = False
    repeats: str | None = None

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts of its rows, without secrets."""
        return tuple(self.config.outline(name) for name in self.bound.jobs)

    @property
    def prechecks(self) -> PrecheckPolicy:
        """When an entity is read before its row is sent, by the options."""
        return PrecheckPolicy(
            skips=self.options.skip_unchanged, remembers=self.options.record_previous
        )

    @property
    def places(self) -> frozenset[str]:
        """The destinations of its rows: vendor, origin and scope of their entities."""
        return frozenset().union(*(file.reaches for file in self.bound.jobs.values()))


def prepared_of(
    stored: StoredRun,
    config: Config,
    options: RunOptions,
    lease: RenewedLease,
    *,
    is_resumed: bool = False,
) -> Prepared:
    """The stored run, with the paths of this process."""
    folder = open_store(config).files(stored.run).folder
    jobs = {
        name: replace(file, path=folder / file.path.name)
        for name, file in stored.bound.jobs.items()
    }
    return Prepared(
        run=stored.run,
        folder=folder,
        report_folder=config.reports / stored.run,
        config=config,
        options=options,
        snapshot=replace(stored.snapshot, path=folder / stored.snapshot.path.name),
        bound=replace(stored.bound, jobs=jobs),
        lease=lease,
        holds=Holds(lease),
        credentials=stored.credentials,
        refusal=stored.refusal,
        is_sample=stored.is_sample,
        made_of=stored.made_of,
        is_resumed=is_resumed,
    )


def discard(prepared: Prepared) -> None:
    """Remove a prepared run that is not sent. A run that had begun stays."""
    if not prepared.is_resumed:
        store = open_store(prepared.config)
        store.runs.forget(prepared.run)
        store.files(prepared.run).remove()
    prepared.lease.release()

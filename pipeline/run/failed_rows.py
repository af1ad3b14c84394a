"""Prepares a new run of the failed rows of a run, with the jobs that were bound then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.jobs import JobsFile, read_jobs
from pipeline.jobs.jobs_file import is_read_first
from pipeline.jobs.subset import subset_jobs, subset_rows
from pipeline.loader import Bound
from pipeline.loader.bound import ClearedField
from pipeline.loader.issue_counts import SHOWN, WarningKind
from pipeline.model import SUCCESS, JobRow, RunAborted, Status, UsageError
from pipeline.run.prepared import Prepared
from pipeline.run.reopen import reopen
from pipeline.runs.registry import fingerprint, open_store, register, run_lease_of, run_name
from pipeline.runs.run_folder import FORMAT, StoredRun, save
from pipeline.store import Ledger
from pipeline.store.seam import Files
from pipeline.vendors import Account

DONE = SUCCESS | {Status.INVALID}
"""Rows with these statuses are not sent again: there is nothing to do, or no job."""


def prepare_failed(run: str, config: Config) -> Prepared | None:
    """Prepare a new run of the failed rows of `run`; None if all rows succeeded or are invalid.

    Rows keep their numbers and positions in time; nothing is bound again. Raises UsageError if
    there is no such run, a process works on it or it was refused, ConfigError if an account is gone
    or leads elsewhere now, RunAborted if files cannot be used.
    """
    old = reopen(run, config)
    try:
        if old.refusal is not None:
            raise UsageError(f"run {run} was refused, and none of it sent: {old.refusal}")
        opened = open_store(config).ledger(
            run, None, None, commits=old.commits, results=old.results
        )
        with opened as ledger, _new_files(config, run) as files:
            stored = _subset(old, files.folder, ledger)
            open_store(config).new_ledger(stored.run).__enter__().close()
            if stored.bound.jobs:
                register(stored, config, save(stored, files), continues=run)
            else:
                files.remove()
    finally:
        old.lease.release()
    if not stored.bound.jobs:
        return None
    return replace(reopen(stored.run, config), is_resumed=False)


@contextmanager
def _new_files(config: Config, run: str) -> Iterator[Files]:
    """Make the folder of a run that follows `run`; remove its files if the block raises."""
    name = run_name(run.partition("-")[2].rpartition("-")[0])
    files = open_store(config).files(name)
    folder = files.make_folder()
    try:
        with run_lease_of(config, name) as lease:
            lease.take()
            yield files
    except OSError as error:
        _remove(files)
        raise RunAborted(
            f"the rows of {run} cannot be copied to {folder}: {error}. Nothing was sent"
        ) from error
    except BaseException:
        _remove(files)
        raise


def _remove(files: Files) -> None:
    with suppress(RunAborted):  # the earlier error matters more
        files.remove()


def _subset(old: Prepared, folder: Path, ledger: Ledger) -> StoredRun:
    def keep(rows: Sequence[int]) -> set[int]:
        ended = ledger.results(rows[0], rows[-1])
        return {*rows} - {result.row for result in ended if result.status in DONE}

    accounts = {account.name: account for account in old.accounts}
    jobs = subset_jobs(
        old.bound.jobs,
        folder,
        keep,
        run=old.run,
        batch_size=lambda account, name: accounts[account].batch_size(name),
        is_read_first=lambda account, job: is_read_first(accounts[account], job),
    )
    snapshot = subset_rows(old.snapshot, folder / old.snapshot.path.name, keep)
    return StoredRun(
        format=FORMAT,
        run=folder.name,
        options=old.options,
        snapshot=snapshot,
        bound=_bound(old, jobs, snapshot.selected, accounts),
        accounts={name: fingerprint(accounts[name]) for name in jobs},
        refusal=None,
        is_sample=old.is_sample,
        made_of=old.made_of,
        is_simulated=any(accounts[name].is_simulated for name in jobs),
        credentials={name: old.credentials[name] for name in jobs if name in old.credentials},
        shares={name: accounts[name].shares for name in jobs if accounts[name].shares > 1},
    )


def _bound(
    old: Prepared,
    jobs: Mapping[str, JobsFile],
    rows: int,
    accounts: Mapping[str, Account],
) -> Bound:
    """Facts about the jobs that are left, counted again."""
    cleared: Counter[tuple[str, str]] = Counter()
    irreversible: Counter[str] = Counter()
    fields = [(each.operation, each.field) for each in old.bound.cleared]
    first: list[int] = []
    for account, job in _jobs(jobs):
        operation = accounts[account].operation(job.operation)
        wanted = operation.job_type.trusted(job.text)
        cleared.update(
            (name, field)
            for name, field in fields
            if name == job.operation and _lacks(wanted.given(), field)
        )
        irreversible[job.operation] += operation.irreversible(wanted)
        if len(first) < SHOWN:
            first.append(job.row)
    text = f"rows of run {old.run} that did not succeed; they keep their position in time"
    return Bound(
        jobs=jobs,
        rows=rows,
        invalid=0,
        warnings=(WarningKind(text, rows, tuple(first)),),
        cleared=tuple(ClearedField(*key, count) for key, count in cleared.most_common()),
        irreversible=dict(+irreversible),
        keeps=old.bound.keeps,
        has_previous_states=old.bound.has_previous_states,
    )


def _jobs(files: Mapping[str, JobsFile]) -> Iterator[tuple[str, JobRow]]:
    for account, file in files.items():
        for jobs in read_jobs(file.path):
            yield from ((account, job) for job in jobs)


def _lacks(job: Mapping[str, Any], field: str) -> bool:
    """True if a job lacks a field, which is named as in a header.

    >>> _lacks({"limits": {"per_user": 1}}, "limits.per_user"), _lacks({}, "name")
    (False, True)
    """
    name, _, below = field.partition(".")
    if name not in job:
        return True
    inner = job[name]
    return bool(below) and (not isinstance(inner, Mapping) or _lacks(inner, below))

"""Opens a run on record: to resume or report it, or to work on its shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.config import Config
from pipeline.model import (
    DamagedError,
    UsageError,
)
from pipeline.run.older_files import check_older
from pipeline.run.prepared import Prepared, prepared_of
from pipeline.run.recorded_state import results_of
from pipeline.run.same_accounts import (
    check_fits,
    check_shares,
    check_unfinished,
)
from pipeline.runs.options import RunOptions
from pipeline.runs.registry import (
    open_store,
    run_lease_of,
    workers_of,
)
from pipeline.runs.run_folder import StoredRun, check_files, is_stored, load
from pipeline.store import Run
from pipeline.store.lease_renewal import RenewedLease
from pipeline.store.seam import LeaseHolder, Share

_ADVICE = (
    "Run {run} cannot be resumed. Check its rows at the vendor and in its report, which "
    "`pipeline runs {run}` makes if the copy of its input is intact; then remove it with "
    "`pipeline runs {run} --prune` and send the remaining rows as a new file"
)


def reopen(
    run: str,
    config: Config,
    options: RunOptions | None = None,
    *,
    is_for_report: bool = False,
    beside_workers: bool = False,
) -> Prepared:
    """Open a recorded run, to resume or report it.

    options         new options; None: those that it began with
    is_for_report   nothing will be sent, so its jobs may be damaged
    beside_workers  other processes may work on its shares
    raises         UsageError if there is no such run or another process works on it, ConfigError if
                   an account is gone or leads elsewhere now, RunAborted if files cannot be used
    """
    known = _known(run, config)
    stored = described(known, config, with_jobs=not is_for_report)
    check_fits(stored, config)
    if not is_for_report:
        check_shares(stored, config)
        check_unfinished(stored, config)
    lease = run_lease_of(config, run)
    if not lease.take_unless_alive():
        lease.release()  # nor does it wait
        raise UsageError(f"another process works on run {run}{_holder_text(lease.holder())}")
    workers = workers_of(config, run)
    if workers and not beside_workers:
        lease.release()
        raise UsageError(_is_busy(run, workers))
    if not workers:
        open_store(config).orders.clear(run)  # they were for earlier processes
    return _reopened(known, stored, config, options or stored.options, lease)


def join(run: str, config: Config) -> Prepared:
    """Open a recorded run to work on its shares. Its lease is not held.

    Raises as `reopen` does, but for other processes that work on it.
    """
    known = _known(run, config)
    files = open_store(config).files(run)
    try:
        stored = load(files, known.description)
        check_files(stored, files, with_input=False)
    except DamagedError as error:
        raise DamagedError(
            f"{error}. Nothing was sent. {_ADVICE.format(run=known.name)}"
        ) from error
    check_fits(stored, config)
    check_shares(stored, config)
    return _reopened(known, stored, config, stored.options, run_lease_of(config, run))


def described(known: Run, config: Config, *, with_jobs: bool = True) -> StoredRun:
    """Read `run.json` and compare all files of the run with their checksums.

    Raises DamagedError, which says what to do, if a file is not what was written.
    """
    files = open_store(config).files(known.name)
    try:
        stored = load(files, known.description)
        check_files(stored, files, with_jobs=with_jobs)
        check_older(stored, files.folder, config)
    except DamagedError as error:
        raise DamagedError(
            f"{error}. Nothing was sent. {_ADVICE.format(run=known.name)}"
        ) from error
    return stored


def _reopened(
    known: Run, stored: StoredRun, config: Config, options: RunOptions, lease: RenewedLease
) -> Prepared:
    prepared = prepared_of(stored, config, options, lease, is_resumed=True)
    credentials = {**stored.credentials, **known.credentials}
    return replace(
        prepared, credentials=credentials, commits=known.commits, results=results_of(known)
    )


def _known(run: str, config: Config) -> Run:
    """The entry of the registry. Raises UsageError if there is none, or the files are gone."""
    store = open_store(config)
    if is_stored(store.files(run)):
        known = store.runs.get(run)
        if known is not None:
            return known
    raise UsageError(f"there is no run {run}; `pipeline runs` lists those there are")


def _is_busy(run: str, workers: Mapping[Share, LeaseHolder | None]) -> str:
    """Why a run cannot be reopened beside workers."""
    who = "; ".join(
        f"{share.name}: {'a process' if holder is None else holder.text}"
        for share, holder in workers.items()
    )
    return (
        f"workers send the shares of run {run} ({who}). Wait until they end, or stop them: "
        f"`pipeline runs {run} --stop`. `pipeline resume {run} --workers N` shows what they do, "
        "and starts more"
    )


def _holder_text(holder: LeaseHolder | None) -> str:
    return f": {holder.pid}, {holder.command}" if holder else ""

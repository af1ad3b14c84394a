"""Prepares a run: ingests and binds a file, or reopens a run on record."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import get_args

from pipeline.config import Config
from pipeline.loader import Bound
from pipeline.loader.plan_file import planned_of
from pipeline.model import (
    DamagedError,
    EntityKey,
    Fault,
    InputError,
    RunAborted,
    Snapshot,
    Status,
    UsageError,
)
from pipeline.model.object_path import ObjectPath
from pipeline.model.plan import MadeOf
from pipeline.run.binding import ingest_and_bind, is_sample_file
from pipeline.run.objects import (
    InputFile,
    faults_shown_as,
    input_file,
    object_origin,
    object_sha256,
)
from pipeline.run.older_files import check_older
from pipeline.run.reports_bucket import check_deliverable
from pipeline.run.same_accounts import (
    check_fits,
    check_shares,
    check_unfinished,
    fits,
    several_shares,
)
from pipeline.runs.options import RunOptions
from pipeline.runs.origin import Origin, origin_of
from pipeline.runs.registry import (
    UNFINISHED,
    fingerprint,
    is_alive,
    open_store,
    register,
    run_lease_of,
    run_name,
    workers_of,
)
from pipeline.runs.run_folder import FORMAT, StoredRun, check_files, is_stored, load, save
from pipeline.store import Run, State
from pipeline.store.disk_space import check_room, copies_bytes, record_bytes
from pipeline.store.lease_renewal import Holds, RenewedLease
from pipeline.store.seam import Files, LeaseHolder, Share
from pipeline.vendors import Account
from pipeline.workers.precheck import PrecheckPolicy

_UNFINISHED_STATES = tuple(state for state in get_args(State) if state in UNFINISHED)

CUT_LAST_LINE = "the last line of the file has no line end, unlike those before: was the file cut?"

_ADVICE = (
    "Run {run} cannot be resumed. Check its rows at the vendor and in its report, which "
    "`pipeline runs {run}` makes if the copy of its input is intact; then remove it with "
    "`pipeline runs {run} --prune` and send the remaining rows as a new file"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run before its first request, or before its next one.

    refusal      why nothing may be sent although the file is sound; None if it may be sent
    is_resumed   an earlier process sent some of its rows, or may have
    repeats      the last run of the same content to the same accounts; None if there is none
    credentials  account -> digest of its credential, if recorded
    commits      number of the last commit to its record, as the registry knew it
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


def prepare(
    path: Path | ObjectPath,
    config: Config,
    options: RunOptions,
    *,
    shown: PurePath | None = None,
    dropped: PurePath | None = None,
) -> Prepared:
    """Ingest and bind one file, or reopen the unfinished run of the same content.

    path     of a file; or of an object, which is copied once and then read as a file
    shown    name of the file for people; None: `path`
    dropped  where the file was dropped, if `path` is a copy: its folder names the operation

    A run with another id is not reopened; a run without one gets the id of `options`.
    Raises InputError if the file is broken, RunAborted if files cannot be written,
    ObjectStorageError if the storage of an object fails.
    """
    if isinstance(path, ObjectPath):
        return _prepare_object(path, config, options)
    is_sample_file(path, config)
    if (unfinished := same_unfinished(path, config, options)) is not None:
        return _with_id(reopen(unfinished, config, options))
    given = InputFile(path, origin_of(path) if dropped is None else None)
    with _new_run(path, config) as (files, lease):
        return _prepare_new(given, config, options, files, lease, shown=shown, dropped=dropped)


def _prepare_object(path: ObjectPath, config: Config, options: RunOptions) -> Prepared:
    """As `prepare` for an object, whose content is known once it is copied."""
    with _new_run(path, config) as (files, lease):
        given = input_file(path, files.folder)
        unfinished = same_unfinished(given.path, config, options, sha256=given.sha256)
        if unfinished is None:
            return _prepare_new(given, config, options, files, lease, shown=path, dropped=path)
        _remove(files, lease)
    return _with_id(reopen(unfinished, config, options))


@contextmanager
def _new_run(path: PurePath, config: Config) -> Iterator[tuple[Files, RenewedLease]]:
    """The files and lease of a new run; both are removed if the block raises."""
    run = run_name(path.name.split(".")[0])
    files, lease = open_store(config).files(run), run_lease_of(config, run)
    folder = files.make_folder()
    lease.take()
    try:
        yield files, lease
    except OSError as error:
        _remove(files, lease)
        raise RunAborted(
            f"{path} cannot be copied to {folder}: {error}. Nothing was sent"
        ) from error
    except BaseException:
        _remove(files, lease)
        raise


def _prepare_new(
    given: InputFile,
    config: Config,
    options: RunOptions,
    files: Files,
    lease: RenewedLease,
    *,
    shown: PurePath | None,
    dropped: PurePath | None,
) -> Prepared:
    """Prepare a new run of a file that can be read."""
    path, folder = given.path, files.folder
    check_room(folder, copies_bytes(path.stat().st_size if path.is_file() else 0))
    with faults_shown_as(shown, path):
        with open_store(config).new_ledger(folder.name) as ledger:
            snapshot, bound = ingest_and_bind(
                path, config, options, folder, ledger, shown=shown, dropped=dropped
            )
        _check_accounts(bound, path)
    check_room(folder, record_bytes(snapshot.selected, snapshot.size_bytes))
    _check_writable(config.reports)
    check_deliverable(config)
    stored = StoredRun(
        format=FORMAT,
        run=folder.name,
        options=options,
        snapshot=snapshot,
        bound=bound,
        accounts={name: fingerprint(config.outline(name)) for name in bound.jobs},
        refusal=_refusal(snapshot, bound, options) or _too_many(path, bound, options),
        is_sample=is_sample_file(path, config),
        made_of=_made_of(path),
        is_simulated=any(config.outline(name).is_simulated for name in bound.jobs),
        origin=given.origin,
        shares=several_shares(config, bound),
    )
    check_unfinished(stored, config)
    if given.is_copy:
        path.unlink()  # the snapshot has all of it
    repeats = register(stored, config, save(stored, files))
    return replace(_prepared(stored, config, options, lease), repeats=repeats)


def _with_id(prepared: Prepared) -> Prepared:
    if prepared.options.run_id is not None:
        try:
            open_store(prepared.config).runs.give_id(prepared.run, prepared.options.run_id)
        except BaseException:
            prepared.lease.release()
            raise
    return prepared


def _remove(files: Files, lease: RenewedLease) -> None:
    lease.release()
    files.remove()


def _prepared(
    stored: StoredRun,
    config: Config,
    options: RunOptions,
    lease: RenewedLease,
    *,
    is_resumed: bool = False,
) -> Prepared:
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


def same_finished(path: Path | ObjectPath, config: Config, run_id: str) -> str | None:
    """The finished run with this id; None if it must be started or resumed.

    Raises UsageError if the id belongs to a run of other content.
    """
    known = open_store(config).runs.by_run_id(run_id)
    if known is None:
        return None
    if not _is_same(path, known, config):
        raise UsageError(
            f"run id {run_id} belongs to run {known.name} of {known.source}, and {path} has other "
            "content. Give it an id of its own"
        )
    return None if known.state in UNFINISHED else known.name


def _is_same(path: Path | ObjectPath, known: Run, config: Config) -> bool:
    """True if the input is the one that a run sent; an object is not read if it did not change."""
    if isinstance(path, Path):
        return known.sha256 == _sha256(path)
    files = open_store(config).files(known.name)
    origin = load(files).origin if is_stored(files) else None
    found = object_origin(path)
    return found == origin or known.sha256 == object_sha256(path)


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # ingesting the file reports the error


def same_unfinished(
    path: Path, config: Config, options: RunOptions, *, sha256: str | None = None
) -> str | None:
    """The unfinished run of the same content and options; None if there is none.

    sha256  of the content; None: it is read
    """
    store = open_store(config)
    # the file is read here only if that may matter: ingesting reads it anyway
    is_any = store.runs.all(states=_UNFINISHED_STATES, most=1)
    sha256 = (sha256 or _sha256(path)) if is_any else None
    if sha256 is None:
        return None
    found = [
        run
        for run in store.runs.find(sha256)
        if run.state in UNFINISHED
        and run.continues is None  # such a run has only some of the rows
        and (options.run_id is None or run.run_id in {None, options.run_id})
    ]
    for run in found:
        if not is_stored(store.files(run.name)) or is_alive(config, run):
            continue
        stored = _described(run, config)
        if stored.options.job_options == options.job_options and fits(stored, config):
            return run.name
    return None


def sent_before(config: Config, sha256: str, origin: Origin) -> str | None:
    """The finished run that sent all of this file from its present path; None if there is none.

    A file of the same content that was written or moved there since is another file.
    """
    runs = open_store(config).runs
    found = [run.name for run in runs.find(sha256) if run.state not in UNFINISHED]
    return next((name for name in found if _sent(config, name, origin)), None)


def _sent(config: Config, run: str, origin: Origin) -> bool:
    files = open_store(config).files(run)
    try:
        stored = load(files) if is_stored(files) else None
    except RunAborted:  # damaged: unknown
        return False
    return (
        stored is not None
        and stored.origin == origin
        and stored.options.rows is None
        and stored.refusal is None
        and fits(stored, config)
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
    stored = _described(known, config, with_jobs=not is_for_report)
    check_fits(stored, config)
    if not is_for_report:
        check_shares(stored, config)
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


def _reopened(
    known: Run, stored: StoredRun, config: Config, options: RunOptions, lease: RenewedLease
) -> Prepared:
    prepared = _prepared(stored, config, options, lease, is_resumed=True)
    credentials = {**stored.credentials, **known.credentials}
    return replace(prepared, credentials=credentials, commits=known.commits)


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


def _known(run: str, config: Config) -> Run:
    """The entry of the registry. Raises UsageError if there is none, or the files are gone."""
    store = open_store(config)
    if is_stored(store.files(run)):
        known = store.runs.get(run)
        if known is not None:
            return known
    raise UsageError(f"there is no run {run}; `pipeline runs` lists those there are")


def _described(known: Run, config: Config, *, with_jobs: bool = True) -> StoredRun:
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


def _holder_text(holder: LeaseHolder | None) -> str:
    return f": {holder.pid}, {holder.command}" if holder else ""


def discard(prepared: Prepared) -> None:
    """Remove a prepared run that is not sent. A run that had begun stays."""
    if not prepared.is_resumed:
        store = open_store(prepared.config)
        store.runs.forget(prepared.run)
        store.files(prepared.run).remove()
    prepared.lease.release()


def _made_of(path: Path) -> MadeOf:
    planned = planned_of(path)
    if planned is None:
        return "file"
    return "plan" if planned.undoes is None else "undo"


def _check_writable(reports: Path) -> None:
    """Raise RunAborted if no report could be written after the run."""
    try:
        reports.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(prefix=".", dir=reports)).rmdir()  # as the report is created
    except OSError as error:
        raise RunAborted(
            f"reports cannot be written to {reports}: {error.strerror}. Nothing was sent; "
            "fix its permissions, or set `reports`"
        ) from error


def _check_accounts(bound: Bound, path: Path) -> None:
    """Raise InputError if two accounts of the file reach the same entities.

    Rows of an entity are kept in order within one account only.
    """
    reached: dict[str, str] = {}
    for name, file in bound.jobs.items():
        for place in file.reaches:
            if place in reached:
                raise InputError(
                    [
                        Fault(
                            what=f"accounts {reached[place]} and {name} reach the same "
                            f"{describe_place(place)}, and rows sent through both would lose "
                            "their order",
                            file=str(path),
                            todo="Name one of them in all rows",
                        )
                    ]
                )
            reached[place] = name


def describe_place(place: str) -> str:
    """A destination as text.

    >>> describe_place("xsolla|https://store.xsolla.com|44056")
    '44056 of xsolla at https://store.xsolla.com'
    """
    key = EntityKey.parse(place)
    where = f"{key.vendor} at {key.origin}"
    return f"{key.scope} of {where}" if key.scope else where


def _too_many(path: Path, bound: Bound, options: RunOptions) -> str | None:
    """Why a plan is refused: it changes more rows than `--stop-if` permits; None if not."""
    changes = sum(file.rows for file in bound.jobs.values())
    for condition in options.stop_if:
        is_of_changes = condition.counted == {Status.UPDATED} and not condition.is_share
        if is_of_changes and changes > condition.most and planned_of(path) is not None:
            return f"{condition.text}: the plan changes {changes}. Nothing was sent"
    return None


def _refusal(snapshot: Snapshot, bound: Bound, options: RunOptions) -> str | None:
    if snapshot.rows < options.min_rows:
        return f"rows in the file: {snapshot.rows}, fewer than the {options.min_rows} asked for"
    if snapshot.lacks_last_end and not options.max_invalid:
        return f"{CUT_LAST_LINE}. Nothing was sent"
    if bound.invalid > options.max_invalid * bound.rows:
        return (
            f"{bound.invalid} of {bound.rows} rows are invalid, more than "
            f"{options.max_invalid:.0%}: nothing was sent"
        )
    return None

"""A file becomes a prepared run: taken, bound, and all that is known before the first request."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.config import Config
from pipeline.loader import Bound, ingest
from pipeline.loader.bind_plan import bind_plan
from pipeline.loader.plan_file import planned_of
from pipeline.model import (
    ConfigError,
    DamagedError,
    EntityKey,
    Fault,
    InputError,
    RunAborted,
    Snapshot,
    Status,
    UsageError,
)
from pipeline.model.plan import MadeOf, Planned
from pipeline.run.binding import bind_snapshot, folder_operation, inputs_of
from pipeline.run.older_files import check_older
from pipeline.runs.options import RunOptions
from pipeline.runs.origin import Origin, origin_of
from pipeline.runs.record import LEDGER, forget_witnesses
from pipeline.runs.registry import (
    UNFINISHED,
    fingerprint,
    is_alive,
    lock_of,
    open_registry,
    register,
    run_name,
)
from pipeline.runs.run_folder import FORMAT, StoredRun, check_files, is_stored, load, save
from pipeline.store import Holder, Lock, Run, RunLedger
from pipeline.store.disk_space import check_room, copies_bytes, record_bytes
from pipeline.vendors import Account
from pipeline.workers.precheck import PrecheckPolicy

SAMPLES = "samples"
CUT_LAST_LINE = "the last line of the file has no line end, unlike those before: was the file cut?"

_WAY_OUT = (
    "Run {run} cannot be carried on. See what became of its rows at the vendor, and in its report, "
    "which `pipeline runs {run}` makes as long as the copy of its input is whole; then remove it "
    "with `pipeline runs {run} --prune` and send what is still wanted as a new file"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A file that is taken and bound: all that is known before the first request.

    refusal     why nothing may be sent although the file itself is sound; None where it may
    is_resumed  an earlier process carried some of it out, or may have
    repeats     the last run of the same content to the same accounts; None where there was none
    credentials who signs in, by account, as far as that is on record
    commits     number of the last one to its record that was known when it was reopened
    lock        held until it is carried out or discarded: no other process works on the run
    """

    run: str
    folder: Path
    report_folder: Path
    config: Config
    options: RunOptions
    snapshot: Snapshot
    bound: Bound
    lock: Lock
    credentials: Mapping[str, str] = field(default_factory=dict)
    commits: int = 0
    refusal: str | None = None
    is_sample: bool = False
    made_of: MadeOf = "file"
    is_resumed: bool = False
    repeats: str | None = None

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts that rows go to, without their secrets."""
        return tuple(self.config.outline(name) for name in self.bound.jobs)

    @property
    def looking(self) -> PrecheckPolicy:
        """Before which rows their entity is read, beside those that expect something of it."""
        return PrecheckPolicy(
            skips=self.options.skip_unchanged, remembers=self.options.record_previous
        )

    @property
    def places(self) -> frozenset[str]:
        """What its rows reach: vendor, origin and scope of their entities."""
        return frozenset().union(*(file.reaches for file in self.bound.jobs.values()))


def prepare(
    path: Path,
    config: Config,
    options: RunOptions,
    *,
    shown: Path | None = None,
    dropped: Path | None = None,
) -> Prepared:
    """Take and bind one file: its snapshot, its jobs, what is wrong with its rows.

    shown    how people know the file, where that is not the place where it lies
    dropped  where it was dropped, if `path` is a copy: the folder says which operation it is for

    Where an unfinished run of the same content is on record, that one is prepared to be carried on,
    unless it has another id. From then on it has the one that this time brings.
    Raises InputError where the file is broken, RunAborted where the disk refuses.
    """
    is_sample = _is_sample(path, config)
    origin = origin_of(path) if dropped is None else None
    if (unfinished := same_unfinished(path, config, options)) is not None:
        return _with_id(reopen(unfinished, config, options))
    run = run_name(path.name.split(".")[0])
    folder = _private(config.ledger_folder / "runs" / run)
    lock = lock_of(config, run)
    lock.acquire(wait=False)
    try:
        check_room(folder, copies_bytes(path.stat().st_size if path.is_file() else 0))
        snapshot, bound = take_and_bind(path, config, options, folder, shown=shown, dropped=dropped)
        _check_accounts(bound, path)
        check_room(folder, record_bytes(snapshot.selected, snapshot.size_bytes))
        _check_writable(config.reports)
        stored = StoredRun(
            format=FORMAT,
            run=run,
            options=options,
            snapshot=snapshot,
            bound=bound,
            accounts={name: fingerprint(config.outline(name)) for name in bound.jobs},
            refusal=_refusal(snapshot, bound, options) or _too_many(path, bound, options),
            is_sample=is_sample,
            made_of=_made_of(path),
            is_simulated=any(config.outline(name).is_simulated for name in bound.jobs),
            origin=origin,
        )
        repeats = register(stored, config, save(stored, folder))
    except OSError as error:
        _remove(folder, lock)
        raise RunAborted(
            f"{path} cannot be copied to {folder}: {error}. Nothing was sent"
        ) from error
    except BaseException:
        _remove(folder, lock)
        raise
    return replace(_prepared(stored, config, options, lock), repeats=repeats)


def _with_id(prepared: Prepared) -> Prepared:
    if prepared.options.run_id is not None:
        try:
            with open_registry(prepared.config) as runs:
                runs.give_id(prepared.run, prepared.options.run_id)
        except BaseException:
            prepared.lock.release()
            raise
    return prepared


def _remove(folder: Path, lock: Lock) -> None:
    lock.release()
    shutil.rmtree(folder)
    forget_witnesses(folder)


def _prepared(
    stored: StoredRun, config: Config, options: RunOptions, lock: Lock, *, is_resumed: bool = False
) -> Prepared:
    folder = config.ledger_folder / "runs" / stored.run
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
        lock=lock,
        credentials=stored.credentials,
        refusal=stored.refusal,
        is_sample=stored.is_sample,
        made_of=stored.made_of,
        is_resumed=is_resumed,
    )


def same_finished(path: Path, config: Config, run_id: str) -> str | None:
    """The finished run that a scheduler gave this id; None where it has to be begun or carried on.

    Raises UsageError where the id belongs to a run of other content.
    """
    with open_registry(config) as runs:
        known = runs.by_run_id(run_id)
    if known is None:
        return None
    if known.sha256 != _sha256(path):
        raise UsageError(
            f"run id {run_id} belongs to run {known.name} of {known.source}, and {path} has other "
            "content. Give it an id of its own"
        )
    return None if known.state in UNFINISHED else known.name


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # taking the file says what is wrong with it


def same_unfinished(path: Path, config: Config, options: RunOptions) -> str | None:
    """The run of the same content, asked for in the same way, that no process finished."""
    sha256 = _sha256(path)
    if sha256 is None:
        return None
    with open_registry(config) as runs:
        found = [
            run
            for run in runs.find(sha256)
            if run.state in UNFINISHED
            and run.continues is None  # that one has some rows only
            and (options.run_id is None or run.run_id in {None, options.run_id})
        ]
        for run in found:
            folder = config.ledger_folder / "runs" / run.name
            if not is_stored(folder) or is_alive(config, run):
                continue
            stored = _described(run, folder, config)
            if stored.options.job_options == options.job_options and _fits(stored, config):
                return run.name
    return None


def sent_before(config: Config, sha256: str, origin: Origin) -> str | None:
    """The finished run that sent this very file, whole, from where it lies; None if there is none.

    A file of the same content that was written, or moved there, since is another one.
    """
    with open_registry(config) as runs:
        found = [run.name for run in runs.find(sha256) if run.state not in UNFINISHED]
    return next((name for name in found if _sent(config, name, origin)), None)


def _sent(config: Config, run: str, origin: Origin) -> bool:
    folder = config.ledger_folder / "runs" / run
    try:
        stored = load(folder) if is_stored(folder) else None
    except RunAborted:  # damaged: it says nothing
        return False
    return (
        stored is not None
        and stored.origin == origin
        and stored.options.rows is None
        and stored.refusal is None
        and _fits(stored, config)
    )


def _fits(stored: StoredRun, config: Config) -> bool:
    """Whether the configuration still leads where the run was going."""
    return all(
        name in config.accounts and fingerprint(config.outline(name)) == reached
        for name, reached in stored.accounts.items()
    )


def reopen(
    run: str,
    config: Config,
    options: RunOptions | None = None,
    *,
    is_for_report: bool = False,
) -> Prepared:
    """A run on record, to be carried on or reported.

    options  of this time; None takes those of the first
    is_for_report  nothing will be sent: its jobs may be damaged
    raises   UsageError where there is no such run or another process works on it, ConfigError
             where an account of it is gone or leads elsewhere now, RunAborted where its files
             cannot be used
    """
    folder = config.ledger_folder / "runs" / run
    known = _known(run, folder, config)
    stored = _described(known, folder, config, with_jobs=not is_for_report)
    if not _fits(stored, config):
        wanted = ", ".join(f"{name} ({reached})" for name, reached in stored.accounts.items())
        raise ConfigError(
            [
                Fault(
                    what=f"run {run} was prepared for {wanted}, and the configuration leads "
                    "elsewhere now",
                    todo="Use the configuration that it began with",
                )
            ]
        )
    lock = lock_of(config, run)
    if not lock.acquire(wait=False):
        raise UsageError(f"another process works on run {run}{_told(lock.holder())}")
    prepared = _prepared(stored, config, options or stored.options, lock, is_resumed=True)
    credentials = {**stored.credentials, **known.credentials}
    return replace(prepared, credentials=credentials, commits=known.commits)


def _known(run: str, folder: Path, config: Config) -> Run:
    """The run as it is on record. Raises UsageError where there is none, or its files are gone."""
    if is_stored(folder):
        with open_registry(config) as runs:
            known = runs.get(run)
        if known is not None:
            return known
    raise UsageError(f"there is no run {run}; `pipeline runs` lists those there are")


def _described(known: Run, folder: Path, config: Config, *, with_jobs: bool = True) -> StoredRun:
    """What its folder says of a run, all of which is compared with its checksums.

    Raises DamagedError, with what can be done, where it is not what was written.
    """
    try:
        stored = load(folder, known.description)
        check_files(stored, folder, with_jobs=with_jobs)
        check_older(stored, folder, config)
    except DamagedError as error:
        raise DamagedError(
            f"{error}. Nothing was sent. {_WAY_OUT.format(run=known.name)}"
        ) from error
    return stored


def _told(holder: Holder | None) -> str:
    return f": {holder.pid}, {holder.command}" if holder else ""


def discard(prepared: Prepared) -> None:
    """Forget a run that was prepared and is not carried out; one that had begun stays."""
    if not prepared.is_resumed:
        with open_registry(prepared.config) as runs:
            runs.forget(prepared.run)
        shutil.rmtree(prepared.folder)
        forget_witnesses(prepared.folder)
    prepared.lock.release()


def _made_of(path: Path) -> MadeOf:
    planned = planned_of(path)
    if planned is None:
        return "file"
    return "plan" if planned.undoes is None else "undo"


def _is_sample(path: Path, config: Config) -> bool:
    """Whether the file is one of the samples, which only the simulator accepts."""
    is_sample = path.resolve().is_relative_to((config.inputs / SAMPLES).resolve())
    if is_sample and not any(entry.is_simulated for entry in config.accounts.values()):
        raise InputError(
            [
                Fault(
                    what="a sample cannot reach a real account",
                    file=str(path),
                    todo="Add --simulate",
                )
            ]
        )
    return is_sample


def take_and_bind(
    path: Path,
    config: Config,
    options: RunOptions,
    folder: Path,
    *,
    shown: Path | None = None,
    dropped: Path | None = None,
) -> tuple[Snapshot, Bound]:
    """The snapshot of a file, and its rows as jobs, in `folder`; how the others end in its ledger.

    shown    what the snapshot calls the file; None: what it is called
    dropped  in which folder its operation is looked for; None: where it lies

    Raises InputError where the file is broken, OSError or RunAborted where the disk refuses.
    """
    planned = planned_of(path)
    if planned is not None:
        return _take_plan(path, planned, config, options, folder, shown=shown or path)
    is_sample = _is_sample(path, config)
    placed_in = folder_operation(dropped or path, config)
    sources = inputs_of(config, is_sample=is_sample)
    named = options.operation or placed_in
    delimiter = sources[named].delimiter if named is not None and named in sources else None
    snapshot = ingest(path, folder / "snapshot.parquet", delimiter=delimiter, rows=options.rows)
    snapshot = replace(snapshot, source=shown or path)
    with (
        RunLedger.create(folder / LEDGER, run=folder.name) as ledger,
        open_registry(config) as runs,
    ):
        bound = bind_snapshot(
            snapshot,
            folder,
            config,
            options,
            placed_in=placed_in,
            is_sample=is_sample,
            emit=lambda results: ledger.record((), results),
            known_runs=lambda name: runs.get(name) is not None,
        )
    return snapshot, bound


def _take_plan(
    path: Path,
    planned: Planned,
    config: Config,
    options: RunOptions,
    folder: Path,
    *,
    shown: Path,
) -> tuple[Snapshot, Bound]:
    """The same for a plan, which says by itself what its rows ask for."""
    if options.operation or options.account:
        raise UsageError(f"{shown} is a plan: operation and account stand in it")
    accounts = {name: config.outline(name) for name in planned.accounts}
    for name, account in accounts.items():
        is_rehearsal = planned.is_simulated and account.is_simulated
        if fingerprint(account) != planned.accounts[name] and not is_rehearsal:
            what = f"it was made for account {name} at {planned.accounts[name]}, which leads "
            what += f"to {fingerprint(account)} now"
            raise InputError([Fault(what=what, file=str(shown), todo="Make a new plan")])
    snapshot = ingest(path, folder / "snapshot.parquet", rows=options.rows)
    snapshot = replace(snapshot, source=shown)
    with RunLedger.create(folder / LEDGER, run=folder.name) as ledger:
        bound = bind_plan(
            snapshot,
            folder,
            accounts=accounts,
            allow_irreversible=options.allow_irreversible,
            emit=lambda results: ledger.record((), results),
        )
    return snapshot, bound


def _private(folder: Path) -> Path:
    """A new folder that only its owner can read."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise RunAborted(
            f"{folder} cannot be made: {error.strerror}. Mend its permissions, or set `ledger`"
        ) from error
    return folder


def _check_writable(reports: Path) -> None:
    """Raise RunAborted where no report could be written after the run."""
    try:
        reports.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(prefix=".", dir=reports)).rmdir()  # as the report will be made
    except OSError as error:
        raise RunAborted(
            f"reports cannot be written to {reports}: {error.strerror}. Nothing was sent; "
            "mend its permissions, or set `reports`"
        ) from error


def _check_accounts(bound: Bound, path: Path) -> None:
    """Raise InputError where two accounts of the file reach the same entities.

    Rows of one entity keep their order within an account; account names are labels only.
    """
    reached: dict[str, str] = {}
    for name, file in bound.jobs.items():
        for place in file.reaches:
            if place in reached:
                raise InputError(
                    [
                        Fault(
                            what=f"accounts {reached[place]} and {name} reach the same "
                            f"{in_words(place)}, and rows sent through both would lose their order",
                            file=str(path),
                            todo="Name one of them in all rows",
                        )
                    ]
                )
            reached[place] = name


def in_words(place: str) -> str:
    """A place as people read it.

    >>> in_words("xsolla|https://store.xsolla.com|44056")
    '44056 of xsolla at https://store.xsolla.com'
    """
    key = EntityKey.parse(place)
    where = f"{key.vendor} at {key.origin}"
    return f"{key.scope} of {where}" if key.scope else where


def _too_many(path: Path, bound: Bound, options: RunOptions) -> str | None:
    """A plan tells beforehand how many rows change something."""
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

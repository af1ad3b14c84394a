"""Prepares a run: ingests and binds a file, or reopens the unfinished run of the same content."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath

from pipeline.config import Config
from pipeline.loader.plan_file import planned_of
from pipeline.model import (
    RunAborted,
)
from pipeline.model.object_path import ObjectPath
from pipeline.model.plan import MadeOf
from pipeline.run.binding import ingest_and_bind, is_sample_file
from pipeline.run.objects import (
    InputFile,
    faults_shown_as,
    input_file,
)
from pipeline.run.prepared import Prepared, prepared_of
from pipeline.run.refusal import check_accounts, refusal_of
from pipeline.run.reopen import reopen
from pipeline.run.reports_bucket import check_deliverable
from pipeline.run.same_accounts import (
    check_unfinished,
    several_shares,
)
from pipeline.run.same_input import same_unfinished
from pipeline.runs.options import RunOptions
from pipeline.runs.origin import origin_of
from pipeline.runs.registry import (
    fingerprint,
    open_store,
    register,
    run_lease_of,
    run_name,
)
from pipeline.runs.run_folder import FORMAT, StoredRun, save
from pipeline.store.disk_space import check_room, copies_bytes, record_bytes
from pipeline.store.lease_renewal import RenewedLease
from pipeline.store.seam import Files


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
    Raises UsageError if an option is out of its range, InputError if the file is broken, RunAborted
    if files cannot be written, ObjectStorageError if the storage of an object fails.
    """
    options.check()
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
        check_accounts(bound, path)
    check_room(folder, record_bytes(snapshot.selected, snapshot.size_bytes))
    _check_writable(config.reports)
    check_deliverable(config)
    made_of = _made_of(path)
    stored = StoredRun(
        format=FORMAT,
        run=folder.name,
        options=options,
        snapshot=snapshot,
        bound=bound,
        accounts={name: fingerprint(config.outline(name)) for name in bound.jobs},
        refusal=refusal_of(snapshot, bound, options, is_plan=made_of != "file"),
        is_sample=is_sample_file(path, config),
        made_of=made_of,
        is_simulated=any(config.outline(name).is_simulated for name in bound.jobs),
        origin=given.origin,
        shares=several_shares(config, bound),
    )
    check_unfinished(stored, config)
    if given.is_copy:
        path.unlink()  # the snapshot has all of it
    repeats = register(stored, config, save(stored, files))
    try:
        check_unfinished(stored, config)  # another one may have been prepared meanwhile
    except BaseException:
        open_store(config).runs.forget(stored.run)
        raise
    return replace(prepared_of(stored, config, options, lease), repeats=repeats)


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

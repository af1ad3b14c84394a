"""Runs on record of the same input."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import get_args

from pipeline.config import Config
from pipeline.model import (
    RunAborted,
)
from pipeline.model.object_path import ObjectPath
from pipeline.run.objects import (
    object_origin,
    object_sha256,
)
from pipeline.run.reopen import described
from pipeline.run.same_accounts import (
    fits,
)
from pipeline.runs.options import RunOptions
from pipeline.runs.origin import Origin
from pipeline.runs.registry import (
    UNFINISHED,
    is_alive,
    open_store,
)
from pipeline.runs.run_folder import is_stored, load
from pipeline.store import Run, State
from pipeline.store.run_entry import is_taken

_UNFINISHED_STATES = tuple(state for state in get_args(State) if state in UNFINISHED)


def same_finished(path: Path | ObjectPath, config: Config, run_id: str) -> str | None:
    """The finished run with this id; None if it must be started or resumed.

    Raises UsageError if the id belongs to a run of other content, or of a process that works on it.
    """
    known = open_store(config).runs.by_run_id(run_id)
    if known is None:
        return None
    if not _is_same(path, known, config):
        raise is_taken(known, run_id, None, path)
    if known.state not in UNFINISHED:
        return known.name
    if is_alive(config, known):
        raise is_taken(known, run_id, known.sha256, path)
    return None


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
        stored = described(run, config)
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

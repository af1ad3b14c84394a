"""A prepared run on disk, so that another process can carry it out."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.load import Bound
from pipeline.model import RunAborted, Snapshot
from pipeline.run.options import RunOptions
from pipeline.run.origin import Origin

FILE = "run.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """What `run.json` holds: all that is known of a run before its first request.

    accounts      fingerprint of each account that rows go to
    refusal       why nothing may be sent although the file is sound; None where it may
    is_simulated  whether it was prepared for the simulator
    credentials   digest of who signs in for an account, once something was sent through it and
                  where that has a name; see `credentials.py`
    origin        the file as it lay when the run was prepared; None for a dropped one, which is
                  put away, and for runs of earlier versions
    """

    format: int
    run: str
    options: RunOptions
    snapshot: Snapshot
    bound: Bound
    accounts: dict[str, str]
    refusal: str | None
    is_sample: bool
    is_simulated: bool
    credentials: dict[str, str] = field(default_factory=dict)
    origin: Origin | None = None


_ADAPTER = TypeAdapter(StoredRun)


def save(stored: StoredRun, folder: Path) -> None:
    """Write `run.json`, whole or not at all. Raises OSError."""
    aside = folder / f"{FILE}.new"
    file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(_ADAPTER.dump_json(stored, indent=1))
            out.flush()
            os.fsync(out.fileno())
        aside.replace(folder / FILE)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync(folder)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_stored(folder: Path) -> bool:
    """Whether the preparation of the run came to its end; if not, nothing of it was sent."""
    return (folder / FILE).exists()


def load(folder: Path) -> StoredRun:
    """What `save` wrote. Raises RunAborted where it cannot be read."""
    path = folder / FILE
    try:
        stored = _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise RunAborted(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise RunAborted(f"{path} is damaged, or of a newer version: {error}") from error
    if stored.format > FORMAT:
        raise RunAborted(f"{path} was written by a newer version of this program")
    return stored

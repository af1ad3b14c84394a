"""The folder of a prepared run, from which another process can send it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.loader import Bound
from pipeline.model import DamagedError, RunAborted, Snapshot
from pipeline.model.plan import MadeOf
from pipeline.runs.options import RunOptions
from pipeline.runs.origin import Origin
from pipeline.store.checksums import check_whole, not_as_written
from pipeline.store.files import atomic_write
from pipeline.store.seam import Files

FILE = "run.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """The content of `run.json`: all that is known of a run before its first request.

    accounts      fingerprint of each account that rows are sent to
    refusal       why nothing may be sent although the file is sound; None if it may be sent
    is_simulated  the run was prepared for the simulator
    made_of       origin of its rows
    credentials   digest of the credential of each account, once it was used and if it has a name;
                  see `run/credentials.py`
    origin        the file when the run was prepared; None for a dropped file, which is moved, and
                  for runs of earlier versions
    shares        number of shares of each account that has several
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
    made_of: MadeOf = "file"
    shares: dict[str, int] = field(default_factory=dict)

    def shares_of(self, account: str) -> int:
        """The number of shares in which the run sends an account."""
        return self.shares.get(account, 1)


_ADAPTER = TypeAdapter(StoredRun)
_SUMMED = b'{"checksum": "%s",'
_SUMMED_AS = re.compile(rb'\{"checksum": "([0-9a-f]{64})",')


def save(stored: StoredRun, files: Files) -> str:
    """Keep the files of a run, `run.json` last. Returns the SHA-256 of that; raises OSError."""
    text = _ADAPTER.dump_json(stored, indent=1).removeprefix(b"{")
    checksum = hashlib.sha256(text).hexdigest()
    path = files.folder / FILE
    atomic_write(path, _SUMMED % checksum.encode() + text)
    for name in _names(stored):
        files.put(files.folder / name)
    files.put(path)
    return checksum


def _names(stored: StoredRun) -> list[str]:
    """The names of the copy of the input and of the jobs files."""
    return [stored.snapshot.path.name, *(file.path.name for file in stored.bound.jobs.values())]


def is_stored(files: Files) -> bool:
    """True if the run was prepared completely; otherwise nothing of it was sent."""
    return files.has(FILE)


def load(files: Files, checksum: str = "") -> StoredRun:
    """Read what `save` wrote. Raises RunAborted if it cannot be read, DamagedError if damaged.

    checksum  of it, as the registry knows it; empty if unknown
    """
    path = files.fetch(FILE)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RunAborted(f"{path} cannot be read: {error.strerror}") from error
    _check(path, text, checksum)
    try:
        stored = _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise DamagedError(f"{path} is damaged, or of a newer version: {error}") from error
    if stored.format > FORMAT:
        raise RunAborted(f"{path} was written by a newer version of this program")
    return stored


def _check(path: Path, text: bytes, checksum: str) -> None:
    """Raise DamagedError unless the text is what was written. Earlier versions wrote no
    checksum.
    """
    if stated := _SUMMED_AS.match(text):
        if hashlib.sha256(text[stated.end() :]).hexdigest() != stated[1].decode():
            raise not_as_written(path, "its checksum does not match")
        if checksum and stated[1].decode() != checksum:
            raise not_as_written(path, "it is another file than the one that was written here")
    elif checksum:
        raise not_as_written(path, "its checksum is missing")


def check_files(
    stored: StoredRun, files: Files, *, with_jobs: bool = True, with_input: bool = True
) -> None:
    """Fetch the files. Raise DamagedError if the copy of the input or a jobs file is not what was
    written.

    Files of earlier versions have no checksums and are not checked.
    """
    jobs = [(file.path.name, file.checksum) for file in stored.bound.jobs.values() if with_jobs]
    copies = [(stored.snapshot.path.name, stored.snapshot.checksum)] if with_input else []
    for name, checksum in [*copies, *jobs]:
        check_whole(files.fetch(name), checksum)

"""Records of claimed files: one small file each, beside the ledger.

    .pipeline/drops/lock             one process at a time
    .pipeline/drops/<claim>/claim.json
    .pipeline/drops/<claim>/a.csv    a private copy, while the file is read

Whoever may drop files cannot write here, so a claim in this folder is genuine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from pipeline.model import RunAborted
from pipeline.store.files import atomic_write, sync_folder

NOTE = "claim.json"
LOCK = "lock"
FORMAT = 2
"""Format 1 was stored in the drop folder itself."""

LETTERS = 4
"""Number of random letters at the end of a claim's name."""

_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Identity and last change of a file.

    modified_ns  last change of its content; its owner can set it
    changed_ns   last change of content, name or permissions; nobody can set it
    """

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileIdentity:
        """The identity in the operating system's status of a file."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed file.

    name        of the claim; starts with the time of the claim
    file        path under which the file was dropped
    home        the operation's folder, or the drop folder itself
    stored      the file's name since it was claimed
    before      identity of the file where it was dropped; None if unknown
    read        identity of the file when it was read; None before
    sha256      of the content that was read, hexadecimal; empty before
    run         the run that was prepared for the file; empty before
    is_again    True if an earlier process had claimed it
    is_adopted  True if an earlier version had claimed it: its run needs confirmation
    is_sent     True if `run` sent the file from where it was dropped, before it was claimed
    etag        of an object, the version that was claimed; empty for a file
    """

    name: str
    file: PurePath
    home: PurePath
    stored: str
    before: FileIdentity | None = None
    read: FileIdentity | None = None
    sha256: str = ""
    run: str = ""
    is_again: bool = False
    is_adopted: bool = False
    is_sent: bool = False
    etag: str = ""


class Notes:
    """The folder of records. Raises RunAborted if it cannot be used.

    inputs  the drop folder; paths in records are relative to it
    """

    def __init__(self, folder: Path, inputs: PurePath) -> None:
        self.folder = folder
        self._inputs = inputs
        with record_errors(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def place(self, claim: Claim) -> Path:
        """The folder of a claim's own files."""
        return self.folder / claim.name

    def write(self, claim: Claim) -> None:
        """Record a claim durably: it survives a loss of power."""
        place = self.place(claim)
        values = _values(claim, self._inputs)
        text = json.dumps({"format": FORMAT, "claim": values, "sha256": _digest(values)})
        with record_errors(place):
            place.mkdir(mode=0o700, exist_ok=True)
            atomic_write(place / NOTE, text.encode("ascii"))
            sync_folder(self.folder)

    def forget(self, claim: Claim) -> None:
        """Remove the record of a claim, because its file was moved."""
        with record_errors(self.folder), suppress(FileNotFoundError):
            shutil.rmtree(self.place(claim))

    def get(self, name: str) -> Claim | None:
        """The recorded claim of this name; None if there is no record or it is damaged."""
        try:
            text = (self.folder / name / NOTE).read_bytes()
            return _claim(name, _values_of(text), self._inputs)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def all(self) -> list[Claim]:
        """All recorded claims, oldest first. Incomplete and damaged records are removed.

        Call it only before the first claim of a process: a claim in progress is incomplete too.
        """
        with record_errors(self.folder):
            places = sorted(each for each in self.folder.iterdir() if each.is_dir())
        found = {place: self.get(place.name) for place in places}
        for place in (place for place, claim in found.items() if claim is None):
            shutil.rmtree(place, ignore_errors=True)
        return [claim for claim in found.values() if claim is not None]


def _values(claim: Claim, inputs: PurePath) -> dict[str, Any]:
    values = asdict(claim)
    del values["name"], values["is_again"]
    relative = {key: str(getattr(claim, key).relative_to(inputs)) for key in ("file", "home")}
    return values | relative


def _values_of(text: bytes) -> dict[str, Any]:
    """The values in a record. Raises ValueError, KeyError or TypeError if it is damaged."""
    stored = json.loads(text)
    values: dict[str, Any] = stored["claim"]
    if stored["format"] != FORMAT or stored["sha256"] != _digest(values):
        raise ValueError(stored["format"])
    return values


def _claim(name: str, values: dict[str, Any], inputs: PurePath) -> Claim:
    """The claim with these values. Raises ValueError, KeyError or TypeError if they are wrong."""
    file, home = PurePath(values["file"]), PurePath(values["home"])
    return Claim(
        **{
            **values,
            "name": name,
            "file": inputs / file,
            "home": inputs / home,
            "before": values["before"] and FileIdentity(**values["before"]),
            "read": values["read"] and FileIdentity(**values["read"]),
            "is_again": True,
        }
    )


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def claim_name(now: datetime, letters: str) -> str:
    """The name of a claim; names sort by time.

    >>> claim_name(datetime(2026, 5, 1, 2, tzinfo=UTC), "abcd")
    '20260501T020000.000000Z-abcd'
    """
    return f"{now.astimezone(UTC).strftime(_TIME)}-{letters}"


def time_of(name: str) -> datetime | None:
    """The time in the name of a claim; None if it is not such a name.

    >>> time_of("20260501T020000.250000Z-abcd").isoformat()
    '2026-05-01T02:00:00.250000+00:00'
    """
    try:
        return datetime.strptime(name.rpartition("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


@contextmanager
def record_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into RunAborted: claims cannot be recorded."""
    try:
        yield
    except OSError as error:
        raise RunAborted(
            f"files of the drop folder cannot be recorded: {path}: {error.strerror}. Free space, "
            "correct the permissions, or set `ledger`"
        ) from error


def with_run(claim: Claim, run: str) -> Claim:
    """Return the claim with the run that was prepared for it."""
    return replace(claim, run=run, is_adopted=False)

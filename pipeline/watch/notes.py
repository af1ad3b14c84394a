"""What a watcher remembers of the files that it took: a small file each, beside the ledger.

    .pipeline/drops/lock             one process at a time
    .pipeline/drops/<claim>/claim.json
    .pipeline/drops/<claim>/a.csv    a private copy, while the file is read

Whoever may drop files cannot write here, so that a claim which stands here is one of ours.
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
"""Format 1 stood in the drop folder itself."""

LETTERS = 4
"""So many letters, drawn by chance, end the name of a claim."""

_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which file it is and how it was last changed.

    modified_ns, changed_ns  of its content; of anything, its name included, which nobody can forge
    """

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileIdentity:
        """From what the operating system tells."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Claim:
    """A file that was taken.

    name      of the claim; begins with the time at which the file was taken
    file      as it was dropped
    home      the folder of the operation, or the drop folder itself
    stored    what the file is called since
    before    the file as it lay where it was dropped
    sha256    of what was read of it, once that is known, hexadecimal; `read` is the file then
    run       that was prepared for it; empty before
    is_again  whether an earlier process had taken it
    is_adopted  whether an earlier version had: its run is believed within bounds only
    is_sent   whether `run` sent the file from where it was dropped, before it was taken
    """

    name: str
    file: Path
    home: Path
    stored: str
    before: FileIdentity | None = None
    read: FileIdentity | None = None
    sha256: str = ""
    run: str = ""
    is_again: bool = False
    is_adopted: bool = False
    is_sent: bool = False


class Notes:
    """The folder of them. Raises RunAborted where it cannot be used.

    inputs  the drop folder, which paths in notes are relative to
    """

    def __init__(self, folder: Path, inputs: Path) -> None:
        self.folder = folder
        self._inputs = inputs
        with told(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def place(self, claim: Claim) -> Path:
        """The folder of a claim's own files."""
        return self.folder / claim.name

    def write(self, claim: Claim) -> None:
        """Remember it, through a loss of power too."""
        place = self.place(claim)
        values = _values(claim, self._inputs)
        text = json.dumps({"format": FORMAT, "claim": values, "sha256": _digest(values)})
        with told(place):
            place.mkdir(mode=0o700, exist_ok=True)
            atomic_write(place / NOTE, text.encode("ascii"))
            sync_folder(self.folder)

    def forget(self, claim: Claim) -> None:
        """Its file is where it belongs."""
        with told(self.folder), suppress(FileNotFoundError):
            shutil.rmtree(self.place(claim))

    def get(self, name: str) -> Claim | None:
        """What is remembered of the claim of that name; None where nothing is, or it is damaged."""
        try:
            text = (self.folder / name / NOTE).read_bytes()
            return _claim(name, _values_of(text), self._inputs)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def all(self) -> list[Claim]:
        """All that are remembered, oldest first. What is torn or damaged is forgotten.

        Only for a process that has not begun to take files: a claim on its way is torn, too.
        """
        with told(self.folder):
            places = sorted(each for each in self.folder.iterdir() if each.is_dir())
        found = {place: self.get(place.name) for place in places}
        for place in (place for place, claim in found.items() if claim is None):
            shutil.rmtree(place, ignore_errors=True)
        return [claim for claim in found.values() if claim is not None]


def _values(claim: Claim, inputs: Path) -> dict[str, Any]:
    values = asdict(claim)
    del values["name"], values["is_again"]
    relative = {key: str(getattr(claim, key).relative_to(inputs)) for key in ("file", "home")}
    return values | relative


def _values_of(text: bytes) -> dict[str, Any]:
    """Raises ValueError, KeyError or TypeError where `Notes.write` did not write it."""
    stored = json.loads(text)
    values: dict[str, Any] = stored["claim"]
    if stored["format"] != FORMAT or stored["sha256"] != _digest(values):
        raise ValueError(stored["format"])
    return values


def _claim(name: str, values: dict[str, Any], inputs: Path) -> Claim:
    """Raises ValueError, KeyError or TypeError for anything that `_values` did not make."""
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
    """What a claim of this moment is called; names sort as the moments do.

    >>> claim_name(datetime(2026, 5, 1, 2, tzinfo=UTC), "abcd")
    '20260501T020000.000000Z-abcd'
    """
    return f"{now.astimezone(UTC).strftime(_TIME)}-{letters}"


def time_of(name: str) -> datetime | None:
    """When a claim of that name was made; None where it is no claim's name.

    >>> time_of("20260501T020000.250000Z-abcd").isoformat()
    '2026-05-01T02:00:00.250000+00:00'
    """
    try:
        return datetime.strptime(name.rpartition("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Errors of the operating system become RunAborted: what is taken cannot be remembered."""
    try:
        yield
    except OSError as error:
        raise RunAborted(
            f"what was taken from the drop folder cannot be put on record: {path}: "
            f"{error.strerror}. Make room, correct the permissions, or set `ledger`"
        ) from error


def with_run(claim: Claim, run: str) -> Claim:
    """The same claim, with the run that was prepared for it."""
    return replace(claim, run=run, is_adopted=False)

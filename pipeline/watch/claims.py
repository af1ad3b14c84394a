"""Files on their way through the drop folder: claimed by one rename, put away by another.

    inputs/<operation>/a.csv
    inputs/<operation>/.processing/<claim>/a.csv    while it is sent
    inputs/<operation>/.done/<claim>/a.csv          with a link `report`
    inputs/<operation>/.failed/<claim>/a.csv        with `reason.txt`

A claim's folder is made before the file comes into it and leaves as a whole, so that a process
may be killed at any point: whoever comes next finds the file in one place, and knows how far it is.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath

from pipeline.ledger import Lock
from pipeline.model import RunAborted
from pipeline.watch.settling import MARKER, Look, is_candidate

PROCESSING, DONE, FAILED = ".processing", ".done", ".failed"
LOCK = ".watching"
NOTE, REPORT, REASON = "claim.json", "report", "reason.txt"

_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, slots=True)
class Claim:
    """A file that was taken.

    folder   of the claim; its name begins with the time at which the file was taken
    file     as it was dropped
    run      that was prepared for it; empty before
    is_again whether an earlier process had taken it
    """

    folder: Path
    file: Path
    run: str = ""
    is_again: bool = False

    @property
    def path(self) -> Path:
        """Where the file lies now."""
        return self.folder / self.file.name

    @property
    def home(self) -> Path:
        """The folder of the operation, or the drop folder itself."""
        return self.folder.parent.parent


class Drops:
    """The drop folder. One process at a time may take files: whoever holds `lock`.

    inputs   the folder
    without  folders in it that are none of its business
    letters  draws the end of a claim's name

    Raises RunAborted where files can be neither taken nor put away.
    """

    def __init__(
        self, inputs: Path, *, without: tuple[Path, ...] = (), letters: Callable[[], str]
    ) -> None:
        self.inputs = inputs
        self._without = without
        self._letters = letters
        with _told(inputs):
            inputs.mkdir(parents=True, exist_ok=True)
        self.lock = Lock(inputs / LOCK)

    # What lies there...

    def looks(self) -> Iterator[Look]:
        """Files that are to be sent, complete or not."""
        for folder, folders, names in os.walk(self.inputs):
            here = Path(folder)
            folders[:] = [
                name
                for name in sorted(folders)
                if not name.startswith(".") and here / name not in self._without
            ]
            for name in names:
                if is_candidate(name) and (look := _look(here / name, f"{name}{MARKER}" in names)):
                    yield look

    def last_came(self, folder: str) -> datetime | None:
        """When the last file was taken from this folder; None where none is known."""
        times = [_time_of(claim.name) for claim in self._claims(folder)]
        return max((each for each in times if each is not None), default=None)

    def _claims(self, folder: str) -> Iterator[Path]:
        for kind in (PROCESSING, DONE, FAILED):
            with suppress(OSError):
                yield from (self.inputs / folder / kind).iterdir()

    # Taking...

    def claim(self, file: Path, now: datetime) -> Claim | None:
        """Take a file; None where it is gone."""
        name = f"{now.astimezone(UTC).strftime(_TIME)}-{self._letters()}"
        claim = Claim(self.home(file) / PROCESSING / name, file)
        with _told(claim.folder):
            claim.folder.mkdir(parents=True)
            _note(claim, self.inputs)
            try:
                file.rename(claim.path)
            except FileNotFoundError:
                shutil.rmtree(claim.folder)
                return None
            with suppress(FileNotFoundError):
                file.with_name(f"{file.name}{MARKER}").rename(claim.folder / f"{file.name}{MARKER}")
        return claim

    def home(self, file: Path) -> Path:
        """The operation's folder that a file was dropped in, however deep; else the drop folder."""
        first, *rest = file.relative_to(self.inputs).parts
        return self.inputs / first if rest else self.inputs

    def _homes(self) -> Iterator[Path]:
        """Folders in which files are claimed and put away."""
        yield self.inputs
        yield from (each for each in self.inputs.glob("[!.]*/") if each not in self._without)

    def left(self) -> list[Claim]:
        """What an earlier process took and did not put away, oldest first.

        Of a claim that the process was killed in before it had the file nothing is left.
        """
        with _told(self.inputs):
            folders = [claim for home in self._homes() for claim in (home / PROCESSING).glob("*/")]
            found = [self._left(folder) for folder in sorted(folders, key=lambda each: each.name)]
        return [claim for claim in found if claim is not None]

    def _left(self, folder: Path) -> Claim | None:
        noted = self._noted(folder)
        if noted is not None and os.path.lexists(noted.path):
            return noted
        lying = [each for each in folder.iterdir() if is_candidate(each.name)]
        if lying:  # it is known by itself; its run, by its content
            return Claim(folder, folder.parent.parent / lying[0].name, is_again=True)
        shutil.rmtree(folder)
        return None

    def _noted(self, folder: Path) -> Claim | None:
        """What the note says; None where it is torn, or leads out of the drop folder."""
        try:
            noted = json.loads((folder / NOTE).read_bytes())
            file, run = PurePath(noted["file"]), str(noted["run"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if file.is_absolute() or ".." in file.parts:
            return None
        return Claim(folder, self.inputs / file, run, is_again=True)

    def note_run(self, claim: Claim, run: str) -> Claim:
        """Remember which run was prepared for it, before anything of that is sent."""
        noted = replace(claim, run=run)
        with _told(claim.folder):
            _note(noted, self.inputs)
            # nor may the loss of power bring the file back to where it was dropped
            for folder in (claim.folder.parent, claim.file.parent):
                with suppress(FileNotFoundError):  # whoever dropped a folder may have removed it
                    _sync(folder)
        return noted

    def as_noted(self, claim: Claim) -> Claim:
        """The same claim, with the run that was prepared for it meanwhile."""
        return self._left(claim.folder) or claim

    # Putting away...

    def give_back(self, claim: Claim) -> bool:
        """Put the file back to where it was dropped: nothing of it was sent.

        False where another of that name came meanwhile: it stays claimed for the next start.
        """
        with _told(claim.folder):
            if os.path.lexists(claim.file):
                return False
            claim.path.rename(claim.file)
            shutil.rmtree(claim.folder)
        return True

    def done(self, claim: Claim, report: Path) -> Path:
        """Put the file away: what became of it stands in `report`. Gives back where it lies."""
        return self._away(claim, DONE, report, "")

    def set_aside(self, claim: Claim, reason: str, report: Path | None = None) -> Path:
        """Put the file away with the reason why it was not sent, or not all of it."""
        return self._away(claim, FAILED, report, reason)

    def _away(self, claim: Claim, kind: str, report: Path | None, reason: str) -> Path:
        home = claim.home / kind
        with _told(claim.folder):
            if reason:
                (claim.folder / REASON).write_bytes(f"{reason}\n".encode(errors="surrogateescape"))
            if report is not None and not os.path.lexists(claim.folder / REPORT):
                target = os.path.relpath(report, home / claim.folder.name)
                (claim.folder / REPORT).symlink_to(target, target_is_directory=True)
            home.mkdir(exist_ok=True)
            claim.folder.rename(home / claim.folder.name)
        return home / claim.folder.name / claim.file.name

    def prune(self, now: datetime, *, older_than: timedelta) -> int:
        """Remove files that were done so long ago; how many. What was set aside stays."""
        gone = 0
        with _told(self.inputs):
            for home in self._homes():
                for claim in (home / DONE).glob("*/"):
                    taken = _time_of(claim.name)
                    if taken is not None and taken < now - older_than:
                        shutil.rmtree(claim)
                        gone += 1
        return gone


def refusal_of(path: Path) -> str:
    """Why what lies there is not read at all; empty where it may be."""
    if not path.name.isprintable() and any("\ud800" <= char <= "\udfff" for char in path.name):
        return "its name is not UTF-8. Rename it and drop it again"
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "it is a link: what it leads to may change or lie anywhere. Drop the file itself"
    if not stat.S_ISREG(mode):
        return "it is no regular file. Drop a file"
    return ""


def _look(path: Path, is_marked: bool) -> Look | None:  # noqa: FBT001 - a value of the look
    try:
        seen = path.lstat()
    except OSError:  # gone, or on its way
        return None
    if stat.S_ISDIR(seen.st_mode):
        return None
    version = seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
    return Look(path, version, seen.st_ctime_ns, is_marked)


def _note(claim: Claim, inputs: Path) -> None:
    noted = {"file": str(claim.file.relative_to(inputs)), "run": claim.run}
    new = claim.folder / f"{NOTE}.new"
    with new.open("w", encoding="ascii") as written:
        json.dump(noted, written)
        written.flush()
        os.fsync(written.fileno())
    new.replace(claim.folder / NOTE)
    _sync(claim.folder)


def _sync(folder: Path) -> None:
    """Let the names in a folder survive loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _time_of(name: str) -> datetime | None:
    """When a claim of that name was made; None where it is no claim's name.

    >>> _time_of("20260501T020000.250000Z-abcd").isoformat()
    '2026-05-01T02:00:00.250000+00:00'
    """
    try:
        return datetime.strptime(name.rpartition("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of the operating system become RunAborted."""
    try:
        yield
    except OSError as error:
        raise RunAborted(
            f"the drop folder cannot be used: {path}: {error.strerror}. Mend its permissions, or "
            "make room"
        ) from error

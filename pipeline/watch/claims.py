"""Files on their way through the drop folder: claimed by one rename, put away by another.

    inputs/<operation>/a.csv
    inputs/<operation>/.processing/<claim>/a.csv    while it is sent
    inputs/<operation>/.done/<claim>/a.csv          with a link `report`
    inputs/<operation>/.failed/<claim>/a.csv        with `reason.txt`

Whoever may drop files may change any of these at any moment, so nothing of it is believed: which
files were taken, and which runs were prepared for them, stands in `notes`. A process may be killed
at any point: whoever comes next finds the file in one place, and knows how far it is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.model import RunAborted
from pipeline.store import Lock
from pipeline.store.disk_space import check_room
from pipeline.watch.adopt import adoptable, noted_by_earlier_version, remove_leftovers
from pipeline.watch.content import compared, copy_to, digest, opened_claim, refused
from pipeline.watch.folders import (
    is_open_for_writing,
    made,
    move_new,
    names_in,
    open_file,
    opened,
    opened_below,
    remove_tree,
    seen,
    write_new,
)
from pipeline.watch.names import safe_name
from pipeline.watch.notes import (
    LETTERS,
    LOCK,
    Claim,
    FileIdentity,
    Notes,
    claim_name,
    time_of,
    with_run,
)
from pipeline.watch.problems import DropError, dropped, in_words, why_not_taken
from pipeline.watch.scan import FolderScan
from pipeline.watch.settling import MARKER, ObservedFile, is_hidden

PROCESSING, DONE, FAILED = ".processing", ".done", ".failed"
REPORT, REASON = "report", "reason.txt"


class Drops:
    """The drop folder. One process at a time may take files: whoever holds `lock`.

    inputs   the folder
    state    where it stands which files were taken: not in `inputs`, nor writable to droppers
    without  folders in it that are none of its business
    letters  draws the end of a claim's name
    troubles  what could not be looked into the last time, and why

    Raises RunAborted where the folder as a whole cannot be used, or the record of what was taken;
    DropError where one file, or one folder in it, cannot be used as it is.
    """

    def __init__(
        self,
        inputs: Path,
        state: Path,
        *,
        without: tuple[Path, ...] = (),
        letters: Callable[[], str],
    ) -> None:
        self.inputs = inputs
        self.troubles: dict[Path, str] = {}
        self._not_adopted: dict[Path, str] = {}
        self._without = without
        self._letters = letters
        try:
            inputs.mkdir(parents=True, exist_ok=True)
            self._is = _identity(inputs.stat())
        except OSError as error:
            raise _unusable(inputs, error) from error
        self._notes = Notes(state, inputs)
        self.lock = Lock(state / LOCK)

    # What lies there...

    def looks(self) -> Iterator[ObservedFile]:
        """Files that are to be sent, complete or not."""
        walk = FolderScan(self.inputs, is_left_out=self._without.__contains__)
        with self._root() as root:
            yield from walk.looks(root)
        self.troubles = walk.troubles | self._not_adopted

    def is_being_written(self, file: Path) -> bool:
        """Whether some process has the file open for writing, as far as the system tells."""
        with suppress(OSError), self._folder(file.parent) as folder:
            descriptor = open_file(file.name, at=folder)
            try:
                return is_open_for_writing(descriptor)
            finally:
                os.close(descriptor)
        return False

    def check(self) -> None:
        """Raise RunAborted where the drop folder is gone, or is another one."""
        with self._root():
            pass

    def last_came(self, folder: str) -> datetime | None:
        """When the last file was taken from this folder; None where none is known."""
        names: list[str] = []
        for kind in (PROCESSING, DONE, FAILED):
            with suppress(OSError), self._folder(self.inputs / folder, kind) as found:
                names += names_in(found)
        times = map(time_of, names)
        return max((each for each in times if each is not None), default=None)

    @contextmanager
    def _root(self) -> Iterator[int]:
        """The drop folder, as long as it is the one that it was."""
        with ExitStack() as stack:
            try:
                root = stack.enter_context(opened(self.inputs))
            except OSError as error:
                raise _unusable(self.inputs, error) from error
            if _identity(os.fstat(root)) != self._is:
                raise RunAborted(
                    f"the drop folder cannot be used: {self.inputs} was replaced by another folder "
                    "while it was in use. Start again to use that one"
                )
            yield root

    @contextmanager
    def _folder(self, folder: Path, *names: str) -> Iterator[int]:
        """A folder in the drop folder. Raises OSError."""
        with (
            self._root() as root,
            opened_below(root, (*folder.relative_to(self.inputs).parts, *names)) as found,
        ):
            yield found

    # Taking...

    def claim(self, file: Path, now: datetime) -> Claim | None:
        """Take a file; None where it is gone. Raises DropError where it cannot be moved."""
        claim = Claim(
            name=claim_name(now, self._letters()),
            file=file,
            home=self.home(file),
            stored=safe_name(file.name),
        )
        return self._taken(claim, file)

    def _taken(self, claim: Claim, file: Path) -> Claim | None:
        try:
            with self._folder(file.parent) as source:
                found = seen(file.name, at=source)
                if found is None:
                    return None
                claim = replace(claim, before=FileIdentity.of(found))
                self._notes.write(claim)
                self._move_in(claim, file.name, source)
        except FileNotFoundError:
            self._notes.forget(claim)
            return None
        except OSError as error:
            self._notes.forget(claim)
            raise DropError(self._why_not_taken(file, claim.home, error)) from error
        return claim

    def _move_in(self, claim: Claim, name: str, source: int) -> None:
        with self._folder(claim.home) as home, made(PROCESSING, at=home) as processing:
            os.mkdir(claim.name, 0o755, dir_fd=processing)
            try:
                with opened(claim.name, at=processing) as folder:
                    os.rename(name, claim.stored, src_dir_fd=source, dst_dir_fd=folder)
                    with suppress(OSError):  # there is none, or it stays: it says nothing more
                        _rename(f"{name}{MARKER}", f"{claim.stored}{MARKER}", source, folder)
            except OSError:
                with suppress(OSError):
                    os.rmdir(claim.name, dir_fd=processing)
                raise

    def _why_not_taken(self, file: Path, home: Path, error: OSError) -> str:
        facts = None
        with suppress(OSError), self._folder(file.parent) as folder:
            facts = os.fstat(folder)
        return why_not_taken(file, home, error, facts)

    def home(self, file: Path) -> Path:
        """The operation's folder that a file was dropped in, however deep; else the drop folder."""
        first, *rest = file.relative_to(self.inputs).parts
        return self.inputs / first if rest else self.inputs

    def _homes(self) -> Iterator[Path]:
        """Folders in which files are claimed and put away."""
        yield self.inputs
        with self._root() as root:
            for name in names_in(root):
                path = self.inputs / name
                found = seen(name, at=root)
                is_folder = found is not None and stat.S_ISDIR(found.st_mode)
                if is_folder and not is_hidden(name) and path not in self._without:
                    yield path

    def left(self) -> list[Claim]:
        """What an earlier process took and did not put away, oldest first.

        Of a claim that the process was killed in before it had the file nothing is left. What lies
        in `.processing` and is no claim of ours is taken as if it were dropped now.
        """
        noted = self._notes.all()
        found = [claim for claim in noted if self._is_left(claim)]
        found += self._adopted({claim.name for claim in noted})
        return sorted(found, key=lambda claim: claim.name)

    def _is_left(self, claim: Claim) -> bool:
        """Whether there is something to do for it; forgets it if not."""
        if self._lies_in(claim, PROCESSING, claim.stored):
            return True
        is_away = any(self._lies_in(claim, kind) for kind in (DONE, FAILED))
        if claim.run and not is_away:
            return True  # somebody took the file away; its run is carried on all the same
        with suppress(OSError), self._folder(claim.home, PROCESSING) as processing:
            os.rmdir(claim.name, dir_fd=processing)
        self._notes.forget(claim)
        return False

    def _lies_in(self, claim: Claim, kind: str, *names: str) -> bool:
        path = (kind, claim.name, *names)
        with suppress(OSError), self._folder(claim.home, *path[:-1]) as folder:
            return seen(path[-1], at=folder) is not None
        return False

    def _adopted(self, known: set[str]) -> Iterator[Claim]:
        for home in self._homes():
            try:
                with self._folder(home, PROCESSING) as processing:
                    found = adoptable(processing, known)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._not_adopted[home] = f"{home / PROCESSING} cannot be used: {in_words(error)}"
                continue
            for folder, name in found:
                claim = self._adopt(home, folder, name)
                if claim is not None:
                    yield claim

    def _adopt(self, home: Path, folder: str, name: str) -> Claim | None:
        place = home / PROCESSING / folder
        now = datetime.now(UTC)
        claim = None
        with suppress(OSError, DropError):
            with self._folder(place) as found:
                noted, run = noted_by_earlier_version(found)
            file = home / name if noted is None else self.inputs / noted
            is_believed = file.name == name and self.home(file) == home
            claim = Claim(
                name=claim_name(min(time_of(folder) or now, now), self._letters()),
                file=file if is_believed else home / name,
                home=home,
                stored=safe_name(name),
                run=run,
                is_again=True,
                is_adopted=True,
            )
            claim = self._taken(claim, place / name)
            with self._folder(home, PROCESSING) as processing:
                remove_leftovers(processing, folder)
        return claim

    # Reading...

    def read(self, claim: Claim) -> Claim:
        """The same claim, with the SHA-256 of the file as it is now.

        Raises InputError where it is not to be read: a link, a pipe, without permission;
        RunAborted where there is no room for a copy.
        """
        with self._claimed(claim) as folder, opened_claim(folder, claim) as file:
            facts = FileIdentity.of(os.fstat(file))
            check_room(self._notes.folder, facts.size_bytes)  # or reading it is a waste of time
            return replace(claim, sha256=digest(file, claim), read=facts)

    @contextmanager
    def copy(self, claim: Claim) -> Iterator[tuple[Path, Claim]]:
        """A copy of the file that nobody else can change, while the block runs, and the claim with
        what was read.

        Raises InputError as `read` does, and where the file is not what was read before.
        """
        target = self._notes.place(claim) / claim.stored
        try:
            with self._claimed(claim) as folder, opened_claim(folder, claim) as file:
                claim = copy_to(target, file, claim)
            yield target, claim
        finally:
            target.unlink(missing_ok=True)

    @contextmanager
    def _claimed(self, claim: Claim) -> Iterator[int]:
        """The folder of a claimed file. Raises InputError where it is gone."""
        with ExitStack() as stack:
            try:
                folder = self._folder(claim.home, PROCESSING, claim.name)
                found = stack.enter_context(folder)
            except OSError as error:
                raise refused(claim, f"it was taken away after it was claimed: {error}") from error
            yield found

    def change_of(self, claim: Claim) -> str:
        """How the file differs from what was read of it; empty where it does not."""
        try:
            folder = self._folder(claim.home, PROCESSING, claim.name)
            with folder as found:
                return compared(found, claim)
        except OSError:
            return "it is gone now"

    def note_run(self, claim: Claim, run: str) -> Claim:
        """Remember which run was prepared for it, before anything of that is sent."""
        noted = with_run(claim, run)
        self._notes.write(noted)
        # nor may the loss of power bring the file back to where it was dropped
        for folder in (claim.home / PROCESSING, claim.file.parent):
            with suppress(OSError), self._folder(folder) as found:
                os.fsync(found)
        return noted

    def as_noted(self, claim: Claim) -> Claim:
        """The same claim, with the run that was prepared for it meanwhile."""
        return self._notes.get(claim.name) or claim

    # Putting away...

    def give_back(self, claim: Claim) -> bool:
        """Put the file back to where it was dropped: nothing of it was sent.

        False where another of that name came meanwhile: it stays claimed for the next start.
        """
        with dropped(claim.file):
            with (
                self._folder(claim.home, PROCESSING) as processing,
                opened(claim.name, at=processing) as folder,
                self._folder(claim.file.parent) as target,
            ):
                if not move_new(claim.stored, claim.file.name, source=folder, target=target):
                    return False
                marker = f"{claim.stored}{MARKER}"
                with suppress(OSError):
                    move_new(marker, f"{claim.file.name}{MARKER}", source=folder, target=target)
                with suppress(OSError):
                    os.rmdir(claim.name, dir_fd=processing)
            self._notes.forget(claim)
        return True

    def done(self, claim: Claim, report: Path) -> Path:
        """Put the file away: what became of it stands in `report`. Gives back where it lies."""
        return self._away(claim, DONE, report, "")

    def set_aside(self, claim: Claim, reason: str, report: Path | None = None) -> Path:
        """Put the file away with the reason why it was not sent, or not all of it."""
        return self._away(claim, FAILED, report, reason)

    def _away(self, claim: Claim, kind: str, report: Path | None, reason: str) -> Path:
        with (
            dropped(claim.file),
            self._folder(claim.home) as home,
            made(PROCESSING, at=home) as processing,
            made(kind, at=home) as target,
        ):
            if seen(claim.name, at=processing) is None:  # somebody took it away
                os.mkdir(claim.name, 0o755, dir_fd=processing)
            with opened(claim.name, at=processing) as folder:
                if reason:
                    write_new(REASON, _as_bytes(reason), at=folder)
                if report is not None:
                    place = claim.home / kind / claim.name
                    with suppress(FileExistsError):
                        os.symlink(os.path.relpath(report, place), REPORT, dir_fd=folder)
            name = self._free(claim.name, target)
            _rename(claim.name, name, processing, target)
            for each in (target, processing):
                os.fsync(each)
        self._notes.forget(claim)
        return claim.home / kind / name / claim.stored

    def _free(self, name: str, folder: int) -> str:
        """This name, or another where somebody made something of it."""
        while seen(name, at=folder) is not None:
            name = f"{name[:-LETTERS]}{self._letters()}"
        return name

    def prune(self, now: datetime, *, older_than: timedelta) -> int:
        """Remove files that were done so long ago; how many. What was set aside stays."""
        gone = 0
        for home in self._homes():
            with suppress(OSError), self._folder(home, DONE) as done:
                for name in names_in(done):
                    taken = time_of(name)
                    if taken is not None and taken < now - older_than:
                        with suppress(OSError):  # one that stays keeps no other
                            remove_tree(name, at=done)
                            gone += 1
        return gone


def _rename(name: str, new: str, source: int, target: int) -> None:
    os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _as_bytes(reason: str) -> bytes:
    return f"{reason}\n".encode(errors="surrogateescape")


def _unusable(inputs: Path, error: OSError) -> RunAborted:
    return RunAborted(
        f"the drop folder cannot be used: {inputs}: {error.strerror}. Bring it back, correct its "
        "permissions, or make room"
    )

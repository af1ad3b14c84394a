"""Moves files through the drop folder: one rename claims a file, another one ends the claim.

    inputs/<operation>/a.csv
    inputs/<operation>/.processing/<claim>/a.csv    while it is sent
    inputs/<operation>/.done/<claim>/a.csv          with a link `report`
    inputs/<operation>/.failed/<claim>/a.csv        with `reason.txt`

Whoever may drop files may change any of these at any moment, so none of it is trusted: `notes`
records which files were claimed and which runs were prepared for them. A process may be killed at
any point: the next one finds the file in one place and knows its progress.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath

from pipeline.model import RunAborted
from pipeline.model.file_names import is_hidden
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
    stat_of,
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
from pipeline.watch.settling import MARKER, ObservedFile

PROCESSING, DONE, FAILED = ".processing", ".done", ".failed"
SCAN_EVERY_S = 0.5
REPORT, REASON = "report", "reason.txt"


class Drops:
    """The drop folder. Only the process that holds `lock` may claim files.

    inputs    the folder
    state     the folder of the records; outside `inputs`, and not writable for droppers
    without   folders in `inputs` to ignore
    letters   returns random letters for the end of a claim's name
    problems  paths that the last scan could not read, with the reason

    Raises RunAborted if the folder as a whole, or its records, cannot be used, and DropError if one
    file or one folder in it cannot be used.
    """

    scan_every_s = SCAN_EVERY_S

    def __init__(
        self,
        inputs: Path,
        state: Path,
        *,
        without: tuple[Path, ...] = (),
        letters: Callable[[], str],
    ) -> None:
        self.inputs = inputs
        self.problems: dict[PurePath, str] = {}
        self._not_adopted: dict[PurePath, str] = {}
        self._without = without
        self._letters = letters
        try:
            inputs.mkdir(parents=True, exist_ok=True)
            self._is = _identity(inputs.stat())
        except OSError as error:
            raise _unusable(inputs, error) from error
        self._notes = Notes(state, inputs)
        self.lock = Lock(state / LOCK)

    # Scanning...

    def files(self) -> Iterator[ObservedFile]:
        """Yield the files to send, complete or not."""
        scan = FolderScan(self.inputs, is_left_out=self._without.__contains__)
        with self._root() as root:
            yield from scan.files(root)
        self.problems = scan.problems | self._not_adopted

    def is_being_written(self, file: PurePath) -> bool:
        """Return whether some process has the file open for writing; False if unknown."""
        with suppress(OSError), self._folder(file.parent) as folder:
            descriptor = open_file(file.name, at=folder)
            try:
                return is_open_for_writing(descriptor)
            finally:
                os.close(descriptor)
        return False

    def check(self) -> None:
        """Raise RunAborted if the drop folder is gone or was replaced."""
        with self._root():
            pass

    def last_arrival(self, folder: str) -> datetime | None:
        """The time of the last claim from this folder; None if none is known."""
        names: list[str] = []
        for kind in (PROCESSING, DONE, FAILED):
            with suppress(OSError), self._folder(self.inputs / folder, kind) as found:
                names += names_in(found)
        times = map(time_of, names)
        return max((each for each in times if each is not None), default=None)

    @contextmanager
    def _root(self) -> Iterator[int]:
        """Open the drop folder. Raises RunAborted if it was replaced."""
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
    def _folder(self, folder: PurePath, *names: str) -> Iterator[int]:
        """Open a folder in the drop folder. Raises OSError."""
        with (
            self._root() as root,
            opened_below(root, (*folder.relative_to(self.inputs).parts, *names)) as found,
        ):
            yield found

    # Claiming...

    def claim(self, file: PurePath, now: datetime) -> Claim | None:
        """Claim a file; None if it is gone. Raises DropError if it cannot be moved."""
        claim = Claim(
            name=claim_name(now, self._letters()),
            file=file,
            home=self.home(file),
            stored=safe_name(file.name),
        )
        return self._claim(claim, file)

    def _claim(self, claim: Claim, file: PurePath) -> Claim | None:
        try:
            with self._folder(file.parent) as source:
                found = stat_of(file.name, at=source)
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
                    with suppress(OSError):  # no marker, or it stays without effect
                        _rename(f"{name}{MARKER}", f"{claim.stored}{MARKER}", source, folder)
            except OSError:
                with suppress(OSError):
                    os.rmdir(claim.name, dir_fd=processing)
                raise

    def _why_not_taken(self, file: PurePath, home: PurePath, error: OSError) -> str:
        facts = None
        with suppress(OSError), self._folder(file.parent) as folder:
            facts = os.fstat(folder)
        return why_not_taken(file, home, error, facts)

    def shown(self, file: PurePath) -> PurePath:
        """The name of a file for people."""
        return file.relative_to(self.inputs.parent)

    def home(self, file: PurePath) -> Path:
        """The operation's folder that contains a file at any depth; else the drop folder."""
        first, *rest = file.relative_to(self.inputs).parts
        return self.inputs / first if rest else self.inputs

    def _homes(self) -> Iterator[Path]:
        """Yield the folders that may have a `.processing`."""
        yield self.inputs
        with self._root() as root:
            for name in names_in(root):
                path = self.inputs / name
                found = stat_of(name, at=root)
                is_folder = found is not None and stat.S_ISDIR(found.st_mode)
                if is_folder and not is_hidden(name) and path not in self._without:
                    yield path

    def unfinished(self) -> list[Claim]:
        """Return the claims of earlier processes that did not end, oldest first.

        A claim whose process was killed before it moved the file is forgotten. Files in
        `.processing` that belong to no recorded claim are claimed as if they were dropped now.
        """
        recorded = self._notes.all()
        found = [claim for claim in recorded if self._is_unfinished(claim)]
        found += self._adopted({claim.name for claim in recorded})
        return sorted(found, key=lambda claim: claim.name)

    def _is_unfinished(self, claim: Claim) -> bool:
        """Return whether a claim needs work; forget it if not."""
        if self._is_in(claim, PROCESSING, claim.stored):
            return True
        is_moved = any(self._is_in(claim, kind) for kind in (DONE, FAILED))
        if claim.run and not is_moved:
            return True  # somebody removed the file; its run is resumed all the same
        with suppress(OSError), self._folder(claim.home, PROCESSING) as processing:
            os.rmdir(claim.name, dir_fd=processing)
        self._notes.forget(claim)
        return False

    def _is_in(self, claim: Claim, kind: str, *names: str) -> bool:
        path = (kind, claim.name, *names)
        with suppress(OSError), self._folder(claim.home, *path[:-1]) as folder:
            return stat_of(path[-1], at=folder) is not None
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
                path, run = noted_by_earlier_version(found)
            file = home / name if path is None else self.inputs / path
            is_valid = file.name == name and self.home(file) == home
            claim = Claim(
                name=claim_name(min(time_of(folder) or now, now), self._letters()),
                file=file if is_valid else home / name,
                home=home,
                stored=safe_name(name),
                run=run,
                is_again=True,
                is_adopted=True,
            )
            claim = self._claim(claim, place / name)
            with self._folder(home, PROCESSING) as processing:
                remove_leftovers(processing, folder)
        return claim

    # Reading...

    def read(self, claim: Claim) -> Claim:
        """Return the claim with the digest and identity of the file as it is now.

        Raises InputError if the file must not or cannot be read (a link, a pipe, no permission),
        and RunAborted if there is no space for a copy.
        """
        with self._claimed(claim) as folder, opened_claim(folder, claim) as file:
            facts = FileIdentity.of(os.fstat(file))
            check_room(self._notes.folder, facts.size_bytes)  # before the time is spent on reading
            return replace(claim, sha256=digest(file, claim), read=facts)

    @contextmanager
    def copy(self, claim: Claim) -> Iterator[tuple[Path, Claim]]:
        """Make a copy that nobody else can change, for the block; yield it and the claim as read.

        Raises InputError as `read` does, and if the file changed since it was read before.
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
        """Open the folder of a claimed file. Raises InputError if it is gone."""
        with ExitStack() as stack:
            try:
                folder = self._folder(claim.home, PROCESSING, claim.name)
                found = stack.enter_context(folder)
            except OSError as error:
                raise refused(claim, f"it was removed after it was claimed: {error}") from error
            yield found

    def change_of(self, claim: Claim) -> str:
        """How the file differs from what was read; empty if it does not."""
        try:
            folder = self._folder(claim.home, PROCESSING, claim.name)
            with folder as found:
                return compared(found, claim)
        except OSError:
            return "it is gone"

    def record_run(self, claim: Claim, run: str) -> Claim:
        """Record the run that was prepared for a claim, before any of its rows is sent."""
        noted = with_run(claim, run)
        self._notes.write(noted)
        # a loss of power must not move the file back either
        for folder in (claim.home / PROCESSING, claim.file.parent):
            with suppress(OSError), self._folder(folder) as found:
                os.fsync(found)
        return noted

    def recorded(self, claim: Claim) -> Claim:
        """Return the claim as recorded, with the run that was prepared for it meanwhile."""
        return self._notes.get(claim.name) or claim

    # Ending a claim...

    def let_go(self, claim: Claim) -> None:
        """Nothing: a claimed file is out of the way of scans."""

    def give_back(self, claim: Claim) -> bool:
        """Move the file back to where it was dropped, because nothing of it was sent.

        Returns False if another file has taken its name: it stays claimed for the next start.
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

    def done(self, claim: Claim, report: PurePath) -> PurePath:
        """Move the file to `.done`, with a link to its report; return its new path."""
        return self._move_out(claim, DONE, report, "")

    def quarantine(self, claim: Claim, reason: str, report: PurePath | None = None) -> PurePath:
        """Move the file to `.failed`, with the reason; return its new path."""
        return self._move_out(claim, FAILED, report, reason)

    def _move_out(self, claim: Claim, kind: str, report: PurePath | None, reason: str) -> PurePath:
        with (
            dropped(claim.file),
            self._folder(claim.home) as home,
            made(PROCESSING, at=home) as processing,
            made(kind, at=home) as target,
        ):
            if stat_of(claim.name, at=processing) is None:  # somebody removed it
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
        """Return this name, or another one if it is taken."""
        while stat_of(name, at=folder) is not None:
            name = f"{name[:-LETTERS]}{self._letters()}"
        return name

    def prune(self, now: datetime, *, older_than: timedelta) -> int:
        """Remove old files from `.done`; return their number. `.failed` is kept."""
        removed = 0
        for home in self._homes():
            with suppress(OSError), self._folder(home, DONE) as done:
                for name in names_in(done):
                    claimed = time_of(name)
                    if claimed is not None and claimed < now - older_than:
                        with suppress(OSError):  # the others are still removed
                            remove_tree(name, at=done)
                            removed += 1
        return removed


def _rename(name: str, new: str, source: int, target: int) -> None:
    os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _as_bytes(reason: str) -> bytes:
    return f"{reason}\n".encode(errors="surrogateescape")


def _unusable(inputs: Path, error: OSError) -> RunAborted:
    return RunAborted(
        f"the drop folder cannot be used: {inputs}: {error.strerror}. Restore it, correct its "
        "permissions, or free space"
    )

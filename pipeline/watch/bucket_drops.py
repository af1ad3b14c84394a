"""A drop folder in a bucket: an object is claimed by a mark that is written only if there is none.

    drop/<operation>/a.csv                                  until its run ended
    drop/<operation>/.processing/a.csv.<version>            its mark
    drop/<operation>/.done/<claim>/a.csv, report.txt
    drop/<operation>/.failed/<claim>/a.csv, reason.txt

A claim ends when its object was moved. A watcher that was killed goes on with its claims when it
starts again. Another one goes on with them

- once no process works on the run that the mark names, if it has the same ledger: only that knows
  which rows were sent;
- from the start after `UNREAD_S`, if the mark names no run yet: nothing was sent. It replaces that
  very version of the mark, as a run is marked, so one of the two finds that it has lost the claim.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path, PurePath

from pipeline.model.file_names import is_hidden
from pipeline.model.object_path import ObjectPath
from pipeline.object_storage import (
    Bucket,
    ObjectFacts,
    ObjectStorageError,
    can_replace,
    check_claimable,
    fetch,
    refused,
)
from pipeline.store import Lock
from pipeline.store.disk_space import check_room
from pipeline.watch.marks import DONE, FAILED, Mark, mark_path
from pipeline.watch.names import safe_name
from pipeline.watch.notes import LOCK, Claim, FileIdentity, Notes, claim_name, time_of, with_run
from pipeline.watch.problems import DropError
from pipeline.watch.settling import ObservedFile, is_candidate

REPORT, REASON = "report.txt", "reason.txt"
MAX_LEVELS = 16
SCAN_EVERY_S = 5.0
"""Seconds between two listings, which cost money."""
RETRY_S = 60.0
"""Seconds after which a claim that could not be ended is tried again."""
UNREAD_S = 900.0
"""Age of a mark without a run, from which another watcher replaces it."""


class BucketDrops:
    """A drop folder in a bucket, with the methods of `Drops`.

    inputs     the folder
    state      the folder of the records, on this machine
    letters    returns random letters for the end of a claim's name
    now_s      monotonic
    is_ours    True for the mark of a run of this ledger that no process works on
    problems   places that the last scan could not read, with the reason

    Raises DropError if something cannot be done with one object, ObjectStorageError if the bucket
    as a whole cannot be used.
    """

    scan_every_s = SCAN_EVERY_S

    def __init__(
        self,
        bucket: Bucket,
        inputs: ObjectPath,
        state: Path,
        *,
        letters: Callable[[], str],
        is_ours: Callable[[Mark], bool],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inputs = inputs
        self.problems: dict[PurePath, str] = {}
        self._bucket = bucket
        self._letters = letters
        self._is_ours = is_ours
        self._notes = Notes(state, inputs)
        self._now_s = now_s
        self._in_hand: set[PurePath] = set()
        self._again_s: dict[PurePath, float] = {}
        self._last: dict[PurePath, datetime] = {}
        self._can_replace = False  # until it was tried
        self.lock = Lock(state / LOCK)

    # Scanning...

    def check(self) -> None:
        """Nothing: a bucket that cannot be read is a problem of a scan, and read again."""

    def check_usable(self) -> None:
        """Raise ObjectStorageError if objects cannot be claimed in this bucket."""
        check_claimable(self._bucket, self.inputs)
        self._can_replace = can_replace(self._bucket, self.inputs)

    def files(self) -> Iterator[ObservedFile]:
        """Yield the objects to send. An object is complete once it can be seen."""
        self.problems = {}
        try:
            found = list(self._files(self.inputs, 0))
        except ObjectStorageError as error:
            self.problems[self.inputs] = str(error)
            return
        for facts in found:
            yield ObservedFile(facts.path, facts.etag, facts.modified_ns, is_marked=True)

    def _files(self, folder: ObjectPath, depth: int) -> Iterator[ObjectFacts]:
        folders, objects = self._bucket.folder(folder)
        for facts in objects:
            is_due = self._now_s() >= self._again_s.get(facts.path, 0.0)
            if is_due and facts.path not in self._in_hand and is_candidate(facts.path.name):
                yield facts
        for each in folders if depth < MAX_LEVELS else ():
            if not is_hidden(each.name):
                yield from self._files(each, depth + 1)

    def is_being_written(self, _file: PurePath) -> bool:
        """False: an object is written whole."""
        return False

    def last_arrival(self, folder: str) -> datetime | None:
        """The time of the last claim from this folder; None if none is known."""
        home = self.inputs / folder
        times = [self._last[home]] if home in self._last else []
        for kind in (DONE, FAILED):
            times += filter(None, (time_of(each.name) for each in self._folders(home / kind)))
        return max(times, default=None)

    def _folders(self, folder: ObjectPath) -> list[ObjectPath]:
        try:
            return self._bucket.folder(folder)[0]
        except ObjectStorageError:
            return []

    def home(self, file: PurePath) -> ObjectPath:
        """The operation's folder that contains an object at any depth; else the drop folder."""
        first, *rest = file.relative_to(self.inputs).parts
        return self.inputs / first if rest else self.inputs

    def shown(self, file: PurePath) -> PurePath:
        """The name of an object for people."""
        return file

    # Claiming...

    def claim(self, file: PurePath, now: datetime) -> Claim | None:
        """Claim an object; None if it is gone or another process has it."""
        file = ObjectPath(file)
        try:
            facts = self._bucket.facts(file)
        except ObjectStorageError as error:
            if error.kind == "missing":
                return None
            raise DropError(str(error)) from None
        claim = Claim(
            name=claim_name(now, self._letters()),
            file=file,
            home=self.home(file),
            stored=safe_name(file.name),
            before=_identity(facts),
            etag=facts.etag,
        )
        self._notes.write(claim)  # before the mark: a mark without a note is not ours
        taken = self._marked(claim, now)
        if taken is not None:
            self._in_hand.add(file)
            self._last[claim.home] = now
        return taken

    def _marked(self, claim: Claim, now: datetime) -> Claim | None:
        """Write the mark; return the claim that the object has then, None if it is not ours."""
        try:
            self._bucket.put_new(_mark_of(claim), _mark_by_us(claim).text())
        except ObjectStorageError as error:
            if error.kind == "exists":
                return self._claimed_before(claim, now)
            raise DropError(f"{claim.file} cannot be claimed: {error}") from None  # maybe it is
        return self._if_there(claim)

    def _if_there(self, claim: Claim) -> Claim | None:
        if self._is_there(claim):
            return claim
        self._end(claim)  # another process has moved it meanwhile
        return None

    def _claimed_before(self, claim: Claim, now: datetime) -> Claim | None:
        """The claim of the mark that is there already; None if it is not ours."""
        mark = self._mark(claim)
        if mark is not None and mark.claim == claim.name:
            return claim  # the reply to the write was lost, and it was tried again
        noted = None if mark is None else self._notes.get(mark.claim)
        if mark is not None and noted is None and self._has_lapsed(claim, mark, now):
            self._replace(claim, _mark_by_us(claim), over=mark.__eq__)
            return self._if_there(claim)
        self._notes.forget(claim)
        if mark is None:
            return None
        if noted is not None:
            return replace(noted, is_again=True)
        if not mark.run or not self._is_ours(mark):
            raise DropError(
                f"{claim.file} is claimed by process {mark.pid} on {mark.host}"
                f"{f', run {mark.run}' if mark.run else ''}. If that is gone for good, "
                f"{self._advice(mark)} remove {_mark_of(claim)}"
            )
        noted = replace(claim, name=mark.claim, run=mark.run, sha256=mark.sha256, read=claim.before)
        self._notes.write(noted)
        return replace(noted, is_again=True)

    def _advice(self, mark: Mark) -> str:
        if mark.run:
            return "see what it sent, then"
        if not self._can_replace:
            return "nothing was sent:"
        return f"another watcher sends it {UNREAD_S / 60:g} minutes after; or"

    def _has_lapsed(self, claim: Claim, mark: Mark, now: datetime) -> bool:
        """True if the mark is old and names no run. The clocks need not agree: see `_replace`."""
        if mark.run or not self._can_replace:
            return False
        try:
            marked = self._bucket.facts(_mark_of(claim)).modified
        except ObjectStorageError as error:
            if error.kind == "missing":
                return False
            raise DropError(str(error)) from None
        return now - marked > timedelta(seconds=UNREAD_S)

    def _replace(self, claim: Claim, mark: Mark, *, over: Callable[[Mark], bool]) -> None:
        """Write a mark in place of one that may be replaced. Raises DropError if there is another.

        The note of a claim that is lost is removed.
        """
        path = _mark_of(claim)
        try:
            text, version = self._bucket.versioned_text(path)
            found = Mark.of(text)
            if found is not None and over(found):
                if self._can_replace:
                    self._bucket.replace(path, version, mark.text())
                else:
                    self._bucket.put(path, mark.text())
                found = mark
        except ObjectStorageError as error:
            if error.kind not in {"changed", "missing"}:
                raise DropError(f"{claim.file} cannot be marked: {error}") from None
            found = self._mark(claim)  # ours, if the reply was lost and the write was tried again
        if found != mark:
            self._notes.forget(claim)
            who = "moved" if found is None else f"claimed by process {found.pid} on {found.host}"
            raise DropError(f"{claim.file} was {who} meanwhile")

    def unfinished(self) -> list[Claim]:
        """Return the claims of earlier processes that did not end, oldest first."""
        found = []
        for claim in self._notes.all():
            try:
                mark = self._mark(claim)
            except DropError:
                continue  # a scan finds its object, and the note
            if mark is not None and mark.claim == claim.name:
                self._in_hand.add(claim.file)
                found.append(claim)
            else:
                self._notes.forget(claim)
        return found

    def _mark(self, claim: Claim) -> Mark | None:
        """The mark of the claimed version; None without one. Raises DropError."""
        try:
            return Mark.of(self._bucket.text(_mark_of(claim)))
        except ObjectStorageError as error:
            if error.kind == "missing":
                return None
            raise DropError(str(error)) from None

    def _is_there(self, claim: Claim) -> bool:
        """True if the object is still the claimed version. Raises DropError."""
        try:
            return self._bucket.facts(_path(claim)).etag == claim.etag
        except ObjectStorageError as error:
            if error.kind == "missing":
                return False
            raise DropError(str(error)) from None

    # Reading...

    def read(self, claim: Claim) -> Claim:
        """Return the claim with the digest of the object; its copy is kept for `copy`.

        Raises InputError if the object must not or cannot be read.
        """
        copy = self._copy_of(claim)
        copy.unlink(missing_ok=True)
        try:
            facts = self._bucket.facts(_path(claim))
            check_room(copy.parent, facts.size_bytes)
            fetched = fetch(self._bucket, replace(facts, etag=claim.etag), copy)
        except ObjectStorageError as error:
            if error.kind in {"missing", "changed"}:
                raise refused(error) from None
            raise DropError(str(error)) from None
        return replace(claim, sha256=fetched.sha256, read=claim.before)

    @contextmanager
    def copy(self, claim: Claim) -> Iterator[tuple[Path, Claim]]:
        """Yield the copy of the object, and the claim as read; the copy is removed afterwards."""
        copy = self._copy_of(claim)
        try:
            if not claim.sha256 or not copy.exists():
                claim = self.read(claim)
            yield copy, claim
        finally:
            copy.unlink(missing_ok=True)

    def _copy_of(self, claim: Claim) -> Path:
        return self._notes.place(claim) / claim.stored

    def change_of(self, _claim: Claim) -> str:
        """Empty: what was read is of one version, and another version is claimed for itself."""
        return ""

    def record_run(self, claim: Claim, run: str) -> Claim:
        """Record the run that was prepared for a claim, before any of its rows is sent."""
        noted = with_run(claim, run)
        mark = replace(_mark_by_us(claim), run=run, sha256=claim.sha256)
        self._notes.write(noted)
        self._replace(claim, mark, over=lambda found: found.claim == claim.name)
        return noted

    def recorded(self, claim: Claim) -> Claim:
        """Return the claim as recorded, with the run that was prepared for it meanwhile."""
        return self._notes.get(claim.name) or claim

    # Ending a claim...

    def let_go(self, claim: Claim) -> None:
        """This process no longer works on the claim: a later scan goes on with it if it is open."""
        self._in_hand.discard(claim.file)
        self._again_s.pop(claim.file, None)
        if self._notes.get(claim.name) is not None:
            self._again_s[claim.file] = self._now_s() + RETRY_S

    def give_back(self, claim: Claim) -> bool:
        """End a claim because nothing of the object was sent."""
        self._end(claim)
        return True

    def done(self, claim: Claim, report: PurePath) -> ObjectPath:
        """Move the object to `.done`, beside the place of its report; return its new path."""
        return self._move(claim, DONE, {REPORT: str(report)})

    def quarantine(self, claim: Claim, reason: str, report: PurePath | None = None) -> ObjectPath:
        """Move the object to `.failed`, with the reason; return its new path."""
        return self._move(claim, FAILED, {REASON: reason, REPORT: str(report or "")})

    def _move(self, claim: Claim, kind: str, texts: dict[str, str]) -> ObjectPath:
        """Copy first, then remove: a process that is killed leaves the claim open."""
        place = claim.home / kind / claim.name
        target = ObjectPath(place / claim.stored)
        mark = self._mark(claim)
        if mark is None or mark.claim != claim.name:
            self._notes.forget(claim)
            raise DropError(f"{claim.file} was moved by another process")
        try:
            if self._is_there(claim):
                self._bucket.copy(_path(claim), target)
            for name, text in texts.items():
                if text:
                    self._bucket.put(ObjectPath(place / name), f"{text}\n".encode())
            if self._is_there(claim):  # a new version stays, to be claimed
                self._bucket.remove(_path(claim))
        except ObjectStorageError as error:
            raise DropError(f"{claim.file} cannot be moved: {error}") from None
        self._end(claim)
        return target

    def _end(self, claim: Claim) -> None:
        try:
            self._bucket.remove(_mark_of(claim))
        except ObjectStorageError as error:
            raise DropError(f"{claim.file}: its mark cannot be removed: {error}") from None
        self._notes.forget(claim)

    def prune(self, now: datetime, *, older_than: timedelta) -> int:
        """Remove old objects from `.done`; return the number of claims. `.failed` is kept."""
        removed = 0
        for home in (self.inputs, *self._folders(self.inputs)):
            for claim in self._folders(home / DONE):
                claimed = time_of(claim.name)
                if claimed is not None and claimed < now - older_than:
                    removed += self._removed(claim)
        return removed

    def _removed(self, folder: ObjectPath) -> int:
        try:
            for facts in list(self._bucket.below(folder)):
                self._bucket.remove(facts.path)
        except ObjectStorageError:
            return 0  # the next time
        return 1


def _path(claim: Claim) -> ObjectPath:
    return ObjectPath(claim.file)


def _mark_of(claim: Claim) -> ObjectPath:
    return mark_path(ObjectPath(claim.home), _path(claim), claim.etag)


def _mark_by_us(claim: Claim) -> Mark:
    return Mark(claim.name, socket.gethostname(), os.getpid())


def _identity(facts: ObjectFacts) -> FileIdentity:
    """The size of an object; it has no other number of a file."""
    return FileIdentity(0, 0, facts.size_bytes, 0, 0)

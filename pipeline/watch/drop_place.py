"""What a drop folder can do, wherever it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path, PurePath
from typing import Protocol

from pipeline.store import Lock
from pipeline.watch.notes import Claim
from pipeline.watch.settling import ObservedFile


class DropPlace(Protocol):
    """A drop folder: `Drops` on this machine, `BucketDrops` in object storage."""

    @property
    def inputs(self) -> PurePath:
        """The folder."""
        ...

    @property
    def scan_every_s(self) -> float:
        """Seconds between two scans."""
        ...

    @property
    def problems(self) -> Mapping[PurePath, str]:
        """Places that the last scan could not read, with the reason."""
        ...

    @property
    def lock(self) -> Lock:
        """Only the process that holds it may claim files."""
        ...

    def check(self) -> None:
        """Raise RunAborted if the folder as a whole cannot be used any longer."""

    def files(self) -> Iterator[ObservedFile]:
        """Yield the files to send, complete or not, without those that this process works on."""
        ...

    def is_being_written(self, file: PurePath) -> bool:
        """Return whether some process has the file open for writing; False if unknown."""
        ...

    def last_arrival(self, folder: str) -> datetime | None:
        """The time of the last claim from this folder; None if none is known."""
        ...

    def home(self, file: PurePath) -> PurePath:
        """The operation's folder that contains a file; else the drop folder."""
        ...

    def shown(self, file: PurePath) -> PurePath:
        """The name of a file for people."""
        ...

    def claim(self, file: PurePath, now: datetime) -> Claim | None:
        """Claim a file; None if it is gone. Raises DropError if it cannot be claimed."""
        ...

    def unfinished(self) -> list[Claim]:
        """Return the claims of earlier processes that did not end, oldest first."""
        ...

    def read(self, claim: Claim) -> Claim:
        """Return the claim with the digest of the file. Raises InputError."""
        ...

    def copy(self, claim: Claim) -> AbstractContextManager[tuple[Path, Claim]]:
        """A copy that nobody else can change, and the claim as read. Raises InputError."""
        ...

    def change_of(self, claim: Claim) -> str:
        """How the file differs from what was read; empty if it does not."""
        ...

    def record_run(self, claim: Claim, run: str) -> Claim:
        """Record the run that was prepared for a claim, before any of its rows is sent."""
        ...

    def recorded(self, claim: Claim) -> Claim:
        """Return the claim as recorded."""
        ...

    def let_go(self, claim: Claim) -> None:
        """This process no longer works on the claim, whether it ended or not."""

    def give_back(self, claim: Claim) -> bool:
        """End a claim because nothing of the file was sent."""
        ...

    def done(self, claim: Claim, report: PurePath) -> PurePath:
        """Move the file to `.done`, with its report; return its new path. Raises DropError."""
        ...

    def quarantine(self, claim: Claim, reason: str, report: PurePath | None = None) -> PurePath:
        """Move the file to `.failed`, with the reason; return its new path. Raises DropError."""
        ...

    def prune(self, now: datetime, *, older_than: timedelta) -> int:
        """Remove old files from `.done`; return their number."""
        ...

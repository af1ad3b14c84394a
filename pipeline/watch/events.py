"""Events of a drop folder. Values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from pipeline.reporter import Summary
from pipeline.watch.expected_files import Expectation


@dataclass(frozen=True, slots=True)
class FileTaken:
    """A complete file was claimed.

    is_again  True if an earlier process had claimed it already
    """

    file: PurePath
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class FileStarted:
    """A run starts to send the rows of a file.

    rows      jobs per account
    invalid   rows that are not sent
    warnings  doubts that stop nothing, such as an earlier run of the same content
    """

    file: PurePath
    run: str
    rows: Mapping[str, int]
    invalid: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileEnded:
    """The run of a file ended and the file was moved to `place`.

    is_earlier  True if the run had sent the file before it was claimed: nothing was sent now
    """

    file: PurePath
    place: PurePath
    summary: Summary
    is_earlier: bool = False


@dataclass(frozen=True, slots=True)
class FileQuarantined:
    """A file that was not sent, or not completely, was moved to `place`.

    reason   also written to a file beside it
    summary  of its run; None if there was none
    safe     the reason without values from the file, for logs; empty if that is the same
    """

    file: PurePath
    place: PurePath
    reason: str
    summary: Summary | None = None
    safe: str = ""


@dataclass(frozen=True, slots=True)
class FileLeft:
    """A claimed file stays as it is; the next start continues with it."""

    file: PurePath
    reason: str


@dataclass(frozen=True, slots=True)
class FileStuck:
    """A file or folder cannot be read or moved. It stays as it is."""

    file: PurePath
    reason: str


@dataclass(frozen=True, slots=True)
class FileWaiting:
    """A file has been complete for a while and is not claimed yet."""

    file: PurePath
    reason: str


@dataclass(frozen=True, slots=True)
class ExpectedFileMissing:
    """An expected file did not arrive in time."""

    expected: Expectation


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The folder was scanned.

    waiting  files that are not complete or not claimed yet
    """

    waiting: int


Event = (
    FileTaken
    | FileStarted
    | FileEnded
    | FileQuarantined
    | FileLeft
    | FileStuck
    | FileWaiting
    | ExpectedFileMissing
    | Heartbeat
)

"""What happens in a drop folder. Values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.reporter import Summary
from pipeline.watch.expected_files import Expectation


@dataclass(frozen=True, slots=True)
class FileTaken:
    """A file is complete and was taken. `is_again`: an earlier process had taken it already."""

    file: Path
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class FileStarted:
    """Rows of a file are about to be sent: `rows` per account; `invalid` ones are not.

    warnings  what is doubtful and stops nothing, such as an earlier run of the same content
    """

    file: Path
    run: str
    rows: Mapping[str, int]
    invalid: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileEnded:
    """The run of a file came to its end; `place` is where the file lies now.

    is_earlier  whether the run had sent the file before it was taken: now nothing was sent
    """

    file: Path
    place: Path
    summary: Summary
    is_earlier: bool = False


@dataclass(frozen=True, slots=True)
class FileQuarantined:
    """A file of which nothing was sent, or not all, lies in `place`, with `reason` beside it.

    summary  of its run; None where there was none
    safe     the reason without what stands in the file, for logs; empty where that is the same
    """

    file: Path
    place: Path
    reason: str
    summary: Summary | None = None
    safe: str = ""


@dataclass(frozen=True, slots=True)
class FileLeft:
    """A file was taken and stays as it is until the next start, which goes on with it."""

    file: Path
    reason: str


@dataclass(frozen=True, slots=True)
class FileStuck:
    """A file, or a folder, cannot be taken, looked into or put away. It stays as it is."""

    file: Path
    reason: str


@dataclass(frozen=True, slots=True)
class FileWaiting:
    """A file has been complete for a while and is not taken yet."""

    file: Path
    reason: str


@dataclass(frozen=True, slots=True)
class ExpectedFileMissing:
    """Nothing came that was expected."""

    expected: Expectation


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The folder was looked through; `waiting` files are not complete or wait for their turn."""

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

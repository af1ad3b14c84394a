"""The drop folder: dropped files are claimed, sent once each and moved where they belong.

Not here: how a claimed file is sent (`run`).
"""

from pipeline.watch.claims import Drops
from pipeline.watch.drop_place import DropPlace
from pipeline.watch.environment import KnownFolders
from pipeline.watch.events import (
    Event,
    ExpectedFileMissing,
    FileEnded,
    FileLeft,
    FileQuarantined,
    FileStarted,
    FileStuck,
    FileTaken,
    FileWaiting,
    Heartbeat,
)
from pipeline.watch.expected_files import Expectation, parse_expectation
from pipeline.watch.intake import FileIntake
from pipeline.watch.notes import LETTERS, Claim
from pipeline.watch.prepared import (
    ENDED,
    ended,
    finish,
    is_begun,
    is_free_run,
    is_left,
    prepare_claim,
)
from pipeline.watch.problems import DropError
from pipeline.watch.settling import SETTLE_S, Settling
from pipeline.watch.watcher import Watcher

__all__ = [
    "ENDED",
    "LETTERS",
    "SETTLE_S",
    "Claim",
    "DropError",
    "DropPlace",
    "Drops",
    "Event",
    "Expectation",
    "ExpectedFileMissing",
    "FileEnded",
    "FileIntake",
    "FileLeft",
    "FileQuarantined",
    "FileStarted",
    "FileStuck",
    "FileTaken",
    "FileWaiting",
    "Heartbeat",
    "KnownFolders",
    "Settling",
    "Watcher",
    "ended",
    "finish",
    "is_begun",
    "is_free_run",
    "is_left",
    "parse_expectation",
    "prepare_claim",
]

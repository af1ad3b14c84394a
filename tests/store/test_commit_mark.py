"""A flipped byte in the log of a killed process is noticed; a commit that was torn is none."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.model import RowResult, Status
from pipeline.store import LedgerError, Run, RunLedger
from pipeline.store.commit_mark import CommitMark
from pipeline.store.on_files.registry import FileRegistry
from pipeline.store.on_files.registry_file import RegistryFile

HEAD, FRAME_HEAD, PAGE = 32, 24, 4096
FRAME = FRAME_HEAD + PAGE
LAST = 10**9
NAMES = ("ledger.db", "ledger.db-wal", "ledger.db-mark")

WRITER = """
import os, signal, sys
from pathlib import Path
from pipeline.store import RunLedger
from pipeline.model import RowResult, Status

path, commits, checkpoint = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
ledger = RunLedger.create(path)
ledger._database._connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint}")
for row in range(1, commits + 1):
    error = "x" * (row * 997 % 9000)
    result = RowResult(row, "xsolla.coupon", "shop", Status.UPDATED, error=error)
    ledger.record([row + 1], [result])
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(folder: Path, commits: int, checkpoint: int = 0) -> Path:
    """What a process left that was killed after so many commits, one result each."""
    path = folder / "ledger.db"
    arguments = [str(path), str(commits), str(checkpoint)]
    child = subprocess.run([sys.executable, "-c", WRITER, *arguments], check=False)
    assert child.returncode == -9
    assert not child.stderr
    return path


def copied(path: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        (folder / name).unlink(missing_ok=True)
        (folder / f"{name}-shm").unlink(missing_ok=True)
        if path.with_name(name).exists():
            shutil.copy(path.with_name(name), folder)
    return folder / "ledger.db"


def log_of(path: Path) -> Path:
    return path.with_name("ledger.db-wal")


class Frame(NamedTuple):
    """Where it begins in the log, the page that it holds, and whether it ends a commit."""

    at: int
    page: int
    is_last: bool


def frames(path: Path) -> list[Frame]:
    """Those of the log as it was last begun anew."""
    content = log_of(path).read_bytes()
    found = []
    for at in range(HEAD, len(content) - FRAME + 1, FRAME):
        page, size = struct.unpack_from(">II", content, at)
        if content[at + 8 : at + 16] == content[16:24]:
            found.append(Frame(at, page, size > 0))
    return found


def flip(path: Path, offset: int, bit: int = 3) -> None:
    with path.open("rb+") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def read(path: Path) -> tuple[list[int], list[int]]:
    with RunLedger(path) as ledger:
        return [each.row for each in ledger.results(1, LAST)], list(ledger.claimed())


def outcome(path: Path, commits: int) -> str:
    """`whole` or `noticed`; anything else is a record that is silently less than it was."""
    try:
        assert read(path) == (list(range(1, commits + 1)), [commits + 1])
    except LedgerError as error:
        assert "ledger.db" in str(error)  # noqa: PT017 - to be whole is fine as well
        assert "is damaged: " in str(error)  # noqa: PT017
        return "noticed"
    return "whole"


def offsets(path: Path) -> Iterator[int]:
    """All of the head; of every frame some of its own head and of its page."""
    yield from range(HEAD)
    for number, frame in enumerate(frames(path)):
        yield from (frame.at + number % FRAME_HEAD, frame.at + 4 + number % 4)
        yield frame.at + FRAME_HEAD + number * 1009 % PAGE


def test_a_flipped_byte_anywhere_in_the_log_is_noticed(tmp_path):
    commits = 12
    path = killed(tmp_path, commits)
    assert sum(frame.is_last for frame in frames(path)) >= commits
    places = list(offsets(path))
    assert len(places) > 150
    for offset in places:
        copy = copied(path, tmp_path / "copy")
        flip(log_of(copy), offset)
        left = log_of(copy).read_bytes()
        assert outcome(copy, commits) == "noticed", offset
        assert log_of(copy).read_bytes() == left  # nothing is lost that might be mended yet


def test_a_flipped_byte_in_a_restarted_log_is_noticed_or_harmless(tmp_path):
    commits = 40
    path = killed(tmp_path, commits, checkpoint=30)
    size = log_of(path).stat().st_size
    assert len(frames(path)) < size // FRAME  # behind them lie some of the log before
    found = set()
    for offset in [*offsets(path), *range(frames(path)[-1].at + FRAME + 5, size, 9973)]:
        copy = copied(path, tmp_path / "copy")
        flip(log_of(copy), offset)
        found.add(outcome(copy, commits))
    assert found == {"noticed", "whole"}


@pytest.mark.parametrize("place", ["head", "first frame", "first commit", "last commit"])
def test_a_partly_checkpointed_log_is_noticed(tmp_path, place):
    """The count stands in the first page, which is written back before the others."""
    commits = 12
    path = killed(tmp_path, commits)
    log, found = log_of(path).read_bytes(), frames(path)
    newest = {frame.page: frame for frame in found}
    first = newest[1]
    with path.open("rb+") as file:
        file.write(log[first.at + FRAME_HEAD :][:PAGE])
    ends = [frame.at for frame in found if frame.is_last]
    flip(log_of(path), {"head": 3, "first frame": 60}.get(place, ends[0 if "f" in place else -1]))
    assert outcome(path, commits) == "noticed"


@pytest.mark.parametrize(
    ("lose", "noticed"),
    [
        (lambda log: log.unlink(), r"ledger\.db is damaged: it ends at commit \d, and commit"),
        (lambda log: log.write_bytes(b""), r"ledger\.db is damaged"),
        (lambda log: os.truncate(log, 9_000), r"ledger\.db-wal is damaged: its first commit is"),
        (lambda log: os.truncate(log, 60_000), r"ledger\.db-wal is damaged: it ends at commit"),
        (lambda log: flip(log, 9), r"ledger\.db-wal is damaged: the head of the log is not what"),
        (lambda log: flip(log.with_name("ledger.db-mark"), 2), "the mark beside it is not what"),
    ],
)
def test_the_damaged_file_is_named(tmp_path, lose: Callable[[Path], None], noticed: str):
    path = killed(tmp_path, 12)
    lose(log_of(path))
    with pytest.raises(LedgerError, match=noticed):
        RunLedger(path)


def test_a_record_with_a_torn_commit_opens_without_it(tmp_path):
    """Its process was killed, or the power went, before it returned: any part may be there."""
    path = killed(tmp_path, 12)
    before = copied(path, tmp_path / "before")
    with RunLedger(path) as ledger:
        ledger._database._connection.execute("PRAGMA wal_autocheckpoint = 0")
        ledger.record([], [RowResult(13, "o", "shop", Status.FAILED, error="y" * 30_000)])
        torn = log_of(path).read_bytes()
    whole_bytes = log_of(before).stat().st_size
    assert len(torn) > whole_bytes + 5 * FRAME
    chance = random.Random(7)
    for number in range(60):
        copy = copied(before, tmp_path / "copy")
        end = chance.randrange(whole_bytes, len(torn))
        content = bytearray(torn[:end])
        if number % 2:  # some sectors are there, in any order
            content = bytearray(torn)
            for at in range(whole_bytes + 512 - whole_bytes % 512, len(torn), 512):
                if chance.random() < 0.3:
                    content[at : at + 512] = bytes(512)
        log_of(copy).write_bytes(content)
        rows, claimed = read(copy)
        assert rows in (list(range(1, 13)), list(range(1, 14)))
        assert claimed == [13] * (len(rows) == 12)


def test_a_torn_first_commit_opens(tmp_path):
    path = tmp_path / "ledger.db"
    with RunLedger.create(path) as ledger:
        ledger.record([], [RowResult(1, "o", "shop", Status.UPDATED)])
    before = copied(path, tmp_path / "before")
    with RunLedger(path) as ledger:
        ledger.record([], [RowResult(2, "o", "shop", Status.UPDATED, error="y" * 30_000)])
        torn = log_of(path).read_bytes()
    for end in (0, 20, 32, 33, 32 + FRAME, 32 + 3 * FRAME + 99, len(torn) - 1):
        copy = copied(before, tmp_path / "copy")
        log_of(copy).write_bytes(torn[:end])
        assert read(copy) == ([1], [])


def test_an_older_mark_is_accepted(tmp_path):
    """After loss of power the mark may be as it was some time before."""
    path = killed(tmp_path, 5)
    early = path.with_name("ledger.db-mark").read_bytes()
    with RunLedger(path) as ledger:
        for row in range(6, 12):
            ledger.record([], [RowResult(row, "o", "shop", Status.UPDATED)])
        copied(path, tmp_path / "copy")
    for mark in (early, bytes(len(early)), b""):
        copy = copied(path, tmp_path / "copy")
        copy.with_name("ledger.db-mark").write_bytes(mark)
        assert len(read(copy)[0]) == 11


def test_a_record_without_a_mark_is_read_and_gets_one(tmp_path):
    path = killed(tmp_path, 3)
    mark = path.with_name("ledger.db-mark")
    mark.unlink()
    with RunLedger(path) as ledger:
        ledger.record([], [RowResult(4, "o", "shop", Status.UPDATED)])
        copy = copied(path, tmp_path / "copy")
    flip(log_of(copy), frames(copy)[-1].at + 700)
    assert outcome(copy, 4) == "noticed"


def test_a_commit_succeeds_if_its_mark_cannot_be_written(tmp_path):
    path = tmp_path / "ledger.db"
    with RunLedger.create(path) as ledger:
        ledger._database._mark._file.close()
        ledger._database._mark._file = path.with_name("ledger.db-mark").open("rb", buffering=0)
        ledger.record([], [RowResult(1, "o", "shop", Status.UPDATED)])
    assert read(path) == ([1], [])


def test_a_mark_never_goes_back(tmp_path):
    """Two processes that wrote one after the other may note in the other order."""
    path = tmp_path / "ledger.db"
    RunLedger.create(path).close()
    log_of(path).write_bytes(b"")
    first, second = CommitMark(path), CommitMark(path)
    second.note(9)
    first.note(8)
    assert first.read().commits == second.read().commits == 9
    first.close()
    second.close()
    first.close()  # once more does nothing


# The file that runs share

START = datetime(2026, 5, 1, tzinfo=UTC)
A_RUN = Run(name="", source="a.csv", sha256="ab", rows=3, started=START)


def test_a_flipped_byte_in_the_log_of_the_registry_is_noticed(tmp_path):
    path = tmp_path / "ledger.db"
    file = RegistryFile(path)
    with file.opened():
        for number in range(5):
            FileRegistry(file).add(replace(A_RUN, name=f"r{number}"))
        copied(path, tmp_path / "killed")
    before = tmp_path / "killed" / "ledger.db"
    for offset in offsets(before):
        copy = copied(before, tmp_path / "copy")
        flip(log_of(copy), offset)
        with pytest.raises(LedgerError, match="is damaged"):
            FileRegistry(RegistryFile(copy)).names()

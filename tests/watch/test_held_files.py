"""A dropper who goes on after a file was taken: writes, exchanges folders, holds it open."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.model import InputError
from pipeline.watch import Claim, DropError, Drops, FileIntake, FileStuck, FileWaiting
from tests.watch.dropper import (
    DROPPER,
    as_dropper,
    begin_as_dropper,
    give,
    needs_root,
    picture,
    reachable_folder,
)

pytestmark = needs_root

NOW = datetime(2026, 5, 1, 2, tzinfo=UTC)


@pytest.fixture
def place() -> Iterator[Path]:
    """Of a drop folder whose operation's folder is the dropper's, and of a victim."""
    with reachable_folder() as folder:
        give(folder / "inputs" / "op")
        (folder / "victim").mkdir()
        (folder / "victim" / "old.csv").write_text("victim")
        yield folder


@pytest.fixture
def drops(place: Path) -> Drops:
    letters = iter(f"{number:04}" for number in range(10_000))
    return Drops(place / "inputs", place / ".pipeline" / "drops", letters=lambda: next(letters))


def dropped(place: Path, name: str = "a.csv", text: str = "first") -> Path:
    made = as_dropper(f"printf %s '{text}' >{name}", place / "inputs" / "op")
    assert made.returncode == 0, made.stderr
    return place / "inputs" / "op" / name


def taken(drops: Drops, place: Path) -> Claim:
    """A claim of a file, read and with a run on record."""
    claim = drops.claim(dropped(place), NOW)
    assert claim is not None
    with drops.copy(drops.read(claim)) as (copy, read):
        assert copy.read_text() == "first"
        assert copy.stat().st_mode & 0o077 == 0
    return drops.record_run(read, "r-1")


HOLD = "exec 3<>a.csv; echo held; read line; {}; echo through; read line"


@pytest.mark.parametrize(
    ("write", "told"),
    [
        ("printf '%s' first-and-more >&3", "it is longer now"),
        ("printf '%s' other >&3", "its content is different now"),
        # as long as before, and with its old times
        ("printf '%s' other >&3; touch -d @1 /proc/self/fd/3", "its content is different now"),
        ("truncate -s 2 /proc/self/fd/3", "it is shorter now"),
        ("printf '%s' first >&3", "it was written to again"),
        ("true", "another process has it open for writing"),
    ],
    ids=["grew", "changed", "changed with forged times", "shrank", "same again", "only open"],
)
def test_whoever_holds_a_file_open_cannot_change_what_was_read(drops, place, write, told):
    dropped(place)
    writer = begin_as_dropper(HOLD.format(write), place / "inputs" / "op")
    assert writer.stdin is not None
    assert writer.stdout is not None
    assert writer.stdout.readline() == "held\n"
    claim = taken_as_it_is(drops, place)
    writer.stdin.write("\n")
    writer.stdin.flush()
    assert writer.stdout.readline() == "through\n"
    found = drops.change_of(claim)
    writer.communicate("\n")
    if told.startswith("another"):
        assert found == told
        assert not drops.change_of(claim)  # once it is closed
    else:
        assert drops.change_of(claim) == told


def taken_as_it_is(drops: Drops, place: Path) -> Claim:
    claim = drops.claim(place / "inputs" / "op" / "a.csv", NOW)
    assert claim is not None
    with drops.copy(drops.read(claim)) as (copy, read):
        assert copy.read_text() == "first"
    return drops.record_run(read, "r-1")


def test_a_file_that_is_open_for_writing_is_not_taken_and_said_to_wait(drops, place):
    told = []
    intake = FileIntake(drops, told.append)
    file = dropped(place)
    writer = begin_as_dropper("exec 3>>a.csv; echo held; read line", place / "inputs" / "op")
    assert writer.stdout is not None
    assert writer.stdout.readline() == "held\n"
    (look,) = drops.files()
    assert [intake.claim(look, now_s) for now_s in (0.0, 10.0, 31.0, 60.0)] == [None] * 4
    assert [type(each) for each in told] == [FileWaiting]
    assert intake.held == 1
    writer.communicate("\n")
    claim = intake.claim(look, 61.0)
    assert claim is not None
    assert claim.file == file


def test_a_file_that_changed_between_two_readings_is_not_sent(drops, place):
    claim = drops.claim(dropped(place), NOW)
    assert claim is not None
    read = drops.read(claim)
    path = claim.home / ".processing" / claim.name / claim.stored
    path.write_text("other")
    with pytest.raises(InputError, match="changed while it was read"), drops.copy(read):
        pass


def test_the_folder_of_a_claim_is_closed_to_its_dropper(drops, place):
    claim = taken(drops, place)
    inside = f".processing/{claim.name}"
    for script in (
        f"touch {inside}/x",
        f"rm {inside}/a.csv",
        f"ln -s x {inside}/reason.txt",
        f"mv {inside} elsewhere",
        "ls $STATE",
        "cat $STATE/lock",
        "touch $STATE/x",
    ):
        done = as_dropper(script, place / "inputs" / "op", STATE=place / ".pipeline" / "drops")
        assert done.returncode != 0, script


@pytest.mark.parametrize("kind", [".processing", ".failed"])
def test_a_folder_that_is_exchanged_for_a_link_is_not_followed(drops, place, kind):
    claim = taken(drops, place)
    before = picture(place / "victim")
    done = as_dropper(
        f"rm -rf {kind} || mv {kind} moved; ln -s $VICTIM {kind}",
        place / "inputs" / "op",
        VICTIM=place / "victim",
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(DropError, match=f"{kind} is a link"):
        drops.quarantine(claim, "no")
    assert picture(place / "victim") == before


def test_a_claim_whose_folder_was_removed_is_reported_and_moved_all_the_same(drops, place):
    claim = taken(drops, place)
    assert as_dropper("mv .processing moved", place / "inputs" / "op").returncode == 0
    assert drops.change_of(claim) == "it is gone"
    assert [each.run for each in drops.unfinished()] == ["r-1"]  # its run is carried on
    put = drops.quarantine(claim, "the file changed")
    assert (put.parent / "reason.txt").read_text() == "the file changed\n"


def test_a_place_that_is_taken_beforehand_is_left_for_another(drops, place):
    claim = taken(drops, place)
    name = claim.name
    assert as_dropper(f"mkdir -p .done/{name}/x", place / "inputs" / "op").returncode == 0
    put = drops.done(claim, place / "reports" / "r-1")
    assert put.parent.name != name
    assert put.read_text() == "first"


def test_what_is_removed_after_its_time_is_no_more_than_what_is_there(drops, place):
    before = picture(place / "victim")
    old = "20200101T000000.000000Z-aaaa"
    script = (
        f"mkdir -p .done/{old}; ln -s $VICTIM .done/{old}/x; ln -s $VICTIM .done/{old[:-4]}bbbb"
    )
    made = as_dropper(script, place / "inputs" / "op", VICTIM=place / "victim")
    assert made.returncode == 0
    drops.prune(NOW, older_than=timedelta(days=90))
    assert picture(place / "victim") == before
    assert not (place / "inputs" / "op" / ".done" / old).exists()


def test_a_folder_nested_without_end_keeps_no_other_from_being_removed(drops, place):
    """Deeper than Python calls itself."""
    done = place / "inputs" / "op" / ".done"
    names = [f"20200101T000000.000000Z-{each}" for each in ("aaaa", "bbbb", "cccc")]
    for name in names:
        (done / name).mkdir(parents=True)
    folder = os.open(done / names[0], os.O_RDONLY)
    for _ in range(6_000):  # a minute: a busy machine is no failure
        os.mkdir("d", dir_fd=folder)
        above, folder = folder, os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(above)
    os.close(folder)
    (done / names[1]).rmdir()
    (done / names[1]).symlink_to(place / "victim")
    try:
        assert drops.prune(NOW, older_than=timedelta(days=90)) == 1
        assert sorted(each.name for each in done.iterdir()) == names[:2]
    finally:
        subprocess.run(["rm", "-rf", str(done)], check=True)


def test_a_file_that_cannot_be_moved_is_reported_once_and_tried_again(drops, place):
    """In the folder of another user, which is what a watcher that is not root meets."""
    told = []
    intake = FileIntake(drops, told.append)
    file = dropped(place)
    (file.parent / ".processing").write_text("in the way")
    (look,) = drops.files()
    assert [intake.claim(look, now_s) for now_s in (0.0, 1.0, 61.0)] == [None] * 3
    assert [type(each) for each in told] == [FileStuck]
    (file.parent / ".processing").unlink()
    assert intake.claim(look, 119.0) is None  # its next turn is at 121
    assert intake.claim(look, 121.0) is not None


MIN_TURNS, MAX_TURNS = 400, 500_000  # on a busy machine the other one begins late
SWAPS = """
while [ ! -e stop ]; do
  ln -s $VICTIM link; mv -T link .processing; rm -f .processing
  ln -s $VICTIM/old.csv link; mv -T link a.csv; rm -f a.csv; printf own >a.csv
  mkdir -p .processing; mv -T .processing moved; rm -rf moved; rm -f stopped
done 2>/dev/null
"""


def test_whoever_exchanges_files_and_folders_all_the_time_gains_nothing(drops, place):
    before = picture(place / "victim")
    home = place / "inputs" / "op"
    swapper = begin_as_dropper(SWAPS.replace("$VICTIM", str(place / "victim")), home)
    read = set()
    try:
        for turn in range(MAX_TURNS):
            if turn > MIN_TURNS and read:
                break
            try:
                claim = drops.claim(home / "a.csv", NOW)
                if claim is None:
                    continue
                with drops.copy(claim) as (copy, _):
                    read.add(copy.read_text())
                drops.quarantine(claim, "no")
            except (InputError, DropError):
                continue
    finally:
        (home / "stop").touch()
        swapper.communicate()
    assert read
    assert read <= {"own", ""}
    assert picture(place / "victim") == before


def test_a_folder_of_inputs_that_is_exchanged_for_a_link_is_not_followed(place):
    """By somebody who may write to `inputs` itself."""
    os.chown(place / "inputs", 65_534, 65_534)
    drops = Drops(place / "inputs", place / ".pipeline" / "drops", letters=lambda: "abcd")
    before = picture(place / "victim")
    claim = taken(drops, place)
    script = "mv op moved; ln -s ../victim op"
    assert as_dropper(script, place / "inputs").returncode == 0
    with pytest.raises(DropError, match="op is a link"):
        drops.done(claim, place / "reports" / "r-1")
    assert drops.change_of(claim) == "it is gone"
    assert list(drops.files()) == []
    assert [*drops.problems] == [place / "inputs" / "op"]
    assert picture(place / "victim") == before


def test_a_watcher_that_may_not_move_a_file_says_whose_the_folder_is(place):
    """It runs as a user of its own, and the file is in a folder of root's."""
    home = place / "inputs" / "op"
    (home / "roots").mkdir()
    (home / "roots" / "a.csv").write_text("x")
    (home / "closed").mkdir(mode=0o700)
    (home / "b.csv").write_text("x")
    give(place / ".pipeline")
    os.seteuid(DROPPER)
    try:
        drops = Drops(place / "inputs", place / ".pipeline" / "drops", letters=lambda: "abcd")
        assert sorted(look.path.name for look in drops.files()) == ["a.csv", "b.csv"]
        told = drops.problems[home / "closed"]
        assert "cannot be scanned: Permission denied. The folder belongs to root" in told
        with pytest.raises(DropError, match="Its folder belongs to root, mode 755, and nobody may"):
            drops.claim(home / "roots" / "a.csv", NOW)
        assert drops.claim(home / "b.csv", NOW) is not None
    finally:
        os.seteuid(0)
    assert (home / "roots" / "a.csv").exists()
    assert [path.name for path in (place / ".pipeline/drops").glob("*/claim.json")] == [
        "claim.json"
    ]

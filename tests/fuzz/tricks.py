"""What somebody does in a drop folder, step by step: each step of a script of bytes is one trick.

A step that the operating system refuses is left out, as a command of a dropper's shell would fail.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.watch.folders import made, opened
from pipeline.watch.settling import is_candidate
from tests.watch.night import BAD, content, immovable

NAMES = (
    *("plain-{}.csv", "line\nbreak-{}.csv", "größe-漢字-{}.csv", "-rf-{}.csv", "UPPER-{}.CSV"),
    *("'$(reboot)'-{}.csv", "\x1b[2J-{}.csv", "\u202e-{}.csv", "reason.txt-{}.csv", "NUL-{}.csv"),
    *("{:n>251}.csv", "a.csv.done-{}.csv", "%2e%2e%2f-{}.csv", "env:KEY-{}.csv", " {} .csv"),
    *("[red]-{}.csv", "{}.csv.csv", "claim.json-{}.csv", "\u0301" * 100 + "{}.csv"),
)
HIDDEN = (".{}.csv", "_{}.csv", "~{}.csv", "{}.csv.part", "{}.csv~", "{}.txt", "{}", "{}.csv.done")
PAUSES_S = (0.0, 0.0, 0.02, 0.1, 0.3)
OURS = (".processing", ".done", ".failed")
CLAIM = "20200101T000000.000000Z-aaaa"
FLIPS_S = 0.4
NOTES = (
    '{"file": "../../victim.csv", "run": ""}',
    '{"file": "xsolla.coupon/NAME", "run": "20200101-000000-none-abcd"}',
    '{"file": "xsolla.coupon/NAME", "run": "../../../outside"}',
    r'{"file": "xsolla.coupon/\u0000/NAME", "run": "\u0000"}',
    r'{"file": "xsolla.coupon/\ud800/NAME", "run": "\ud800"}',
    r'{"file": "xsolla.coupon/\n\u001b[2J/NAME", "run": "[red]"}',
    '{"file": "xsolla.coupon/LONG/NAME", "run": "LONG"}'.replace("LONG", "a/" * 3000),
    '{"file": "xsolla.coupon/LONG/NAME", "run": ""}'.replace("LONG", "a" * 3000),
    '{"file": 3, "run": []}',
    "[" * 9000,
    "\0" * 70_000,
)


@dataclass
class Stage:
    """A drop folder, and what is known of the files in it.

    inputs    the folder of one operation, the dropper's own
    outside   nobody's business
    good      entity -> where its file was dropped; each has to be sent exactly once
    wild      entities whose files were changed, moved or hidden amid it: whatever becomes of them
    bad       inode -> name of what may not be sent, and may not be lost either
    inodes    entity -> its file, to find it again
    quiet     files that are no input, which stay where they are
    is_moved  a folder of the watcher's went elsewhere for a while, and files on their way with it:
              such a file may be set aside instead of sent
    undo      what makes the folder usable again, newest last
    """

    inputs: Path
    outside: Path
    good: dict[str, Path] = field(default_factory=dict)
    wild: set[str] = field(default_factory=set)
    bad: dict[int, str] = field(default_factory=dict)
    inodes: dict[str, int] = field(default_factory=dict)
    quiet: set[Path] = field(default_factory=set)
    is_moved: bool = False
    undo: list[Callable[[], object]] = field(default_factory=list)
    number: int = 0

    def next(self) -> int:
        self.number += 1
        return self.number

    def repair(self) -> None:
        """Remove what stands in the way of files, as whoever looks after the folder would."""
        while self.undo:
            with suppress(OSError):
                self.undo.pop()()
        for top, folders, _ in os.walk(self.inputs):  # they may have other names by now
            for folder in (Path(top, name) for name in folders):
                if not folder.is_symlink():
                    folder.chmod(0o755)

    def lying(self, arg: int) -> Path | None:
        """One of the files that are not taken yet, links among them."""
        found = sorted(each for each in self.inputs.iterdir() if is_candidate(each.name))
        return found[arg % len(found)] if found else None

    def taken(self, arg: int) -> Path | None:
        """One of the files that are on their way."""
        found = sorted(each for each in self.inputs.glob(".processing/*/*.*") if self.is_own(each))
        return found[arg % len(found)] if found else None

    def let_run_wild(self, path: Path) -> None:
        """Expect nothing of the entities in a file or folder, nor of the file."""
        files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
        for each in files:
            with suppress(OSError):
                self.bad.pop(each.lstat().st_ino, None)
            with suppress(OSError):
                if each.is_file() and not each.is_symlink():
                    self.wild |= {name for name in self.good if name.encode() in each.read_bytes()}

    def is_own(self, path: Path) -> bool:
        """Whether no link on the way leads out: a dropper has no business there either."""
        inside = path.parent.resolve().is_relative_to(self.inputs.resolve())
        return inside and not path.parent.is_symlink()

    def drop(self, name: str, entity: str, folder: Path | None = None) -> Path:
        """A file appears at once, in place of any other of its name."""
        target = (self.inputs if folder is None else folder) / name
        if not self.is_own(target):
            raise NotADirectoryError(target)
        new = self.inputs / f".made-{self.next()}"
        new.write_bytes(content(entity))
        if os.path.lexists(target):
            self.let_run_wild(target)
        self.inodes[entity] = new.stat().st_ino
        new.rename(target)
        return target


Trick = Callable[[Stage, int], None]


def entity_of(stage: Stage) -> str:
    return f"good-{stage.next()}-"


def good(stage: Stage, arg: int) -> None:
    """A file to be sent; its name is odd."""
    entity = entity_of(stage)
    name = NAMES[arg % len(NAMES)].format(stage.number)
    stage.good[entity] = stage.drop(name, entity)


def same_name(stage: Stage, _arg: int) -> None:
    """A file under a name that was there before."""
    entity = entity_of(stage)
    stage.good[entity] = stage.drop("same.csv", entity)


def marked(stage: Stage, arg: int) -> None:
    """A file whose marker comes before it, or is a link or a folder."""
    entity = entity_of(stage)
    marker = stage.inputs / f"marked-{stage.number}.csv.done"
    if arg % 3 == 0:
        marker.touch()
    elif arg % 3 == 1:
        marker.symlink_to(stage.outside / "precious")
    else:
        marker.mkdir()
    stage.good[entity] = stage.drop(marker.name.removesuffix(".done"), entity)


def in_a_folder(stage: Stage, arg: int) -> None:
    """A file in a folder of a folder, which may be named as a file."""
    entity = entity_of(stage)
    folder = stage.inputs / ("more", "more.csv", "größe\n", "a" * 250)[arg % 4] / str(arg % 3)
    folder.mkdir(parents=True, exist_ok=True)
    stage.good[entity] = stage.drop(f"in-{stage.number}.csv", entity, folder)


def deep(stage: Stage, arg: int) -> None:
    """A file whose path is longer than any path may be."""
    entity = entity_of(stage)
    name = stage.drop(f".deep-{stage.number}", entity).name
    with ExitStack() as stack:
        top = folder = stack.enter_context(opened(stage.inputs))
        for _ in range(arg % 16):
            folder = stack.enter_context(made("d" * 250, at=folder))
        os.rename(name, f"{'n' * 240}-{stage.number}.csv", src_dir_fd=top, dst_dir_fd=folder)
    stage.good[entity] = stage.inputs / name


def held_open(stage: Stage, arg: int) -> None:
    """A file that its writer has open for a while, and writes the rest of."""
    entity = entity_of(stage)
    data = content(entity)
    path = stage.inputs / f"held-{stage.number}.csv"
    with path.open("wb", buffering=0) as file:
        file.write(data[: arg % len(data)])
        time.sleep(0.3)
        file.write(data[arg % len(data) :])
        stage.inodes[entity] = os.fstat(file.fileno()).st_ino
    stage.good[entity] = path


def bad(stage: Stage, arg: int) -> None:
    """One of the kinds of the night: none of them may be sent."""
    kind = BAD[arg % len(BAD)]
    if kind is immovable:  # needs root, or what `closed` does
        return
    number = stage.next()
    folder = stage.inputs / f".made-{number}"
    folder.mkdir()
    kind(folder / f"bad-{number}.csv", content(f"bad-{number}"))
    for each in folder.iterdir():
        stage.bad[each.lstat().st_ino] = each.name
        each.rename(stage.inputs / each.name)


def odd(stage: Stage, arg: int) -> None:
    """Something under the name of a file that is none."""
    path = stage.inputs / f"odd-{stage.next()}.csv"
    if arg % 3 == 0:
        with socket.socket(socket.AF_UNIX) as bound, suppress(OSError):  # the path may be too long
            bound.bind(str(path))
    elif arg % 3 == 1:
        path.mkdir()
        return
    else:
        device = stage.outside.parent / f"device-{arg % 4}"
        if not device.exists():
            return
        device.rename(path)
    if os.path.lexists(path):
        stage.bad[path.lstat().st_ino] = path.name


def hidden(stage: Stage, arg: int) -> None:
    """What is no input stays where it is."""
    name = HIDDEN[arg % len(HIDDEN)].format(f"quiet-{stage.next()}")
    path = stage.drop(name, f"quiet-{stage.number}-")
    stage.quiet.add(path)


# While a file lies still...


def renamed(stage: Stage, arg: int) -> None:
    """It has another name, and is the same file."""
    if path := stage.lying(arg):
        path.rename(path.with_name(f"renamed-{stage.next()}.csv"))


def exchanged(stage: Stage, arg: int) -> None:
    """Another file, a link or a folder takes its place."""
    if not (path := stage.lying(arg)):
        return
    stage.let_run_wild(path)
    if arg % 3 == 0 and path.name.isprintable() and path.suffix == ".csv":
        entity = entity_of(stage)
        stage.good[entity] = stage.drop(path.name, entity)
        return
    path.unlink()
    if arg % 3 == 1:
        path.symlink_to(stage.outside / "victim.csv")
        stage.bad[path.lstat().st_ino] = path.name
    else:
        path.mkdir()


def changed(stage: Stage, arg: int) -> None:
    """It grows, shrinks, is removed, gets a second name or cannot be read."""
    if path := stage.lying(arg):
        change(stage, path, arg)


def change(stage: Stage, path: Path, arg: int) -> None:
    stage.let_run_wild(path)
    match arg % 5:
        case 0:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK), "wb") as file:
                file.write(b"more,of,it\n")
        case 1:
            os.truncate(path, arg * 3)
        case 2:
            path.unlink()
        case 3:
            path.with_name(f".second-{stage.next()}").hardlink_to(path)
        case _:
            path.chmod(0)


# While a file is on its way...


def changed_on_its_way(stage: Stage, arg: int) -> None:
    if path := stage.taken(arg):
        change(stage, path, arg)


def moved_on_its_way(stage: Stage, arg: int) -> None:
    """The file or the folder of its claim goes elsewhere, or a link takes its place."""
    if not (path := stage.taken(arg)):
        return
    stage.let_run_wild(path.parent)
    match arg % 4:
        case 0:
            path.rename(stage.inputs / f"back-{stage.next()}.csv")
        case 1:
            path.rename(path.with_name("other.csv"))
        case 2:
            path.parent.rename(stage.inputs / f"claim-{stage.next()}")
        case _:
            path.parent.rename(stage.inputs / f".claim-{stage.next()}")
            path.parent.symlink_to(stage.outside)


def left_in_claim(stage: Stage, arg: int) -> None:
    """Names that the watcher writes, in the folder of a claim."""
    if path := stage.taken(arg):
        for name in ("reason.txt", "report", "claim.json"):
            place(path.with_name(name), stage, arg)


def place(path: Path, stage: Stage, arg: int) -> None:
    """A link that leads out, a folder or a pipe."""
    match arg % 3:
        case 0:
            path.symlink_to(stage.outside / "precious")
        case 1:
            path.mkdir()
        case _:
            os.mkfifo(path)


def leftover(stage: Stage, arg: int) -> None:
    """A claim that is none of ours lies on its way, with notes of any kind."""
    folder = stage.inputs / ".processing" / (CLAIM, f"any-{arg}", "é\n", CLAIM[:-1])[arg % 4]
    if not stage.is_own(folder):
        return
    folder.mkdir(parents=True)
    entity = entity_of(stage)
    stage.drop(f"left-{stage.number}.csv", entity, folder)
    stage.good[entity] = folder / f"left-{stage.number}.csv"
    note = folder / "claim.json"
    if arg % (len(NOTES) + 1) < len(NOTES):
        note.write_text(NOTES[arg % (len(NOTES) + 1)].replace("NAME", f"left-{stage.number}.csv"))
    else:
        place(note, stage, arg)


# Folders...


def blocked(stage: Stage, arg: int) -> None:
    """Something else in place of a folder of the watcher's, or one that is closed."""
    path = stage.inputs / OURS[arg % 3]
    way = arg // 3 % 5
    stage.is_moved = True
    if way < 3 and path.is_dir() and not path.is_symlink():
        stage.let_run_wild(path)
        path.rename(stage.inputs / f".was-{stage.next()}")
    if way == 0:
        path.symlink_to(stage.outside)
    elif way == 1:
        path.write_text("no folder")
    elif way == 2:
        path.symlink_to("..")
    else:
        closed(stage, path, 0o555 if way == 3 else 0)
        return
    stage.undo.append(path.unlink)


def closed(stage: Stage, path: Path, mode: int) -> None:
    path.mkdir(exist_ok=True)
    if path.is_symlink() or not stage.is_own(path):
        return
    path.chmod(mode)


def closed_folder(stage: Stage, arg: int) -> None:
    """No file can be moved out of its folder, or the folder cannot be looked into."""
    in_a_folder(stage, arg)
    (path,) = list(stage.good.values())[-1:]
    closed(stage, path.parent, (0o555, 0o444, 0o111, 0)[arg % 4])


def home_exchanged(stage: Stage, arg: int) -> None:
    """The folder of the operation is a link, is closed or is gone for a while."""
    path, aside = stage.inputs, stage.inputs.with_name("_aside")
    stage.is_moved = True
    if arg % 3 == 2:
        path.chmod(0o555 if arg % 2 else 0)
        time.sleep(0.3)
        path.chmod(0o755)
        return
    path.rename(aside)
    if arg % 3 == 0:
        path.symlink_to(stage.outside, target_is_directory=True)
    time.sleep(0.3)
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():  # made anew by nobody but the watcher
        path.rename(path.with_name("_made-anew"))
    aside.rename(path)


def flips(stage: Stage, arg: int) -> None:
    """A folder and a link that leads out take turns, as fast as they can."""
    path = stage.inputs / (*OURS, "more")[arg % 4]
    path.mkdir(exist_ok=True)
    if path.is_symlink():
        return
    stage.is_moved = True
    aside, lead = path.with_name(".aside"), path.with_name(".lead")
    lead.symlink_to(stage.outside)
    ends_s = time.monotonic() + FLIPS_S
    while time.monotonic() < ends_s:
        path.rename(aside)
        lead.rename(path)
        path.rename(lead)
        aside.rename(path)
    lead.unlink()


def beside(stage: Stage, arg: int) -> None:
    """Another step of the same dropper at the same time."""
    thread = threading.Thread(target=play_one, args=(stage, flips, arg))
    thread.start()
    good(stage, arg)
    thread.join()


TRICKS: tuple[Trick, ...] = (
    *(good, good, good, same_name, marked, in_a_folder, held_open, bad, bad, odd, hidden, deep),
    *(renamed, exchanged, changed, changed_on_its_way, moved_on_its_way, left_in_claim),
    *(leftover, blocked, closed_folder, home_exchanged, flips, beside),
)


def play_one(stage: Stage, trick: Trick, arg: int) -> None:
    with suppress(OSError):
        trick(stage, arg)


def steps(script: bytes) -> Iterator[tuple[Trick, int, float]]:
    """The tricks of a script, each with its number and the pause after it, in seconds."""
    for at in range(0, len(script) - 2, 3):
        kind, arg, pause = script[at : at + 3]
        yield TRICKS[kind % len(TRICKS)], arg, PAUSES_S[pause % len(PAUSES_S)]


def script_of(*tricks: Trick, arg: int = 0, pause: int = 3) -> bytes:
    """A script that plays these."""
    return b"".join(bytes([TRICKS.index(each), arg, pause]) for each in tricks)

"""What is left of a run's record when the power goes, at any moment of it.

    .venv/bin/python -m tests.torture.power_loss --images 200

A run is recorded at the border to the operating system: every write, truncation, sync and change of
a name (`disk.c`). From that record images of the disk are made: what was synced is there, of what
was not yet synced nothing, all or any part is. Nothing of it tells whether the disk itself lies.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.model import PipelineError
from tests.torture.driver import LiveOverrides
from tests.torture.judge import GIVES_WAY, Case, Kill, broken_records
from tests.torture.kill_loop import mark_in_log
from tests.torture.lives import Driver
from tests.torture.place import Place, previous_marks, read_record, report_in, statuses_in
from tests.torture.shapes import SHAPES, Shape
from tests.workplace import Simulator, simulator

TOLD = "told.jsonl"
SECTOR_BYTES = 512
CHECKPOINT_PAGES = 8
_HEAD = struct.Struct("<cQQII")


class Event(NamedTuple):
    """Something done to the disk; the kinds are those of `disk.c`."""

    kind: str
    inode: int
    offset: int
    path: Path
    data: bytes


def compiled(folder: Path) -> Path | None:
    """The library that records; None where this machine cannot make or load one."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "disk.so"
    source = Path(__file__).with_name("disk.c")
    options = ["-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"]
    made = subprocess.run([compiler, *options], capture_output=True, check=False)
    return library if made.returncode == 0 else None


def read_events(trace: Path) -> Iterator[Event]:
    """What was recorded, in order."""
    with trace.open("rb") as file:
        while head := file.read(_HEAD.size):
            kind, inode, offset, of_path, of_data = _HEAD.unpack(head)
            path = Path(file.read(of_path).decode())
            yield Event(kind.decode(), inode, offset, path, file.read(of_data))


@dataclass(slots=True)
class _File:
    """What of a file is on disk for certain, and what was done to it since."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Event] = field(default_factory=list)

    def sync(self) -> None:
        for event in self.pending:
            _do(self.synced, event)
        self.pending.clear()


def _do(content: bytearray, event: Event) -> None:
    if event.kind == "T":
        del content[event.offset :]
        content.extend(bytes(event.offset - len(content)))
    else:
        content.extend(bytes(max(0, event.offset - len(content))))
        content[event.offset : event.offset + len(event.data)] = event.data


class Disk:
    """A disk that keeps what was synced, and of the rest what it likes.

    is_honest  False: it keeps nothing for certain
    """

    def __init__(self, *, is_honest: bool = True) -> None:
        self._is_honest = is_honest
        self._files: dict[int, _File] = {}
        self._names: dict[Path, _File] = {}
        self._renamed: defaultdict[Path, list[tuple[Event, _File]]] = defaultdict(list)

    def take(self, event: Event) -> None:
        """Something is done to it."""
        if event.kind == "C":
            self._files[event.inode] = _File()  # a number may be given again
        if event.kind in "CRU":
            file = self._files.get(event.inode, _File())
            self._renamed[event.path.parent].append((event, file))
        elif event.kind in "WT":
            self._files.setdefault(event.inode, _File()).pending.append(event)
        elif not self._is_honest:
            return
        elif event.kind == "D":
            _name(self._names, self._renamed.pop(event.path, []))
        else:
            self._files.setdefault(event.inode, _File()).sync()

    def after_power_loss(self, chance: random.Random, share: float) -> dict[Path, bytes]:
        """The files there are; `share` of what was not synced, 0 to 1, is there."""
        names = dict(self._names)
        for pending in self._renamed.values():  # a file system keeps the order of these
            keeps = sum(chance.random() < share for _ in pending)
            _name(names, pending[:keeps])
        return {path: _content(file, chance, share) for path, file in names.items()}


def _name(names: dict[Path, _File], changes: Sequence[tuple[Event, _File]]) -> None:
    for event, file in changes:
        if event.kind == "C":
            names[event.path] = file
            continue
        moved = names.pop(event.path, None)
        if event.kind == "R" and moved is not None:
            names[Path(event.data.decode())] = moved


def _content(file: _File, chance: random.Random, share: float) -> bytes:
    content = bytearray(file.synced)
    for event in file.pending:
        if chance.random() < share:
            _do(content, event)
        elif event.kind == "W" and share > 0 and chance.random() < share:  # a part of it
            sectors = chance.randint(0, len(event.data) // SECTOR_BYTES)
            _do(content, event._replace(data=event.data[: sectors * SECTOR_BYTES]))
    return bytes(content)


@dataclass(slots=True)
class Told:
    """What the ledger had returned for: the rows claimed, and the statuses of those that ended."""

    claimed: set[int] = field(default_factory=set)
    ended: dict[int, str] = field(default_factory=dict)

    def take(self, line: Mapping[str, object]) -> None:
        """One more call of the ledger."""
        self.claimed -= set(line.get("released", ()))  # type: ignore[call-overload]
        self.claimed |= set(line.get("claims", ()))  # type: ignore[call-overload]
        for row, status in dict(line.get("ended", {})).items():  # type: ignore[call-overload]
            self.ended[int(row)] = str(status)

    def missing(self, claimed: set[int], statuses: Mapping[int, str]) -> Iterator[str]:
        """What is not on record any more, in words."""
        for row, status in self.ended.items():
            if status != GIVES_WAY and statuses.get(row) != status:
                yield f"row {row} was {status} and is {statuses.get(row)}"
        for row in self.claimed - claimed - statuses.keys():
            yield f"row {row} was claimed, and is not"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run and all that it did to its disk."""

    place: Place
    case: Case
    events: list[Event]

    @property
    def root(self) -> Path:
        """The folder that is recorded."""
        return self.place.folder / ".pipeline"

    @property
    def begun(self) -> int:
        """How many events went before the first claim."""
        claims = (
            place
            for place, event in enumerate(self.events)
            if event.path.name == TOLD
            and event.kind == "W"
            and json.loads(event.data).get("claims")
        )
        return next(claims)


def recorded(folder: Path, library: Path, vendor: Simulator, seed: int, shape: Shape) -> Recorded:
    """Send a file to its end, under the eyes of the library."""
    file = shape.file(seed, seed)
    place = Place(folder, vendor, file, shape)
    root = folder / ".pipeline"
    root.mkdir()
    orders = LiveOverrides(
        folder=str(folder),
        arguments=place.begin,
        checkpoint_pages=CHECKPOINT_PAGES,
        told=str(root / TOLD),
    )
    trace = str(folder / "trace")
    preload = {"LD_PRELOAD": str(library), "DISK_FOLDER": str(root), "DISK_TRACE": trace}
    with closing(Driver(**preload)) as driver:
        code, said = driver.obey(orders)
    if code not in {0, 1, 3} or "Traceback" in said:
        raise RuntimeError(said)
    case = Case(rows=file.rows, log=[], kills=[], reported=[])
    return Recorded(place, case, list(read_events(folder / "trace")))


class Image(NamedTuple):
    """A disk after a power loss, and what the ledger had returned for before."""

    files: dict[Path, bytes]
    told: Told


def images(
    run: Recorded, number: int, chance: random.Random, *, first: int = 0, is_honest: bool = True
) -> Iterator[Image]:
    """As many power losses, at moments spread over the run from its event `first` on."""
    disk, told = Disk(is_honest=is_honest), Told()
    moments = sorted(chance.choices(range(first, len(run.events)), k=number))
    for place, event in enumerate(run.events):
        if event.path.name == TOLD:
            if event.kind == "W":
                told.take(json.loads(event.data))
        else:
            disk.take(event)
        while moments and moments[0] == place:
            moments.pop(0)
            share = chance.choice((0.0, 0.0, 0.5, 0.9, 1.0))
            yield Image(
                disk.after_power_loss(chance, share), Told(set(told.claimed), dict(told.ended))
            )


def restored(image: Image, root: Path, to: Path) -> Path | None:
    """Put the files of an image there; the run's folder, None where no run had begun."""
    for path, content in image.files.items():
        copy = to / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    return next((path.parent for path in to.glob("runs/*/run.json")), None)


def what_is_wrong(run: Recorded, image: Image, to: Path) -> list[str]:
    """What the record in an image does not hold any more."""
    folder = restored(image, run.root, to)
    if folder is None:
        return [f"row {row} was claimed before the run began" for row in image.told.claimed]
    try:
        claimed, statuses = read_record(folder)
        missing = list(image.told.missing(claimed, statuses))
        if run.place.shape.records_previous:
            unread = claimed - previous_marks(folder, sorted(claimed)).keys()
            missing += [f"row {row} was claimed without its previous state" for row in unread]
    except PipelineError as error:
        return [str(error)]
    return missing


def carried_on(
    run: Recorded, image: Image, vendor: Simulator, to: Path, driver: Driver
) -> list[str]:
    """Carry the run on from an image; the promises that this breaks."""
    folder = restored(image, run.root, to / ".pipeline")
    if folder is None:
        return ["there is no run"]
    for name in ("pipeline.toml", "inputs"):
        (to / name).symlink_to(run.place.folder / name)
    mark = mark_in_log(vendor)
    claimed, statuses = read_record(folder)
    code, said = driver.obey(LiveOverrides(str(to), ["resume", "--yes", folder.name]))
    if code not in {0, 1, 3} or "Traceback" in said:
        return [said]
    lines, wrong = report_in(to)
    kill = Kill(point="power", mark=mark, claimed=frozenset(claimed), statuses=statuses)
    log, reported = list(vendor.get("log")), statuses_in(lines)
    case = Case(rows=run.case.rows, log=log, kills=[kill], reported=reported)
    return [*wrong, *broken_records(case)]


def losses(
    folder: Path, vendor: Simulator, library: Path, shape: Shape, given: argparse.Namespace
) -> list[str]:
    """What power losses in a run of a shape lost, or broke in a run that was carried on."""
    chance = random.Random(f"{given.seed} {shape.name}")
    run = recorded(folder, library, vendor, given.seed % 1_000, shape)
    wrong: list[str] = []
    for number, image in enumerate(images(run, given.images, chance)):
        to = folder / f"image-{number}"
        wrong += what_is_wrong(run, image, to)
        shutil.rmtree(to, ignore_errors=True)
    with closing(Driver()) as driver:
        for number, image in enumerate(images(run, given.resumes, chance, first=run.begun)):
            to = folder / f"resume-{number}"
            to.mkdir()
            wrong += carried_on(run, image, vendor, to, driver)
    done = f"{len(run.events)} events, {given.images} images, {given.resumes} carried on"
    print(f"{shape.name}: {done}, {len(wrong)} violations", flush=True)
    return wrong


def main() -> None:
    """Make images, look at them, print; exit code 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200, help="of each shape")
    parser.add_argument("--resumes", type=int, default=3, help="of each shape")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="power-") as name:
        library = compiled(Path(name))
        if library is None:
            print("skipped: no C compiler, or not Linux")
            return
        for number, shape in enumerate(SHAPES):
            folder = Path(name) / str(number)
            folder.mkdir()
            with simulator() as vendor:
                wrong += losses(folder, vendor, library, shape, given)
    print(f"violations {len(wrong)}")
    print("\n".join(wrong[:50]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

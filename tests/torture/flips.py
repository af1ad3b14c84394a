"""What a flipped bit, a lost block or an older file among all that the pipeline keeps brings about.

    make flips FLIPS=2000

Three runs are made: one with rejected rows, a newer one of the same entities, and one that is
killed while it sends. Then a file is damaged, and all that acts on these files is done: they are
looked at, the killed run is resumed, the first one's error file is sent again. Each must end as it
does with sound files, or notice the damage, say so, and send nothing that it would not have sent.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from pipeline.config import Config, load_config
from pipeline.model import PipelineError, Reply, Request
from pipeline.run import RunEnvironment, carry_out, prepare, reopen
from pipeline.run.history import entries, touches
from pipeline.runs import RunOptions, open_store
from pipeline.store.on_files import FileStore
from pipeline.store.on_files.boot_clock import Moment
from pipeline.store.on_files.records import open_record
from pipeline.store.on_files.registry_file import RegistryFile
from pipeline.store.seam import StoredPause
from pipeline.ui.terminal.runs_table import EntityQuery
from pipeline.vendors import load_vendors
from tests.workers.wires import CalledBack
from tests.workplace import COLUMNS, ENVIRON, coupon

ROWS, KILLED_AT = 40, 17
CONFIG = """
[accounts.shop]
vendor = "xsolla"
project_id = 44056
api_key = "env:SHOP_KEY"
quota = "100000/s"
in_flight = 4
"""
REFUSED = b'{"errorCode": 1102, "errorMessage": "no such item"}'
OWN_COLUMNS = {"_run", "_seconds"}  # of a result; they differ from sending to sending
BLOCK = 4096
AT_ONCE = 8  # they wait for a quota that the kill counts as used


def config_in(folder: Path) -> Config:
    """The configuration of the workplace in `folder`."""
    return load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=folder)


@dataclass
class Wire:
    """A vendor that answers at once, and remembers what it was asked.

    refuses  what a request holds that is refused
    kill_at  the process ends at this request
    """

    refuses: tuple[bytes, ...] = ()
    kill_at: int = 0
    sent: list[tuple[str, str, bytes]] = field(default_factory=list)

    @asynccontextmanager
    async def opened(self, _account: Any, _account_limiter: Any) -> AsyncIterator[Any]:
        """As the way to a vendor is opened."""

        async def send(request: Request) -> Reply:
            self.sent.append((request.method, request.path, request.body))
            if self.kill_at and len(self.sent) > self.kill_at:
                await anyio.sleep_forever()
            if len(self.sent) == self.kill_at:
                await anyio.sleep(0.05)  # others are put on record meanwhile
                os.kill(os.getpid(), signal.SIGKILL)
            is_refused = any(each in request.path.encode() for each in self.refuses)
            return Reply(422, {}, REFUSED) if is_refused else Reply(204, {}, b"")

        yield CalledBack(send)


def csv_of(folder: Path, name: str, *rows: str) -> Path:
    """A file of coupons."""
    path = folder / name
    path.write_text("\n".join([COLUMNS, *rows]) + "\n")
    return path


async def _send(path: Path, config: Config, wire: Wire) -> str:
    prepared = prepare(path, config, RunOptions(operation="xsolla.coupon"))
    await carry_out(prepared, RunEnvironment(environ=ENVIRON, open_link=wire.opened))
    return prepared.run


async def build(folder: Path) -> None:
    """Make the three runs, and the older files; ends by a kill."""
    (folder / "pipeline.toml").write_text(CONFIG)
    config = config_in(folder)
    first = csv_of(folder, "first.csv", *map(coupon, range(1, 7)))
    run = await _send(first, config, Wire(refuses=(b"/c2", b"/c3")))
    with open_record(config.ledger_folder / "runs" / run) as ledger:
        states = [(row, f'{{"fields": {{"n": {row}}}}}') for row in range(1, 7)]
        ledger.record((), (), (), states)
    shutil.copytree(config.reports / run, folder / "of-first")
    await _send(csv_of(folder, "newer.csv", coupon(1, "c2"), coupon(2, "x")), config, Wire())
    open_store(config).quotas.pause("some group", StoredPause(1e9, 5.0, run, "wait"))
    rows = [coupon(row, f"d{row % 30}") for row in range(1, ROWS)]
    third = csv_of(folder, "third.csv", *rows, coupon(ROWS).replace("elven_shield", ""))
    prepared = prepare(third, config, RunOptions(operation="xsolla.coupon"))
    shutil.copytree(config.ledger_folder, folder / "older")
    wire = Wire(kill_at=KILLED_AT)
    await carry_out(prepared, RunEnvironment(environ=ENVIRON, open_link=wire.opened))


def built(folder: Path) -> Path:
    """The workplace that `build` made in `folder`."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.torture.flips", "--build", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return folder


# What is done with the files


@dataclass
class Outcome:
    """What came of one thing that was done.

    error  words where it was refused
    sent   requests
    seen   all else, comparable
    said   to people meanwhile
    """

    error: str = ""
    sent: Counter[Any] = field(default_factory=Counter)
    seen: Any = None
    said: list[str] = field(default_factory=list)


def _report_rows(folder: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for path in sorted(folder.glob("*s.csv")):
        with path.open(newline="") as file:
            found += csv.DictReader(file)
    kept = ({k: v for k, v in row.items() if k not in OWN_COLUMNS} for row in found)
    return sorted(kept, key=lambda row: int(row["_row"]))


def _look(config: Config, outcome: Outcome, names: tuple[str, ...]) -> None:
    known = [(e.run, e.condition, e.is_kept, e.made_of) for e in entries(config)]
    store = FileStore(config.ledger, now=lambda: Moment("another boot", 1e9, 3e9))
    with RegistryFile(config.ledger).opened() as database:
        groups = database.rows("SELECT DISTINCT quota_group FROM departures ORDER BY 1")
    quotas = [store.quotas.since(group, after=0) for (group,) in groups]
    pauses = store.quotas.pauses("")
    touched = [
        (t.request, t.status, t.result)
        for id_ in ("c2", "d3")
        for t in touches(config, EntityQuery("xsolla", "coupon", id_), outcome.said.append)
    ]
    outcome.seen = known, quotas, pauses, touched
    for name in names:
        folder = config.ledger_folder / "runs" / name
        with open_record(folder) as ledger:
            outcome.seen += (tuple(ledger.exchanges()), [*ledger.samples()], ledger.legs())
            outcome.seen += (ledger.previous_states(range(1, 9)),)


async def _resume(config: Config, outcome: Outcome, name: str) -> None:
    wire = Wire()
    try:
        prepared = reopen(name, config)
        way = RunEnvironment(environ=ENVIRON, open_link=wire.opened, tell=outcome.said.append)
        await carry_out(prepared, way)
        outcome.seen = _report_rows(config.reports / name)
    finally:
        outcome.sent = Counter(wire.sent)


async def _send_again(config: Config, outcome: Outcome, path: Path) -> None:
    wire = Wire()
    try:
        prepared = prepare(path, config, RunOptions(operation="xsolla.coupon"))
        way = RunEnvironment(environ=ENVIRON, open_link=wire.opened, tell=outcome.said.append)
        await carry_out(prepared, way)
        outcome.seen = _report_rows(prepared.report_folder)
    finally:
        outcome.sent = Counter(wire.sent)


async def everything(folder: Path, names: tuple[str, ...]) -> list[Outcome]:
    """Look, resume, send again."""
    config = config_in(folder)
    look, resume, again = Outcome(), Outcome(), Outcome()
    with _refused(look):
        _look(config, look, names)
    with _refused(resume):
        await _resume(config, resume, names[-1])
    with _refused(again):
        await _send_again(config, again, folder / "of-first" / "errors.csv")
    return [look, resume, again]


@contextmanager
def _refused(outcome: Outcome) -> Iterator[None]:
    """Words of ours are an outcome; any other exception is not."""
    try:
        yield
    except PipelineError as error:
        outcome.error = str(error)


# Damage


@dataclass(frozen=True)
class Damage:
    """Something done to a file, and its words."""

    path: str
    what: str
    do: Callable[[Path], None]

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def flipped(path: str, bit: int) -> Damage:
    """One bit, counted from the start of the file."""

    def do(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)

    return Damage(path, f"bit {bit % 8} of byte {bit // 8} flipped", do)


def cut(path: str, at: int) -> Damage:
    """All from a byte on is gone."""
    return Damage(path, f"cut at byte {at}", lambda file: os.truncate(file, at))


def zeroed(path: str, block: int) -> Damage:
    """A block of 4 KiB is zeros."""

    def do(file: Path) -> None:
        content = bytearray(file.read_bytes())
        end = min(len(content), (block + 1) * BLOCK)
        content[block * BLOCK : end] = bytes(end - block * BLOCK)
        file.write_bytes(content)

    return Damage(path, f"block {block} zeroed", do)


def gone(path: str) -> Damage:
    """The file is gone."""
    return Damage(path, "gone", Path.unlink)


def replaced(path: str, by: Path, what: str) -> Damage:
    """Another file stands in its place."""
    return Damage(path, what, lambda file: shutil.copyfile(by, file) and None)


NOTHING = Damage("", "nothing", lambda _file: None)


class Base:
    """The sound workplace, and what comes of it."""

    def __init__(self, folder: Path) -> None:
        self._scratch = folder
        self.folder = built(folder / "base")
        kept = self.folder / ".pipeline"
        self.files = sorted(
            str(path.relative_to(kept))
            for path in kept.rglob("*")
            if path.is_file() and path.stat().st_size
        )
        order = ("first", "newer", "third")
        found = [path.name for path in (kept / "runs").iterdir()]
        self.names = tuple(sorted(found, key=lambda name: order.index(name.split("-")[1])))
        self.sound = anyio.run(self.tried, NOTHING, 0)

    def size(self, path: str) -> int:
        """Bytes of one of the files."""
        return (self.folder / ".pipeline" / path).stat().st_size

    async def tried(self, damage: Damage, number: int) -> list[Outcome]:
        """What comes of a damaged copy, one of several at a time."""
        place = self._scratch / f"copy-{number}"
        shutil.copytree(self.folder, place, ignore=shutil.ignore_patterns("older"))
        try:
            damage.do(place / ".pipeline" / damage.path)
            return await everything(place, self.names)
        finally:
            shutil.rmtree(place)

    def flips(self, count: int, chance: random.Random) -> Iterator[Damage]:
        """Single bits: as many in small files as in large ones."""
        for number in range(count):
            path = self.files[number % len(self.files)]
            yield flipped(path, chance.randrange(self.size(path) * 8))

    def others(self, chance: random.Random) -> Iterator[Damage]:
        """Of every file: cut, zeroed, gone, that of another run, as it was before."""
        kept = self.folder / ".pipeline"
        for path in self.files:
            size = self.size(path)
            yield from (cut(path, 0), cut(path, chance.randrange(size)), cut(path, size - 1))
            yield from (zeroed(path, 0), zeroed(path, chance.randrange(-(-size // BLOCK))))
            yield gone(path)
            for name in self.names:
                other = kept / "runs" / name / Path(path).name
                if path.startswith("runs/") and name not in path and other.exists():
                    yield replaced(path, other, f"that of {name}")
            older = self.folder / "older" / path
            if older.exists() and older.read_bytes() != (kept / path).read_bytes():
                yield replaced(path, older, "an older one")


TOLD = "cannot be read|could not be read|is left out"
"""What people are told of a run that cannot be read."""


def faults(sound: list[Outcome], found: list[Outcome]) -> Iterator[str]:
    """What must not be: another outcome that nobody was told of, or a request too many."""
    for what, good, bad in zip(("look", "resume", "again"), sound, found, strict=True):
        if bad.error:
            if bad.sent:
                yield f"{what}: {bad.sent.total()} requests, then {bad.error}"
            continue
        if more := bad.sent - good.sent:
            yield f"{what}: sent {list(more)[:2]} that sound files do not send; {bad.said}"
        is_told = any(re.search(TOLD, words) for words in bad.said)
        if (bad.seen, bad.sent) != (good.seen, good.sent) and not is_told:
            yield f"{what}: another outcome, and no word of it: {_difference(good, bad)}"


def _difference(good: Outcome, bad: Outcome) -> str:
    if good.sent != bad.sent:
        return f"{good.sent.total()} requests, now {bad.sent.total()}"
    if isinstance(good.seen, list | tuple) and bad.seen is not None:
        for one, other in zip(good.seen, bad.seen, strict=False):
            if one != other:
                return f"{str(one)[:300]} became {str(other)[:300]}"
    return f"{str(good.seen)[:200]} became {str(bad.seen)[:200]}"


async def wrong_in(base: Base, damages: Iterable[Damage]) -> tuple[list[str], Counter[str]]:
    """Each violation in words; how many damages were noticed or had no effect."""
    wrong: list[str] = []
    counts: Counter[str] = Counter()

    async def one(damage: Damage, number: int) -> None:
        async with at_once:
            try:
                found = await base.tried(damage, number)
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                wrong.append(f"{damage}: {error!r}")
                return
        wrong.extend(f"{damage}: {fault}" for fault in faults(base.sound, found))
        is_noticed = any(each.error or each.said for each in found)
        counts["noticed" if is_noticed else "without effect"] += 1

    at_once = anyio.Semaphore(AT_ONCE)
    async with anyio.create_task_group() as tasks:
        for number, damage in enumerate(damages):
            tasks.start_soon(one, damage, number)
    return wrong, counts


def main() -> None:
    """Damage files, print what came of it; exit code 1 where damage did harm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--build", type=Path)
    given = parser.parse_args()
    if given.build:
        anyio.run(build, given.build)
        return
    print(f"seed {given.seed}", flush=True)
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="flips-") as name:
        base = Base(Path(name))
        print(f"{len(base.files)} files: {', '.join(base.files)}", flush=True)
        wrong: list[str] = []
        for kind, damages in (
            ("single bits", base.flips(given.flips, chance)),
            ("cut, zeroed, gone, exchanged, older", base.others(chance)),
        ):
            more, counts = anyio.run(wrong_in, base, damages)
            wrong += more
            print(f"{kind}: {dict(counts)}, violations {len(more)}", flush=True)
    print("\n".join(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

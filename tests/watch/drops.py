"""Files dropped in odd ways, two watchers, one of them killed again and again.

    make drops

    .venv/bin/python -m tests.watch.drops --files 200 --seed 7

Judged by where the files lie in the end and by the simulator's log: each good one was sent once,
each bad one is set aside with a reason, and nothing is left on its way. Ends with 1 where not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.watch.names import safe_name
from tests.cli.command import environment
from tests.quick_start import COMMAND, QuickPopen
from tests.workplace import COLUMNS, Simulator, configure, coupon, row_of, simulator

ROWS = 6
SETTLE_S = 0.4
LONGEST_S = 300.0
SHARE_OF_BAD = 0.2
MAX_AGAIN = 4
STOPPED = {143, -signal.SIGTERM}  # the second: one that had just been started


def content(entity: str) -> bytes:
    """A file of some rows, all of one entity, so that their order shows."""
    return "\n".join([COLUMNS, *(coupon(row, entity) for row in range(1, ROWS + 1)), ""]).encode()


def at_once(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def slowly(path: Path, data: bytes) -> None:
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), 150):
            file.write(data[start : start + 150])
            time.sleep(SETTLE_S / 4)


def renamed(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.upload")
    new.write_bytes(data)
    new.rename(path)


def uploaded(path: Path, data: bytes) -> None:
    new = path.with_name(f"{path.name}.part")
    slowly(new, data)
    new.rename(path)


def marked(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.with_name(f"{path.name}.done").touch()


def in_a_folder(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


WAYS: tuple[Callable[[Path, bytes], None], ...] = (at_once, slowly, renamed, uploaded, marked)
NAMES = (
    "plain-{}.csv",
    "with space {}.csv",
    "line\nbreak-{}.csv",
    "größe-漢字-{}.csv",
    "UPPER-{}.CSV",
)


def good(inputs: Path, number: int, chance: random.Random) -> tuple[str, threading.Thread]:
    """Drop a good file in some way; its name."""
    name = chance.choice(NAMES).format(number)
    data = content(f"good{number}")
    way: Callable[[Path, bytes], None] = chance.choice(WAYS)
    path = inputs / name
    if chance.random() < 0.1:
        path, way = inputs / f"folder {number}" / name, in_a_folder
    if chance.random() < 0.15:
        path, data = path.with_name(f"{number}.csv.gz"), gzip.compress(data)
    drop = threading.Thread(target=way, args=(path, data))
    drop.start()
    return safe_name(path.name), drop


def bad(inputs: Path, number: int, chance: random.Random) -> str:
    """Drop a file that can not be sent; its name."""
    data = content(f"bad{number}")
    name = f"bad-{number}.csv"
    kind = chance.randrange(7)
    if kind == 0:
        (inputs / name).write_bytes(data[:-20])  # cut
    elif kind == 1:
        (inputs / name).symlink_to("/etc/hostname")
    elif kind == 2:
        (inputs / name).symlink_to("nowhere")
    elif kind == 3:
        name = f"bad-{number}.csv.gz"
        (inputs / name).write_bytes(gzip.compress(data)[:-9])
    elif kind == 4:
        os.mkfifo(inputs / name)
    elif kind == 5:
        name = f"bad-{number}.xlsx"
        (inputs / name).write_bytes(b"PK\x03\x04")
    else:
        (inputs / name).write_bytes(b"")
    return name


def lying(inputs: Path, kind: str) -> list[Path]:
    """Dropped files in `.processing`, `.done` or `.failed`, without the watcher's own files."""
    ours = {"reason.txt", "report"}
    found = (path for home in (inputs, inputs.parent) for path in (home / kind).glob("*/*"))
    return [path for path in found if path.name not in ours and not path.name.endswith(".done")]


class Watchers:
    """Two of them on one folder, any of which may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes = [self._start(), self._start()]
        self.kills = 0
        self.ended: list[str] = []
        """What those said last that ended by themselves."""

    def _start(self) -> QuickPopen:
        command = [*COMMAND, "watch", "--settle", str(SETTLE_S), "--quiet"]
        with (self._folder / "watchers.txt").open("ab") as said:
            return QuickPopen(command, cwd=self._folder, env=environment(), stderr=said)

    def kill(self, number: int) -> None:
        """Kill one, and start it again."""
        code = self._processes[number].poll()
        if code is not None:
            said = (self._folder / "watchers.txt").read_text()
            self.ended.append(f"one ended by itself with {code}: {said[-300:]}")
        self._processes[number].kill()
        self._processes[number].wait()
        self._processes[number] = self._start()
        self.kills += 1

    def stop(self) -> list[int]:
        """Tell both to stop; their exit codes."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        return [process.wait(40) for process in self._processes]


def play(folder: Path, files: int, seed: int, vendor: Simulator) -> tuple[str, list[str]]:
    """What was done, and what is wrong in the end."""
    chance = random.Random(seed)
    inputs = folder / "inputs" / "xsolla.coupon"
    inputs.mkdir(parents=True)
    (inputs / "directory.csv").mkdir()
    (inputs / "notes.txt").write_text("nothing to send")
    for each in ("twin-a.csv", "twin-b.csv"):  # the same content twice
        (inputs / each).write_bytes(content("twin"))
    wanted, unwanted = {"twin-a.csv": "twin", "twin-b.csv": "twin"}, set[str]()
    drops: list[threading.Thread] = []
    watchers = Watchers(folder)
    now_s = time.monotonic()
    kill_at_s, end_s = now_s + 1.5, now_s + LONGEST_S
    number = 0
    while time.monotonic() < end_s and not (
        number == files and is_through(inputs, wanted, unwanted)
    ):
        for _ in range(min(chance.choice((0, 0, 1, 2)), files - number)):
            number += 1
            if chance.random() < SHARE_OF_BAD:
                unwanted.add(bad(inputs, number, chance))
            else:
                name, drop = good(inputs, number, chance)
                wanted[name] = f"good{number}"
                drops.append(drop)
        if time.monotonic() >= kill_at_s:
            watchers.kill(int(chance.random() < 0.3))  # mostly the one that began
            # a busy machine needs longer to start one than there is between two kills
            kill_at_s = time.monotonic() + chance.uniform(0.8, 3.0) * (1 + watchers.kills / 8)
        time.sleep(0.05)
    for drop in drops:
        drop.join()
    codes = watchers.stop()
    said = f"{len(wanted)} good files, {len(unwanted)} bad ones, {watchers.kills} kills"
    return said, [
        *watchers.ended,
        *wrong(inputs, wanted, unwanted, vendor),
        *(f"exit code {c}" for c in codes if c not in STOPPED),
    ]


def is_through(inputs: Path, wanted: dict[str, str], unwanted: set[str]) -> bool:
    return len(lying(inputs, ".done")) >= len(wanted) and len(lying(inputs, ".failed")) >= len(
        unwanted
    )


def wrong(
    inputs: Path, wanted: dict[str, str], unwanted: set[str], vendor: Simulator
) -> Iterator[str]:
    """What should not be."""
    if left := lying(inputs, ".processing"):
        yield f"left on their way: {left}"
    done = Counter(path.name for path in lying(inputs, ".done"))
    failed = lying(inputs, ".failed")
    yield from (f"{name!r} lies in .done {done[name]} times" for name in wanted if done[name] != 1)
    yield from (f"{name!r} was done" for name in done if name not in wanted)
    if Counter(path.name for path in failed) != Counter(unwanted):
        yield f"set aside: {[path.name for path in failed]}, expected {unwanted}"
    for path in failed:
        if not (path.parent / "reason.txt").read_text().strip():
            yield f"{path} has no reason"
    for path in lying(inputs, ".done"):
        summary = json.loads((path.parent / "report" / "summary.json").read_text())
        if (
            safe_name(Path(summary["input"]["file"]).name) != path.name
            or summary["statuses"]["updated"] != ROWS
        ):
            yield f"{path}: {summary['why']}"
    if not (inputs / "notes.txt").exists():
        yield "notes.txt is gone"
    applied: dict[str, list[int]] = {}
    for entry in sorted(vendor.get("log"), key=lambda each: each["seq"]):
        if entry["applied"]:
            applied.setdefault(entry["id"], []).append(row_of(entry["body"]))
    times = Counter(wanted.values())
    for entity, count in times.items():
        rows = applied.pop(entity, [])
        # what was in flight at a kill may have been repeated, never more
        if sorted(set(rows)) != list(range(1, ROWS + 1)) or len(rows) > count * ROWS + MAX_AGAIN:
            yield f"{entity}: rows {rows} were applied"
    yield from (f"{entity} was sent" for entity in applied)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    with tempfile.TemporaryDirectory() as name, simulator("--latency-ms", "5") as vendor:
        configure(Path(name), vendor.base_url, in_flight=4)
        said, faults = play(Path(name), given.files, seed, vendor)
    print(f"seed {seed}: {said}; faults {len(faults)}", *faults, sep="\n  ")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

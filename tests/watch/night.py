"""A long night of one watcher: many files, one of each bad kind among every few good ones.

    make night

    .venv/bin/python -m tests.watch.night --files 600 --minutes 10

The dropper is another user if this one is root. Judged by the simulator's log (each good file sent
once, nothing else sent), by where files are in the end, by what the watcher said of those that
cannot be moved, and by its memory and descriptors, which must not grow. Ends with 1 if something is
wrong.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tests.cli.command import environment
from tests.watch.dropper import DROPPER
from tests.workplace import COLUMNS, Simulator, configure, coupon, simulator

ROWS = 3
SETTLE_S = 0.5
EVERY_BAD = 6
"""One file in so many is a bad one, of each kind in turn."""
END_S = 120.0
GROWTH_KB = 40_000
"""Between the first quarter of the night and its end; polars keeps what it took once."""
GROWTH_FILES = 16
IMMOVABLE = "kept-"
_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10  # linux/fs.h, on 64 bits


def content(entity: str) -> bytes:
    rows = (coupon(row, f"{entity}-{row}") for row in range(1, ROWS + 1))
    return "\n".join([COLUMNS, *rows, ""]).encode()


def cut(path: Path, data: bytes) -> None:
    path.write_bytes(data[:-30])


def empty(path: Path, _data: bytes) -> None:
    path.write_bytes(b"")


def link(path: Path, _data: bytes) -> None:
    path.symlink_to("/etc/hostname")


def dangling(path: Path, _data: bytes) -> None:
    path.symlink_to("nowhere")


def pipe(path: Path, _data: bytes) -> None:
    os.mkfifo(path)


def second_name(path: Path, data: bytes) -> None:
    path.with_name(f".{path.name}.first").write_bytes(data)
    path.hardlink_to(path.with_name(f".{path.name}.first"))


def packed_and_cut(path: Path, data: bytes) -> None:
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(data)[:-9])


def sheet(path: Path, _data: bytes) -> None:
    path.with_suffix(".xlsx").write_bytes(b"PK\x03\x04")


def no_parquet(path: Path, data: bytes) -> None:
    path.with_suffix(".parquet").write_bytes(b"PAR1" + data + b"PAR1")


def beyond_time(path: Path, _data: bytes) -> None:
    """A date that no date of Python holds: a library panics of it."""
    dates = pl.Series("date_end", [2**30], dtype=pl.Int32).cast(pl.Date)
    pl.DataFrame([pl.Series("external_id", ["x"]), dates]).write_parquet(
        path.with_suffix(".parquet")
    )


def no_utf_8(path: Path, data: bytes) -> None:
    path.with_name(f"\udcff{path.name}").write_bytes(data)


def other_columns(path: Path, _data: bytes) -> None:
    path.write_bytes(b"not,a\n1,2\n")


def immovable(path: Path, data: bytes) -> None:
    """A file that its reader may read and nobody may move."""
    path.with_name(f"{IMMOVABLE}{path.name}").mkdir()
    path = path.with_name(f"{IMMOVABLE}{path.name}") / path.name
    path.write_bytes(data)
    if os.getuid() == 0:  # whom no permissions stop
        os.seteuid(0)
        set_immutable(path, is_on=True)
    else:
        path.parent.chmod(0o555)


def set_immutable(path: Path, *, is_on: bool) -> None:
    """As `chattr +i` or `-i` does. Raises OSError if the file system knows no such flag."""
    with path.open("rb") as file:
        flags = bytearray(struct.pack("l", 0))
        fcntl.ioctl(file, _GET_FLAGS, flags)
        (before,) = struct.unpack("l", flags)
        after = before | _IMMUTABLE if is_on else before & ~_IMMUTABLE
        fcntl.ioctl(file, _SET_FLAGS, struct.pack("l", after))


def stuck_files(inputs: Path) -> list[Path]:
    return sorted(inputs.glob(f"{IMMOVABLE}*/*"))


def release(inputs: Path) -> None:
    """Let the folder be removed."""
    for path in stuck_files(inputs):
        if os.getuid() == 0:
            set_immutable(path, is_on=False)
        else:
            path.parent.chmod(0o755)


BAD: tuple[Callable[[Path, bytes], None], ...] = (
    *(cut, empty, link, dangling, pipe, second_name, packed_and_cut, sheet, no_parquet),
    *(beyond_time, no_utf_8, other_columns, immovable),
)


def plain(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def renamed(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.rename(path)


def stalled(path: Path, data: bytes) -> None:
    """An upload that pauses for longer than a file takes to count as complete."""
    with path.open("wb", buffering=0) as file:
        file.write(data[: len(data) // 2])
        time.sleep(3 * SETTLE_S)
        file.write(data[len(data) // 2 :])


def long_name(path: Path, data: bytes) -> None:
    path.with_name(f"{path.stem:n<251}.csv").write_bytes(data)


GOOD: tuple[Callable[[Path, bytes], None], ...] = (plain, renamed, plain, long_name, stalled)


@dataclass
class Night:
    """What was dropped, and what the watcher held meanwhile: kilobytes and descriptors."""

    good: list[str] = field(default_factory=list)
    bad: int = 0
    held: list[tuple[int, int]] = field(default_factory=list)


def drop(inputs: Path, night: Night, number: int) -> None:
    """Drop one file, as whoever drops files here."""
    path = inputs / f"file-{number:05}.csv"
    if number % EVERY_BAD == EVERY_BAD - 1:
        night.bad += 1
        BAD[night.bad % len(BAD)](path, content(f"bad{number}"))
    else:
        night.good.append(f"good{number}")
        GOOD[number % len(GOOD)](path, content(f"good{number}"))


def held_by(pid: int) -> tuple[int, int]:
    status = Path(f"/proc/{pid}/status").read_text()
    resident = [line for line in status.splitlines() if line.startswith("VmRSS")]
    if not resident:
        raise ProcessLookupError(f"the watcher {pid} is gone")
    return int(resident[0].split()[1]), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def as_dropper(inputs: Path, files: int, seconds: float, watcher: int) -> Night:
    """Drop files evenly over the time; where this is root, with the rights of another user."""
    night, chance = Night(), random.Random(0)
    began_s = time.monotonic()
    for number in range(files):
        if os.getuid() == 0:
            os.setegid(DROPPER)
            os.seteuid(DROPPER)
        try:
            drop(inputs, night, number)
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
                os.setegid(0)
        night.held.append(held_by(watcher))
        due_s = began_s + (number + chance.random()) * seconds / files
        time.sleep(max(0.0, due_s - time.monotonic()))
    return night


def away(inputs: Path, kind: str) -> list[Path]:
    ours = ("reason.txt", "report")
    return [path for path in inputs.glob(f"{kind}/*/*") if path.name not in ours]


def play(folder: Path, files: int, seconds: float, vendor: Simulator) -> tuple[str, list[str]]:
    """What was done, and what is wrong in the end."""
    inputs = folder / "inputs" / "xsolla.coupon"
    inputs.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(inputs, DROPPER, DROPPER)
    command = [sys.executable, "-m", "pipeline", "watch", "--settle", str(SETTLE_S), "--quiet"]
    with (folder / "watch.log").open("wb") as log:
        watcher = subprocess.Popen(command, cwd=folder, env=environment(), stderr=log)
        try:
            night = as_dropper(inputs, files, seconds, watcher.pid)
            ends_s = time.monotonic() + END_S
            while time.monotonic() < ends_s and not is_through(inputs, night):
                time.sleep(0.5)
            night.held.append(held_by(watcher.pid))
        except ProcessLookupError as error:
            return str(error), (folder / "watch.log").read_text().splitlines()[-20:]
        finally:
            watcher.send_signal(signal.SIGTERM)
            code = watcher.wait(60)
            stuck = stuck_files(inputs)
            release(inputs)
    words = (folder / "watch.log").read_text()
    faults = [*wrong(inputs, night, vendor), *leaks(night), *untold(stuck, words)]
    if code != 128 + signal.SIGTERM:
        faults.append(f"exit code {code}")
    last = night.held[-1]
    said = (
        f"{len(night.good)} good files, {night.bad} bad ones; {last[0]} kB, {last[1]} descriptors"
    )
    return said, faults


def is_through(inputs: Path, night: Night) -> bool:
    through = [*away(inputs, ".done"), *away(inputs, ".failed"), *stuck_files(inputs)]
    return len(through) >= len(night.good) + night.bad


def wrong(inputs: Path, night: Night, vendor: Simulator) -> Iterator[str]:
    sent = Counter(entry["id"] for entry in vendor.get("log") if entry["applied"])
    for entity in night.good:
        for row in range(1, ROWS + 1):
            if (times := sent.pop(f"{entity}-{row}", 0)) != 1:
                yield f"{entity}, row {row}: sent {times} times"
    yield from (f"{entity} was sent" for entity in sent)
    if len(away(inputs, ".done")) != len(night.good):
        yield f"{len(away(inputs, '.done'))} files are done, not {len(night.good)}"
    away_or_stuck = len(away(inputs, ".failed")) + len(stuck_files(inputs))
    if away_or_stuck != night.bad:
        yield f"{away_or_stuck} files were set aside or stay, not {night.bad}"
    if left := away(inputs, ".processing"):
        yield f"left on their way: {left}"


def untold(stuck: list[Path], said: str) -> Iterator[str]:
    """Files that stay where they were dropped and are not reported exactly once."""
    words = " ".join(said.replace("│", " ").split())
    for path in stuck:
        if (times := words.count(f"{path.name} cannot be claimed")) != 1:
            yield f"{path.name} stays, and that was said {times} times"


def leaks(night: Night) -> Iterator[str]:
    early, last = night.held[len(night.held) // 4], night.held[-1]
    if last[0] > early[0] + GROWTH_KB:
        yield f"memory grew from {early[0]} to {last[0]} kB"
    if last[1] > early[1] + GROWTH_FILES:
        yield f"descriptors grew from {early[1]} to {last[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, simulator("--latency-ms", "5") as vendor:
        Path(name).chmod(0o755)
        configure(Path(name), vendor.base_url, in_flight=4)
        said, faults = play(Path(name), given.files, given.minutes * 60, vendor)
    print(f"{said}; faults {len(faults)}", *faults, sep="\n  ")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

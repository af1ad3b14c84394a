"""The target of `make fuzz` that plays tricks in a drop folder before the real watcher.

The bytes are a script of steps. A watcher meets them, with the simulator in the same process. Then
what stands in the way is removed, and the next watcher goes on. The dropper is the watcher's own
user, who can do more than another one; if that is root, permissions count all the same.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import io
import os
import random
import signal
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from pathlib import Path

from pipeline.cli.console import terminal
from pipeline.cli.drops import drops_of
from pipeline.cli.notifying import command_notifier
from pipeline.cli.watch import WatchOutput
from pipeline.config import Config
from pipeline.model.file_names import is_hidden
from pipeline.runs import RunOptions
from pipeline.simulator import Running, serve
from pipeline.watch import (
    Event,
    FileEnded,
    FileLeft,
    FileQuarantined,
    FileStuck,
    FileTaken,
    FileWaiting,
    Heartbeat,
    Watcher,
)
from pipeline.watch.claims import Drops
from pipeline.watch.settling import is_candidate
from tests.fuzz.targets import Target
from tests.fuzz.tricks import TRICKS, Stage, good, play_one, script_of, steps
from tests.watch.dropper import picture, reachable_folder
from tests.watch.night import ROWS
from tests.workplace import ENVIRON, configure

SETTLE_S = 0.06
LOOK_EVERY_S = 0.03
MAX_STEPS = 16
REST_S = 0.3
REST_LOOKS = 4
LONGEST_S = 180.0  # on a busy machine
_CAPABILITIES_3 = 0x20080522
_OVERRIDING = (1, 2, 3)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
_IS_STOPPED = 128 + signal.SIGTERM
_NO_WORDS = ("Traceback", "internal error", "never retrieved", "Exception ignored")


@contextmanager
def drop_folder_target() -> Iterator[Target]:
    """The target, with a simulator that runs as long."""
    pace = Drops.scan_every_s
    Drops.scan_every_s = LOOK_EVERY_S
    chance = random.Random(0)
    corpus = [script_of(each, each, arg=chance.randrange(256)) for each in TRICKS]
    corpus += [chance.randbytes(3 * MAX_STEPS) for _ in range(16)]
    try:
        with asyncio.Runner() as runner:
            serving = serve()
            vendor = runner.run(serving.__aenter__())
            _example(runner, vendor, script_of(good))  # what the first one opens stays open
            runner.run(asyncio.sleep(0.3))
            gc.collect()  # what others left open is closed now, and not during an example
            descriptors = open_descriptors()

            def feed(data: bytes) -> None:
                faults = _example(runner, vendor, data[: 3 * MAX_STEPS])
                faults += leaked(runner, descriptors)
                assert not faults, "\n".join(faults)

            yield Target("drop_folder", corpus, feed, longest_s=LONGEST_S, every=8)
            runner.run(serving.__aexit__(None, None, None))
    finally:
        Drops.scan_every_s = pace


def _example(runner: asyncio.Runner, vendor: Running, script: bytes) -> list[str]:
    vendor.reset()
    with reachable_folder() as folder:
        stage = staged(folder)
        config = configure(folder, vendor.base_urls["xsolla"], in_flight=4)
        before = picture(stage.outside)
        with redirect_stderr(io.StringIO()) as words, told_on_error(words):
            with without_privileges():
                codes = [runner.run(play(stage, config, script))]
            stage.repair()
            with without_privileges():
                codes.append(runner.run(play(stage, config, b"")))
        faults = [f"a watcher ended with {code}" for code in codes if code != _IS_STOPPED]
        faults += [f"it said {each!r}" for each in _NO_WORDS if each in words.getvalue()]
        if picture(stage.outside) != before:
            faults.append("something outside of the drop folder changed")
        faults += wrong(stage, config, vendor)
        return [words.getvalue()[-6000:], *faults] if faults else []


@contextmanager
def told_on_error(words: io.StringIO) -> Iterator[None]:
    """Add what the watchers said to an error of the block."""
    try:
        yield
    except Exception as error:
        error.add_note(words.getvalue()[-6000:])
        raise


def staged(folder: Path) -> Stage:
    """A drop folder in `folder`, which is the watcher's own."""
    for each in ("inputs/xsolla.coupon", "outside/precious"):
        (folder / each).mkdir(parents=True)
    (folder / "outside" / "precious" / "photo.jpg").write_text("irreplaceable")
    (folder / "outside" / "victim.csv").write_text("not yours\n")
    if os.geteuid() == 0:
        for number in range(4):
            with suppress(OSError):  # a container may forbid devices
                os.mknod(folder / f"device-{number}", 0o666 | 0o020000, os.makedev(1, 3))
    return Stage(folder / "inputs" / "xsolla.coupon", folder / "outside")


@contextmanager
def without_privileges() -> Iterator[None]:
    """Let permissions count for root as well, in this thread and those that it starts.

    Linux only; its header linux/capability.h has the numbers.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("Ii", _CAPABILITIES_3, 0)
    before = ctypes.create_string_buffer(24)  # twice effective, permitted, inheritable
    if libc.capget(header, before) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    words = list(struct.unpack("6I", before.raw))
    words[0] &= ~sum(1 << number for number in _OVERRIDING)
    if libc.capset(header, struct.pack("6I", *words)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    try:
        yield
    finally:
        libc.capset(header, before.raw)


async def play(stage: Stage, config: Config, script: bytes) -> int:
    """Let one watcher watch while a script is played, until it comes to rest: its exit code."""
    told: list[Event] = []
    with command_notifier(config) as notifier:
        listener = WatchOutput(terminal(stderr=True), notifier, config.report_place)

        def hear(event: Event) -> None:
            told.append(event)
            listener.on_event(event)

        watcher = Watcher(
            drops_of(config),
            config,
            RunOptions(),
            environ=ENVIRON,
            tell=hear,
            say=lambda _words: None,
            show=lambda _poll: nullcontext(),
            settle_s=SETTLE_S,
        )
        running = asyncio.create_task(watcher.run())
        for trick, arg, pause_s in steps(script):
            await asyncio.to_thread(play_one, stage, trick, arg)
            await asyncio.sleep(pause_s)
        try:
            await at_rest(stage, running, told)
        except TimeoutError:
            faults = untold(stage, told) or [f"never came to rest: {under_way(told)}"]
            raise AssertionError("; ".join(faults)) from None
        finally:
            if not running.done():
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.wait([running])
        return await running


async def at_rest(stage: Stage, running: asyncio.Task[int], told: list[Event]) -> None:
    """Wait until nothing moves any more: no file has another place, nothing new is said, and of
    each file that lies there something was.

    Raises TimeoutError if that never comes.
    """
    before, since, since_s = None, 0, 0.0
    async with asyncio.timeout(LONGEST_S / 3):
        while not running.done():
            beats = sum(isinstance(each, Heartbeat) for each in told)
            now = (places(stage.inputs), len(told) - beats)
            if now != before or under_way(told):
                before, since, since_s = now, beats, time.monotonic()
            elif beats < since + REST_LOOKS or time.monotonic() < since_s + REST_S:
                pass
            elif not untold(stage, told):
                return
            await asyncio.sleep(0.05)


def under_way(told: list[Event]) -> Counter[Path]:
    """Files that were taken and of which no end was told yet."""
    found = Counter[Path]()
    for event in told:
        if isinstance(event, FileTaken):
            found[event.file] += 1
        elif isinstance(event, FileEnded | FileQuarantined | FileLeft | FileStuck):
            found[event.file] -= 1
    return +found


def places(folder: Path) -> dict[str, int]:
    """Path -> inode of all that is in a folder, as far as it can be looked into."""
    found = {}
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(top, name)  # noqa: PTH118 - faster, and names may hold anything
            with suppress(OSError):
                found[path] = os.lstat(path).st_ino
    return found


def wrong(stage: Stage, config: Config, vendor: Running) -> Iterator[str]:
    """What should not be."""
    sent = Counter(entry["id"] for entry in vendor.log() if entry["applied"])
    present = places(stage.inputs)
    kept = set(present.values())
    for entity in stage.good.keys() - stage.wild:
        times = {sent[f"{entity}-{row}"] for row in range(1, ROWS + 1)}
        is_held_up = times == {0} and stage.is_moved and stage.inodes[entity] in kept
        if times != {1} and not is_held_up:
            name = stage.good[entity].name
            yield f"rows of a file were sent {times} times, not once: {entity}, {name!r}"
    known = {f"{entity}-{row}" for entity in stage.good for row in range(1, ROWS + 1)}
    yield from (f"{each} was sent" for each in sent if each not in known)
    yield from (f"{name!r} is lost" for inode, name in stage.bad.items() if inode not in kept)
    yield from (f"{path.name!r} was touched" for path in stage.quiet if str(path) not in present)
    yield from without_reason(stage)
    if config.reports.exists() and list(config.reports.rglob("*.part")):
        yield "a report was left half written"


def without_reason(stage: Stage) -> Iterator[str]:
    for place in stage.inputs.glob(".failed/*"):
        reason = place / "reason.txt"
        if not (reason.is_file() and reason.read_text(errors="replace").strip()):
            yield f"{place.name} was set aside without a reason"


def untold(stage: Stage, told: list[Event]) -> list[str]:
    """Files that stay where they are, and nothing says why, of them or of a folder above."""
    spoken = " ".join(e.reason for e in told if isinstance(e, FileStuck | FileWaiting | FileLeft))
    return [
        f"{str(path)!r} stays, and nothing says why"
        for path in waiting(stage.inputs)
        if not any(f"{each} " in spoken for each in (path, *path.parents))
    ]


def waiting(folder: Path) -> Iterator[Path]:
    """Files that the watcher is to take, and folders in which nobody can look for any."""
    try:
        found = sorted(os.scandir(folder), key=lambda each: each.name)
    except PermissionError:
        yield folder
        return
    except FileNotFoundError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            if not is_hidden(entry.name):
                yield from waiting(folder / entry.name)
        elif is_candidate(entry.name):
            yield folder / entry.name


def leaked(runner: asyncio.Runner, before: Counter[str]) -> list[str]:
    """What is open more often than before."""
    gc.collect()
    ends_s = time.monotonic() + 2.0
    while (more := open_descriptors() - before) and time.monotonic() < ends_s:
        runner.run(asyncio.sleep(0.1))
    return [f"descriptors were left open: {sorted(more.elements())}"] if more else []


def open_descriptors() -> Counter[str]:
    """What descriptors lead to; sockets and pipes are told apart by kind only."""
    found = Counter[str]()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them
            found[str(each.readlink()).partition(":[")[0]] += 1
    return found

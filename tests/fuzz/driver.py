"""Feeds made-up bytes for a while: no crash, no hang, no memory without bound.

    python -m tests.fuzz.driver --seconds 3600 --seed 1 --findings build/fuzz
    python -m tests.fuzz.driver --only drop_folder
    python -m tests.fuzz.driver --replay build/fuzz/files-...

What goes wrong is saved as a file, which replays. What is being fed stands in `now-TARGET` before
it is fed, so that it is there even after a crash of the interpreter.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.fuzz.drop_folder import drop_folder_target
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import Target, targets

GROWTH_KB = 400 << 10  # of the peak, by one example of at most 256 KiB
ADDRESSES_BYTES = 24 << 30  # polars reserves much that it never touches


class _HungError(BaseException):
    """An example took too long. Not an Exception: nothing is to catch it on the way."""


@dataclass
class Tally:
    """What came of it."""

    fed: Counter[str] = field(default_factory=Counter)
    findings: list[Path] = field(default_factory=list)
    kinds: set[tuple[str, str]] = field(default_factory=set)


def feed_one(target: Target, data: bytes) -> str | None:
    """What goes wrong with `data`; None: nothing does."""

    def hung(_number: int, _frame: object) -> None:
        raise _HungError

    _forget_peak()
    peak_kb = _peak_kb()
    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, target.longest_s)
    try:
        target.feed(data)
    except _HungError:
        return f"took longer than {target.longest_s:g} s\n{traceback.format_exc()}"
    except BaseException:  # noqa: BLE001 - polars' panics are no Exception
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    grown_kb = _peak_kb() - peak_kb
    return f"the peak of memory grew by {grown_kb >> 10} MiB" if grown_kb > GROWTH_KB else None


def _forget_peak() -> None:
    """Set the peak of memory to what is used now: an earlier peak would hide a lower one."""
    Path("/proc/self/clear_refs").write_text("5")  # proc_pid_clear_refs(5)


def _peak_kb() -> int:
    """Peak of this process's resident memory in KiB (`VmHWM`, proc_pid_status(5))."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def fuzz(
    all_targets: tuple[Target, ...],
    *,
    seconds: float,
    seed: int,
    folder: Path,
    rounds: int = 0,
    log: bool = False,
) -> Tally:
    """Feed all targets in turn for `seconds`, and so many rounds at least. Findings are saved in
    `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chance, tally = random.Random(seed), Tally()
    started_s = told_s = time.monotonic()
    turns = ((turn, each) for turn in count() for each in all_targets if turn % each.every == 0)
    for turn, target in turns:
        now_s = time.monotonic()
        if turn >= rounds and now_s - started_s >= seconds:
            break
        data = mutated(chance, target.corpus)
        wrong = _watched(target, data, folder)
        tally.fed[target.name] += 1
        if wrong:
            _save(tally, target, data, wrong, folder)
        if log and now_s - told_s > 60:
            told_s = now_s
            print(f"{(now_s - started_s) / 60:.0f} min: {dict(tally.fed)}", flush=True)
    return tally


def _watched(target: Target, data: bytes, folder: Path) -> str | None:
    """What goes wrong, with `data` on disk meanwhile; a hang that nothing ends ends all."""
    (folder / f"now-{target.name}").write_bytes(data)
    faulthandler.dump_traceback_later(3 * target.longest_s, exit=True)
    try:
        return feed_one(target, data)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _save(tally: Tally, target: Target, data: bytes, wrong: str, folder: Path) -> None:
    """Keep one finding of a kind."""
    kind = (target.name, wrong.splitlines()[-3:][0] + wrong.splitlines()[-1][:60])
    if kind in tally.kinds:
        return
    tally.kinds.add(kind)
    name = f"{target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
    (folder / name).write_bytes(data)
    (folder / f"{name}.txt").write_text(wrong)
    tally.findings.append(folder / name)
    print(f"FOUND {folder / name}\n{wrong[-3000:]}", flush=True)


@contextmanager
def opened(work: Path, only: str) -> Iterator[tuple[Target, ...]]:
    """The targets of that name; all of them if it is empty."""
    with targets(work) as of_bytes, drop_folder_target() as drops:
        yield tuple(each for each in (*of_bytes, drops) if only in ("", each.name))


def main() -> int:
    """0 where nothing was found."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--seconds", type=float, default=3600.0)
    asked.add_argument("--seed", type=int, default=int(time.time()))
    asked.add_argument("--findings", type=Path, default=Path("build/fuzz"))
    asked.add_argument("--replay", type=Path)
    asked.add_argument("--only", default="", help="one target")
    given = asked.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES_BYTES, ADDRESSES_BYTES))
    only = given.only
    if given.replay:
        only = given.replay.name.removeprefix("now-").partition("-")[0]
    with tempfile.TemporaryDirectory() as work, opened(Path(work), only) as all_targets:
        if given.replay:
            (target,) = all_targets
            wrong = feed_one(target, given.replay.read_bytes())
            print(wrong or "nothing goes wrong")
            return 1 if wrong else 0
        print(f"seed {given.seed}", flush=True)
        folder: Path = given.findings
        tally = fuzz(all_targets, seconds=given.seconds, seed=given.seed, folder=folder, log=True)
    print(f"{given.seconds / 60:.1f} min: {dict(tally.fed)}; findings: {len(tally.findings)}")
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())

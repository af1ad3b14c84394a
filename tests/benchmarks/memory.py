"""Peak anonymous memory over a whole run: take, bind, send against a stub transport, report.

    make memory
    .venv/bin/python tests/benchmarks/memory.py --rows 1000000 10000000 --kinds .csv

Each run is a process of its own, which samples its RssAnon 20 times a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.lowlevel

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from pipeline.config import load_config  # noqa: E402 - needs the path above
from pipeline.model import Reply, Request  # noqa: E402
from pipeline.run import RunEnvironment, carry_out, prepare  # noqa: E402
from pipeline.run.event_loop import run_async  # noqa: E402
from pipeline.runs import RunOptions  # noqa: E402
from pipeline.vendors import Account, load_vendors  # noqa: E402
from tests.benchmarks.files import WRITERS  # noqa: E402
from tests.benchmarks.sides import CONFIG, ENVIRON  # noqa: E402
from tests.workers.wires import CalledBack  # noqa: E402

LIMIT_MB, GROWTH = 300, 1.2


class Sampler(threading.Thread):
    """Samples this process's RssAnon."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_kb: dict[str, int] = {}
        self.phase = "start"

    def run(self) -> None:
        while True:
            with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - 20 times a second
                line = next(line for line in file if line.startswith("RssAnon"))
            self.peak_kb[self.phase] = max(self.peak_kb.get(self.phase, 0), int(line.split()[1]))
            time.sleep(0.05)


@asynccontextmanager
async def stub_link(_account: Account, _late: object) -> AsyncIterator[CalledBack]:
    """Answers every request with 204 after one turn of the event loop."""

    async def send(_request: Request) -> Reply:
        await anyio.lowlevel.checkpoint()
        return Reply(204, {}, b"")

    yield CalledBack(send)


def child(file: Path, folder: Path) -> None:
    """One whole run; prints what it found as JSON."""
    sampler = Sampler()
    sampler.start()
    (folder / "pipeline.toml").write_text(CONFIG.format(url="http://127.0.0.1:1", in_flight=64))
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=folder)
    begun_s = time.monotonic()
    sampler.phase = "take and bind"
    prepared = prepare(file, config, RunOptions(operation="xsolla.coupon"))
    bound_s = time.monotonic()
    sampler.phase = "send and report"

    async def main() -> object:
        return await carry_out(prepared, RunEnvironment(environ=ENVIRON, open_link=stub_link))

    summary = run_async(main)
    assert summary.statuses["updated"] == prepared.snapshot.rows  # type: ignore[attr-defined]
    ended_s = time.monotonic()
    print(
        json.dumps(
            {
                "peak_mb": {phase: kb / 1024 for phase, kb in sampler.peak_kb.items()},
                "take_and_bind_s": bound_s - begun_s,
                "send_and_report_s": ended_s - bound_s,
            }
        )
    )


def measure(kind: str, rows: int) -> float:
    """One run of `rows` rows in a process of its own: its peak, in MB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / f"coupons{kind}"
        WRITERS[kind](file, rows)
        done = subprocess.run(
            [sys.executable, __file__, "--child", str(file), str(folder)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
    peak_mb = max(found["peak_mb"].values())
    phases = ", ".join(f"{phase} {mb:.0f} MB" for phase, mb in found["peak_mb"].items())
    print(
        f"{kind:10}{rows:12,} rows  peak RssAnon {peak_mb:6.0f} MB  ({phases}); take and bind "
        f"{found['take_and_bind_s']:.0f} s, send and report {found['send_and_report_s']:.0f} s",
        flush=True,
    )
    return peak_mb


def main() -> int:
    """All sizes and kinds, as the arguments say; 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--kinds", nargs="+", choices=list(WRITERS), default=list(WRITERS))
    parser.add_argument("--child", nargs=2, type=Path)
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return 0
    is_good = True
    for kind in given.kinds:
        peaks = [measure(kind, rows) for rows in given.rows]
        growth = peaks[-1] / peaks[0]
        good = growth <= GROWTH and max(peaks) < LIMIT_MB
        is_good = is_good and good
        print(
            f"{kind:10}growth {growth:.2f} (at most {GROWTH}), peak {max(peaks):.0f} MB "
            f"(under {LIMIT_MB}): {'holds' if good else 'DOES NOT HOLD'}",
            flush=True,
        )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())

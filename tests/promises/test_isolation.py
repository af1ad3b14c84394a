"""One file, three vendors, one of which hangs and then asks for ten minutes' pause.

ISOLATION_S=60 sends for so many seconds each time, and is stricter then.
"""

from __future__ import annotations

import os
import signal
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import pipeline.run.stretch
from pipeline.config import Config, load_config
from pipeline.jobs import read_jobs
from pipeline.model import JobRow
from pipeline.run import Progress, RunEnvironment, Session, carry_out, prepare
from pipeline.runs import RunOptions
from pipeline.vendors import load_vendors
from tests.busyness import busyness
from tests.promises.test_mixed import coupon, offer, purchase, write
from tests.workplace import BILLING, CONFIG, ENVIRON, JOURNEY, Simulator, simulator

pytestmark = pytest.mark.quiet("measures how much of a quota is used")

SECONDS = float(os.environ.get("ISOLATION_S", "3"))
LEAST = 0.95 if SECONDS >= 30 else 0.7  # of so few rows a machine that is busy delays too many
BUSY_S = 0.2  # so late nobody uses a quota well
PER_S = 50
HEALTHY = ("shop", "billing")
STANDING = 20_000
SCRIPT = """
[[rule]]
path = "/data/core/.*instances/i[0-9]{2,}$"
replies = ["timeout-after", "429-seconds"]
retry_after_s = 600
"""


def configured(folder: Path, vendor: Simulator) -> Config:
    texts = [
        CONFIG.format(base_url=vendor.base_url, quota=f'"{PER_S}/s"', in_flight=8, more=""),
        BILLING.format(url=vendor.url, in_flight=8, max_batch=1, more=""),
        JOURNEY.format(url=vendor.url, in_flight=8, more="timeout_s = 1"),
    ]
    text = "".join(texts).replace('"100000/s"', f'"{PER_S}/s"')
    (folder / "pipeline.toml").write_text(text)
    return load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=folder)


def rows_of(standing: int) -> Iterator[dict[str, str]]:
    """Those of the vendor that stands still come first, all of them."""
    yield from (offer(row, row) for row in range(1, standing + 1))
    for row in range(1, int(PER_S * SECONDS) + 1):
        yield coupon(row, row)
        yield purchase(2 * row, row)


class Readers:
    """How many rows of each account were read ahead so far."""

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()

    def __call__(self, path: Path, **options: str) -> Iterator[Sequence[JobRow]]:
        for batch in read_jobs(path, **options):
            self.read[batch[0].operation] += len(batch)
            yield batch


async def sent(path: Path, config: Config, vendor: Simulator, *, until_done: Sequence[str]) -> None:
    """The file is sent, and interrupted when these accounts are through and another was paused."""
    prepared = await anyio.to_thread.run_sync(prepare, path, config, RunOptions())
    shared, polls = Session(), list[Progress]()

    @contextmanager
    def watch(poll: Progress) -> Iterator[None]:
        polls.append(poll)
        yield

    async def interrupt() -> None:
        done = set[str]()
        while not done.issuperset(until_done):
            await anyio.sleep(0.05)
            told = [each for poll in polls for each in poll()]
            done = {each.account for each in told if sum(each.done.values()) == each.rows}
        while not faults(await anyio.to_thread.run_sync(vendor.get, "log"))["429-seconds"]:
            await anyio.sleep(0.2)
        shared.interrupt(signal.SIGINT)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(interrupt)
        await carry_out(prepared, RunEnvironment(environ=ENVIRON, shared=shared, watch=watch))


def faults(log: Iterable[Mapping[str, str]]) -> Counter[str]:
    """How often each fault of the script came."""
    return Counter(entry["fault"] for entry in log)


def rates(vendor: Simulator) -> dict[str, float]:
    """Requests a second that arrived for each vendor."""
    arrived: defaultdict[str, list[float]] = defaultdict(list)
    for entry in vendor.get("log"):
        if entry["operation"] and not entry["operation"].endswith("token"):
            arrived[entry["vendor"]].append(entry["arrived_s"])
    return {name: (len(times) - 1) / (max(times) - min(times)) for name, times in arrived.items()}


async def test_a_vendor_that_hangs_and_pauses_slows_no_other_and_fills_no_memory(
    tmp_path, monkeypatch
):
    readers = Readers()
    columns = sorted({name for row in rows_of(1) for name in row})
    (tmp_path / "script.toml").write_text(SCRIPT)
    script = ("--script", str(tmp_path / "script.toml"))
    with busyness(tmp_path) as machine, simulator(*script, "--latency-ms", "20") as vendor:
        config = configured(tmp_path, vendor)
        monkeypatch.setattr(pipeline.run.stretch, "read_jobs", readers)
        mixed = write(tmp_path / "mixed.csv", rows_of(STANDING), columns)
        await sent(mixed, config, vendor, until_done=HEALTHY)
        beside = rates(vendor)
        log = [entry for entry in vendor.get("log") if entry["vendor"] == "adobe"]
    for name in ("xsolla", "oracle"):
        print(f"{name}: {beside[name]:.1f}/s of {PER_S}/s, beside one that hangs")
        assert beside[name] >= (0.1 if machine.late_s > BUSY_S else LEAST) * PER_S
    assert faults(log)["timeout-after"] >= 1
    assert readers.read["xsolla.coupon"] == readers.read["oracle.offer-status"] == PER_S * SECONDS
    assert 0 < readers.read["adobe.fallback-offer"] < STANDING / 2

"""Whole runs against the simulator in a process of its own; its log is the judge."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from bisect import bisect
from collections import Counter, defaultdict
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import polars as pl
import pytest

from pipeline.config import Config
from pipeline.model import ConfigError, InputError, Reply, RunAborted, Status
from pipeline.reporter import Summary, read_summary
from pipeline.run import RunEnvironment, Session, carry_out, prepare, reopen, signals_obeyed
from pipeline.runs import RunOptions
from pipeline.simulator import SimulatorOptions, load_script, serve
from pipeline.store import RunLedger
from pipeline.workers.refusals import MAX_PROBES
from tests.workers.wires import CalledBack
from tests.workplace import (
    COLUMNS,
    ENVIRON,
    Simulator,
    configure,
    coupon,
    drop,
    row_of,
    simulator,
)

TWIN = """
[accounts.two]
vendor = "xsolla"
base_url = "{base_url}"
project_id = 44056
api_key = "env:SHOP_KEY"
[input."xsolla.coupon"]
accounts = ["shop", "two"]
"""
ROWS = int(os.environ.get("RUN_ROWS", "10000"))  # more than are read at a time
APPLIED_NEVER = {"rejected", "failed", "invalid", "not_attempted"}


async def send(path: Path, config: Config, options: RunOptions | None = None) -> Summary:
    prepared = await anyio.to_thread.run_sync(prepare, path, config, options or RunOptions())
    return await carry_out(prepared, RunEnvironment(environ=ENVIRON))


def report_of(summary: Summary, config: Config) -> pl.DataFrame:
    """Both result files as one frame, in row order."""
    folder = config.reports / summary.run
    frames = []
    for output in summary.outputs.values():
        path = folder / output.name
        read = pl.read_parquet if path.suffix == ".parquet" else _read_csv
        frames.append(read(path).with_columns(pl.col("_row").cast(pl.Int64)))
    return pl.concat(frames, how="vertical_relaxed").sort("_row")


def _read_csv(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema=False)


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
async def test_as_many_rows_end_as_the_simulators_log_says(tmp_path, kind):
    path = drop(tmp_path, *map(coupon, range(1, ROWS + 1)))
    if kind == ".parquet":
        frame = pl.read_csv(path, infer_schema=False)
        path = path.with_suffix(".parquet")
        frame.with_columns(pl.col("redeem_total_limit").cast(pl.Int64)).write_parquet(path)
    with simulator() as vendor:
        config = configure(tmp_path, vendor.base_url, in_flight=64)
        summary = await send(path, config)
        log = list(vendor.get("log"))
    assert summary.rows == ROWS == sum(summary.statuses.values())
    assert summary.statuses[Status.UPDATED] == ROWS
    assert summary.exit_code == 0
    report = report_of(summary, config)
    assert report["_row"].to_list() == list(range(1, ROWS + 1))
    assert set(report["_status"]) == {"updated"}
    applied = Counter(row_of(entry["body"]) for entry in log if entry["applied"])
    assert applied == dict.fromkeys(range(1, ROWS + 1), 1)
    bodies = {row_of(entry["body"]): entry["body"] for entry in log}
    expected = json.loads(bodies[1])
    assert expected == {
        "name": {"en-US": "row 1"},
        "bonus": [{"sku": "elven_shield", "quantity": 2}],
        "date_start": "2026-12-01T00:00:00+01:00",
        "date_end": "2026-12-31T23:59:00+01:00",
        "redeem_total_limit": 2,
        "redeem_user_limit": 1,
        "redeem_code_limit": None,
    }
    for row in range(1, ROWS + 1):  # the same for CSV and Parquet
        body = json.loads(bodies[row])
        assert body["redeem_total_limit"] == row % 500 + 1
        assert body["bonus"][0]["quantity"] == row % 9 + 1


FAULTS = (
    "429",
    "429-seconds",
    "429-date",
    "500",
    "503",
    "500-after",
    "reset-before",
    "reset-after",
    "close-reused",
    "slow",
    "half-body",
    "html",
    "html-200",
    "endless-body",
    "garbage",
    "timeout-after",
)
LONG = ("429", "429-seconds", "429-date", "slow", "timeout-after")
"""They hold the others up for a second or two: a few by name, not many by chance."""

REDIRECT = """
[[rule]]
path = "/coupon/redirected$"
replies = ["redirect"]
"""
ONCE = """
[[rule]]
method = "PUT"
path = "/coupon/{entity}$"
replies = ["{fault}", "ok"]
"""


def once_each(letter: str) -> str:
    """A script in which the coupons e1, e2 ... meet a long fault each, once."""
    return "".join(
        ONCE.format(entity=f"{letter}{number}", fault=fault) for number, fault in enumerate(LONG, 1)
    )


async def test_with_every_fault_on_the_report_is_the_truth(tmp_path):
    """Rows in = results out; nothing that is reported as not applied was applied; order holds."""
    entities = 500
    lines = [coupon(row, f"e{row * 7919 % entities}") for row in range(1, 2001)]
    lines[99] = lines[99].replace("elven_shield", "no_such_sku")  # the vendor says no
    lines[199] = lines[199].replace("2026-12-01T", "01.12.2026 ")  # never becomes a job
    chances = {fault: 0.012 for fault in FAULTS if fault not in LONG}
    given = [part for name, chance in chances.items() for part in ("--fault", f"{name}={chance}")]
    lines[1799] = coupon(1800, "redirected")  # about this row: others are accepted
    script = tmp_path / "script.toml"
    script.write_text(once_each("e") + REDIRECT)
    with simulator(*given, "--seed", "7", "--script", str(script)) as vendor:
        config = configure(
            tmp_path, vendor.base_url, in_flight=32, more="timeout_s = 2.5\nattempts = 4"
        )
        summary = await send(drop(tmp_path, *lines), config)
        log = list(vendor.get("log"))
        state = {entity["id"]: entity["body"] for entity in vendor.get("state")}
    report = report_of(summary, config)
    assert report["_row"].to_list() == list(range(1, 2001))
    assert sum(summary.statuses.values()) == 2000
    status = dict(zip(report["_row"], report["_status"], strict=True))
    assert status[100] in {"rejected", "unknown"}  # unknown where a fault came first
    assert status[200] == "invalid"
    faults = Counter(entry["fault"] for entry in log)
    assert {*FAULTS, "redirect"} <= set(faults), "a fault never came up: the run proves too little"
    applied = defaultdict(list)  # entity -> rows in the order in which they took effect
    for entry in sorted((e for e in log if e["applied"]), key=lambda e: e["seq"]):
        applied[entry["id"]].append(row_of(entry["body"]))
    applied_rows = {row for rows in applied.values() for row in rows}
    for row, how in status.items():
        if how in APPLIED_NEVER:
            assert row not in applied_rows, f"row {row} was reported {how} and was applied"
        if how == "updated":
            assert row in applied_rows
    assert status[1800] == "unknown"  # a redirect may follow the deed
    assert "not_attempted" not in status.values()
    assert summary.exit_code == 1
    entity_of = {n: f"e{n * 7919 % entities}" for n in range(1, 2001)}
    for entity, rows in applied.items():
        assert rows == sorted(rows), f"{entity}: an older row overwrote a newer one"
    for entity, body in state.items():
        if not entity.startswith("e"):
            continue
        holds = row_of(json.dumps(body))
        updated = [r for r in status if entity_of[r] == entity and status[r] == "updated"]
        newest = max(updated, default=0)
        assert holds == newest or (holds > newest and status[holds] == "unknown")


@pytest.mark.quiet("measures how much of a quota is used")
async def test_the_quota_is_used_and_never_passed(tmp_path):
    """8 s against strict sliding windows, 20 ms ± 10 ms away; `make pacing` takes its time."""
    cases = {"slow": (20, 1), "fast": (200, 1), "shares": (200, 4)}
    late_s: list[float] = []
    with ExitStack() as stack:
        vendors = {
            name: stack.enter_context(
                simulator("--quota", f"{per_s}/s", "--latency-ms", "20", "--jitter-ms", "10")
            )
            for name, (per_s, _) in cases.items()
        }
        async with anyio.create_task_group() as clock:
            clock.start_soon(watch_the_clock, late_s)
            async with anyio.create_task_group() as tasks:
                for name, (per_s, shares) in cases.items():
                    tasks.start_soon(send_for_8_s, tmp_path / name, vendors[name], per_s, shares)
            clock.cancel_scope.cancel()
        used = {name: used_of(vendors[name], per_s) for name, (per_s, _) in cases.items()}
    late_s.sort()
    is_busy = late_s[len(late_s) * 9 // 10] > 0.002
    print(f"used of the quotas: {used}; the machine is {'busy' if is_busy else 'idle'}")
    assert min(used.values()) >= (0.1 if is_busy else 0.95)


async def send_for_8_s(folder: Path, vendor: Simulator, per_s: int, shares: int) -> None:
    path = drop(folder, *map(coupon, range(1, per_s * 8 + 1)))
    more = f"shares = {shares}"
    config = configure(folder, vendor.base_url, quota=f'"{per_s}/s"', in_flight=64, more=more)
    summary = await send(path, config)
    assert summary.statuses[Status.UPDATED] == per_s * 8


def used_of(vendor: Simulator, per_s: int) -> float:
    """The share of the quota that was used after the first second; nothing was refused."""
    log = list(vendor.get("log"))
    assert Counter(entry["status"] for entry in log) == {204: per_s * 8}
    arrived = sorted(entry["arrived_s"] for entry in log)
    begin, end = (bisect(arrived, arrived[0] + after_s) for after_s in (1, 7))
    return (end - begin) / (per_s * 6)


async def watch_the_clock(late_s: list[float]) -> None:
    """How late timers are, until cancelled: whatever is late loses a part of its quota."""
    while True:
        before_s = time.monotonic()
        await anyio.sleep(0.01)
        late_s.append(time.monotonic() - before_s - 0.01)


async def test_a_bug_in_our_own_code_still_leaves_a_report(tmp_path):
    """A row never raises; should one all the same, the run ends and every row has a result."""

    @asynccontextmanager
    async def broken_link(_account, _late):
        async def send(request):
            if request.path.endswith("/c3"):
                raise RuntimeError("a bug")
            return Reply(204, {}, b"")

        yield CalledBack(send)

    path = drop(tmp_path, *map(coupon, range(1, 30)))
    config = configure(tmp_path, "http://127.0.0.1:9", in_flight=1)
    prepared = prepare(path, config, RunOptions())
    with pytest.raises(RunAborted, match="a bug"):
        await carry_out(prepared, RunEnvironment(environ=ENVIRON, open_link=broken_link))
    summary = read_summary(prepared.report_folder / "summary.json")
    assert {s: n for s, n in summary.statuses.items() if n} == {
        Status.UPDATED: 2,
        Status.UNKNOWN: 1,
        Status.NOT_ATTEMPTED: 26,
    }
    assert summary.exit_code == 3


async def test_a_disk_that_fills_up_does_not_make_the_report_lie(tmp_path):
    """Nothing leaves that is not on record; with room again the run is carried on."""
    rows = range(1, 81)  # more commits than there is room for; the simulator's log has room
    path = drop(tmp_path, *map(coupon, rows))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    @contextmanager
    def while_it_is_full(_progress):
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    async with serve() as vendor:
        config = configure(tmp_path, vendor.base_urls["xsolla"], quota='"100/s"', in_flight=1)
        prepared = prepare(path, config, RunOptions())
        way = RunEnvironment(environ=ENVIRON, watch=while_it_is_full)
        try:
            with pytest.raises(RunAborted, match="the disk refuses"):
                await carry_out(prepared, way)
        finally:
            signal.signal(signal.SIGXFSZ, before)
        applied = vendor.stats()["applied"]
        summary = read_summary(prepared.report_folder / "summary.json")
        told = {status: count for status, count in summary.statuses.items() if count}
        assert 1 <= applied < len(rows)
        # rows that were claimed ahead and did not leave are `unknown` too: nothing can take it back
        assert told[Status.UPDATED] <= applied <= told[Status.UPDATED] + told.get(Status.UNKNOWN, 0)
        assert sum(told.values()) == len(rows)
        # it keeps its quota where it cannot put on record what it sent
        again = RunEnvironment(environ=ENVIRON, shared=way.shared)
        carried_on = await carry_out(reopen(prepared.run, config), again)
        assert carried_on.statuses[Status.UPDATED] == len(rows)
        sent = Counter(row_of(entry["body"]) for entry in vendor.log())
        assert sent.keys() == set(rows)
        assert sent.total() - len(rows) <= told.get(Status.UNKNOWN, 0)  # only those are sent again


async def test_how_fast_it_went_is_on_record(tmp_path):
    """Samples per second and account: what they add up to is what was sent."""
    path = drop(tmp_path, *map(coupon, range(1, 61)))
    async with serve() as vendor:
        config = configure(tmp_path, vendor.base_urls["xsolla"], quota='"30/s"')
        prepared = await anyio.to_thread.run_sync(prepare, path, config, RunOptions())
        await carry_out(prepared, RunEnvironment(environ=ENVIRON))
    with RunLedger(prepared.folder / "ledger.db") as ledger:
        samples = list(ledger.samples())
    assert len(samples) >= 2
    assert {sample.account for sample in samples} == {"shop"}
    assert sum(sample.sent for sample in samples) == 60
    assert sum(sum(sample.latencies) for sample in samples) == 60
    assert all(0 < sample.seconds < 20 for sample in samples)


async def test_the_page_counts_the_answers_that_throttled(tmp_path):
    script = tmp_path / "script.toml"
    script.write_text(ONCE.format(entity="c7", fault="429") + ONCE.format(entity="c9", fault="429"))
    with simulator("--script", str(script)) as vendor:
        config = configure(tmp_path, vendor.base_url, quota='"10/s"')  # drawn from 5 s on
        summary = await send(drop(tmp_path, *map(coupon, range(1, 61))), config)
        assert vendor.stats()["statuses"]["429"] == 2
    page = (config.reports / summary.run / "report.html").read_text(encoding="utf-8")
    assert "throttled replies: 2" in page


async def test_a_disk_without_room_for_the_run_is_told_before_anything_is_sent(
    tmp_path, monkeypatch
):
    path = drop(tmp_path, *map(coupon, range(1, 61)))
    config = configure(tmp_path, "http://127.0.0.1:9")
    monkeypatch.setattr("pipeline.store.disk_space.SPARE_BYTES", 2**60)
    with pytest.raises(RunAborted, match="Nothing was sent; make room"):
        prepare(path, config, RunOptions())
    assert not list((tmp_path / ".pipeline/runs").iterdir())


async def test_two_accounts_that_reach_the_same_entities_are_refused(tmp_path):
    """Order per entity holds within an account; names are labels only."""
    twin = TWIN.format(base_url="http://127.0.0.1:9")
    config = configure(tmp_path, "http://127.0.0.1:9", more=twin)
    lines = [f"{name},{coupon(n, 'same')}" for n, name in enumerate(("shop", "two"), 1)]
    path = tmp_path / "inputs/xsolla.coupon/both.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join([f"account,{COLUMNS}", *lines]) + "\n")
    with pytest.raises(InputError, match="reach the same"):
        prepare(path, config, RunOptions())


async def test_what_goes_wrong_keeps_its_own_class_while_signals_are_obeyed(tmp_path):
    """A task group would wrap it, and the command would show a traceback."""
    config = configure(tmp_path, "http://127.0.0.1:9", more='ca_file = "gone.pem"')
    prepared = prepare(drop(tmp_path, coupon(1)), config, RunOptions())
    with pytest.raises(ConfigError, match="ca_file"):
        async with signals_obeyed(Session()):
            await carry_out(prepared, RunEnvironment(environ=ENVIRON))


async def test_a_quota_holds_across_the_files_of_one_command(tmp_path):
    paths = [drop(tmp_path, *map(coupon, range(1, 6)), name=f"{n}.csv") for n in range(3)]
    async with serve() as vendor:
        config = configure(tmp_path, vendor.base_urls["xsolla"], quota='"5/s"')
        way = RunEnvironment(environ=ENVIRON)
        for path in paths:
            prepared = await anyio.to_thread.run_sync(prepare, path, config, RunOptions())
            await carry_out(prepared, way)
        arrived = sorted(entry["arrived_s"] for entry in vendor.log())
    assert len(arrived) == 15
    assert all(later - earlier >= 1.0 for earlier, later in zip(arrived, arrived[5:], strict=False))


async def test_a_quota_holds_across_runs_that_follow_each_other(tmp_path):
    """What the last run sent counts, and the pause that it was told of holds."""
    script = tmp_path / "script.toml"
    script.write_text(
        '[[rule]]\npath = "/coupon/c4$"\nreplies = ["429-seconds", "ok"]\nretry_after_s = 1\n'
    )
    async with serve(SimulatorOptions(script=load_script(script))) as vendor:
        config = configure(
            tmp_path, vendor.base_urls["xsolla"], quota='"5/2s"', more="attempts = 1"
        )
        for first in (1, 11):
            path = drop(tmp_path, *map(coupon, range(first, first + 4)), name=f"{first}.csv")
            prepared = await anyio.to_thread.run_sync(prepare, path, config, RunOptions())
            await carry_out(prepared, RunEnvironment(environ=ENVIRON))
        log = list(vendor.log())
    arrived = sorted(entry["arrived_s"] for entry in log)
    assert len(arrived) == 9  # the one that was throttled goes again
    assert all(later - earlier >= 2.0 for earlier, later in zip(arrived, arrived[5:], strict=False))
    paused = next(entry["arrived_s"] for entry in log if entry["status"] == 429)
    assert min(each for each in arrived if each > paused) - paused >= 1.0


async def test_a_stopped_account_gets_no_requests_for_the_next_file(tmp_path):
    paths = [drop(tmp_path, *map(coupon, range(n, n + 5)), name=f"{n}.csv") for n in (1, 11)]
    async with serve() as vendor:
        config = configure(tmp_path, vendor.base_urls["xsolla"])
        way = RunEnvironment(environ={"SHOP_KEY": "wrong"})
        summaries = [await carry_out(prepare(path, config, RunOptions()), way) for path in paths]
        assert vendor.stats()["requests"] == 1 + MAX_PROBES  # all of them for the first file
    assert [summary.exit_code for summary in summaries] == [3, 3]
    assert summaries[1].statuses[Status.NOT_ATTEMPTED] == 5


async def test_a_file_of_columns_only_is_a_run_of_no_rows(tmp_path):
    path = tmp_path / "inputs" / "xsolla.coupon" / "empty.csv"
    path.parent.mkdir(parents=True)
    path.write_text(COLUMNS + "\n")
    summary = await send(path, configure(tmp_path, "http://127.0.0.1:9"))
    assert (summary.rows, summary.exit_code) == (0, 0)
    assert "the file has no rows" in summary.warnings

"""`--at` and `--until`: a run begins to send at a time, and ends at one."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio.lowlevel
import anyio.to_thread
import pytest

from pipeline.model import Reply
from pipeline.run import RunEnvironment, ScheduleWindow, carry_out, prepare
from pipeline.runs import RunOptions
from tests.busyness import busyness
from tests.cli.command import ended, environment, start, typed
from tests.waiting import WITHIN_S
from tests.workers.wires import CalledBack
from tests.workplace import ENVIRON, Simulator, configure, configure_all, coupon, drop, simulator

ROWS = 400


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def summaries(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in folder.glob("reports/2*/summary.json")]


def summary(folder: Path) -> dict:
    (found,) = summaries(folder)
    return found


@pytest.fixture
def slow_shop(shop: Path, vendor: Simulator) -> Path:
    configure(shop, vendor.base_url, quota='"50/s"')
    return shop


def test_at_its_end_what_is_left_is_not_attempted_and_resume_carries_on(slow_shop, vendor):
    configure(slow_shop, vendor.base_url, quota='"10/s"')
    drop(slow_shop, *map(coupon, range(1, ROWS + 1)))
    command, seconds = "run", 2.0
    while not vendor.stats()["requests"]:  # a busy machine may need longer before the first
        first = typed(slow_shop, command, "--yes", "--until", soon(seconds).isoformat())
        assert first.code == 3, first
        command, window_s, seconds = "resume", seconds, 2 * seconds
    told = summary(slow_shop)
    assert told["stopped"].startswith("its window ended at 20")
    assert told["statuses"]["not_attempted"] + told["statuses"]["updated"] == ROWS
    assert 0 < told["statuses"]["updated"] <= 10 * window_s + 2 < ROWS
    assert vendor.stats()["requests"] == told["statuses"]["updated"]
    assert "its window ended at" in first.words
    again = typed(slow_shop, "resume", "--yes", "--until", soon(0.5).isoformat())
    assert again.code == 3
    configure(slow_shop, vendor.base_url)
    assert typed(slow_shop, "resume", "--yes").code == 0
    ids = [entry["id"] for entry in vendor.get("log")]
    assert sorted(ids) == sorted(f"c{row}" for row in range(1, ROWS + 1))


def test_a_run_that_is_through_before_its_end_ends_as_any_other(slow_shop):
    drop(slow_shop, *map(coupon, range(1, 4)))
    done = typed(slow_shop, "run", "--yes", "--until", soon(60).isoformat())
    assert done.code == 0, done
    assert summary(slow_shop)["stopped"] == ""


def test_a_file_whose_turn_comes_after_the_end_is_a_run_of_its_own(slow_shop, vendor):
    drop(slow_shop, *map(coupon, range(1, ROWS + 1)), name="a.csv")
    drop(slow_shop, *map(coupon, range(1001, 1011)), name="b.csv")
    done = typed(slow_shop, "run", "--yes", "--until", soon(3).isoformat())
    assert done.code == 3, done
    found = sorted(summaries(slow_shop), key=lambda each: each["rows"])
    assert found[0]["statuses"]["not_attempted"] == found[0]["rows"] == 10
    assert [each["exit_code"] for each in found] == [3, 3]
    assert not any(entry["id"] == "c1001" for entry in vendor.get("log"))


def left_s(vendor: Simulator) -> list[float]:
    """When requests arrived, UTC seconds, rising."""
    began_s = time.time() - vendor.stats()["elapsed_s"]
    return sorted(began_s + entry["arrived_s"] for entry in vendor.get("log"))


@contextmanager
def waiting(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that will not begin for an hour, once it waits."""
    with (folder / "words").open("w") as words:
        process = start(
            folder, "run", "--yes", "--at", soon(3600).isoformat(), stderr=words, stdout=words
        )
        try:
            while "Waiting until" not in (folder / "words").read_text():
                assert process.poll() is None
                time.sleep(0.02)
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_called_off_sends_nothing_and_leaves_nothing(slow_shop, vendor, number, code):
    drop(slow_shop, *map(coupon, range(1, 6)))
    with waiting(slow_shop) as process:
        other = drop(slow_shop, coupon(99), name="other.csv")
        meanwhile = typed(slow_shop, "run", "--yes", "--no-wait", str(other))
        assert meanwhile.code == 0, meanwhile  # until shortly before, others may send there
        process.send_signal(number)
        assert process.wait(WITHIN_S) == code
    assert "interrupted before its start" in (slow_shop / "words").read_text()
    assert [entry["id"] for entry in vendor.get("log")] == ["c99"]
    assert len(list((slow_shop / ".pipeline/runs").iterdir())) == 1
    assert "No unfinished run" in typed(slow_shop, "resume").err


@pytest.mark.quiet("a request must leave within 0.3 s of its time")
def test_the_first_request_leaves_on_time_and_not_before_but_the_token_is_there_already(tmp_path):
    with busyness(tmp_path) as machine, simulator() as vendor:
        drop_offer(tmp_path, vendor)
        at = soon(3)
        done = typed(tmp_path, "run", "--yes", "--at", at.isoformat())
        assert done.code == 0, done
        *tokens, update = left_s(vendor)
    assert "Waiting until 20" in done.err
    assert 0.0 <= update - at.timestamp() < 0.3 + machine.late_s
    assert tokens
    assert tokens[-1] < at.timestamp() + machine.late_s


def drop_offer(folder: Path, vendor: Simulator) -> None:
    """A row of an account that must sign in."""
    configure_all(folder, vendor)
    path = folder / "inputs/adobe.fallback-offer/b.csv"
    path.parent.mkdir(parents=True)
    path.write_text("instance_id,status\ni1,approved\n")


def test_whoever_cannot_sign_in_learns_so_before_waiting(tmp_path):
    with simulator() as vendor:
        drop_offer(tmp_path, vendor)
        process = start(
            tmp_path, "run", "--yes", "--at", soon(3600).isoformat(),
            env=environment(CLIENT_SECRET="wrong"),
        )  # fmt: skip
        done = ended(process)
        assert done.code == 2, done
        assert "account journey cannot sign in" in done.words


# The same without waiting for it


class Clock:
    """It stands still but for those who sleep."""

    def __init__(self, now: datetime) -> None:
        self.now_s = now.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await anyio.lowlevel.checkpoint()


NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(("ahead_s", "expected_s"), [(0.0, 3600.0), (60.0, 3540.0)])
async def test_it_waits_until_its_time_and_no_longer(ahead_s, expected_s):
    clock = Clock(NOON)
    at = ScheduleWindow(start_at=soon_after(3600), utc=lambda: clock.now_s, sleep=clock.sleep)
    assert await at.wait(lambda: False, ahead_s=ahead_s)
    assert clock.now_s - NOON.timestamp() == pytest.approx(expected_s, abs=1e-3)


async def test_what_is_called_off_waits_no_more():
    clock = Clock(NOON)
    at = ScheduleWindow(start_at=soon_after(3600), utc=lambda: clock.now_s, sleep=clock.sleep)
    assert not await at.wait(lambda: clock.now_s >= NOON.timestamp() + 10)
    assert clock.now_s - NOON.timestamp() < 11


async def test_without_a_time_nothing_is_waited_for_and_nothing_ends():
    clock = Clock(NOON)
    at = ScheduleWindow(utc=lambda: clock.now_s, sleep=clock.sleep)
    assert await at.wait(lambda: False)
    assert clock.now_s == NOON.timestamp()
    assert (at.is_over, at.left_s(), at.over) == (False, None, "")


def test_it_is_over_once_its_time_has_come():
    at = ScheduleWindow(until=NOON, utc=lambda: NOON.timestamp() - 0.5)
    assert (at.is_over, at.left_s()) == (False, 0.5)
    assert ScheduleWindow(until=NOON, utc=NOON.timestamp).is_over


@pytest.mark.parametrize(("rows", "code"), [(1, 0), (2, 3)])
async def test_what_was_under_way_when_the_time_came_may_have_been_the_last(tmp_path, rows, code):
    config = configure(tmp_path, "http://127.0.0.1:9")
    path = drop(tmp_path, *map(coupon, range(1, rows + 1)))
    clock = Clock(NOON)

    @asynccontextmanager
    async def link(_account, _account_limiter):
        async def send(_request):
            clock.now_s += 60  # its time comes while the first request is under way
            await anyio.sleep(0.3)
            return Reply(204, {}, b"")

        yield CalledBack(send)

    window = ScheduleWindow(
        until=soon_after(60), utc=lambda: clock.now_s, sleep=lambda _s: anyio.sleep(0.01)
    )
    prepared = await anyio.to_thread.run_sync(prepare, path, config, RunOptions())
    way = RunEnvironment(environ=ENVIRON, open_link=link, window=window)
    summary = await carry_out(prepared, way)
    assert (summary.exit_code, bool(summary.stopped)) == (code, code == 3)
    assert summary.statuses["not_attempted"] == rows - 1


def soon_after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)

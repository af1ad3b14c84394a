"""Files of one account go one after the other, those of different accounts side by side."""

from __future__ import annotations

import time
from contextlib import contextmanager

import anyio
import pytest

from pipeline.cli.side_by_side import RunDisplay, SideBySide
from pipeline.model import AccountProgress
from tests.cli.command import typed
from tests.workplace import configure_all, coupon, drop, simulator


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["a", "a"], [["a0"], ["a1"]]),  # one account: in their order
        (["a", "b"], [["a0", "b1"]]),  # two accounts: at once
        (["a", "b", "a"], [["a0", "b1"], ["a2"]]),
        (["a", "ab", "b"], [["a0"], ["ab1"], ["b2"]]),  # a file over both waits, and is waited for
        (["", ""], [["0", "1"]]),  # a broken file is in nobody's way
    ],
)
async def test_turns(places, expected):
    turns = SideBySide(places)
    waves: list[list[str]] = []
    started = anyio.Event()

    async def run(number: int) -> None:
        async with turns.wait_for(number):
            wave.append(f"{places[number]}{number}")
            started.set()
            await release.wait()

    release = anyio.Event()
    wave: list[str] = []
    async with anyio.create_task_group() as tasks:
        for number in range(len(places)):
            tasks.start_soon(run, number)
        for _ in expected:
            await anyio.wait_all_tasks_blocked()
            waves.append(sorted(wave, key=lambda name: name[-1]))
            wave.clear()
            done, release = release, anyio.Event()
            done.set()
    assert waves == expected


def test_one_display_shows_all_runs_and_ends_with_the_last():
    seen: list[str] = []

    @contextmanager
    def display(poll):
        seen.append("open")
        polls.append(poll)
        yield
        seen.append("closed")

    def telling(name):
        return lambda: [AccountProgress(account=name, rows=1, done={})]

    polls: list = []
    board = RunDisplay(display)
    with board.watch(telling("shop")):
        with board.watch(telling("billing")):
            assert [each.account for each in polls[0]()] == ["shop", "billing"]
        assert [each.account for each in polls[0]()] == ["shop"]
        assert seen == ["open"]
    assert seen == ["open", "closed"]


def test_a_vendor_that_hangs_holds_up_no_other(tmp_path):
    """The file of the hanging account comes first; the other one is through long before."""
    script = tmp_path / "script.toml"
    script.write_text('[[rule]]\nmethod = "PUT"\npath = "/coupon/"\nreplies = ["timeout-after"]\n')
    with simulator("--script", str(script)) as vendor:
        configure_all(tmp_path, vendor, more="timeout_s = 4\nattempts = 1")
        drop(tmp_path, *map(coupon, range(1, 4)), name="a.csv")
        other = tmp_path / "inputs/adobe.fallback-offer/b.csv"
        other.parent.mkdir(parents=True)
        other.write_text("instance_id,status\n" + "".join(f"i{n},approved\n" for n in range(50)))
        began_s = time.monotonic()
        ended = typed(tmp_path, "run", "--yes")
        took_s = time.monotonic() - began_s
    assert ended.code == 3, ended
    assert took_s > 4
    reports = {path.name.split("-")[1]: path for path in (tmp_path / "reports").glob("2*")}
    done_s = {name: (path / "summary.json").stat().st_mtime for name, path in reports.items()}
    assert done_s["a"] - done_s["b"] > 2

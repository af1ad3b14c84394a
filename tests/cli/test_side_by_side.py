"""One display for several runs, and accounts that do not delay each other."""

from __future__ import annotations

import time
from contextlib import contextmanager

from pipeline.cli.side_by_side import RunDisplay
from pipeline.model import AccountProgress
from tests.cli.command import typed
from tests.workplace import configure_all, coupon, drop, simulator


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
        configure_all(tmp_path, vendor, more="timeout_s = 8\nattempts = 1")
        drop(tmp_path, *map(coupon, range(1, 4)), name="a.csv")
        other = tmp_path / "inputs/adobe.fallback-offer/b.csv"
        other.parent.mkdir(parents=True)
        other.write_text("instance_id,status\n" + "".join(f"i{n},approved\n" for n in range(50)))
        began_s = time.monotonic()
        ended = typed(tmp_path, "run", "--yes")
        took_s = time.monotonic() - began_s
    assert ended.code == 3, ended
    assert took_s > 8
    reports = {path.name.split("-")[1]: path for path in (tmp_path / "reports").glob("2*")}
    done_s = {name: (path / "summary.json").stat().st_mtime for name, path in reports.items()}
    assert done_s["a"] - done_s["b"] > 2

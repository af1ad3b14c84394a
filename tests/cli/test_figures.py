"""Figures that people act on: those of a run that was resumed, of a plan, of a short one."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import start, typed
from tests.waiting import until
from tests.workplace import Simulator, configure, coupon, drop

ROWS = 120


def shown(words: str) -> str:
    """What stands in a box, as one line."""
    return " ".join(words.replace("│", " ").split())


def summary_of(folder: Path, run: str) -> dict[str, Any]:
    return dict(json.loads((folder / "reports" / run / "summary.json").read_text()))


def run_name(folder: Path) -> str:
    (path,) = (folder / ".pipeline" / "runs").iterdir()
    return path.name


def killed_after(folder: Path, vendor: Simulator, requests: int) -> str:
    """The name of a run whose process was killed once so many requests had come."""
    before = len(list(vendor.get("log")))
    configure(folder, vendor.base_url, quota='"25/s"', in_flight=4)
    drop(folder, *map(coupon, range(1, ROWS + 1)))
    process = start(folder, "run", "--yes")
    until(lambda: len(list(vendor.get("log"))) - before >= requests, every_s=0.05)
    process.kill()
    process.communicate()
    return run_name(folder)


@pytest.fixture
def resumed(shop: Path, vendor: Simulator) -> tuple[Path, str, str, int]:
    """A run that was killed, what `resume` said, and how many requests the vendor saw."""
    before = len(list(vendor.get("log")))
    run = killed_after(shop, vendor, ROWS // 2)
    configure(shop, vendor.base_url, quota='"100/s"', in_flight=4)
    done = typed(shop, "resume", "--yes")
    assert done.code == 0, done
    return shop, run, done.words, len(list(vendor.get("log"))) - before


def test_figures_of_a_resumed_run_are_those_of_the_whole(
    resumed: tuple[Path, str, str, int],
) -> None:
    folder, run, words, requests = resumed
    summary = summary_of(folder, run)
    first, second = summary["legs"]
    assert (first["was_killed"], second["was_killed"]) == (True, False)
    assert summary["statuses"]["updated"] == ROWS
    # what the killed process sent after its last note, at most a second old, is not known
    assert requests - 40 <= summary["requests"] <= requests
    assert summary["requests"] == first["requests"] + second["requests"]
    assert summary["seconds"] == pytest.approx(first["seconds"] + second["seconds"], abs=0.01)
    assert summary["rows_per_s"] == pytest.approx(ROWS / summary["seconds"], abs=0.1)
    assert summary["started"] == first["started"]
    assert summary["accounts"]["shop"]["requests"] == summary["requests"]
    assert "in 2 parts" in words
    assert "then its process was killed" in words
    page = (folder / "reports" / run / "report.html").read_text()
    assert "The run was resumed" in page


def test_before_a_resume_only_what_is_left_is_estimated(shop: Path, vendor: Simulator) -> None:
    run = killed_after(shop, vendor, ROWS // 2)
    done = typed(shop, "resume")
    assert done.code == 2  # nobody could be asked
    told = shown(done.words)
    assert "of them done and not sent again" in told
    done_rows = int(told.partition(" of them done")[0].rpartition(" ")[2])
    left = int(told.partition(" rows of xsolla.coupon")[0].rpartition(" ")[2])
    assert 0 < done_rows < ROWS
    assert left == ROWS - done_rows
    assert f"{left} requests" in told
    assert typed(shop, "runs", run).code == 0


def test_the_report_of_a_killed_run_tells_what_was_sent(shop: Path, vendor: Simulator) -> None:
    run = killed_after(shop, vendor, ROWS // 2)
    assert typed(shop, "runs", run).code == 0
    summary = summary_of(shop, run)
    (leg,) = summary["legs"]
    assert leg["was_killed"]
    assert ROWS // 2 - 40 <= summary["requests"] == leg["requests"]


def test_reads_before_rows_count_in_the_estimate_and_runs_say_what_they_are(
    shop: Path, vendor: Simulator
) -> None:
    """Of the plan of a file each changing row is compared right before it is sent."""
    drop(shop, *map(coupon, range(1, 31)))
    assert typed(shop, "run", "--yes").code == 0
    changed = (coupon(row).replace("elven_shield", "elven_sword") for row in range(1, 31))
    drop(shop, *changed, name="next.csv")
    plan = shop / "next.parquet"
    assert typed(shop, "plan", "inputs/xsolla.coupon/next.csv", "-o", str(plan)).code == 0
    asked = typed(shop, "run", str(plan))
    assert "60 requests" in shown(asked.words), asked
    done = typed(shop, "run", str(plan), "--yes", "--json")
    assert (done.code, json.loads(done.out)["requests"]) == (0, 60)
    assert typed(shop, "run", "--simulate", "--yes", "inputs/xsolla.coupon/next.csv").code == 0
    listed = shown(typed(shop, "runs").out)
    assert "xsolla.coupon via shop; from a plan" in listed
    assert "xsolla.coupon via shop; simulated: no vendor was contacted" in listed


def test_of_a_short_run_no_share_of_the_quota_is_told(shop: Path, vendor: Simulator) -> None:
    configure(shop, vendor.base_url, quota='"2/s"')
    drop(shop, *map(coupon, range(1, 4)))
    done = typed(shop, "run", "--yes", "--json")
    assert json.loads(done.out)["accounts"]["shop"]["quota_used"] is None


class _Riddles(BaseHTTPRequestHandler):
    """Answers every read with 200 and words that are no coupon."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


def test_a_plan_whose_reads_told_nothing_is_no_success(shop: Path) -> None:
    drop(shop, coupon(1), coupon(2))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Riddles) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        configure(shop, f"http://127.0.0.1:{server.server_port}/api")
        done = typed(shop, "plan", "inputs/xsolla.coupon/coupons.csv")
        server.shutdown()
    assert done.code == 1, done
    assert "unread" in done.words


def test_a_stop_says_how_to_go_on(shop: Path, vendor: Simulator) -> None:
    configure(shop, vendor.base_url, quota='"20/s"')
    drop(shop, *map(coupon, range(1, 61)))
    done = typed(shop, "run", "--yes", "--stop-if", "updated>5")
    assert done.code == 3, done
    assert f"Next: pipeline resume {run_name(shop)}" in done.words

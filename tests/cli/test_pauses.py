"""Pauses that vendors ask for, as a user meets them: announced, told and lifted."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import Popen
from threading import Thread
from typing import Any

import pytest

from tests.cli.command import Ended, ended, pipeline, start, typed
from tests.promises.test_shared_quota import pauses_on_record
from tests.waiting import until
from tests.workplace import COLUMNS, configure, coupon

OFTEN = "timeout_s = 10\nattempts = 2"
LIFT = "pipeline runs --lift-pause shop"


class Shop(BaseHTTPRequestHandler):
    """Takes every update, but for the first of an id that `said` has a reply for."""

    protocol_version = "HTTP/1.1"
    said: dict[str, tuple[int, dict[str, str]]]
    came: list[str]

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = self.path.rsplit("/", 1)[-1]
        self.came.append(name)
        status, headers = self.said.pop(name, (204, {}))
        self.send_response(status)
        for each in headers.items():
            self.send_header(*each)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = answer  # noqa: N815 - http.server calls it so
    do_GET = answer  # noqa: N815 - the same

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def shop_that(said: dict[str, tuple[int, dict[str, str]]]) -> Iterator[tuple[str, list[str]]]:
    """Its base URL, and what it is asked for."""
    came: list[str] = []
    handler = type("Said", (Shop,), {"said": dict(said), "came": came})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api", came
        finally:
            server.shutdown()
            thread.join(5)


def wait(seconds: object, status: int = 429) -> tuple[int, dict[str, str]]:
    return status, {"Retry-After": str(seconds)}


def send(folder: Path, name: str, *ids: str) -> Ended:
    path = table(folder, name, *ids)
    return typed(folder, "run", path.name, "--yes", "--operation", "xsolla.coupon")


def table(folder: Path, name: str, *ids: str) -> Path:
    path = folder / f"{name}.csv"
    rows = [coupon(row, each) for row, each in enumerate(ids, 1)]
    path.write_text("\n".join([COLUMNS, *rows, ""]))
    return path


def statuses(folder: Path) -> dict[str, int]:
    (path,) = folder.glob("reports/latest/summary.json")
    found: dict[str, Any] = json.loads(path.read_text())["statuses"]
    return {status: rows for status, rows in found.items() if rows}


def remember(folder: Path, until_s: float) -> None:
    """As a version did that kept no more than the end."""
    with sqlite3.connect(folder / ".pipeline" / "ledger.db") as ledger:
        ledger.execute(
            "UPDATE pauses SET until_s = ?, asked_s = 0, run = '', words = '', checksum = NULL",
            [until_s],
        )
    ledger.close()


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_is_too_long_ends_each_command_at_once_until_it_is_lifted(tmp_path, status):
    with shop_that({"b": wait(3600, status)}) as (url, came):
        configure(tmp_path, url, more=OFTEN)
        first = send(tmp_path, "one", "a", "b", "c")
        assert first.code == 3
        run = re.search(r"\d{8}T\d{6}Z-one-\w{4}", first.err)
        assert run is not None
        sent = list(came)
        began_s = time.monotonic()
        later = [
            typed(tmp_path, "resume", "--yes"),
            send(tmp_path, "two", "x"),
            typed(tmp_path, "plan", "two.csv", "--operation", "xsolla.coupon"),
            typed(tmp_path, "verify", run[0]),
        ]
        assert time.monotonic() - began_s < 300  # not the hour
        assert came == sent
        for each in later:
            assert each.code == 3, each
            assert f"HTTP {status}, Retry-After: 3600" in each.words
            assert "the vendor asks for a pause of 3" in each.words
            assert " UTC (3" in each.words  # until when
            assert f"in run {run[0]}" in each.words.replace("- ", "-")
            assert LIFT in each.words
        checked = typed(tmp_path, "check", "two.csv", "--operation", "xsolla.coupon")
        assert checked.code == 0
        assert "would send nothing now: the vendor asks for a pause of 3" in _flat(checked.out)
        lifted = typed(tmp_path, "runs", "--lift-pause", "shop")
        assert lifted.code == 0
        assert f"HTTP {status}, Retry-After: 3600" in lifted.out
        assert "no pause is recorded" in typed(tmp_path, "runs", "--lift-pause", "shop").out
        assert typed(tmp_path, "resume", run[0], "--yes").code == 0
        assert statuses(tmp_path) == {"updated": 3}


def _flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("until_s", [253402300799.0, 9e999, 1e300])
def test_a_pause_that_an_older_version_put_on_record_is_told_and_lifted(tmp_path, until_s):
    with shop_that({"a": wait(1)}) as (url, _):
        configure(tmp_path, url, more=OFTEN)
        assert send(tmp_path, "one", "a").code == 0
        remember(tmp_path, until_s)
        ended_so = send(tmp_path, "two", "b")
        assert ended_so.code == 3
        assert "who asked for it is not on record" in ended_so.words
        assert LIFT in ended_so.words
        assert typed(tmp_path, "runs", "--lift-pause", "shop").code == 0
        assert send(tmp_path, "three", "c").code == 0


def said_until(process: Popen[str], words: str, times: int = 1) -> str:
    """What a command tells, as one line, until it has told this so many times."""
    assert process.stderr is not None
    said = ""
    while _flat(said).count(words) < times:
        line = process.stderr.readline()
        assert line, said
        said += line
    return _flat(said)


def test_a_pause_on_record_that_is_short_enough_is_waited_for_and_announced(tmp_path):
    with shop_that({"a": wait(1)}) as (url, _):
        configure(tmp_path, url, more=OFTEN)
        assert send(tmp_path, "one", "a").code == 0
        remember(tmp_path, time.time() + 200.0)
        checked = typed(tmp_path, "check", "one.csv", "--operation", "xsolla.coupon")
        assert "shop: waiting until" in _flat(checked.out)
        assert "1 request, about" in checked.out
        path = table(tmp_path, "two", "b")
        later = start(tmp_path, "run", str(path), "--yes", "--operation", "xsolla.coupon")
        said_until(later, "shop: waiting until", 2)  # in the question, and when it begins
        said_until(later, f"`{LIFT}` ends the wait")
        assert typed(tmp_path, "runs", "--lift-pause", "shop").code == 0
        assert ended(later).code == 0


def test_a_pause_in_mid_run_is_announced_and_lifting_it_ends_the_wait(tmp_path):
    with shop_that({"b": wait(600)}) as (url, came):
        configure(tmp_path, url, more=OFTEN)
        path = table(tmp_path, "one", *"abcd")
        waiting = start(tmp_path, "run", str(path), "--yes", "--operation", "xsolla.coupon")
        said = said_until(waiting, "ends the wait")
        assert re.search(r"shop: waiting until .* UTC \((600|5\d\d) s\), as the vendor asked", said)
        until(lambda: pauses_on_record(tmp_path))
        assert pipeline(tmp_path, "runs", "--lift-pause", "shop").code == 0
        assert ended(waiting).code == 0
        assert sorted(came) == ["a", "b", "b", "c", "d"]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Retry-After", "0"),
        ("Retry-After", "-1"),
        ("Retry-After", "NaN"),
        ("Retry-After", "Infinity"),
        ("Retry-After", "9" * 5000),
        ("Retry-After", "1e999"),
        ("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Retry-After", "Fri, 31 Dec 99999 23:59:59 GMT"),
        ("Retry-After", "Thu, 01 Jan 2099 00:00:00 GMT"),
        ("Retry-After", "999999999"),
    ],
    ids=[
        *("zero", "negative", "nan", "infinity", "5000-digits", "exponent", "past", "no-year"),
        *("2099", "31-years"),
    ],
)
def test_what_cannot_be_meant_is_no_hint(tmp_path, header, value):
    with shop_that({"b": (429, {header: value})}) as (url, _):
        configure(tmp_path, url, more=OFTEN)
        assert send(tmp_path, "one", "a", "b", "c").code == 0
        assert statuses(tmp_path) == {"updated": 3}


@pytest.mark.parametrize("digits", [1, 10**3, 10**6, 10**9], ids=["s", "ms", "us", "ns"])
def test_a_moment_since_1970_is_that_moment(tmp_path, digits):
    with shop_that({"b": wait(int((time.time() + 2) * digits))}) as (url, _):
        configure(tmp_path, url, more=OFTEN)
        assert send(tmp_path, "one", "a", "b", "c").code == 0


def test_what_is_far_too_long_stops_the_account(tmp_path):
    with shop_that({"b": wait(31_622_400)}) as (url, _):
        configure(tmp_path, url, more=OFTEN)
        stopped = send(tmp_path, "one", "b", "a", "c")
        assert stopped.code == 3
        assert "Retry-After: 31622400" in stopped.words
        assert "a pause of 31622" in stopped.words  # 366 days
        assert statuses(tmp_path) == {"not_attempted": 3}


# A 429 says nothing about the row

ALWAYS = (429, {})


class Throttled(Shop):
    """Refuses what `until_s`, `for_s` and `for_ever` say; takes all else."""

    until_s = 0.0
    for_s = 0.0  # since the first request
    for_ever: frozenset[str] = frozenset()

    def answer(self) -> None:
        name, kind = self.path.rsplit("/", 1)[-1], type(self)
        if kind.for_s:
            kind.until_s, kind.for_s = time.monotonic() + kind.for_s, 0.0
        if name in self.for_ever or time.monotonic() < self.until_s:
            self.said[name] = ALWAYS
        super().answer()

    do_PUT = answer  # noqa: N815 - http.server calls it so
    do_GET = answer  # noqa: N815 - the same


@contextmanager
def throttling(**how: object) -> Iterator[tuple[str, list[str], type[Throttled]]]:
    """A shop of that kind, what it is asked for, and its ways, which may be changed."""
    kind = type("Kind", (Throttled,), {"said": {}, "came": [], **how})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api", kind.came, kind
        finally:
            server.shutdown()
            thread.join(5)


@pytest.mark.parametrize("rows", [1, 12])
def test_a_throttled_account_costs_no_row_an_attempt(tmp_path, rows):
    """For 6 s everything is refused: many more times than a row has attempts."""
    with throttling(for_s=6.0) as (url, came, _):
        configure(tmp_path, url, more="attempts = 1")
        assert send(tmp_path, "one", *map(str, range(rows))).code == 0
        assert statuses(tmp_path) == {"updated": rows}
        assert len(came) > rows


def test_an_account_that_is_throttled_too_long_stops_and_resume_sends_the_rest(tmp_path):
    with throttling(until_s=time.monotonic() + 3600) as (url, _, kind):
        configure(tmp_path, url, more="max_outage_s = 3")
        stopped = send(tmp_path, "one", *"abcdef")
        assert stopped.code == 3
        assert "the vendor has refused every request for" in stopped.words
        assert "as too many, longer than max_outage_s = 3" in stopped.words
        assert statuses(tmp_path) == {"not_attempted": 6}
        kind.until_s = 0.0
        assert typed(tmp_path, "resume", "--yes").code == 0
        assert statuses(tmp_path) == {"updated": 6}


def test_a_row_that_alone_is_refused_for_ever_ends_and_keeps_no_other(tmp_path):
    with throttling(for_ever=frozenset({"5", "7"})) as (url, came, _):
        configure(tmp_path, url, quota='"40/s"', more="attempts = 3")
        assert send(tmp_path, "one", *map(str, range(200))).code == 1
        assert statuses(tmp_path) == {"updated": 198, "failed": 2}
        assert came.count("5") < 20


def test_the_last_row_that_is_refused_for_ever_ends_within_the_longest_outage(tmp_path):
    """Nothing else is left to tell whose fault it is: where many were accepted, it is the row's."""
    with throttling(for_ever=frozenset({"29"})) as (url, _, _):
        configure(tmp_path, url, in_flight=1, more="max_outage_s = 3")
        assert send(tmp_path, "one", *map(str, range(30))).code == 1
        assert statuses(tmp_path) == {"updated": 29, "failed": 1}


def test_a_pause_is_lifted_without_the_secret_where_it_can_be_no_other(tmp_path):
    with shop_that({"a": wait(3600)}) as (url, _):
        configure(tmp_path, url, more=OFTEN)
        assert send(tmp_path, "one", "a").code == 3
        lifted = pipeline(tmp_path, "runs", "--lift-pause", "shop", SHOP_KEY="")
        assert lifted.code == 0
        assert "the pause is lifted" in lifted.out
        assert typed(tmp_path, "resume", "--yes").code == 0

"""One hostile text everywhere, and every place where people or programs read what we write."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.cli import main
from pipeline.cli.console import ConsoleOutput, terminal
from pipeline.notify.events import RunFailed
from pipeline.notify.formatting import as_json, as_text, body
from tests.cli.command import environment, pipeline, start, typed
from tests.waiting import WITHIN_S, until
from tests.workplace import COLUMNS, Simulator, configure, coupon, drop

HOSTILE = (
    "x\x1b]0;PWNED\x07\x1b[2J\x9b31m\u202e\u2066"
    "\nError: everything was sent twice\r\t<script>alert(1)</script>"
    "[link](http://a.example) @channel <!here> *b* \u2028|\x7f"
)
FILE = HOSTILE.replace("/", "").replace("\x00", "")[:80]
STEERS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
LIE = re.compile(r"^Error: everything was sent twice", re.MULTILINE)


def assert_harmless(text: str) -> None:
    assert STEERS.search(text) is None, ascii(text)
    assert LIE.search(text) is None, ascii(text)


class _Rude(BaseHTTPRequestHandler):
    """A vendor whose every word is hostile."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        words = json.dumps({"statusCode": 422, "errorCode": 1102, "errorMessage": HOSTILE})
        raw = words.encode()
        self.send_response(422)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Server", "\x9b31m\u202eevil".encode().decode("latin-1"))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@contextmanager
def rude_vendor() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Rude) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of a file with a hostile name and cells, to a vendor with hostile words."""
    folder = tmp_path_factory.mktemp("hostile")
    with rude_vendor() as url:
        configure(folder, url)
        aside = folder / "aside" / "xsolla.coupon"  # no drop folder: nothing moves it
        aside.mkdir(parents=True)
        (aside / "cells.csv").write_text(f"{COLUMNS}\n{coupon(2)}\n{coupon(3)}\n")
        yield folder


def drop_hostile(house: Path) -> None:
    """Files of a hostile name and with a hostile header, which a run takes."""
    place = house / "inputs" / "xsolla.coupon"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{FILE}.csv").write_text(f"{COLUMNS}\n{coupon(1)}\n")
    name = f'"{HOSTILE.replace(chr(34), "")}"'
    (place / "header.csv").write_text(f"{COLUMNS},{name}\n{coupon(1)},1\n")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("check",), id="check"),
        pytest.param(("run", "--yes"), id="run"),
        pytest.param(("run", "--yes", "--log", "text"), id="log-text"),
        pytest.param(("runs",), id="runs"),
        pytest.param(("runs", "--entity", "xsolla.coupon:c1"), id="entity"),
        pytest.param(("run", f"inputs/{FILE}.missing.csv"), id="missing-file"),
        pytest.param(("run", f"--{FILE}"), id="unknown-option"),
        pytest.param(("runs", FILE), id="unknown-run"),
        pytest.param(("doctor",), id="doctor"),
    ],
)
def test_nothing_that_a_terminal_obeys_reaches_it(house: Path, arguments: tuple[str, ...]) -> None:
    drop_hostile(house)
    done = pipeline(house, *arguments)
    text = done.out + done.err
    assert text
    assert_harmless(text)


def test_a_reply_in_full_is_harmless_too(house: Path) -> None:
    typed(house, "run", "--yes", "aside/xsolla.coupon/cells.csv")
    listed = [json.loads(line) for line in typed(house, "runs", "--json").out.splitlines()]
    run = next(each["run"] for each in listed if each["source"].endswith("cells.csv"))
    assert_harmless(typed(house, "runs", run, "--exchange", "1").out)
    assert_harmless(typed(house, "runs", run).out)
    page = (house / "reports" / run / "report.html").read_text()
    assert "<script>alert" not in page


def test_a_live_view_is_harmless(house: Path) -> None:
    """As a person sees it, colours and all: what is not rich's own is gone."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", "--yes", "aside/xsolla.coupon/cells.csv"],
        cwd=house, env=environment(), stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    with open(master, "rb", buffering=0) as screen:  # noqa: PTH123 - a descriptor
        while True:
            try:
                some = screen.read(65536)
            except OSError:  # nobody writes to it any more
                break
            if not some:
                break
            shown += some
    process.wait(WITHIN_S)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "PWNED" in text  # as words: it steers nothing
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\x9b" not in text
    assert "\u202e" not in text


NOW = datetime(2026, 5, 1, tzinfo=UTC)
EVENT = RunFailed(file=HOSTILE, why=HOSTILE)


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from texts_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_of(each)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("form", ["slack", "teams", "json"])
def test_a_message_calls_nobody_and_makes_no_link(form: Any) -> None:
    told = json.loads(body(EVENT, NOW, form))
    for text in texts_of(told):
        assert STEERS.search(text) is None, ascii(text)
    if form == "slack":
        assert "<!here>" not in told["text"]
        assert "@channel" not in told["text"]
        assert "](http" not in told["text"]
    if form == "teams":
        blocks = told["attachments"][0]["content"]["body"]
        assert {block["type"] for block in blocks} == {"RichTextBlock"}  # reads no Markdown


def test_a_line_of_a_log_is_one_line() -> None:
    for line in (as_json(EVENT, NOW), as_text(EVENT, NOW)):
        assert len(line.splitlines()) == 1
        assert STEERS.search(line) is None


def test_metrics_of_hostile_names_are_parsed(house: Path) -> None:
    file = house / "metrics.prom"
    typed(house, "run", "--yes", "--metrics-file", str(file), "aside/xsolla.coupon/cells.csv")
    assert list(text_string_to_metric_families(file.read_text()))


# Outputs that cannot be written


@pytest.fixture
def files(shop: Path) -> Path:
    for name in ("a.csv", "b.csv", "c.csv"):
        drop(shop, coupon(1), coupon(2), name=name)
    return shop


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("how", ["full", "closed-pipe", "closed"])
def test_an_output_that_is_gone_stops_no_file(files: Path, stream: str, how: str) -> None:
    """Exit code 1 or 2 would say that rows failed, or that nothing was sent."""
    arguments = [sys.executable, "-m", "pipeline", "run", "--yes", "--json", "--log", "json"]
    number = 1 if stream == "stdout" else 2
    redirected: dict[str, Any] = {}
    if how == "full":
        redirected[stream] = open("/dev/full", "wb")  # noqa: SIM115, PTH123 - closed below
    elif how == "closed-pipe":
        reader, writer = os.pipe()
        os.close(reader)
        redirected[stream] = writer
    else:
        redirected["preexec_fn"] = lambda: os.close(number)
    pipes = {each: subprocess.PIPE for each in ("stdout", "stderr") if each not in redirected}
    done = subprocess.run(
        arguments,
        cwd=files,
        env=environment(),
        check=False,
        timeout=WITHIN_S,
        **pipes,
        **redirected,
    )
    if how == "full":
        redirected[stream].close()
    elif how == "closed-pipe":
        os.close(writer)
    assert done.returncode == 0, done
    assert b"Traceback" not in (done.stderr or b"") + (done.stdout or b"")
    summaries = [json.loads(path.read_text()) for path in files.glob("reports/2*/summary.json")]
    assert [each["statuses"]["updated"] for each in summaries] == [2, 2, 2]


@pytest.mark.parametrize(
    "arguments",
    [
        ("operations", "xsolla.coupon", "--template", "csv"),
        ("operations",),
        ("init",),
        ("init", "--cron"),
        ("runs",),
        ("check",),
    ],
)
def test_what_a_full_disk_cuts_off_is_no_success(
    shop: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    drop(shop, coupon(1))
    with (
        open("/dev/full", "w") as full,  # noqa: PTH123 - a device
        redirect_stdout(full),
        chdir(shop),
        pytest.raises(SystemExit) as ended,
    ):
        main(arguments)
    assert ended.value.code == 2
    assert "stdout cannot be written: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("init", "in-the-way/shop"), ("init", "--cron", "--into", "in-the-way/cron")]
)
def test_a_folder_that_cannot_be_made_is_told(shop: Path, arguments: tuple[str, ...]) -> None:
    (shop / "in-the-way").touch()
    done = typed(shop, *arguments)
    assert done.code == 2
    assert f"Error: {arguments[-1]}" in done.words
    assert "cannot be written: Not a directory" in done.words


def test_reports_that_cannot_be_written_are_seen_before_the_first_request(shop: Path) -> None:
    drop(shop, coupon(1))
    config = shop / "pipeline.toml"
    config.write_text(f'reports = "/proc/sys"\n{config.read_text()}')
    done = typed(shop, "run", "--yes")
    assert done.code == 3, done
    assert "reports cannot be written to /proc/sys" in done.words
    assert "Nothing was sent" in done.words
    assert typed(shop, "runs").out.strip() == "No runs yet."


def test_a_report_that_fails_later_can_be_made_later(shop: Path, vendor: Simulator) -> None:
    """The folder of reports turns into a file while rows are sent."""
    configure(shop, configured_url(shop), quota='"20/s"')
    drop(shop, *map(coupon, range(1, 41)))
    process = start(shop, "run", "--yes")
    until(lambda: vendor.stats()["requests"] > 3)
    reports = shop / "reports"
    reports.rename(shop / "aside")
    reports.write_text("in the way")
    _, words = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 3, words
    (run,) = (path.name for path in (shop / ".pipeline/runs").iterdir())
    assert f"pipeline runs {run}" in words
    listed = " ".join(typed(shop, "runs").out.split())
    assert "its process was killed" not in listed
    assert "its report is missing" in listed
    reports.unlink()
    assert "40 rows updated" in typed(shop, "runs", run).out


def configured_url(folder: Path) -> str:
    found = re.search(r'base_url = "([^"]+)"', (folder / "pipeline.toml").read_text())
    assert found is not None
    return found[1]


def test_idle_connections_cost_the_listener_and_nobody_else(shop: Path) -> None:
    """As many as the watcher has descriptors, held without a word."""
    drops = shop / "inputs" / "xsolla.coupon"
    drops.mkdir(parents=True)
    holder = (
        "import socket, sys, time\n"
        "held = [socket.create_connection(('127.0.0.1', int(sys.argv[1]))) for _ in range(400)]\n"
        "print('held', flush=True); time.sleep(60)"
    )
    command = (
        f"ulimit -n 256; exec {sys.executable} -m pipeline watch --settle 0.2 --metrics-port 0"
    )
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", command], cwd=shop, env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert watcher.stderr is not None
    port = next(m[1] for m in (re.search(r":(\d+)/metrics", line) for line in watcher.stderr) if m)
    idle = subprocess.Popen([sys.executable, "-c", holder, port], stdout=subprocess.PIPE, text=True)
    try:
        assert idle.stdout is not None
        assert idle.stdout.readline() == "held\n"
        (drops / "a.csv").write_text(f"{COLUMNS}\n{coupon(1)}\n")
        until(lambda: list(shop.glob("reports/2*/summary.json")))
    finally:
        idle.kill()
        idle.communicate()
        watcher.send_signal(signal.SIGTERM)
        _, words = watcher.communicate(timeout=WITHIN_S)
    assert "Traceback" not in words


def test_an_output_whose_stream_is_closed_leaves_no_descriptor_open() -> None:
    stream = io.StringIO()
    with redirect_stderr(stream):
        output = ConsoleOutput(is_stderr=True)
    stream.close()
    before = sorted(Path("/proc/self/fd").iterdir())
    assert output.write("lost") == 4
    output.flush()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_word_between_colons_is_no_picture():
    with redirect_stdout(io.StringIO()) as output:
        terminal().print("xsolla:key:7", markup=False)
    assert output.getvalue() == "xsolla:key:7\n"

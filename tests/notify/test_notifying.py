"""Whoever asked for it is told, and a dead receiver delays nothing."""

from __future__ import annotations

import errno
import io
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, get_args

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.config import load_config
from pipeline.notify import Metrics, Notifier
from pipeline.notify.events import Event
from pipeline.notify.metrics import SINGLE
from pipeline.run import RunEnvironment, carry_out, prepare
from pipeline.runs import RunOptions
from pipeline.vendors import load_vendors
from tests.cli.command import ended, environment, start, typed
from tests.http_client.servers import refused_port
from tests.waiting import until
from tests.workplace import ENVIRON, Simulator, configure, coupon, drop, simulator

SECRET_PATH = "/hooks/T0-very-secret"


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, vendor: Simulator) -> Path:
    configure(tmp_path, vendor.base_url)
    return tmp_path


def rows(count: int, refused: int = 0) -> list[str]:
    lines = [coupon(row) for row in range(1, count + 1)]
    return [line.replace("elven_shield", "no_such_sku") for line in lines[:refused]] + lines[
        refused:
    ]


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def receiver(status: int = 200, delay_s: float = 0.0) -> Iterator[tuple[str, list[bytes]]]:
    """A chat's address, and what it was told."""
    told: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(delay_s)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{SECRET_PATH}", told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def notify(folder: Path, url: str, more: str = "") -> None:
    """Let the webhook be told; its URL is a secret."""
    (folder / "hook").write_text(url)
    file = folder / "pipeline.toml"
    file.write_text(f'{file.read_text()}\n[notify]\nwebhook = "file:hook"\n{more}\n')


# Logs


def test_a_log_is_json_line_by_line_and_ends_with_the_whole(shop):
    path = drop(shop, *rows(4, refused=1))
    done = typed(shop, "run", "--yes", "--log", "json", "--log-level", "row", str(path))
    assert done.code == 1
    told = lines_of(done.err)
    kinds = [each["event"] for each in told]
    assert kinds.index("run_started") < kinds.index("row_failed") < kinds.index("account_ended")
    assert kinds[-1] == "run_ended"
    (failed,) = (each for each in told if each["event"] == "row_failed")
    assert (failed["row"], failed["status"], failed["level"]) == (1, "rejected", "row")
    last = told[-1]
    assert (last["level"], last["exit_code"], last["statuses"]) == (
        "warning",
        1,
        {"updated": 3, "rejected": 1},
    )
    assert all(re.fullmatch(r"[-\d]{10}T[:.\d]{12}Z", each["time"]) for each in told)


def test_rows_have_a_level_of_their_own_and_no_cell_is_told(shop):
    path = drop(shop, *rows(3, refused=3))
    done = typed(shop, "run", "--yes", "--no-fail-fast", "--log", "json", str(path))
    assert "row_failed" not in done.err
    assert "no_such_sku" not in done.err
    text = typed(
        shop, "run", "--yes", "--no-fail-fast", "--log", "text", "--log-level", "row", str(path)
    )
    assert text.err.count(" ROW row_failed ") == 3
    assert "no_such_sku" not in text.err


@pytest.mark.quiet("of a run that takes a minute all rows are told")
def test_of_many_failed_rows_some_are_told_and_the_others_counted(shop):
    path = drop(shop, *rows(300, refused=300))
    done = typed(
        shop, "run", "--yes", "--no-fail-fast", "--log", "json", "--log-level", "row", str(path)
    )
    told = lines_of(done.err)
    one_by_one = sum(each["event"] == "row_failed" for each in told)
    left_out = sum(each["rows"] for each in told if each["event"] == "rows_left_out")
    assert one_by_one + left_out == 300
    assert left_out > 100


def test_what_keeps_a_file_from_being_sent_is_an_error_in_the_log(shop):
    path = drop(shop, "too,many,cells")
    done = typed(shop, "run", "--yes", "--log", "json", str(path))
    assert done.code == 2
    (failed,) = lines_of(done.err)
    assert (failed["event"], failed["level"]) == ("run_failed", "error")
    assert "row 1 (line 2)" in failed["why"]


def test_of_a_broken_file_the_log_tells_the_place_and_not_what_stands_there(shop):
    path = drop(shop, coupon(1), '"PRIVATE" x,1,2')
    done = typed(shop, "run", "--yes", "--log", "json", str(path))
    assert done.code == 2
    assert "text after the closing quote" in lines_of(done.err)[0]["why"]
    assert "PRIVATE" not in done.err
    assert "PRIVATE" in typed(shop, "run", "--yes", str(path)).err  # a person is shown it


# Metrics


def families(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """As Prometheus reads them: name -> values by labels."""
    return {
        family.name: {tuple(each.labels.values()): each.value for each in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_the_file_of_metrics_is_read_by_the_parser_of_prometheus(shop):
    path = drop(shop, *rows(5, refused=2))
    before_s = time.time()
    typed(shop, "run", "--yes", "--metrics-file", "metrics/shop.prom", str(path))
    found = families((shop / "metrics" / "shop.prom").read_text())
    told = found["offer_pipeline_last_run_rows"]
    assert told["shop", "xsolla.coupon", "updated"] == 3
    assert told["shop", "xsolla.coupon", "rejected"] == 2
    assert told["shop", "xsolla.coupon", "unknown"] == 0  # an alert needs it to be there
    assert told["shop", "xsolla.coupon", "not_attempted"] == 0
    assert found["offer_pipeline_last_run_exit_code"][()] == 1
    assert before_s <= found["offer_pipeline_last_run_ended_timestamp_seconds"][()] <= time.time()


def test_a_bad_night_forgets_no_good_one_and_what_is_unknown_is_left_out(shop):
    def night(*lines: str) -> dict[str, dict[tuple[str, ...], float]]:
        path = drop(shop, *lines)
        typed(shop, "run", "--yes", "--metrics-file", "shop.prom", str(path))
        return families((shop / "shop.prom").read_text())

    well, ended = (
        f"offer_pipeline_last_{name}_timestamp_seconds" for name in ("success", "run_ended")
    )
    broken = night("too,many,cells")
    assert well not in broken  # a 0 would be 1970, and every alert on its age would fire
    assert ended not in broken
    assert broken["offer_pipeline_files_not_sent"][()] == 1
    good = night(*rows(2))
    assert "offer_pipeline_last_loop_timestamp_seconds" not in good  # there is no watcher
    bad = night(*rows(3, refused=1))
    assert bad[well][()] == pytest.approx(good[well][()], abs=1)
    assert bad[well][()] < bad[ended][()]
    assert night("too,many,cells")[well][()] == bad[well][()]


def test_a_file_that_cannot_be_written_is_told_and_fails_nothing(shop):
    path = drop(shop, *rows(1))
    done = typed(shop, "run", "--yes", "--metrics-file", "pipeline.toml/shop.prom", str(path))
    assert done.code == 0
    assert "the metrics were not written" in done.words


def test_a_watcher_serves_metrics_and_says_that_it_is_well(shop):
    process = start(shop, "watch", "--settle", "0.1", "--metrics-port", "0", "--log", "json")
    try:
        url = ""
        while not url:
            line = json.loads(process.stderr.readline())
            found = re.search(r"http://\S+/metrics", line.get("what", ""))
            url = found[0] if found else ""
        drop(shop, *rows(3))
        drop(shop, "a_cell,too,few", name="broken.csv")

        def both_ended() -> dict[str, Any] | None:
            with urllib.request.urlopen(url) as reply:
                assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                found = families(reply.read().decode())
            is_sent = found.get("offer_pipeline_runs", {}).get(("0",)) == 1
            return found if is_sent and found["offer_pipeline_files_quarantined"][()] else None

        metrics = until(both_ended)
        assert metrics["offer_pipeline_last_run_rows"]["shop", "xsolla.coupon", "updated"] == 3
        with urllib.request.urlopen(url.replace("/metrics", "/healthz")) as reply:
            assert json.load(reply)["status"] == "ok"
    finally:
        process.terminate()
        done = ended(process)
    assert done.code == 143
    told = {each["event"]: each for each in lines_of(done.err)}
    assert "run_ended" in told
    assert "row 1 (line 2)" in told["quarantined"]["why"]
    assert "a_cell" not in done.err
    (reason,) = shop.glob("inputs/*/.failed/*/reason.txt")
    assert "a_cell" in reason.read_text()


# Webhooks


def test_a_failure_is_told_in_words_that_a_chat_takes(shop):
    path = drop(shop, *rows(4, refused=1))
    with receiver() as (url, told):
        notify(shop, url)
        assert typed(shop, "run", "--yes", str(path)).code == 1
    (body,) = told
    assert set(json.loads(body)) == {"text"}
    text = json.loads(body)["text"]
    assert text.startswith("Some rows did not succeed: ")
    assert "3 of 4 rows updated; 1 rejected" in text
    assert "exit code 1, report " in text


@pytest.mark.parametrize(
    ("form", "lead"),
    [
        ("teams", ("attachments", 0, "content", "body", 1, "inlines", 0, "text")),
        ("json", ("why",)),
    ],
)
def test_other_receivers_take_other_forms(shop, form, lead):
    path = drop(shop, *rows(4, refused=1))
    with receiver() as (url, told):
        notify(shop, url, f'format = "{form}"')
        typed(shop, "run", "--yes", str(path))
    found = json.loads(told[0])
    for key in lead:
        found = found[key]
    assert found.startswith("3 of 4 rows updated")


def test_a_good_end_is_told_to_those_who_ask_for_it(shop):
    path = drop(shop, *rows(2))
    with receiver() as (url, told):
        notify(shop, url)
        typed(shop, "run", "--yes", str(path))
        assert told == []
        (shop / "pipeline.toml").write_text((shop / "pipeline.toml").read_text() + 'on = ["end"]\n')
        typed(shop, "run", "--yes", str(path))
    assert "Succeeded" in json.loads(told[0])["text"]


@pytest.mark.parametrize(
    ("status", "delay_s", "is_up", "told"),
    [
        (500, 0.0, True, "it answered 500"),
        (200, 2.0, True, "no answer within 0.3 s"),
        (200, 0.0, False, "ConnectionRefusedError"),
    ],
)
def test_a_receiver_in_trouble_delays_and_fails_nothing(shop, status, delay_s, is_up, told):
    timeout_s = 0.3 if delay_s else 30
    path = drop(shop, *rows(4, refused=1))
    nobody = f"http://127.0.0.1:{refused_port()}{SECRET_PATH}"
    with receiver(status, delay_s) as (url, _):
        notify(shop, url if is_up else nobody, f"timeout_s = {timeout_s}")
        began_s = time.monotonic()
        done = typed(shop, "run", "--yes", str(path))
        assert time.monotonic() - began_s < 60  # on a busy machine
    assert done.code == 1
    assert f"the webhook message was not delivered: {told}" in done.words
    assert "secret" not in done.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('webhook = "https://hooks.example/T0"', "the URL is a secret"),
        ('on = ["always"]', "on"),
        ('format = "irc"', "format"),
    ],
)
def test_wrong_keys_are_told_and_nothing_is_sent(shop, vendor, line, told):
    path = drop(shop, *rows(1))
    before = vendor.stats()["requests"]
    (shop / "pipeline.toml").write_text(
        f"{(shop / 'pipeline.toml').read_text()}\n[notify]\n{line}\n"
    )
    done = typed(shop, "run", "--yes", str(path))
    assert done.code == 2
    assert told in done.words
    assert "hooks.example" not in done.err
    assert vendor.stats()["requests"] == before


def test_a_webhook_without_its_secret_is_warned_of_and_the_rows_are_sent(shop, vendor):
    """Who is told of a night must not stop it."""
    path = drop(shop, *rows(1))
    before = vendor.stats()["requests"]
    (shop / "pipeline.toml").write_text(
        f'{(shop / "pipeline.toml").read_text()}\n[notify]\nwebhook = "env:NO_SUCH"\n'
    )
    done = typed(shop, "run", "--yes", str(path))
    assert done.code == 0, done
    assert "Warning: the webhook is off" in done.words
    assert "NO_SUCH is not set" in done.words
    assert vendor.stats()["requests"] > before


def test_that_nothing_came_is_told(shop):
    with receiver() as (url, told):
        notify(shop, url)
        assert typed(shop, "run", "--yes").code == 0
    assert "Nothing arrived in " in json.loads(told[0])["text"]


# What cannot be told


class FullDisk(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(shop):
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=shop)
    warned: list[str] = []
    notifier = Notifier(config, log=FullDisk(), is_json=True, warn=warned.append)
    for _ in range(3):
        notifier.said("well")
    assert warned == ["the log cannot be written: No space left on device"]


async def test_whoever_is_told_of_failed_rows_cannot_cost_one(shop):
    """It is told once they are on record: an error there must not let them count as lost."""

    def fails(_results: object) -> None:
        raise RuntimeError("a mistake of the listener's")

    path = drop(shop, *rows(6, refused=3))
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=shop)
    options = RunOptions(fail_fast=False)
    prepared = await anyio.to_thread.run_sync(prepare, path, config, options)
    summary = await carry_out(prepared, RunEnvironment(environ=ENVIRON, failed=fails))
    assert summary.why == "3 of 6 rows updated; 3 rejected"


# What is worth a word


def test_an_unusual_share_of_failed_rows_is_worth_a_word(shop):
    path = drop(shop, *rows(40))
    for _ in range(6):
        assert typed(shop, "run", "--yes", str(path)).code == 0
    path.write_text(drop(shop, *rows(40, refused=30), name="bad.csv").read_text())
    done = typed(shop, "run", "--yes", "--no-fail-fast", "--json", str(path))
    assert json.loads(done.out)["unusual"].startswith("unusually many failures: 75 %, usually 0 %")
    assert "unusual" in done.words


@pytest.mark.parametrize(
    ("refused", "tolerated", "code"), [(1, "1%", 0), (2, "1%", 1), (1, "0.5%", 1)]
)
def test_some_failed_rows_may_be_tolerated(shop, refused, tolerated, code):
    path = drop(shop, *rows(100, refused=refused))
    assert typed(shop, "run", "--yes", "--tolerate", tolerated, str(path)).code == code


def test_a_wrong_share_is_told(shop):
    path = drop(shop, *rows(1))
    done = typed(shop, "run", "--yes", "--tolerate", "much", str(path))
    assert done.code == 2
    assert environment()["SHOP_KEY"] == ENVIRON["SHOP_KEY"]
    assert "much" in done.words


# What the documentation says of it


def test_every_metric_and_every_event_stands_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "monitoring.md").read_text()
    found = text_string_to_metric_families(Metrics().text().decode())
    metrics = [family.name for family in found if not family.name.endswith("_created")]
    metrics += [f"offer_pipeline_{name}" for name in SINGLE]  # there once they are known
    assert len(metrics) > 10
    assert [name for name in metrics if name not in page] == []
    kinds = [re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower() for kind in get_args(Event)]
    assert [kind for kind in kinds if f"`{kind}`" not in page] == []

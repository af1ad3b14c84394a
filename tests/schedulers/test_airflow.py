"""Operator, sensor and trigger in a real Airflow, its tasks killed as machines and people do it."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.airflow.command import Installation, RecordedRun
from pipeline.airflow.process import find_run
from tests.cli.command import pipeline
from tests.schedulers.airflow_server import BIN, ROOT, WAIT_S, Airflow, airflow_server
from tests.waiting import until
from tests.workplace import ENVIRON, Simulator, configure, coupon, drop, row_of, simulator

pytestmark = [
    pytest.mark.skipif(not BIN.exists(), reason="no Airflow here: make test-schedulers"),
    pytest.mark.timeout(1800),
]

ROWS = 600  # at 20/s: half a minute
DOUBTFUL = 8  # when a process is killed: 4 in flight, and answers that were not on record yet
DAGS = """
from datetime import datetime, timedelta
from airflow.sdk import DAG
from pipeline.airflow import OfferPipelineOperator, OfferPipelineSensor

WAYS = {{
    "plain": {{}},
    "tolerant": {{"fail_on_failed_rows": False}},
    "deferred": {{"deferrable": True, "poll_interval": 2.0}},
    "once": {{"retries": 0, "execution_timeout": timedelta(seconds=25)}},
}}
for name, way in WAYS.items():
    with DAG(name, schedule=None, start_date=datetime(2026, 1, 1), catchup=False):
        OfferPipelineOperator(
            task_id="send",
            file="inputs/xsolla.coupon/{{{{ run_id }}}}.csv",
            cwd={folder!r},
            python={python!r},
            **{{"retries": 2, "retry_delay": timedelta(seconds=1), "poll_interval": 2.0, **way}},
        )
for name, way in {{"watched": {{}}, "watched_deferred": {{"deferrable": True}}}}.items():
    with DAG(name, schedule=None, start_date=datetime(2026, 1, 1), catchup=False):
        OfferPipelineSensor(
            task_id="wait",
            run_id="plain.send.{{{{ run_id.partition('-after-')[2] }}}}",
            cwd={folder!r},
            python={python!r},
            poke_interval=2.0,
            **way,
        )
"""


class Shop:
    """A working folder, the vendor, and the Airflow that sends to it."""

    def __init__(self, folder: Path, vendor: Simulator, airflow: Airflow) -> None:
        self.folder, self.vendor, self.airflow = folder, vendor, airflow
        self.installation = Installation(python=sys.executable, cwd=str(folder), env=ENVIRON)

    def send(self, way: str, run_id: str, rows: range, *more: str) -> None:
        """Drop a file and trigger the DAG that sends it."""
        drop(self.folder, *(coupon(row) for row in rows), *more, name=f"{run_id}.csv")
        self.airflow.trigger(way, run_id)

    def run(self, way: str, run_id: str) -> RecordedRun | None:
        return find_run(self.installation, f"{way}.send.{run_id}")

    def under_way(self, way: str, run_id: str) -> RecordedRun:
        """The run, once some of its rows are sent."""

        def sends() -> RecordedRun | None:
            run = self.run(way, run_id)
            return run if run is not None and run.is_under_way and run.pid else None

        run = until(sends, lambda: self.airflow.task(run_id), within_s=WAIT_S)
        assert isinstance(run, RecordedRun)
        return run

    def times_sent(self, rows: range) -> Counter[int]:
        """Row -> how often an update of it was applied."""
        sent = (row_of(each["body"]) for each in self.vendor.get("log") if each["applied"])
        return Counter(row for row in sent if row in rows)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    home = tmp_path_factory.mktemp("airflow")
    dags = {"ways.py": DAGS.format(folder=str(folder), python=sys.executable)}
    page = (ROOT / "docs" / "howto" / "schedulers.md").read_text()
    (dags["offers_dag.py"],) = re.findall(
        r"```python file=offers_dag\.py\n(.*?)```", page, re.DOTALL
    )
    with simulator("--latency-ms", "10") as vendor:
        configure(folder, vendor.base_url, quota='"20/s"', in_flight=4)
        dags["printed.py"] = pipeline(folder, "init", "--airflow").out
        with airflow_server(home, dags) as airflow:
            yield Shop(folder, vendor, airflow)


@pytest.mark.parametrize("dag", ["offers", "offer_pipeline"], ids=["of the page", "printed"])
def test_the_dags_that_users_copy_are_taken(shop: Shop, dag: str):
    until(lambda: shop.airflow.select("select 1 from dag where dag_id = ?", dag), within_s=WAIT_S)
    assert shop.airflow.select("select filename, stacktrace from import_error") == []


def test_a_file_is_sent_and_its_counts_and_paths_are_returned(shop: Shop):
    shop.send("plain", "good", range(1000, 1003))
    assert shop.airflow.end("good") == "success"
    result = shop.airflow.returned("good")
    assert result["statuses"]["updated"] == result["rows"] == 3
    assert result["run_id"] == "plain.send.good"
    for name in ("success", "errors", "summary", "page"):
        assert Path(result[name]).is_file(), name


@pytest.mark.parametrize(("way", "state"), [("plain", "failed"), ("tolerant", "success")])
def test_rows_that_fail_fail_the_task_unless_they_may(shop: Shop, way: str, state: str):
    name = f"bad-{way}"
    shop.send(way, name, range(1010, 1012), "not a valid line" + "," * 8)
    assert shop.airflow.end(name) == state
    assert shop.airflow.task(name)[1] == 1  # no second try
    result = shop.airflow.returned(name)
    assert (result["exit_code"], result["statuses"]["invalid"]) == (1, 1)


def test_a_file_that_is_not_there_is_not_tried_again(shop: Shop):
    shop.airflow.trigger("plain", "absent")
    assert shop.airflow.end("absent") == "failed"
    assert shop.airflow.task("absent")[1] == 1


def test_a_run_whose_machine_died_is_resumed_by_the_next_try(shop: Shop):
    rows = range(2000, 2000 + ROWS)
    shop.send("plain", "power", rows)
    run = shop.under_way("plain", "power")
    kill(shop.airflow.task("power")[2], run.pid)
    assert shop.airflow.end("power") == "success"
    again = shop.run("plain", "power")
    assert again is not None
    assert again.name == run.name
    assert shop.airflow.task("power")[1] >= 2
    assert shop.airflow.returned("power")["statuses"]["updated"] == ROWS
    check_sent(shop, rows, doubtful=DOUBTFUL)


def test_a_run_that_outlives_its_task_is_watched_by_the_next_try(shop: Shop):
    rows = range(3000, 3000 + 2 * ROWS)
    shop.send("plain", "orphan", rows)
    run = shop.under_way("plain", "orphan")
    kill(shop.airflow.task("orphan")[2])
    assert shop.airflow.end("orphan") == "success"
    assert shop.airflow.task("orphan")[1] >= 2
    assert shop.run("plain", "orphan").name == run.name  # type: ignore[union-attr]
    check_sent(shop, rows, doubtful=0)  # one process sent all of it


@pytest.mark.parametrize("way", ["plain", "deferred"])
def test_a_task_that_a_person_fails_stops_its_run_which_reports(shop: Shop, way: str):
    name, rows = f"killed-{way}", range(5000, 5000 + 4 * ROWS)
    shop.send(way, name, rows)
    shop.under_way(way, name)
    if way == "deferred":
        until(lambda: shop.airflow.state(name) == "deferred", within_s=WAIT_S)
    shop.airflow.mark_failed(way, name, "send")
    run = until(lambda: stopped(shop, way, name), within_s=WAIT_S)
    assert (run.state, run.exit_code, run.has_report) == ("unfinished", 143, True)
    assert shop.airflow.state(name) == "failed"


def test_a_task_that_takes_too_long_stops_its_run_which_reports(shop: Shop):
    shop.send("once", "late", range(9000, 9000 + 4 * ROWS))
    assert shop.airflow.end("late") == "failed"
    run = until(lambda: stopped(shop, "once", "late"), within_s=WAIT_S)
    assert (run.state, run.exit_code, run.has_report) == ("unfinished", 143, True)


def test_a_deferred_task_waits_without_a_worker_and_returns_the_same(shop: Shop):
    rows = range(20000, 20000 + ROWS)
    shop.send("deferred", "slow", rows)
    until(lambda: shop.airflow.state("slow") == "deferred", within_s=WAIT_S)
    assert shop.run("deferred", "slow").is_under_way  # type: ignore[union-attr]
    assert shop.airflow.end("slow") == "success"
    assert shop.airflow.returned("slow")["statuses"]["updated"] == ROWS
    check_sent(shop, rows, doubtful=0)


def test_a_deferred_run_that_is_killed_is_resumed_by_the_next_try(shop: Shop):
    rows = range(21000, 21000 + ROWS)
    shop.send("deferred", "cut", rows)
    until(lambda: shop.airflow.state("cut") == "deferred", within_s=WAIT_S)
    kill(shop.under_way("deferred", "cut").pid)
    assert shop.airflow.end("cut") == "success"
    assert shop.airflow.returned("cut")["statuses"]["updated"] == ROWS
    check_sent(shop, rows, doubtful=DOUBTFUL)


@pytest.mark.parametrize("way", ["watched", "watched_deferred"])
def test_a_sensor_waits_until_a_run_has_ended(shop: Shop, way: str):
    name = f"seen-{way.replace('_', '-')}"
    shop.airflow.trigger(way, f"wait-after-{name}")
    waits = {"running", "up_for_reschedule", "deferred"}
    until(lambda: shop.airflow.state(f"wait-after-{name}") in waits, within_s=WAIT_S)
    shop.send("plain", name, range(30000, 30003))
    assert shop.airflow.end(f"wait-after-{name}") == "success"
    assert shop.airflow.returned(f"wait-after-{name}")["rows"] == 3


def kill(*pids: int | None) -> None:
    for pid in pids:
        assert pid is not None
        os.kill(pid, signal.SIGKILL)


def stopped(shop: Shop, way: str, name: str) -> RecordedRun | None:
    run = shop.run(way, name)
    return run if run is not None and not run.is_under_way else None


def check_sent(shop: Shop, rows: range, *, doubtful: int) -> None:
    """Each row was applied; only those in flight at a kill may have been twice."""
    sent = shop.times_sent(rows)
    assert set(sent) == set(rows)
    assert sum(sent.values()) <= len(rows) + doubtful

"""A database whose disk fills up amid a run: it waits, and nothing is lost or sent again."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from pipeline.config import load_config
from pipeline.runs import open_store
from pipeline.vendors import load_vendors
from tests.cli.command import ended, pipeline, start
from tests.postgres import PostgresServer, postgres_server
from tests.promises.small_disk import filled, mounted
from tests.waiting import until
from tests.workplace import CONFIG, ENVIRON, Simulator, coupon, drop, hurry, row_of, simulator

ROWS = 800
MORE_ROOM = "96m"
"""What the databases of a new server take, and some more."""
TABLES, LOG = "base", "pg_wal"
"""Folders of a server."""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted by root"),
]


@contextmanager
def small_database(server: PostgresServer, part: str) -> Iterator[Path]:
    """A server with this folder of its own on a small disk, which is the one that is returned."""
    server.stop()
    kept, disk = server.data / part, server.folder / "disk"
    disk.mkdir()
    try:
        mounted(disk, f"size={MORE_ROOM}")
    except subprocess.CalledProcessError:
        server.start()
        pytest.skip("a small file system cannot be mounted here")
    try:
        shutil.copytree(kept, disk / part)
        subprocess.run(["chown", "-R", f"--reference={kept}", disk], check=True)
        (disk / part).chmod(0o700)
        shutil.rmtree(kept)
        kept.symlink_to(disk / part)
        server.start()
        yield disk
        server.stop()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@contextmanager
def sending(
    folder: Path, *options: str, part: str = TABLES, more: str = ""
) -> Iterator[tuple[subprocess.Popen[str], Simulator, Path, PostgresServer]]:
    """A run, its vendor, and the disk of a part of its database."""
    with (
        postgres_server() as server,
        small_database(server, part) as disk,
        simulator() as vendor,
    ):
        account = CONFIG.format(
            base_url=vendor.base_url, quota='"100/s"', in_flight=8, more=f"shares = 4\n{more}"
        )
        toml = f'ledger = "{server.new_database()}"\n{account}'
        (folder / "pipeline.toml").write_text(toml)
        path = drop(folder, *map(coupon, range(1, ROWS + 1)))
        process = start(folder, "run", "--yes", *options, str(path))
        try:
            until(lambda: vendor.stats()["applied"] > ROWS / 20)
            yield process, vendor, disk, server
        finally:
            process.kill()
            process.communicate()


def await_rest(vendor: Simulator) -> int:
    """Wait until nothing has been sent for a while; how many requests there were."""
    seen, since_s = vendor.stats()["requests"], time.monotonic()
    while time.monotonic() < since_s + 3.0:
        time.sleep(0.1)
        if (now := vendor.stats()["requests"]) != seen:
            seen, since_s = now, time.monotonic()
    return int(seen)


def sent(vendor: Simulator) -> Counter[int]:
    """How often each row was sent."""
    return Counter(row_of(each["body"]) for each in vendor.get("log") if each["method"] == "PUT")


def resumed_without_repeating(folder: Path, vendor: Simulator) -> None:
    """All rows are sent, and none again that was on record."""
    recorded = on_record(folder)
    hurry(folder)
    done = pipeline(folder, "resume", "--yes", "--quiet")
    assert done.code == 0, done
    times = sent(vendor)
    assert times.keys() == set(range(1, ROWS + 1))
    assert {times[row] for row in recorded} == {1}


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_a_run_waits_for_room_on_the_disk_of_its_database(tmp_path, options):
    with sending(tmp_path, *options) as (process, vendor, disk, _):
        ballast = filled(disk)
        assert await_rest(vendor) < ROWS
        assert process.poll() is None
        ballast.unlink()
        done = ended(process)
        assert done.code == 0, done
        assert sent(vendor) == dict.fromkeys(range(1, ROWS + 1), 1)


def test_a_database_that_stays_full_ends_the_run_in_words(tmp_path):
    options = ("--workers", "2")
    with sending(tmp_path, *options, more="max_outage_s = 2") as (process, vendor, disk, _):
        ballast = filled(disk)
        done = ended(process)
        assert done.code == 3, done
        assert "internal error" not in done.words
        assert "Make room on its disk" in done.words
        shown = pipeline(tmp_path, "runs")  # it may look, or say why it cannot
        assert shown.code == 0 or "Make room on its disk" in shown.words, shown
        ballast.unlink()
        resumed_without_repeating(tmp_path, vendor)


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_a_run_waits_for_a_database_that_stopped_because_the_disk_of_its_log_is_full(
    tmp_path, options
):
    with sending(tmp_path, *options, part=LOG) as (process, vendor, disk, server):
        ballast = filled(disk)
        stopped_by_its_log(server)
        assert await_rest(vendor) < ROWS
        assert process.poll() is None
        ballast.unlink()
        server.start()
        done = ended(process)
        assert done.code == 0, done
        assert sent(vendor) == dict.fromkeys(range(1, ROWS + 1), 1)


def test_a_database_whose_log_stays_full_ends_the_run_in_words(tmp_path):
    with sending(tmp_path, part=LOG, more="max_outage_s = 2") as (process, vendor, disk, server):
        ballast = filled(disk)
        stopped_by_its_log(server)
        done = ended(process)
        assert done.code == 3, done
        assert "cannot be used" in done.words
        assert "internal error" not in done.words
        ballast.unlink()
        server.start()
        resumed_without_repeating(tmp_path, vendor)


def stopped_by_its_log(server: PostgresServer) -> None:
    """Write log until it has no room: the server panics, and cannot recover without room either.

    A slot keeps what was written: a checkpoint would use its files again.
    """
    with suppress(psycopg.Error):  # it may have stopped already
        server.execute("select pg_create_physical_replication_slot('kept', true)")

    def has_stopped() -> bool:
        with suppress(psycopg.Error):
            server.execute("select pg_logical_emit_message(false, 'log', 'more')")
            server.execute("select pg_switch_wal()")
        return not server.is_running

    until(has_stopped)
    assert "No space left on device" in (server.folder / "log").read_text(errors="replace")


def on_record(folder: Path) -> set[int]:
    """The rows of the run that have a result."""
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=folder)
    with closing(config.kept_store):
        store = open_store(config)
        (run,) = store.runs.names()
        with store.ledger(run, None, None) as ledger:
            return {each.row for each in ledger.results(1, ROWS)}

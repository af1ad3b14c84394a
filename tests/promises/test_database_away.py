"""A database that stops, crashes or must not be used, while runs rely on it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from pipeline.config import load_config
from pipeline.runs import open_store
from pipeline.vendors import load_vendors
from tests.cli.command import ended, pipeline, start, typed
from tests.postgres import PostgresServer, postgres_server
from tests.waiting import until
from tests.workplace import CONFIG, ENVIRON, Simulator, coupon, drop, hurry, row_of, simulator

ROWS = 600
IN_FLIGHT = 8
LEASE_S = 15.0
GRACE_S = 20.0
MOST_S_TO_END = 40.0  # on a busy machine


@pytest.fixture
def vendor() -> Iterator[Simulator]:
    with simulator() as each:
        yield each


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of its own, which may be stopped."""
    with postgres_server() as each:
        yield each


def configured(folder: Path, url: str, vendor: Simulator, more: str = "") -> Path:
    """A working folder whose runs are in this database, and a file."""
    account = CONFIG.format(
        base_url=vendor.base_url, quota='"100/s"', in_flight=IN_FLIGHT, more=more
    )
    (folder / "pipeline.toml").write_text(f'ledger = "{url}"\n{account}')
    return drop(folder, *map(coupon, range(1, ROWS + 1)))


def sending(folder: Path, path: Path, vendor: Simulator) -> subprocess.Popen[str]:
    """A run that has begun to send."""
    process = start(folder, "run", "--yes", "--quiet", str(path))
    until(lambda: vendor.stats()["applied"] > ROWS / 6)
    return process


def sent(vendor: Simulator) -> Counter[int]:
    return Counter(row_of(each["body"]) for each in vendor.get("log") if each["method"] == "PUT")


@pytest.mark.parametrize(
    ("how", "away_s"),
    [
        (signal.SIGINT, 3.0),  # it is restarted
        (signal.SIGKILL, 1.0),  # it crashes
        (signal.SIGINT, LEASE_S + 5.0),  # for longer than a lease lasts
    ],
)
def test_a_run_goes_on_by_itself_once_the_database_is_back(
    tmp_path: Path, vendor: Simulator, server: PostgresServer, how: signal.Signals, away_s: float
) -> None:
    path = configured(tmp_path, server.url(), vendor)
    process = sending(tmp_path, path, vendor)
    server.stop(how)
    began_s = time.monotonic()
    time.sleep(min(away_s, LEASE_S))
    requests = vendor.stats()["requests"]
    time.sleep(max(0.0, began_s + away_s - time.monotonic()))
    if away_s > LEASE_S:  # nothing was sent after its end
        assert vendor.stats()["requests"] == requests < ROWS
    server.start()
    done = ended(process)
    assert done.code == 0, done
    assert sent(vendor) == dict.fromkeys(range(1, ROWS + 1), 1)


def test_a_database_that_stays_away_ends_the_run_and_resume_carries_it_on(
    tmp_path: Path, vendor: Simulator, server: PostgresServer
) -> None:
    path = configured(tmp_path, server.url(), vendor, "max_outage_s = 2")
    process = sending(tmp_path, path, vendor)
    server.stop(signal.SIGKILL)
    done = ended(process)
    assert done.code == 3, done
    assert "cannot be used" in done.words
    server.start()
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=tmp_path)
    with closing(config.kept_store):
        store = open_store(config)
        (run,) = store.runs.names()
        with store.ledger(run, None, None) as ledger:
            answered = {each.row for each in ledger.results(1, ROWS)}
    before = len(sent(vendor))
    hurry(tmp_path)
    done = pipeline(tmp_path, "resume", "--yes", "--quiet")
    assert done.code == 0, done
    times = sent(vendor)
    assert times.keys() == set(range(1, ROWS + 1))
    assert {row: times[row] for row in answered} == dict.fromkeys(answered, 1)
    assert len([row for row in times if times[row] > 1]) <= before - len(answered)


def test_workers_and_the_process_that_shows_them_end_without_their_database(
    tmp_path: Path, vendor: Simulator, server: PostgresServer
) -> None:
    path = configured(tmp_path, server.url(), vendor, "max_outage_s = 2\nshares = 4")
    process = start(tmp_path, "run", "--yes", "--workers", "2", str(path))
    until(lambda: vendor.stats()["applied"] > ROWS / 6)
    workers = children_of(process.pid)
    server.stop(signal.SIGKILL)
    began_s = time.monotonic()
    done = ended(process)
    until(lambda: not any(map(is_alive, workers)))
    assert done.code == 3, done
    assert "cannot be used" in done.words
    assert "internal error" not in done.words
    assert "pipeline resume" in done.words
    assert time.monotonic() - began_s < MOST_S_TO_END
    server.start()
    hurry(tmp_path)
    done = pipeline(tmp_path, "resume", "--yes", "--quiet", "--workers", "2")
    assert done.code == 0, done
    assert sent(vendor).keys() == set(range(1, ROWS + 1))


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_a_database_that_freezes_stops_sending_before_the_lease_ends_and_then_the_run(
    tmp_path: Path, vendor: Simulator, server: PostgresServer, options: tuple[str, ...]
) -> None:
    """Connections stay open, and nothing is refused: only silence tells."""
    path = configured(tmp_path, server.url(), vendor, "max_outage_s = 2\nshares = 4")
    process = start(tmp_path, "run", "--yes", *options, str(path))
    until(lambda: vendor.stats()["applied"] > ROWS / 6)
    workers = children_of(process.pid)
    frozen_s = vendor.stats()["elapsed_s"]
    server.suspend()
    began_s = time.monotonic()
    try:
        done = ended(process)
        until(lambda: not any(map(is_alive, workers)))
        took_s = time.monotonic() - began_s
    finally:
        server.resume()
    print(f"it ended {took_s:.0f} s after the database froze")
    assert done.code == 3, done
    assert "cannot be used" in done.words  # it has not answered, or a new connection has not
    assert "internal error" not in done.words
    assert took_s < LEASE_S + GRACE_S + MOST_S_TO_END
    last_s = max(each["arrived_s"] for each in vendor.get("log"))
    assert last_s - frozen_s < LEASE_S * 0.9  # another process may have it then
    hurry(tmp_path)
    done = pipeline(tmp_path, "resume", "--yes", "--quiet", *options)
    assert done.code == 0, done
    assert sent(vendor).keys() == set(range(1, ROWS + 1))


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_database_that_loses_what_it_acknowledged_is_not_used(
    tmp_path: Path, vendor: Simulator
) -> None:
    with postgres_server({"fsync": "off"}) as server:
        path = configured(tmp_path, server.url(), vendor)
        done = typed(tmp_path, "run", "--yes", str(path))
    assert done.code == 3
    assert "fsync = off: a loss of power would lose results" in done.words
    assert vendor.stats()["requests"] == 0


def test_tables_of_a_newer_version_are_not_used(
    tmp_path: Path, vendor: Simulator, database: str
) -> None:
    path = configured(tmp_path, database, vendor)
    assert typed(tmp_path, "runs").code == 0
    with psycopg.connect(database) as connection:
        connection.execute("update pipeline.installation set version = 1000")
    done = typed(tmp_path, "run", "--yes", str(path))
    assert done.code == 3
    assert "Use the version that made them, or a newer one" in done.words
    assert vendor.stats()["requests"] == 0


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me:hunter2@127.0.0.1/x", "must hold no password"),
        ("postgresql:///x?password=hunter2", "must hold no password"),
        ("postgresql://db.example/x?sslmode=prefer", "the database is on another machine"),
    ],
)
def test_an_address_that_is_no_good_is_refused_without_being_shown(
    tmp_path: Path, vendor: Simulator, url: str, words: str
) -> None:
    path = configured(tmp_path, url, vendor)
    done = typed(tmp_path, "run", "--yes", str(path))
    assert done.code == 2
    assert words in done.words
    assert "hunter2" not in done.out + done.err
    assert vendor.stats()["requests"] == 0


def test_the_password_is_a_reference_and_shown_nowhere(tmp_path: Path, vendor: Simulator) -> None:
    with postgres_server() as server:
        server.execute("create role keeper login superuser password 'hunter2'")
        server.stop()
        (server.data / "pg_hba.conf").write_text(
            "local all pipeline trust\nlocal all all scram-sha-256\n"
        )
        server.start()
        path = configured(tmp_path, server.url(user="keeper"), vendor)
        toml = tmp_path / "pipeline.toml"
        toml.write_text('ledger_password = "env:DATABASE_KEY"\n' + toml.read_text())
        wrong = typed(tmp_path, "run", "--yes", str(path), DATABASE_KEY="hunter3")
        right = typed(tmp_path, "run", "--yes", "--rows", "1-5", str(path), DATABASE_KEY="hunter2")
        checked = typed(tmp_path, "doctor", "--json", DATABASE_KEY="hunter2")
    assert wrong.code == 3, wrong
    assert "password authentication failed" in wrong.words
    assert right.code == 0, right
    assert '"check": "database"' in checked.out
    said = wrong.out + wrong.err + right.out + right.err + checked.out + checked.err
    kept = [each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()]
    assert not [each for each in (*kept, said.encode()) if b"hunter" in each]

"""Runs whose database is behind a pooler that gives each transaction another connection."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cli.command import ended, start, typed
from tests.postgres import USER, PostgresServer
from tests.waiting import until
from tests.workplace import CONFIG, Simulator, coupon, drop, row_of, simulator

ROWS = 400
PORT = 6432
SETTINGS = """
[databases]
* = host={server} port={port}

[pgbouncer]
listen_addr =
listen_port = {PORT}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 3
server_reset_query =
"""

pytestmark = [
    pytest.mark.skipif(
        shutil.which("pgbouncer") is None and not Path("/usr/sbin/pgbouncer").exists(),
        reason="no pgbouncer here (Debian: apt install pgbouncer)",
    ),
]


@contextmanager
def pooled(server: PostgresServer, url: str) -> Iterator[str]:
    """The URL of a database through a pooler in transaction mode, with three connections."""
    folder = Path(tempfile.mkdtemp(prefix="pool-", dir="/tmp"))  # short, as a socket's path must be
    (folder / "users").write_text(f'"{USER}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        SETTINGS.format(server=server.folder, port=server.port, folder=folder, PORT=PORT)
    )
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        nobody = pwd.getpwnam("nobody")
        who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
        for path in (folder, *folder.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    command = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    name = url.partition("///")[2].partition("?")[0]
    found = f"postgresql:///{name}?host={folder}&user={USER}&port={PORT}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [command, "-q", folder / "pgbouncer.ini"], stdout=log, stderr=log, cwd=folder, **who
        )
    try:
        until(lambda: _answers(found), (folder / "log").read_text)
        yield found
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def vendor() -> Iterator[Simulator]:
    with simulator("--quota", "200/s", "--window", "sliding") as each:
        yield each


def test_workers_send_a_run_through_a_pooler(
    tmp_path: Path, vendor: Simulator, postgres: PostgresServer
) -> None:
    path = drop(tmp_path, *(coupon(row, f"c{row % 50}") for row in range(1, ROWS + 1)))
    with pooled(postgres, postgres.new_database()) as url:
        account = CONFIG.format(
            base_url=vendor.base_url, quota='"200/s"', in_flight=16, more="shares = 4"
        )
        (tmp_path / "pipeline.toml").write_text(f'ledger = "{url}"\n{account}')
        process = start(tmp_path, "run", "--yes", "--workers", "2", str(path))
        done = ended(process)
        checked = typed(tmp_path, "doctor", "--json")
    assert done.code == 0, done
    assert '"check": "database"' in checked.out
    log = sorted(vendor.get("log"), key=lambda entry: entry["seq"])
    rows = [row_of(each["body"]) for each in log if each["method"] == "PUT"]
    assert sorted(rows) == list(range(1, ROWS + 1))
    for entity in range(50):
        sent = [row for row in rows if row % 50 == entity]
        assert sent == sorted(sent)

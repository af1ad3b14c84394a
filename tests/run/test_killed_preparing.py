"""A run that is killed while it is prepared: nothing was sent, and the next one begins anew."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import psycopg
import pytest

from pipeline.config import load_config
from pipeline.runs import open_store
from pipeline.store.on_files.registry_file import RegistryFile
from pipeline.vendors import load_vendors
from tests.cli.command import ended, start, typed
from tests.run.machines import STORES, keep_in, ledger_line
from tests.waiting import until
from tests.workplace import ENVIRON, Simulator, configure, coupon, drop, row_of, simulator

ROWS = 1000
OLD_S = 2 * 86_400
POINTS = {
    "its folder": "*",
    "the copy of its input": "*/*.parquet",
    "its jobs": "*/jobs*",
    "its description": "*/run.json",
}
"""What is there when it is killed -> pattern below the folder of runs. Its entry in the registry is
never there with the last one: nobody can make one meanwhile.
"""
BEFORE_ENTRY = "its description"
LEFT_OVER = "it was not fully prepared"
_WAITING = "select pid from pg_locks where relation = 'pipeline.runs'::regclass and not granted"

pytestmark = pytest.mark.parametrize("store", STORES)


@pytest.fixture(scope="session")
def vendor() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_is_killed_while_it_is_prepared_leaves_nothing_to_resume(
    tmp_path, vendor, postgres, store, point
):
    keep_in(store, tmp_path, postgres.new_database)
    configure(tmp_path, vendor.base_url)
    toml = tmp_path / "pipeline.toml"
    toml.write_text(ledger_line(tmp_path) + toml.read_text())
    file = str(drop(tmp_path, *map(coupon, range(1, ROWS + 1))))
    before = vendor.stats()["requests"]
    assert known(tmp_path) == set()
    held = registry_held(tmp_path, store) if point == BEFORE_ENTRY else nullcontext(lambda: True)
    with held as is_there:
        process = start(tmp_path, "run", "--yes", "--quiet", file)
        while not (list((tmp_path / ".pipeline" / "runs").glob(POINTS[point])) and is_there()):
            assert process.poll() is None, ended(process)
            time.sleep(0.001)  # the process needs the machine to get there
        process.kill()
        process.communicate()
    prepared = known(tmp_path)
    assert not prepared or point != BEFORE_ENTRY
    resumed = typed(tmp_path, "resume", "--yes", "--quiet")
    assert resumed.code == 0, resumed
    if not prepared:
        said = typed(tmp_path, "resume", "--yes").words
        assert "A run that was killed while it read its file sent nothing" in said
        assert vendor.stats()["requests"] == before
        done = typed(tmp_path, "run", "--yes", file)
        assert done.code == 0, done
        assert "resumes run" not in done.words
        assert len(known(tmp_path)) == 1
    rows = [row_of(each["body"]) for each in vendor.get(f"log?offset={before}")]
    assert set(rows) == set(range(1, ROWS + 1))
    assert len(rows) == ROWS or prepared  # it may have begun to send
    grow_old(tmp_path, store)
    if not prepared:  # in a database its lease lasts a while
        until(lambda: LEFT_OVER in typed(tmp_path, "runs", "--prune").out, every_s=1.0)
    folders = [each.name for each in (tmp_path / ".pipeline" / "runs").iterdir()]
    assert sorted(folders) == sorted(known(tmp_path))


def known(folder: Path) -> set[str]:
    """The runs on record."""
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=folder)
    with closing(config.kept_store):
        return open_store(config).runs.names()


@contextmanager
def registry_held(folder: Path, store: str) -> Iterator[Callable[[], bool]]:
    """Nobody can add a run meanwhile. Gives what tells whether somebody has all but that."""
    if store == "files":
        with RegistryFile(folder / ".pipeline" / "ledger.db").commit():
            yield lambda: True
        return
    url = (folder / "database-url").read_text()
    with psycopg.connect(url, autocommit=True) as looks, psycopg.connect(url) as holds:
        holds.execute("lock table pipeline.runs in share mode")
        yield lambda: bool(looks.execute(_WAITING).fetchall())
        for (pid,) in looks.execute(_WAITING).fetchall():
            looks.execute("select pg_terminate_backend(%s)", (pid,))  # its client is dead
        until(lambda: not looks.execute(_WAITING).fetchall())


def grow_old(folder: Path, store: str) -> None:
    """What was left is two days old."""
    then_s = time.time() - OLD_S
    for each in (folder / ".pipeline" / "runs").iterdir():
        os.utime(each, (then_s, then_s))
    if store == "postgres":
        with psycopg.connect((folder / "database-url").read_text()) as connection:
            connection.execute("update pipeline.files set made = made - interval '2 days'")
            connection.execute("update pipeline.ledgers set made = made - interval '2 days'")

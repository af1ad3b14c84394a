"""A result that was removed or changed in a record by hand is noticed, and a command goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from pipeline.config import Config
from pipeline.model import Status
from pipeline.reporter import Summary
from pipeline.run import RunEnvironment, carry_out, prepare, reopen
from pipeline.run.failed_rows import prepare_failed
from pipeline.run.history import report_of
from pipeline.runs import RunOptions, open_store
from pipeline.store.on_files.records import LEDGER
from pipeline.store.seam import LostRecordError
from tests.run.machines import STORES, keep_in
from tests.run.test_old_rows import drop, requests, statuses, workplace
from tests.workplace import ENVIRON, coupon

REMOVED = "delete from results where row = 2"
CHANGED = "update results set status = 'rejected' where row = 2"


@pytest.fixture(autouse=True, params=STORES)
def _kept(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    keep_in(request.param, tmp_path, lambda: request.getfixturevalue("database"))


async def sent(config: Config) -> tuple[Summary, Path]:
    prepared = prepare(drop_of(config), config, RunOptions())
    return await carry_out(prepared, RunEnvironment(environ=ENVIRON)), prepared.folder


def drop_of(config: Config) -> Path:
    return drop(config.folder, *map(coupon, range(1, 4)))


def by_hand(config: Config, folder: Path, statement: str) -> None:
    if config.database is None:
        with closing(sqlite3.connect(folder / LEDGER, isolation_level=None)) as connection:
            assert connection.execute(statement).rowcount == 1
        return
    with psycopg.connect(config.database.url, autocommit=True) as connection:
        connection.execute("set search_path = pipeline")
        assert connection.execute(statement).rowcount == 1


async def go_on(run: str, config: Config) -> Summary:
    return await carry_out(reopen(run, config), RunEnvironment(environ=ENVIRON))


@pytest.mark.parametrize("statement", [REMOVED, CHANGED])
async def test_of_a_finished_run_only_that_row_is_unknown_then_and_can_be_sent_again(
    tmp_path: Path, statement: str
) -> None:
    async with workplace(tmp_path) as (vendor, config):
        summary, folder = await sent(config)
        by_hand(config, folder, statement)
        before = requests(vendor)
        with pytest.raises(LostRecordError, match=f"`pipeline runs {summary.run}` keeps"):
            prepare_failed(summary.run, config)
        said: list[str] = []
        found, is_new = report_of(config, summary.run, said.append, checks_record=True)
        assert is_new
        assert statuses(found, config) == {1: "updated", 2: "unknown", 3: "updated"}
        assert "the report that was made before is in" in said[-1]
        assert statuses(summary, config) == statuses(found, config)  # in its place
        assert not report_of(config, summary.run, said.append, checks_record=True)[1]
        assert not (await go_on(summary.run, config)).statuses[Status.NOT_ATTEMPTED]
        assert requests(vendor) == before
        failed = prepare_failed(summary.run, config)
        assert failed is not None
        settled = await carry_out(failed, RunEnvironment(environ=ENVIRON))
        assert settled.statuses[Status.UPDATED] == 1
        assert requests(vendor) == before + 1


async def test_a_database_notices_it_of_an_unfinished_run_too(tmp_path: Path) -> None:
    async with workplace(tmp_path) as (vendor, config):
        if config.database is None:
            pytest.skip("files count the results of finished runs only")
        summary, folder = await sent(config)
        open_store(config).runs.change_state(summary.run, "sending", counts={})
        by_hand(config, folder, REMOVED)
        before = requests(vendor)
        with pytest.raises(LostRecordError, match=r"2 results of run .* 3 were on record"):
            await go_on(summary.run, config)
        found, _ = report_of(config, summary.run, checks_record=True)
        assert statuses(found, config) == {1: "updated", 2: "unknown", 3: "updated"}
        assert requests(vendor) == before

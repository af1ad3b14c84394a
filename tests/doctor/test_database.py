"""What is found out about a database before runs rely on it."""

from __future__ import annotations

import psycopg
import pytest

from pipeline.doctor.database import examine_database, judge_server, judge_tables
from pipeline.doctor.finding import Level
from pipeline.store.postgres.address import DatabaseAddress
from pipeline.store.postgres.schema import MIGRATIONS
from pipeline.store.postgres.server import ServerFacts
from pipeline.store.postgres.store import PgStore

FIT = ServerFacts(180_006, True, True, True, False, 0.0, 0.001, True)
ADDRESS = DatabaseAddress("postgresql://db.example/x", "db.example/x", ("db.example",), "")


def levels(url: str) -> list[tuple[Level, str]]:
    return [(each.level, each.what) for each in examine_database(url, {})]


def test_a_database_is_examined_without_a_change(database):
    server, trip, tables = levels(database)
    assert server[0] == trip[0] == tables[0] == Level.OK
    assert "without TLS, on this machine: PostgreSQL" in server[1]
    assert tables[1] == "it has no tables yet; the first command makes them"
    with psycopg.connect(database) as connection:
        query = "select count(*) from pg_namespace where nspname = 'pipeline'"
        assert connection.execute(query).fetchone() == (0,)
    PgStore(database, environ={}).close()
    assert levels(database)[2] == (Level.OK, f"its tables have version {len(MIGRATIONS)}")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me:hunter2@db.example/x", "its URL must hold no password"),
        ("postgresql:///x?host=/nowhere", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_a_fault(url, words):
    ((level, what),) = levels(url)
    assert level == Level.FAULT
    assert words in what
    assert "hunter2" not in what


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        (FIT._replace(has_fsync=False), Level.FAULT, "runs with fsync = off"),
        (FIT._replace(version=130_000), Level.FAULT, "14 is the oldest"),
        (FIT._replace(is_copy=True), Level.FAULT, "only follows another"),
        (FIT._replace(has_full_pages=False), Level.WARNING, "full_page_writes is off"),
        (FIT._replace(has_page_checksums=False), Level.WARNING, "no checksums of pages"),
        (FIT._replace(clock_ahead_s=60.0), Level.WARNING, "60 s behind that of the database"),
        (FIT._replace(clock_ahead_s=-60.0), Level.WARNING, "60 s ahead of that of the database"),
        (FIT._replace(trip_s=0.2), Level.WARNING, "a question takes 200.0 ms"),
    ],
)
def test_what_is_wrong_with_a_server(facts, level, words):
    found = [each for each in judge_server(ADDRESS, facts) if each.level != Level.OK]
    assert [each.level for each in found] == [level]
    assert words in found[0].what
    assert found[0].fix


def test_a_server_that_is_right():
    assert {each.level for each in judge_server(ADDRESS, FIT)} == {Level.OK}


def test_tables_of_a_newer_version_are_a_fault():
    assert judge_tables(len(MIGRATIONS) + 1).level == Level.FAULT
    assert judge_tables(len(MIGRATIONS)).level == Level.OK

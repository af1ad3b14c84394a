"""The PostgreSQL that tests use is a real one: what it acknowledged survives a crash."""

from __future__ import annotations

import signal

import psycopg
import pytest

from pipeline.store.postgres.store import PgStore
from tests.postgres import postgres_server


def test_what_was_committed_survives_a_crash_of_all_its_processes():
    with postgres_server() as server:
        server.execute("create table kept as select 1 as row")
        server.stop(signal.SIGKILL)
        server.start()
        assert server.execute("select row from kept") == [(1,)]


def test_a_database_is_empty_and_of_one_test(postgres, database):
    other = postgres.new_database()
    postgres.execute("create table rows (row int)", database.partition("///")[2].partition("?")[0])
    tables = "select count(*) from pg_tables where schemaname = 'public'"
    assert postgres.execute(tables, other.partition("///")[2].partition("?")[0]) == [(0,)]


def test_a_database_that_was_given_back_is_empty_when_it_is_given_again():
    with postgres_server() as server:
        first = server.new_database()
        PgStore(first, environ={}).close()
        with psycopg.connect(first) as left_open:
            server.take_back()
            assert server.new_database() == first
            with pytest.raises(psycopg.OperationalError):
                left_open.execute("select")
        name = first.partition("///")[2].partition("?")[0]
        schema = "select from pg_namespace where nspname = 'pipeline'"
        assert server.execute(schema, name) == []


@pytest.mark.parametrize(
    "change",
    [
        "create table more (row int)",
        "create schema more",
        "create function more() returns int language sql as 'select 1'",
        "alter database {name} set statement_timeout = 7",
    ],
)
def test_a_database_with_more_than_the_pipeline_makes_is_not_given_again(postgres, change):
    url = postgres.new_database()
    name = url.partition("///")[2].partition("?")[0]
    postgres.execute(change.format(name=name), name)
    postgres.take_back()
    assert postgres.new_database() != url

"""The PostgreSQL that tests use is a real one: what it acknowledged survives a crash."""

from __future__ import annotations

import signal

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

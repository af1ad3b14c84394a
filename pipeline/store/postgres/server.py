"""What a database must be, so that what it acknowledged is there tomorrow."""

from __future__ import annotations

import time
from typing import NamedTuple

from pipeline.model import RunAborted
from pipeline.store.postgres.connections import PgConnection

OLDEST = 14
_FACTS = """
select current_setting('server_version_num')::int, current_setting('fsync') = 'on',
    current_setting('full_page_writes') = 'on',
    coalesce(current_setting('data_checksums', true), 'off') = 'on', pg_is_in_recovery(),
    extract(epoch from clock_timestamp())::float8
"""


class ServerFacts(NamedTuple):
    """A database as it was found.

    version             major and minor number, such as 180006
    has_fsync           False: a crash of its machine loses what it acknowledged
    has_full_pages      False: a crash may tear pages, unless its file system prevents it
    has_page_checksums  True if it notices damage by its disk
    is_copy             True if it only follows another one
    clock_ahead_s       by which its clock is ahead of ours; negative: behind
    trip_s              time to the database and back
    has_tls             True if the connection is encrypted
    """

    version: int
    has_fsync: bool
    has_full_pages: bool
    has_page_checksums: bool
    is_copy: bool
    clock_ahead_s: float
    trip_s: float
    has_tls: bool


def server_facts(connection: PgConnection) -> ServerFacts:
    """Ask the database about itself."""
    connection.execute("select 1")  # the first trip also wakes what sleeps
    began_s, began_utc_s = time.perf_counter(), time.time()
    found = connection.execute(_FACTS).fetchall()[0]
    trip_s = time.perf_counter() - began_s
    version, fsync, full_pages, checksums, is_copy, there_s = found
    ahead_s = float(there_s) - (began_utc_s + trip_s / 2)
    return ServerFacts(
        *(version, fsync, full_pages, checksums, is_copy),
        *(ahead_s, trip_s, connection.pgconn.ssl_in_use),
    )


def refusal(facts: ServerFacts) -> str | None:
    """Why a database is not used; None if it is.

    >>> refusal(ServerFacts(130002, True, True, True, False, 0.0, 0.001, False))
    'is PostgreSQL 13.2, and 14 is the oldest that is supported'
    """
    if facts.version < OLDEST * 10_000:
        found = f"{facts.version // 10_000}.{facts.version % 10_000}"
        return f"is PostgreSQL {found}, and {OLDEST} is the oldest that is supported"
    if not facts.has_fsync:
        return "runs with fsync = off: a loss of power would lose results. Set fsync = on"
    if facts.is_copy:
        return "only follows another one. Let the URL name the server that takes writes"
    return None


def refuse_unfit(connection: PgConnection) -> None:
    """Raise RunAborted if the database must not be used."""
    wrong = refusal(server_facts(connection))
    if wrong is not None:
        raise RunAborted(f"the database {connection.info.dbname} {wrong}")

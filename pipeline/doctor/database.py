"""Checks of a database that runs share. Nothing in it is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.doctor.finding import Finding, Level
from pipeline.doctor.judge import SET_CLOCK
from pipeline.model import RunAborted
from pipeline.store.postgres.address import DatabaseAddress, read_address
from pipeline.store.postgres.connections import OUTAGE, WAITING, PgConnections
from pipeline.store.postgres.migrate import version_of
from pipeline.store.postgres.schema import MIGRATIONS
from pipeline.store.postgres.server import ServerFacts, refusal, server_facts

READY = f"its tables have version {len(MIGRATIONS)}"
CLOCK_DOUBTFUL_S = 5.0
TRIP_LONG_S = 0.05
_WAIT_S = 5.0
_CHECK = "database"


def examine_database(
    url: str, environ: Mapping[str, str], password: str | None = None
) -> Iterator[Finding]:
    """Check that a database can be reached and keeps what it acknowledges.

    environ   as in `read_address`
    password  None: libpq finds it, if it needs one
    """
    try:
        address = read_address(url, environ)
    except ValueError as error:
        yield _finding(Level.FAULT, f"its URL {error}", "Correct `ledger`")
        return
    connections = PgConnections(
        address, outage=OUTAGE, silence_s=_WAIT_S, waiting=WAITING, password=password
    )
    try:
        facts = connections.do(server_facts, most_s=_WAIT_S)
        version = connections.do(version_of, most_s=_WAIT_S)
    except RunAborted as error:
        yield _finding(Level.FAULT, str(error), "See the words above")
        return
    finally:
        connections.close()
    yield from judge_server(address, facts)
    yield judge_tables(version)


def judge_server(address: DatabaseAddress, facts: ServerFacts) -> Iterator[Finding]:
    """The findings about a server."""
    major, minor = divmod(facts.version, 10_000)
    how = "with TLS" if facts.has_tls else "without TLS, on this machine"
    wrong = refusal(facts)
    if wrong is None:
        yield _finding(Level.OK, f"{address.label} is reached {how}: PostgreSQL {major}.{minor}")
    else:
        yield _finding(Level.FAULT, f"{address.label} {wrong}", "See the words above")
    if not facts.has_full_pages:
        what = "full_page_writes is off: a crash may tear pages, unless its file system copies"
        yield _finding(Level.WARNING, what, "Set full_page_writes = on")
    if not facts.has_page_checksums:
        what = "it has no checksums of pages, so damage by its disk may stay unseen"
        yield _finding(Level.WARNING, what, "pg_checksums --enable, while it is stopped")
    if abs(facts.clock_ahead_s) > CLOCK_DOUBTFUL_S:
        side = "behind" if facts.clock_ahead_s > 0 else "ahead of"
        what = f"this clock is {abs(facts.clock_ahead_s):,.0f} s {side} that of the database"
        yield _finding(Level.WARNING, what, SET_CLOCK)
    is_long = facts.trip_s > TRIP_LONG_S
    what = f"a question takes {facts.trip_s * 1000:.1f} ms"
    fix = "Run the workers near the database: each commit waits that long" if is_long else ""
    yield _finding(Level.WARNING if is_long else Level.OK, what, fix)


def judge_tables(version: int) -> Finding:
    """The finding about the version of the tables; 0 if there are none.

    >>> judge_tables(0).what
    'it has no tables yet; the first command makes them'
    """
    known = len(MIGRATIONS)
    if version > known:
        what = f"its tables have version {version}, and this version knows up to {known}"
        return _finding(Level.FAULT, what, "Use the version that made them, or a newer one")
    if version == 0:
        return _finding(Level.OK, "it has no tables yet; the first command makes them")
    later = "" if version == known else f"; the next command makes them version {known}"
    return _finding(Level.OK, f"its tables have version {version}{later}")


def _finding(level: Level, what: str, fix: str = "") -> Finding:
    return Finding(level=level, check=_CHECK, what=what, fix=fix)

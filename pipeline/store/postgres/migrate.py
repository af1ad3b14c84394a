"""Makes the tables in the database, or makes an earlier version's these."""

from __future__ import annotations

from psycopg import errors

from pipeline.model import RunAborted
from pipeline.store.postgres.connections import PgConnection, durable
from pipeline.store.postgres.schema import MIGRATIONS

MIGRATION_S = 3600.0
"""Longest time for a change of the tables: making an index of a billion rows takes minutes."""

_LOCK = 7_364_205_117  # any number that nothing else locks
# not to_regclass, which may remember for the rest of a transaction that there was none
_HAS_TABLES = """
select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'pipeline' and c.relname = 'installation'
"""
_VERSION = "select version, id::text from pipeline.installation"


def migrate(connection: PgConnection) -> None:
    """Bring the tables to the current version.

    Raises RunAborted if they are those of a newer version, or may not be made.
    """
    if _known_version(connection) == len(MIGRATIONS):
        return
    try:
        with durable(connection):
            connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
            version = _known_version(connection)
            if version == 0:
                connection.execute("create schema pipeline")
            connection.answer_s = MIGRATION_S
            for number in range(version, len(MIGRATIONS)):
                connection.execute(MIGRATIONS[number])
            connection.execute("update pipeline.installation set version = %s", (len(MIGRATIONS),))
    except errors.DuplicateSchema:
        raise RunAborted(
            "the database has a schema `pipeline` of something else. Give the pipeline a database "
            "of its own"
        ) from None


def version_of(connection: PgConnection) -> int:
    """The version of the tables; 0 if there are none."""
    if not connection.execute(_HAS_TABLES).fetchall():
        return 0
    return int(connection.execute(_VERSION).fetchall()[0][0])


def _known_version(connection: PgConnection) -> int:
    version = version_of(connection)
    if version > len(MIGRATIONS):
        raise RunAborted(
            f"the tables in the database have version {version}, and this version of the pipeline "
            f"knows up to {len(MIGRATIONS)}. Use the version that made them, or a newer one"
        )
    return version


def installation_of(connection: PgConnection) -> str:
    """The id that the tables got when they were made; empty if they are gone."""
    if _known_version(connection) == 0:
        return ""
    return str(connection.execute(_VERSION).fetchall()[0][1])

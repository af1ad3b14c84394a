"""Stores exchanges in the ledger of a run: a row each, with a checksum."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from sqlite3 import Connection
from typing import Any
from zlib import crc32

from pipeline.model import Status
from pipeline.model.exchange import Exchange
from pipeline.store.contract import MAX_EXCHANGE_CHARS
from pipeline.store.database import Database, damaged

TABLE = """
CREATE TABLE exchanges (
    row INTEGER PRIMARY KEY, chars INTEGER NOT NULL, checksum INTEGER NOT NULL, record BLOB NOT NULL
);
"""
_KEEP = """
INSERT OR REPLACE INTO exchanges (row, chars, checksum, record)
SELECT ?1, ?2, ?3, ?4 WHERE (SELECT coalesce(sum(chars), 0) FROM exchanges) + ?2 <= ?5
"""
_READ = "SELECT row, checksum, record FROM exchanges WHERE ?1 IS NULL OR row = ?1 ORDER BY row"
_encode = json.JSONEncoder(separators=(",", ":")).encode


def size_of(exchange: Exchange) -> int:
    """Number of characters of its texts."""
    return len(exchange.request) + len(exchange.reply)


def keep(connection: Connection, exchanges: Sequence[Exchange], seed: int) -> None:
    """Add exchanges, up to MAX_EXCHANGE_CHARS in total.

    seed  seed of the database's checksums
    """
    for exchange in exchanges:
        connection.execute(_KEEP, (*line_of(exchange, seed), MAX_EXCHANGE_CHARS))


def line_of(exchange: Exchange, seed: int) -> tuple[int, int, int, bytes]:
    """Row, characters, checksum and record of an exchange; the record is pure ASCII."""
    row, *values = exchange
    record = _encode(values).encode()
    return row, size_of(exchange), _checksum(row, record, seed), record


def kept(database: Database, row: int | None) -> Iterator[Exchange]:
    """The recorded exchanges in row order. Raises LedgerError if one was changed.

    row  only of this row; None for all
    """
    for number, checksum, record in database.rows(_READ, (row,)):
        exchange = exchange_of(number, checksum, record, database.seed)
        if exchange is None:
            raise damaged(database.path, f"the exchange of row {number} is not what was written")
        yield exchange


def exchange_of(row: Any, checksum: Any, record: Any, seed: int) -> Exchange | None:
    """The exchange of a row; None if the row was changed. Its values may be of any type."""
    try:
        if _checksum(row, record, seed) != checksum:
            return None
        status, *texts = json.loads(record)
        return Exchange(row, Status(status), *texts)
    except (TypeError, ValueError):
        return None


def _checksum(row: int, record: bytes, seed: int) -> int:
    return crc32(record, (row & 0xFFFF_FFFF) ^ seed)

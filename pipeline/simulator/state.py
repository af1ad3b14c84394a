"""What updates have written, tokens, turns of the script: on disk, gone with the process."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entity (
    kind TEXT, scope TEXT, id TEXT, body TEXT, PRIMARY KEY (kind, scope, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS turn (
    rule INTEGER, place TEXT, n INTEGER, PRIMARY KEY (rule, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS token (
    vendor TEXT, token TEXT, expires_utc_s REAL, PRIMARY KEY (vendor, token)
) WITHOUT ROWID;
"""
_PAGE_ROWS = 500


class StoredState:
    """Entities by kind, scope and id, tokens, and counters per rule and place; for one thread.

    SQLite's own unnamed temporary database holds them, so memory does not grow with their number.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        # Nothing here outlives the process: no journal, no syncing, one endless transaction.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-8000"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def get(self, kind: str, scope: str, entity_id: str) -> dict[str, Any] | None:
        """The last body written, or None where none was."""
        row = self._db.execute(
            "SELECT body FROM entity WHERE kind = ? AND scope = ? AND id = ?",
            (kind, scope, entity_id),
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, kind: str, scope: str, entity_id: str, body: dict[str, Any]) -> None:
        """Replace the whole entity."""
        self._db.execute(
            "INSERT OR REPLACE INTO entity VALUES (?, ?, ?, ?)",
            (kind, scope, entity_id, json.dumps(body)),
        )

    def page(
        self, kind: str, scope: str, after: str, limit: int
    ) -> list[tuple[str, dict[str, Any]]]:
        """In the order of their ids."""
        rows = self._db.execute(
            "SELECT id, body FROM entity WHERE kind = ? AND scope = ? AND id > ? "
            "ORDER BY id LIMIT ?",
            (kind, scope, after, limit),
        ).fetchall()
        return [(entity_id, json.loads(body)) for entity_id, body in rows]

    def skip(self, kind: str, scope: str, offset: int) -> str:
        """The last of the first `offset` ids."""
        row = self._db.execute(
            "SELECT id FROM entity WHERE kind = ? AND scope = ? ORDER BY id LIMIT 1 OFFSET ?",
            (kind, scope, offset - 1),
        ).fetchone()
        return "" if offset == 0 else "\U0010ffff" if row is None else str(row[0])

    def count(self, kind: str, scope: str) -> int:
        """Counted anew."""
        query = "SELECT count(*) FROM entity WHERE kind = ? AND scope = ?"
        return int(self._db.execute(query, (kind, scope)).fetchone()[0])

    def issue(self, vendor: str, expires_utc_s: float) -> str:
        """A new token, like no other, also not like one from before a reset."""
        token = secrets.token_urlsafe(24)
        self._db.execute("INSERT INTO token VALUES (?, ?, ?)", (vendor, token, expires_utc_s))
        return token

    def is_good(self, vendor: str, token: str, now_utc_s: float) -> bool:
        """Whether this vendor gave it out, it has not expired and was not revoked."""
        found = self._db.execute(
            "SELECT 1 FROM token WHERE vendor = ? AND token = ? AND expires_utc_s > ?",
            (vendor, token, now_utc_s),
        )
        return found.fetchone() is not None

    def revoke(self) -> None:
        """No token that was given out is good any longer."""
        self._db.execute("DELETE FROM token")

    def turn(self, rule: int, place: str) -> int:
        """How often this was asked before for the same rule and place, from 0."""
        row = self._db.execute(
            "INSERT INTO turn VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n - 1",
            (rule, place),
        ).fetchone()
        return int(row[0])

    def entities(self) -> Iterator[dict[str, Any]]:
        """All entities that were written: kind, scope, id, body as last put; sorted by these."""
        after = ("", "", "")
        while True:
            rows = self._db.execute(
                "SELECT kind, scope, id, body FROM entity WHERE (kind, scope, id) > (?, ?, ?) "
                "ORDER BY kind, scope, id LIMIT ?",
                (*after, _PAGE_ROWS),
            ).fetchall()
            for kind, scope, entity_id, body in rows:
                yield {"kind": kind, "scope": scope, "id": entity_id, "body": json.loads(body)}
            if len(rows) < _PAGE_ROWS:
                return
            after = rows[-1][:3]

    def reset(self) -> None:
        """Forget everything."""
        for table in ("entity", "token", "turn"):
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - one of three words above

    def close(self) -> None:
        """Give the disk back."""
        self._db.close()

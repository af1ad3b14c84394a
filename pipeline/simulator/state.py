"""Entities, tokens and turns of the script, on disk until the process ends."""

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
    """Entities by kind, scope and id, tokens, and counters per rule and place. For one thread.

    They are in an unnamed temporary database of SQLite, so memory does not grow with their number.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        # nothing outlives the process: no journal, no syncing, one transaction that never ends
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-8000"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def get(self, kind: str, scope: str, entity_id: str) -> dict[str, Any] | None:
        """The last body written; None if none was."""
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
        """At most `limit` entities after id `after`, in order of their ids."""
        rows = self._db.execute(
            "SELECT id, body FROM entity WHERE kind = ? AND scope = ? AND id > ? "
            "ORDER BY id LIMIT ?",
            (kind, scope, after, limit),
        ).fetchall()
        return [(entity_id, json.loads(body)) for entity_id, body in rows]

    def skip(self, kind: str, scope: str, offset: int) -> str:
        """The last of the first `offset` ids; empty for 0."""
        row = self._db.execute(
            "SELECT id FROM entity WHERE kind = ? AND scope = ? ORDER BY id LIMIT 1 OFFSET ?",
            (kind, scope, offset - 1),
        ).fetchone()
        return "" if offset == 0 else "\U0010ffff" if row is None else str(row[0])

    def count(self, kind: str, scope: str) -> int:
        """Number of entities."""
        query = "SELECT count(*) FROM entity WHERE kind = ? AND scope = ?"
        return int(self._db.execute(query, (kind, scope)).fetchone()[0])

    def issue(self, vendor: str, expires_utc_s: float) -> str:
        """Create a token that never existed before, not even before a reset."""
        token = secrets.token_urlsafe(24)
        self._db.execute("INSERT INTO token VALUES (?, ?, ?)", (vendor, token, expires_utc_s))
        return token

    def is_good(self, vendor: str, token: str, now_utc_s: float) -> bool:
        """True if this vendor issued the token and it is neither expired nor revoked."""
        found = self._db.execute(
            "SELECT 1 FROM token WHERE vendor = ? AND token = ? AND expires_utc_s > ?",
            (vendor, token, now_utc_s),
        )
        return found.fetchone() is not None

    def revoke(self) -> None:
        """Revoke all tokens."""
        self._db.execute("DELETE FROM token")

    def turn(self, rule: int, place: str) -> int:
        """Return the number of earlier calls for the same rule and place."""
        row = self._db.execute(
            "INSERT INTO turn VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n - 1",
            (rule, place),
        ).fetchone()
        return int(row[0])

    def entities(self) -> Iterator[dict[str, Any]]:
        """Yield all entities as kind, scope, id and last body, sorted."""
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
        """Free the disk space."""
        self._db.close()

"""Reads entities a page at a time if that takes fewer requests than reading one by one."""

from __future__ import annotations

import math
import sqlite3
from typing import Any

from pipeline.model import UpdateJob
from pipeline.vendors.kit.contract import EntityPage, Listing, State
from pipeline.workers.entity_reader import Reader

_MAX_PAGES = 100_000
"""A longer listing is taken for a loop."""


def is_cheaper(page: EntityPage, wanted: int) -> bool:
    """Return whether reading all pages takes fewer requests than `wanted` single reads.

    page  the first page

    >>> is_cheaper(EntityPage({"a": State({})}, 100, "1"), 200)
    True
    >>> is_cheaper(EntityPage({"a": State({})}, None, "1"), 200)
    False
    """
    if page.total is None or not page.states:
        return False
    return math.ceil(page.total / len(page.states)) + 1 < wanted


class StateCache:
    """States by entity key, kept on disk so that memory does not grow. For one thread."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # a file without a name
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("CREATE TABLE states (entity TEXT PRIMARY KEY, state TEXT)")
        self._database.execute("BEGIN")

    def put(self, prefix: str, page: EntityPage) -> None:
        """Store the entities of a page. `prefix` is their entity keys without the id."""
        self._database.executemany(
            "INSERT OR REPLACE INTO states VALUES (?, ?)",
            [(prefix + name, state.text()) for name, state in page.states.items()],
        )

    def get(self, entity: str) -> State | None:
        """Return the state of an entity; None if it is not stored."""
        query = "SELECT state FROM states WHERE entity = ?"
        row = self._database.execute(query, (entity,)).fetchone()
        return None if row is None else State.of(row[0])

    def clear(self, prefix: str) -> None:
        """Remove the entities with this prefix."""
        last = f"{prefix}\U0010ffff"
        self._database.execute("DELETE FROM states WHERE entity BETWEEN ? AND ?", (prefix, last))

    def close(self) -> None:
        """Free the disk space."""
        self._database.close()


async def load_listing(
    cache: StateCache,
    reader: Reader,
    listing: Listing[Any, Any],
    *,
    job: UpdateJob,
    prefix: str,
    wanted: int,
) -> bool:
    """Load all entities of a listing into the cache if that is cheaper than `wanted` single reads.

    job     a job of any entity in the listing
    prefix  the entity keys without the id

    Returns False, with nothing in the cache, if it is not cheaper or if a page cannot be read.
    """
    cursor = ""
    for number in range(_MAX_PAGES):
        page = await reader.page(listing, job, cursor)
        if page is None or (number == 0 and not is_cheaper(page, wanted)):
            break
        cache.put(prefix, page)
        if not page.next or page.next == cursor:
            return True
        cursor = page.next
    cache.clear(prefix)
    return False

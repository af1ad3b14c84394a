"""Entities read a page at a time, where that takes fewer requests than one by one."""

from __future__ import annotations

import math
import sqlite3
from typing import Any

from pipeline.model import UpdateJob
from pipeline.vendors.kit.contract import EntityPage, Listing, State
from pipeline.workers.entity_reader import Reader

_MOST_PAGES = 100_000
"""A list that goes on longer leads in a circle."""


def is_cheaper(page: EntityPage, wanted: int) -> bool:
    """Whether all pages are fewer requests than the entities that are wanted.

    >>> is_cheaper(EntityPage({"a": State({})}, 100, "1"), 200)
    True
    >>> is_cheaper(EntityPage({"a": State({})}, None, "1"), 200)
    False
    """
    if page.total is None or not page.states:
        return False
    return math.ceil(page.total / len(page.states)) + 1 < wanted


class StateCache:
    """States by entity, on disk: memory does not grow with their number. For one thread."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # gone with the process
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("CREATE TABLE states (entity TEXT PRIMARY KEY, state TEXT)")
        self._database.execute("BEGIN")

    def put(self, place: str, page: EntityPage) -> None:
        """Entities of one place, as an entity's text begins."""
        self._database.executemany(
            "INSERT OR REPLACE INTO states VALUES (?, ?)",
            [(place + name, state.text()) for name, state in page.states.items()],
        )

    def get(self, entity: str) -> State | None:
        """What was put there."""
        query = "SELECT state FROM states WHERE entity = ?"
        row = self._database.execute(query, (entity,)).fetchone()
        return None if row is None else State.of(row[0])

    def clear(self, place: str) -> None:
        """Forget what lies in a place."""
        most = f"{place}\U0010ffff"
        self._database.execute("DELETE FROM states WHERE entity BETWEEN ? AND ?", (place, most))

    def close(self) -> None:
        """Give the disk back."""
        self._database.close()


async def shelve(
    shelf: StateCache,
    reader: Reader,
    listing: Listing[Any, Any],
    *,
    job: UpdateJob,
    place: str,
    wanted: int,
) -> bool:
    """Put all entities of a place on the shelf, if that is cheaper than reading `wanted` of them.

    job  any of that place
    """
    cursor = ""
    for number in range(_MOST_PAGES):
        page = await reader.page(listing, job, cursor)
        if page is None or (number == 0 and not is_cheaper(page, wanted)):
            break
        shelf.put(place, page)
        if not page.next or page.next == cursor:
            return True
        cursor = page.next
    shelf.clear(place)
    return False

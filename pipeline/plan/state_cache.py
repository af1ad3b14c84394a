"""Reads entities a page at a time if that takes fewer requests than reading one by one."""

from __future__ import annotations

import math
from typing import Any

from pipeline.model import UpdateJob
from pipeline.plan.entity_reader import Reader
from pipeline.store.scratch_table import ScratchTable
from pipeline.vendors.kit.contract import EntityPage, Listing, State

_MAX_PAGES = 100_000
"""A longer listing is taken for a loop."""


def is_cheaper(page: EntityPage, wanted: int) -> bool:
    """True if reading all pages takes fewer requests than `wanted` single reads.

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
        self._table = ScratchTable()

    def put(self, prefix: str, page: EntityPage) -> None:
        """Store the entities of a page. `prefix` is their entity keys without the id."""
        self._table.put((prefix + name, state.text()) for name, state in page.states.items())

    def get(self, entity: str) -> State | None:
        """Return the state of an entity; None if it is not stored."""
        text = self._table.get(entity)
        return None if text is None else State.of(text)

    def clear(self, prefix: str) -> None:
        """Remove the entities with this prefix."""
        self._table.clear(prefix)

    def close(self) -> None:
        """Free the disk space."""
        self._table.close()


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

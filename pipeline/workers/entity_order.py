"""Order per entity: one row of an entity is sent at a time, in row order. Pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class EntityOrder(Generic[T]):
    """Keyed queue: one active item per entity; the others wait behind it.

    >>> order = EntityOrder()
    >>> order.enter("a", 1), order.enter("a", 2), order.enter("b", 3), order.waiting
    (True, False, True, 1)
    >>> order.leave("a"), order.leave("a"), order.leave("b")
    (2, None, None)
    """

    __slots__ = ("_behind", "waiting")

    def __init__(self) -> None:
        self._behind: dict[str, deque[T] | None] = {}
        self.waiting = 0

    def enter(self, entity: str, item: T) -> bool:
        """True if `item` is active now; otherwise it waits, and `leave` returns it later."""
        if entity not in self._behind:
            self._behind[entity] = None
            return True
        queue = self._behind[entity]
        if queue is None:
            queue = self._behind[entity] = deque()
        queue.append(item)
        self.waiting += 1
        return False

    def leave(self, entity: str) -> T | None:
        """End the active item of `entity`; return the next one, which is now active, or None."""
        queue = self._behind[entity]
        if queue:
            self.waiting -= 1
            return queue.popleft()
        del self._behind[entity]
        return None

    def first_waiting(self, entity: str) -> T | None:
        """Return the first item that waits, without taking it; None if none waits."""
        queue = self._behind.get(entity)
        return queue[0] if queue else None

    def take_waiting(self, entity: str) -> list[T]:
        """Take out all items that wait behind the active one."""
        queue = self._behind.get(entity) or ()
        taken = list(queue)
        self._behind[entity] = None
        self.waiting -= len(taken)
        return taken

    def put_first(self, entity: str, item: T) -> None:
        """Add `item` in front of all items that wait."""
        queue = self._behind[entity]
        if queue is None:
            queue = self._behind[entity] = deque()
        queue.appendleft(item)
        self.waiting += 1

    def is_awaited(self, entity: str) -> bool:
        """True if an item waits behind the active one of `entity`."""
        return bool(self._behind.get(entity))

    def is_under_way(self, entity: str) -> bool:
        """True if an item of `entity` is active."""
        return entity in self._behind

    def __len__(self) -> int:
        """Return the number of entities with an active item."""
        return len(self._behind)

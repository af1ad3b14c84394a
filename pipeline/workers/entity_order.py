"""Order per entity: at most one row of an entity is under way, in row order. Pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class EntityOrder(Generic[T]):
    """Who may go now, and who waits behind a row of the same entity.

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
        """True where `item` may go now; else it waits and `leave` will give it out."""
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
        """The row under way for `entity` is done: the next one, which is now under way, or None."""
        queue = self._behind[entity]
        if queue:
            self.waiting -= 1
            return queue.popleft()
        del self._behind[entity]
        return None

    def first_waiting(self, entity: str) -> T | None:
        """The one that goes after the one under way; None where none waits."""
        queue = self._behind.get(entity)
        return queue[0] if queue else None

    def take_waiting(self, entity: str) -> list[T]:
        """Take out all that wait behind the one under way."""
        queue = self._behind.get(entity) or ()
        taken = list(queue)
        self._behind[entity] = None
        self.waiting -= len(taken)
        return taken

    def put_first(self, entity: str, item: T) -> None:
        """`item` waits in front of all others behind the one under way."""
        queue = self._behind[entity]
        if queue is None:
            queue = self._behind[entity] = deque()
        queue.appendleft(item)
        self.waiting += 1

    def is_awaited(self, entity: str) -> bool:
        """Whether a row waits behind the one under way for `entity`."""
        return bool(self._behind.get(entity))

    def is_under_way(self, entity: str) -> bool:
        """Whether a row of `entity` is under way."""
        return entity in self._behind

    def __len__(self) -> int:
        """How many entities have a row under way."""
        return len(self._behind)

"""What earlier processes of the same run recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline.model import Status


@dataclass(frozen=True, slots=True)
class RecoveredState:
    """The state of a resumed run's rows.

    in_doubt    rows that may have been sent and have no result
    unknown     rows whose result is `unknown`
    refused     rows that were refused, maybe with their account, without a decision -> HTTP status
    overtaking  entity -> its row in doubt that may have been sent before older rows of the entity
    ended       rows -> those of them that must not be sent again, with their status; called in a
                thread
    """

    in_doubt: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()
    refused: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    overtaking: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    ended: Callable[[Sequence[int]], Mapping[int, Status]] = lambda _rows: {}


NOTHING = RecoveredState()
"""The recovered state of a new run."""

"""What an earlier process of the same run left on record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline.model import Status


@dataclass(frozen=True, slots=True)
class RecoveredState:
    """What is known of the rows of a run that is carried on.

    in_doubt  rows that may have been sent and have no result
    unknown   rows whose result is `unknown`
    overtaking  entity -> its row in doubt, which may have been sent before those in front of it
    refused   rows that were refused with the account, and not judged -> with which status
    ended     of these rows, those that must not be sent again and how they ended; called in a
              thread
    """

    in_doubt: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()
    refused: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    overtaking: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    ended: Callable[[Sequence[int]], Mapping[int, Status]] = lambda _rows: {}


NOTHING = RecoveredState()
"""Of a run that begins."""

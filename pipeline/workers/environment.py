"""What the sender of an account gets from its run, and from earlier processes of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline.model import Status
from pipeline.workers.fail_fast import FAIL_FAST_AFTER
from pipeline.workers.precheck import NO_PRECHECKS, PrecheckPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderEnvironment:
    """What an account's sender gets from the run.

    clock            monotonic seconds
    jitter           draws from [0, 1)
    fail_fast_after  equal refusals at the start that stop the account; 0 never stops it
    coalesce         a row that replaces its whole entity covers older rows of the entity
    prechecks        which rows have their entity read before they are sent
    previous_state   row in doubt -> what its entity held before the first attempt; None if that is
                     not on record
    on_end           called with the status of each row that ends
    is_gated         True if `on_end` may stop the account: few rows are undecided at a time then
    """

    clock: Callable[[], float]
    jitter: Callable[[], float]
    fail_fast_after: int = FAIL_FAST_AFTER
    coalesce: bool = False
    prechecks: PrecheckPolicy = NO_PRECHECKS
    previous_state: Callable[[int], str | None] = lambda _row: None
    on_end: Callable[[Status], None] = lambda _status: None
    is_gated: bool = False


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

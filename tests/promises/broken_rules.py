"""Rules about outages that are wrong, each in the place of ours. Knows how the engine is built."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pipeline.model import Verdict
from pipeline.pacing.circuit_breaker import CircuitBreaker
from pipeline.workers import backlog
from pipeline.workers.attempts import Attempts
from pipeline.workers.backlog import Backlog
from pipeline.workers.batches import Batch
from pipeline.workers.bisection import GroupParts
from pipeline.workers.concurrency_limiter import ConcurrencyLimiter
from pipeline.workers.probes import ProbeKind, turns
from pipeline.workers.row import Step, after_update


def _former_on_success(outage: CircuitBreaker, left_s: float, *, is_read: bool = False) -> None:
    if outage.down_since_s is None or left_s >= outage.failing_since_s:
        outage.close()


def _former_on_failure(
    outage: CircuitBreaker, entity: str, left_s: float, now_s: float, **_more: Any
) -> None:
    if outage.down_since_s is None:
        outage._failed[entity] = False
        outage.failing_since_s = min(outage.failing_since_s, left_s)
        if len(outage._failed) >= 5:
            outage.down_since_s, outage.due_s = now_s, now_s + outage._wait_s


def _former_probe(rows: Backlog, number: int, *, fresh: bool = True) -> Batch:
    if (fresh and number % 2) or not rows._retrying:
        batch = rows.next(-math.inf, fresh=fresh)
        is_harmless = all(row.attempts or row.job.is_repeatable for row in batch)
        if batch and (is_harmless or not rows._retrying):
            return batch
        if batch:
            rows.put_back(batch)
    return rows._next_retry() if rows._retrying else []


def former(patch: pytest.MonkeyPatch) -> None:
    """The rule that was: whatever fails is evidence; a row that may not be repeated never asks
    while one that failed is left, and those that failed never end.
    """
    patch.setattr(CircuitBreaker, "on_success", _former_on_success)
    patch.setattr(CircuitBreaker, "on_failure", _former_on_failure)
    patch.setattr(Backlog, "probe", _former_probe)
    never_at_fault(patch)


def never_at_fault(patch: pytest.MonkeyPatch) -> None:
    """At the end of a file rows that fail are taken for an outage, in each process anew."""
    patch.setattr("pipeline.workers.account_sender.are_rows_at_fault", lambda **_told: False)


def no_turn_for_once(patch: pytest.MonkeyPatch) -> None:
    """A row that may not be repeated asks only where there is no other."""

    def without(number: int) -> tuple[ProbeKind, ...]:
        return tuple(sorted(turns(number), key=lambda turn: turn is ProbeKind.ONCE))

    patch.setattr(backlog, "turns", without)


def groups_end_together(patch: pytest.MonkeyPatch) -> None:
    """A group without evidence is tried as often as a row, and its rows end alike."""

    def go_on_with(attempts: Attempts, parts: GroupParts) -> None:
        attempts._backlog.send_apart(parts.now)
        for row in (row for group in parts.later for row in group):
            assert row.answer is not None
            answer = row.answer._replace(verdict=Verdict.TRANSIENT)
            action = after_update(row, answer, attempts._facts(row, answer, 0.5))
            attempts._perform(row, Step.UPDATE, action)

    patch.setattr(Attempts, "_send_parts", go_on_with)
    patch.setattr("pipeline.workers.row.goes_apart", _only_refused)


def _only_refused(answer: Any, size: int, _tries: int, _most: int) -> bool:
    return size > 1 and answer.verdict is Verdict.SPLIT


def who_failed_goes_first(patch: pytest.MonkeyPatch) -> None:
    """Rows that failed are tried again and again before others show whether the vendor works."""
    patch.setattr(ConcurrencyLimiter, "is_suspected", False)


Rule = Callable[[pytest.MonkeyPatch], None]
RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        former,
        no_turn_for_once,
        never_at_fault,
        groups_end_together,
        who_failed_goes_first,
    )
}

"""Decides from the state of an entity whether its row is sent, and how. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from pipeline.model import JobRow, UpdateJob
from pipeline.vendors import Operation
from pipeline.vendors.kit.contract import Difference, Missing, State, VendorSettings


@dataclass(frozen=True, slots=True)
class PrecheckPolicy:
    """Which rows of a run have their entity read first, besides rows with expected values.

    skips      rows that would change nothing are not sent
    remembers  the previous state is recorded before it is overwritten
    """

    skips: bool = False
    remembers: bool = False

    def is_due(self, operation: Operation[Any, Any], job: JobRow) -> bool:
        """True if the entity of `job` is read before the row is sent."""
        if operation.reading is None or operation.change is None:
            return False
        return self.skips or self.remembers or job.keeps or bool(job.expects)


NO_PRECHECKS = PrecheckPolicy()
"""Only rows with expected values have their entity read first."""


class PrecheckAction(Enum):
    """What happens to the row after its precheck."""

    SEND = "send"
    UNCHANGED = "unchanged"  # the entity already matches
    APPLIED = "applied"  # the entity matches, and an earlier attempt may have done it
    CONFLICT = "conflict"  # the entity does not hold the expected values
    MISSING = "missing"  # the vendor has no such entity
    MIXED = "mixed"  # in doubt, and the entity was changed since: it stays unknown


class PrecheckOutcome(NamedTuple):
    """The decision of a precheck.

    job          what is sent; None unless `action` is SEND
    differences  fields that do not hold the expected value, which is `wanted`
    """

    action: PrecheckAction
    job: UpdateJob | None = None
    differences: tuple[Difference, ...] = ()


def decide(
    operation: Operation[Any, Any],
    settings: VendorSettings,
    job: UpdateJob,
    state: State | Missing,
    *,
    skips: bool,
    keeps: bool,
    expected: State | None,
    in_doubt: bool,
) -> PrecheckOutcome:
    """Decide what happens to a row whose entity holds `state`.

    skips     a job that would change nothing is not sent
    keeps     the job is merged into the state
    expected  the state that the entity must hold; for a row in doubt the state before its first
              attempt. None accepts any state
    in_doubt  the row may have been applied
    """
    change, reading = operation.change, operation.reading
    if change is None or reading is None:
        return PrecheckOutcome(PrecheckAction.SEND, job)
    if isinstance(state, Missing):
        return PrecheckOutcome(PrecheckAction.MIXED if in_doubt else PrecheckAction.MISSING)
    keeps = keeps and change.merge is not None
    if in_doubt and expected is not None:
        sent = change.merge(settings, job, expected) if keeps and change.merge else job
        after = change.after(settings, sent, expected)
        if after is not None and not change.differences(settings, after, State(state.fields)):
            return PrecheckOutcome(PrecheckAction.APPLIED)
    found = () if expected is None else change.differences(settings, expected, state)
    if found:
        return PrecheckOutcome(
            PrecheckAction.MIXED if in_doubt else PrecheckAction.CONFLICT, differences=found
        )
    sent = change.merge(settings, job, state) if keeps and change.merge else job
    skips = keeps or skips or (expected is not None and not in_doubt)
    if skips and not reading.differences(settings, sent, state):
        return PrecheckOutcome(PrecheckAction.APPLIED if in_doubt else PrecheckAction.UNCHANGED)
    return PrecheckOutcome(PrecheckAction.SEND, sent)

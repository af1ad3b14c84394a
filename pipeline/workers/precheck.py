"""Decides from the state of an entity whether its row is sent, and how. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from pipeline.model import Answer, Effect, JobRow, UpdateJob, Verdict
from pipeline.vendors import Operation
from pipeline.vendors.kit.contract import Difference, Missing, State, VendorSettings
from pipeline.workers.answers import rejection

_SHOWN_MOST = 3
_SHOWN_CHARS = 60


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


# The decisions as answers...

HELD = Answer(Verdict.OK, Effect.NONE, message="the vendor holds it already", hint="nothing to do")
GONE = rejection(
    "missing",
    "the vendor has no such entity",
    hint="check the id, and the account's settings that say where it is",
)
MOVING = rejection(
    "changed_meanwhile",
    "the entity was changed between each read and update",
    hint="something else changes this entity: check it at the vendor, then send the row again",
)
MIXED = Answer(
    Verdict.TRANSIENT,
    Effect.MAYBE,
    code="mixed",
    message="it may have been applied, and the entity was changed by something else since",
    hint="look the entity up at the vendor; send a new row with what is missing",
)


def conflict(differences: tuple[Difference, ...]) -> Answer:
    """Return the answer for a row whose entity does not hold the expected values.

    The message names the first differences, the receipt has all of them.
    """
    shown = [
        f"{each.field}: expected {_shown(each.wanted)}, found {_shown(each.found)}"
        for each in differences[:_SHOWN_MOST]
    ]
    if len(differences) > _SHOWN_MOST:
        shown.append(f"and {len(differences) - _SHOWN_MOST} more")
    fields = [
        {"field": each.field, "expected": each.wanted, "found": each.found} for each in differences
    ]
    return rejection(
        "changed_since",
        f"the entity was changed since it was read: {'; '.join(shown)}",
        hint="check whether the change is still right, then make a new plan",
        receipt=json.dumps({"conflict": fields}),
    )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."

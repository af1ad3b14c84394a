"""What a look at an entity says about the row that is to update it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from pipeline.model import Answer, Effect, JobRow, UpdateJob, Verdict
from pipeline.vendors import Operation
from pipeline.vendors.kit.contract import Difference, Missing, State, VendorSettings

_SHOWN_MOST = 3
_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class PrecheckPolicy:
    """Before which rows of a run their entity is read, beside those that expect something of it.

    skips      rows that would change nothing are not sent
    remembers  what is there is put on record before it is overwritten
    """

    skips: bool = False
    remembers: bool = False

    def is_due(self, operation: Operation[Any, Any], job: JobRow) -> bool:
        """Whether the entity of a row is read before the row is sent."""
        if operation.reading is None or operation.change is None:
            return False
        return self.skips or self.remembers or job.keeps or bool(job.expects)


NO_PRECHECKS = PrecheckPolicy()
"""No row is looked at but those that expect something."""


class PrecheckAction(Enum):
    """What the row should do."""

    SEND = "send"
    UNCHANGED = "unchanged"  # the vendor holds it
    APPLIED = "applied"  # the vendor holds it, and an attempt of ours may have done it
    CONFLICT = "conflict"  # the vendor holds something else than expected
    MISSING = "missing"  # the vendor has no such entity
    MIXED = "mixed"  # in doubt, and somebody else has written since: nobody can tell


class PrecheckOutcome(NamedTuple):
    """What follows from a look.

    job     what is sent; None unless `action` is SEND
    found   what is not as it was expected to be: `wanted` is what was expected
    """

    action: PrecheckAction
    job: UpdateJob | None = None
    found: tuple[Difference, ...] = ()


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
    """What a row should do now.

    state     what the entity holds
    skips     what would change nothing is not sent
    keeps     the job is merged_text over the state
    expected  what it has to hold; in doubt: what it held before the first attempt. None: anything
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
        if after is not None and not change.unlike(settings, after, State(state.fields)):
            return PrecheckOutcome(PrecheckAction.APPLIED)
    found = () if expected is None else change.unlike(settings, expected, state)
    if found:
        return PrecheckOutcome(
            PrecheckAction.MIXED if in_doubt else PrecheckAction.CONFLICT, found=found
        )
    sent = change.merge(settings, job, state) if keeps and change.merge else job
    skips = keeps or skips or (expected is not None and not in_doubt)
    if skips and not reading.differences(settings, sent, state):
        return PrecheckOutcome(PrecheckAction.APPLIED if in_doubt else PrecheckAction.UNCHANGED)
    return PrecheckOutcome(PrecheckAction.SEND, sent)


# ----------------------------------------------------------------------------- as answers

HELD = Answer(Verdict.OK, Effect.NONE, message="the vendor holds it already", hint="nothing to do")
GONE = Answer(
    Verdict.REJECTED,
    Effect.NONE,
    code="missing",
    message="the vendor has no such entity",
    hint="check the id, and where the account looks for it",
)
MOVING = Answer(
    Verdict.REJECTED,
    Effect.NONE,
    code="changed_meanwhile",
    message="somebody else changed it between read and update, again and again",
    hint="somebody else changes this entity: look at it, then send the row again",
)
MIXED = Answer(
    Verdict.TRANSIENT,
    Effect.MAYBE,
    code="mixed",
    message="it may have been applied, and somebody else has changed the entity since",
    hint="look the entity up at the vendor; what is still wanted is a new row",
)


def conflict(found: tuple[Difference, ...]) -> Answer:
    """The answer for a row whose entity is not as expected: both values, and all in the receipt."""
    told = [_in_words(each) for each in found[:_SHOWN_MOST]]
    if len(found) > _SHOWN_MOST:
        told.append(f"and {len(found) - _SHOWN_MOST} more")
    both = [{"field": each.field, "expected": each.wanted, "found": each.found} for each in found]
    return Answer(
        Verdict.REJECTED,
        Effect.NONE,
        code="changed_since",
        message=f"somebody else changed it since it was read: {'; '.join(told)}",
        hint="see whether the change is still right, then make a new plan",
        receipt=json.dumps({"conflict": both}),
    )


def _in_words(each: Difference) -> str:
    return f"{each.field}: expected {_shown(each.wanted)}, found {_shown(each.found)}"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."

"""Answers that no vendor gave: for rows that end without one, and hints added to one. Pure."""

from __future__ import annotations

import json
from typing import Any

from pipeline.model import Answer, Effect, Verdict
from pipeline.vendors.kit.classify import NOT_THE_VENDOR
from pipeline.vendors.kit.contract import Difference

RUN_ENDED = "the run was interrupted"

_SHOWN_MOST = 3
_SHOWN_CHARS = 60


def rejection(code: str, message: str, *, hint: str, receipt: str = "") -> Answer:
    """Return the answer for a row that we refuse ourselves: certainly nothing was applied."""
    return Answer(
        Verdict.REJECTED, Effect.NONE, code=code, message=message, hint=hint, receipt=receipt
    )


INTERRUPTED = Answer(
    Verdict.TRANSIENT,
    Effect.MAYBE,
    code="interrupted",
    message="the run was stopped before an answer arrived",
    hint="look the entity up at the vendor, or send the row again",
)
UNREADABLE = INTERRUPTED._replace(
    code="unreadable",
    message="an answer arrived, and a bug in this program prevented reading it",
)
INTERRUPTED_EARLIER = INTERRUPTED._replace(
    message="an earlier process ended before an answer arrived"
)
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
NO_GUARD = rejection(
    "no_guard",
    "the entity has no value for a precondition that would prevent a second update",
    hint="check the entity at the vendor; preconditions = false sends the row without a guard",
)
BEHIND_UNKNOWN = rejection(
    "behind_unknown",
    "an earlier row of the same entity ended unknown",
    hint="look the entity up at the vendor, then send this row again",
)


def applied(receipt: str) -> Answer:
    """Return the answer for a row that a read showed to be applied."""
    return Answer(Verdict.OK, Effect.APPLIED, receipt=receipt)


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


# Answers of a vendor, with what we add...


def about_this_row(refusal: Answer) -> Answer:
    """Return the refusal of a row by an account that works."""
    hint = (
        "the vendor accepts other rows with these credentials: check the id of this row, and what "
        "the credentials may do with it"
    )
    return refusal._replace(hint=hint)


def changed_between(refusal: Answer, change: str) -> Answer:
    """Return the refusal of a precondition that does not hold: `change` says why."""
    message = f"{change}: it was changed between read and update"
    return refusal._replace(code=MOVING.code, message=message, hint=MOVING.hint)


def no_description(answer: Answer) -> Answer:
    """Return the answer to a read before an update that succeeded and does not show the entity."""
    return Answer(
        *(Verdict.TRANSIENT, Effect.NONE, answer.http_status, NOT_THE_VENDOR),
        message="the reply is not the vendor's description of this entity",
        hint="nothing was sent: check base_url and proxy, then send the row again",
    )


def nothing_sent(answer: Answer) -> Answer:
    """Return the answer to a read, without which its row is not sent."""
    if answer.effect is not Effect.MAYBE:
        return answer
    return answer._replace(effect=Effect.NONE, hint="nothing was sent: send the row again")


def not_applied(answer: Answer) -> Answer:
    """Return the answer to an update that a read showed not to be applied."""
    return answer._replace(hint="a read showed that it was not applied: send the row again")


def unread(answer: Answer) -> Answer:
    """Return the answer to a precheck, without which its row is not sent."""
    if answer.verdict is Verdict.OK:
        answer = no_description(answer)
    message = f"the entity could not be read before the update: {answer.message}"
    return answer._replace(message=message, hint="nothing was sent: send the row again later")


def no_further(answer: Answer, reason: str | None) -> Answer:
    """Return the last answer of a row whose account has stopped.

    reason  None if the run was interrupted
    """
    message = f"{answer.message}; no further attempt: {reason or RUN_ENDED}"
    return answer._replace(message=message)


def left_to_resume(answer: Answer, reason: str | None) -> Answer:
    """Return the last answer of a row that was certainly not applied when its account stopped."""
    hint = "nothing was applied: remove the cause of the stop, then `pipeline resume` sends the row"
    return no_further(answer, reason)._replace(hint=hint)

"""Decides what a verification read proves about a row in doubt. Pure."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, NamedTuple

from pipeline.model import NoReply, Reply, UpdateJob
from pipeline.vendors.kit.contract import MISSING, EntityRead, VendorSettings


class FoundState(NamedTuple):
    """How the entity at the vendor compares with what a row writes.

    is_held         the entity holds everything that the row writes
    can_tell        it does not, and the difference proves that the update was not applied
    settle_after_s  seconds for which the vendor may still work on an update
    receipt         what is recorded of the read, as JSON; empty if nothing is
    """

    is_held: bool
    can_tell: bool
    settle_after_s: float
    receipt: str = ""


def compare_read(
    reading: EntityRead[Any, Any], settings: VendorSettings, job: UpdateJob, reply: Reply | NoReply
) -> FoundState | None:
    """Compare the `reply` to a read with `job`; None if the reply shows no state."""
    if isinstance(reply, NoReply):
        return None
    state = reading.state(settings, job, reply)
    if state is None:
        return None
    if state is MISSING:
        return FoundState(is_held=False, can_tell=True, settle_after_s=reading.settle_after_s)
    differences = reading.differences(settings, job, state)
    return FoundState(
        is_held=not differences,
        can_tell=any(each.is_decided for each in differences),
        settle_after_s=reading.settle_after_s,
        receipt="" if state.etag is None else json.dumps({"etag": state.etag}),
    )


class Resolution(Enum):
    """What is known of a row in doubt after a read."""

    APPLIED = "the vendor holds what the row writes"
    NOT_APPLIED = "the vendor does not hold it, and no attempt in progress can change that"
    TOO_EARLY = "the vendor does not hold it yet: read again after settle_after_s"
    UNDECIDED = "the fields that can be read do not tell"


def resolve(found: FoundState, since_attempt_s: float) -> Resolution:
    """Return what `found` proves, `since_attempt_s` seconds after the last attempt was sent.

    >>> resolve(FoundState(False, can_tell=True, settle_after_s=30.0), since_attempt_s=5.0).name
    'TOO_EARLY'
    """
    if found.is_held:
        return Resolution.APPLIED
    if not found.can_tell:
        return Resolution.UNDECIDED
    if since_attempt_s < found.settle_after_s:
        return Resolution.TOO_EARLY
    return Resolution.NOT_APPLIED

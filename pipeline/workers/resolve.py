"""What a read says about an update that may have been applied. Pure."""

from __future__ import annotations

from enum import Enum


class Resolution(Enum):
    """How doubt about one row ends, or that it does not yet."""

    APPLIED = "the vendor holds what the row wants"
    NOT_APPLIED = "it does not, and an attempt under way could not change that any more"
    TOO_EARLY = "it does not yet: read again once that time has passed"
    UNDECIDED = "what can be read does not tell"


def settled(
    *, is_held: bool, can_tell: bool, since_attempt_s: float, settle_after_s: float
) -> Resolution:
    """What follows from a read.

    is_held          no difference was found between what the vendor holds and what the row wants
    can_tell         a difference was found that proves that the update was not applied
    since_attempt_s  seconds since the last attempt began
    settle_after_s   how long the vendor may work on after an attempt began

    >>> settled(is_held=False, can_tell=True, since_attempt_s=5.0, settle_after_s=30.0)
    <Resolution.TOO_EARLY: 'it does not yet: read again once that time has passed'>
    """
    if is_held:
        return Resolution.APPLIED
    if not can_tell:
        return Resolution.UNDECIDED
    return Resolution.NOT_APPLIED if since_attempt_s >= settle_after_s else Resolution.TOO_EARLY

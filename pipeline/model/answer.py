"""What a reply means for one job: verdict, effect and plain words."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """The class of an answer, named for the engine's next act."""

    OK = "ok"
    REJECTED = "rejected"  # this row is wrong: never retry
    THROTTLED = "throttled"  # slow everyone on this account, retry
    TRANSIENT = "transient"  # retry this row
    SPLIT = "split"  # this group, not necessarily these rows: send them apart
    FATAL = "fatal"  # credentials or configuration: stop feeding this account


class Effect(StrEnum):
    """Whether the update was applied by this very request."""

    APPLIED = "applied"
    NONE = "none"
    MAYBE = "maybe"


class Answer(NamedTuple):
    """What a reply, or its absence, means for one job.

    http_status    None where no status line arrived
    code           the vendor's error code, or our own short code; empty when all is well
    message        the vendor's words, or ours
    hint           what to do about it
    retry_after_s  seconds that the vendor asks everyone to wait; None where it names none
    request_id     the vendor's own id for this exchange, empty where it gives none
    receipt        what the vendor gave back to keep, such as an etag, as JSON; empty where nothing
    """

    verdict: Verdict
    effect: Effect
    http_status: int | None = None
    code: str = ""
    message: str = ""
    hint: str = ""
    retry_after_s: float | None = None
    request_id: str = ""
    receipt: str = ""

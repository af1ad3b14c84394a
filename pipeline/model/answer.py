"""The meaning of a reply for one job: verdict, effect and messages."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """The class of an answer, named for the next step."""

    OK = "ok"
    REJECTED = "rejected"  # the row is wrong: never retry
    THROTTLED = "throttled"  # slow down the whole account, retry
    TRANSIENT = "transient"  # retry this row
    SPLIT = "split"  # the batch is refused, not necessarily its rows: send them separately
    FATAL = "fatal"  # credentials or configuration: stop the account


class Effect(StrEnum):
    """The effect of this request on the entity."""

    APPLIED = "applied"
    NONE = "none"
    MAYBE = "maybe"


class Answer(NamedTuple):
    """The meaning of a reply, or of a missing one, for one job.

    http_status    None if no status line arrived
    code           error code of the vendor, or our own; empty on success
    message        the vendor's message, or ours
    hint           what to do about it
    retry_after_s  seconds that the vendor asks all requests to wait; None if it does not
    request_id     the vendor's id of this exchange; empty if there is none
    receipt        values to keep from the reply, such as an etag, as JSON; empty if there are none
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

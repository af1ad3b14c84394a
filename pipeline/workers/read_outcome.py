"""What a read shows for a row in doubt. Pure."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pipeline.model import NoReply, Reply, UpdateJob
from pipeline.vendors.kit.contract import MISSING, EntityRead, VendorSettings


class FoundState(NamedTuple):
    """What the vendor holds beside what a row wants.

    is_held   all of it
    can_tell  not all of it, and that proves that the update was not applied
    receipt   what there is to keep, as JSON
    """

    is_held: bool
    can_tell: bool
    settle_after_s: float
    receipt: str = ""


def found(
    reading: EntityRead[Any, Any], settings: VendorSettings, job: UpdateJob, reply: Reply | NoReply
) -> FoundState | None:
    """What `reply` to a read shows; None where it tells nothing."""
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

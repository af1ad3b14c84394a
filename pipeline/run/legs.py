"""What the processes that worked on a run did, each a leg of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.model import AccountProgress
from pipeline.model.leg import Leg
from pipeline.run.canary import added
from pipeline.run.session import RunOutcome


class LegCounter(Protocol):
    """Gives what this process has done so far."""

    def __call__(
        self, progress: Sequence[AccountProgress], last_at_s: float, *, is_over: bool
    ) -> list[Leg]:
        """As `legs_of`."""


def legs_of(
    sent: RunOutcome, progress: Sequence[AccountProgress], last_at_s: float, *, is_over: bool
) -> list[Leg]:
    """What this process has done so far, an account each.

    sent       of its earlier stretches; they count in
    progress   of the stretch that goes on; nothing where none does
    last_at_s  UTC seconds since 1970, now
    is_over    whether it sends no more
    """
    return [
        Leg(
            number=sent.leg,
            account=each.account,
            began_at_s=sent.began_at_s,
            last_at_s=last_at_s,
            requests=each.sent,
            retries=each.retries,
            sending_s=each.sending_s,
            is_over=is_over,
        )
        for each in (added(sent.progress, progress) if progress else sent.progress)
    ]

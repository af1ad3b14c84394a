"""Sends an account in shares, side by side: to the others it is one sender.

Until the answers to one share show that the account works, the shares go one after another: the
next one begins only after all rows of those before it have ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import anyio

from pipeline.model import AccountProgress, Status
from pipeline.model.progress import RecentError
from pipeline.vendors import Account
from pipeline.workers.account_sender import AccountSender


class AccountShares:
    """The senders of all shares of an account.

    account  the whole
    senders  one per share that this process sends; the first opens the account
    total    number of jobs, for the display
    is_open  answers to other processes have shown that the account works
    on_open  called once answers show it here
    """

    def __init__(
        self,
        account: Account,
        senders: Sequence[AccountSender],
        total: int,
        *,
        is_open: bool = False,
        on_open: Callable[[], None] = lambda: None,
    ) -> None:
        self.account = account
        self.is_permanent = False
        self._senders = senders
        self._total = total
        self._is_open = is_open
        self._tell_open = on_open
        self._may_go_on = anyio.Event()
        for sender in senders:
            sender.on_open = self._on_open
            sender.on_stop = self._on_stop

    @property
    def stopped(self) -> str | None:
        """Why it stopped; None while it has not."""
        return next((each.stopped for each in self._senders if each.stopped is not None), None)

    @property
    def was_done_at_stop(self) -> bool:
        """True if every row had ended when it was stopped."""
        return all(sender.was_done_at_stop for sender in self._senders)

    async def run(self) -> None:
        """Send every row, or stop. As AccountSender does."""
        async with anyio.create_task_group() as tasks:
            for sender in self._senders:
                if self._is_open:
                    sender.open()
                self._may_go_on = anyio.Event()
                tasks.start_soon(self._run, sender)
                if not (self._is_open or self.stopped):
                    await self._may_go_on.wait()

    async def _run(self, sender: AccountSender) -> None:
        await sender.run()
        self._may_go_on.set()

    def _on_open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._tell_open()
        self._may_go_on.set()

    def stop(self, reason: str, *, is_permanent: bool = False) -> None:
        """Send no further row; requests in flight finish. Only the first reason counts."""
        if self.stopped is None:
            self._senders[0].stop(reason, is_permanent=is_permanent)

    def _on_stop(self) -> None:
        """One share was stopped, and with it the account."""
        reason = self.stopped or ""
        self.is_permanent = self.is_permanent or any(each.is_permanent for each in self._senders)
        for sender in self._senders:
            sender.stop(reason, is_permanent=self.is_permanent)
        self._may_go_on.set()

    def progress(self) -> AccountProgress:
        """The progress of the account."""
        return whole_progress(
            self.account, [each.progress() for each in self._senders], self._total
        )

    def take_latencies(self) -> tuple[int, ...]:
        """The answers since the last call, counted per bucket of LATENCY_BOUNDS_S."""
        taken = filter(None, [sender.take_latencies() for sender in self._senders])
        return tuple(map(sum, zip(*taken, strict=True)))

    def take_throttled(self) -> int:
        """The answers since the last call that throttled a request."""
        return sum(sender.take_throttled() for sender in self._senders)


Sender = AccountSender | AccountShares
"""Sends the rows of one account, whole or in shares."""


def whole_progress(
    account: Account, parts: Sequence[AccountProgress], rows: int
) -> AccountProgress:
    """The progress of an account from that of its shares."""
    done, done_before = Counter[Status](), Counter[Status]()
    for part in parts:
        done.update(part.done)
        done_before.update(part.done_before)
    return AccountProgress(
        account=account.name,
        rows=rows,
        done=done,
        done_before=done_before,
        sent=sum(part.sent for part in parts),
        retries=sum(part.retries for part in parts),
        sending_s=max(part.sending_s for part in parts),
        in_flight=sum(part.in_flight for part in parts),
        in_flight_limit=sum(part.in_flight_limit for part in parts),
        retrying=sum(part.retrying for part in parts),
        pause_left_s=max(part.pause_left_s for part in parts),
        quota=account.quota,
        quota_per_s=account.mean_per_s if account.quotas else 0.0,
        rate_per_s=sum(part.rate_per_s for part in parts),
        is_probing=any(part.is_probing for part in parts),
        is_held_up=any(part.is_held_up for part in parts),
        stopped=next((part.stopped for part in parts if part.stopped is not None), None),
        recent_errors=_joined(error for part in parts for error in part.recent_errors),
    )


def _joined(errors: Iterable[RecentError]) -> tuple[RecentError, ...]:
    """One error of each code, with how often it came in all."""
    found: dict[str, RecentError] = {}
    for each in errors:
        known = found.setdefault(each.code, each._replace(times=0))
        found[each.code] = known._replace(times=known.times + each.times)
    return tuple(found.values())

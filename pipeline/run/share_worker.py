"""Works on the shares of a run until none is left: several at a time, as one worker of many.

What it shares with other workers, and with the process that shows and reports the run, is in the
store: which shares are open, their leases, their progress, orders. It needs no other process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import anyio
import anyio.to_thread

from pipeline.model import ConfigError, Fault
from pipeline.run.credentials import keep_credentials
from pipeline.run.environment import RunEnvironment
from pipeline.run.one_share import HeldShare
from pipeline.run.prepared import Prepared
from pipeline.run.share_progress import ShareProgress, limits_text, parse_progress
from pipeline.run.share_rules import (
    is_left,
    is_over,
    is_proven,
    next_opener,
    no_more_attempts,
    opened_by_answers,
    rest_s,
    siblings,
    stops,
    takeable,
)
from pipeline.run.share_stops import SharedStopCheck, own_conditions
from pipeline.runs.registry import held_shares, open_store
from pipeline.store.lease_renewal import RenewedLease
from pipeline.store.seam import Order, Share, ShareChange, ShareState, Store, share_lease
from pipeline.vendors import Account

LOOK_EVERY_S = 0.3
"""Seconds between two looks at the shares of a run: a stop takes effect within a second."""

WorkerEnd = Literal["over", "stopped", "ordered", "interrupted", "undriven"]
"""How the work on a run ended: nothing is left; an account stopped; by an order; by a signal; rows
are left, but no share is given out and no process will: the run must be resumed."""


async def work(prepared: Prepared, environment: RunEnvironment, *, who: str) -> WorkerEnd:
    """Send shares of a run until none is left, or the run is stopped.

    prepared     as `join` returns it
    environment  its `shared` works on no other run meanwhile
    who          this worker, for people

    Raises ConfigError if its secrets or limits are not those of the run, RunAborted if results
    cannot be recorded.
    """
    accounts = {
        name: prepared.config.account(name, environment.environ) for name in prepared.bound.jobs
    }
    await anyio.to_thread.run_sync(keep_credentials, prepared, [*accounts.values()])
    environment.shared.stop_reasons.clear()  # those of an earlier run, or before it was resumed
    return await _Worker(prepared, environment, accounts, who).run()


class _Seen(NamedTuple):
    """What the store says of a run.

    is_driven  a process shows and reports it
    is_worked  a process works on one of its shares
    """

    states: list[ShareState]
    order: Order
    is_driven: bool
    is_worked: bool


@dataclass(slots=True)
class _Worker:
    prepared: Prepared
    environment: RunEnvironment
    accounts: Mapping[str, Account]
    who: str
    clock: Callable[[], float] = time.monotonic
    held: dict[Share, HeldShare] = field(default_factory=dict)
    failure: Exception | None = None
    _stop_check: SharedStopCheck = field(init=False)
    _news: anyio.Event = field(default_factory=anyio.Event)
    _rests_until_s: float = 0.0

    def __post_init__(self) -> None:
        self._stop_check = SharedStopCheck(self.prepared.options.stop_if)

    async def run(self) -> WorkerEnd:
        async with anyio.create_task_group() as tasks:
            end = None
            while end is None:
                self._news = anyio.Event()
                seen = await self._look()
                if seen is not None:
                    await self._obey(seen)
                    end = self._end(seen)
                    if end is None and not self._is_stopping(seen.order):
                        await self._take_more(seen.states, tasks)
                elif not self.held:
                    break
                with anyio.move_on_after(LOOK_EVERY_S):
                    await self._news.wait()
        if self.failure is not None:
            raise self.failure
        return end or "undriven"

    def _is_stopping(self, order: Order) -> bool:
        is_off = self.environment.shared.interrupted is not None
        is_late = self.environment.window.is_over
        return order.is_stop or is_off or is_late or self.failure is not None

    def _end(self, seen: _Seen) -> WorkerEnd | None:
        """How the work has ended; None if it has not."""
        if self.held:
            return None
        if self.environment.shared.interrupted is not None or self.failure is not None:
            return "interrupted"
        if seen.order.is_stop:
            return "ordered"
        if self.environment.window.is_over:
            return "stopped"
        if seen.states and is_over(seen.states):
            return "stopped" if stops(seen.states) else "over"
        is_worth_it = seen.is_driven or seen.is_worked or takeable(seen.states, ())
        return None if is_worth_it else "undriven"

    def _fail(self, error: Exception) -> None:
        """End this worker: what it sends must be recorded, and cannot be."""
        self.failure = self.failure or error
        for each in self.held.values():
            each.end(str(error))

    # What is read from the store, and left there

    @property
    def _store(self) -> Store:
        return open_store(self.prepared.config)

    async def _look(self) -> _Seen | None:
        """Leave the progress of the shares that this worker has, and read the state of all."""
        news = [(each, now) for each in self.held.values() if (now := each.news()) is not None]
        try:
            return await anyio.to_thread.run_sync(self._exchange, news)
        except Exception as error:  # noqa: BLE001 - the shares that are held end first
            self._fail(error)
            return None

    def _exchange(self, news: Sequence[tuple[HeldShare, ShareProgress]]) -> _Seen:
        store, run = self._store, self.prepared.run
        with store.together():
            for held, now in news:
                if not held.lease.is_sure:
                    continue
                attempts = 0 if now.rows > held.before.rows else None
                change = ShareChange(progress=now.text, attempts=attempts)
                store.runs.change_share(run, held.share, change)
            states, order = store.runs.shares(run), store.orders.given(run)
            for held in [*self.held.values()]:  # at once: shares end meanwhile, in another thread
                self._open_others(store, states, held)
        is_idle = not self.held
        return _Seen(
            states,
            order,
            is_driven=is_idle and self.prepared.lease.is_held(),
            is_worked=not is_idle or bool(held_shares(self.prepared.config, run)),
        )

    def _open_others(self, store: Store, states: Sequence[ShareState], held: HeldShare) -> None:
        """If answers have shown that the account works: to this process, or to one that may have
        been killed before it had opened all.

        While its lease is surely held: the run was compared with others, and none of them is sent.
        """
        if not held.lease.is_sure or not (held.has_opened or held.is_proven):
            return
        for share in opened_by_answers(states, held.share):
            store.runs.change_share(self.prepared.run, share, ShareChange(is_open=True))

    async def _obey(self, seen: _Seen) -> None:
        """Pass on orders, and stop what others stopped, or what all together must stop."""
        stopped = stops(seen.states)
        for each in self.held.values():
            if seen.order != each.outcome.order:
                each.outcome.obey(seen.order)
            if (reason := stopped.get(each.share.account)) is not None:
                each.stop(reason)
        mine = {share: each.progress() for share, each in self.held.items()}
        reason = self._stop_check.reason(
            mine.get(each.share) or parse_progress(each.progress) for each in seen.states
        )
        if reason is not None:
            for each in self.held.values():
                each.stop(reason)
            await anyio.to_thread.run_sync(self._stop_all, seen.states, reason)

    def _stop_all(self, states: Sequence[ShareState], reason: str) -> None:
        stop = ShareChange(stopped=reason)
        for state in filter(is_left, states):
            self._store.runs.change_share(self.prepared.run, state.share, stop)

    # Shares

    async def _take_more(self, states: Sequence[ShareState], tasks: anyio.abc.TaskGroup) -> None:
        if self.clock() < self._rests_until_s:
            return
        try:
            taken = await anyio.to_thread.run_sync(self._take, states)
        except Exception as error:  # noqa: BLE001 - the shares that are held end first
            self._fail(error)
            return
        if taken is not None:
            self.held[taken.share] = taken
            self._rests_until_s = self.clock() + rest_s(len(self.held))
            tasks.start_soon(self._send, taken)

    def _take(self, states: Sequence[ShareState]) -> HeldShare | None:
        """Take a share that is open and free; None if there is none."""
        for share in takeable(states, self.held):
            lease = RenewedLease(self._store.lease(share_lease(self.prepared.run, share)))
            if lease.is_held():  # `take` would be a wish to have it
                continue
            found = self._begin(share, lease) if lease.take() else None
            if found is not None:
                return found
            lease.release()
        return None

    def _begin(self, share: Share, lease: RenewedLease) -> HeldShare | None:
        """Count the attempt; None if the share was closed, ended or given up meanwhile."""
        runs, run = self._store.runs, self.prepared.run
        states = runs.shares(run)
        state = next(each for each in states if each.share == share)
        if share not in takeable(states, ()):
            return None
        if why := no_more_attempts(state):
            for each in siblings(states, share.account):
                runs.change_share(run, each, ShareChange(stopped=why))
            return None
        before = parse_progress(state.progress)
        account = self.accounts[share.account]
        _check_limits(run, before, account)
        runs.change_share(run, share, ShareChange(attempts=state.attempts + 1))
        return HeldShare(
            share=share,
            account=account,
            lease=lease,
            before=before,
            attempts=state.attempts,
            is_proven=is_proven(states, share.account),
            who=self.who,
            stop_reasons=self.environment.shared.stop_reasons,
            on_news=self._tell_news,
        )

    def _tell_news(self) -> None:
        self._news.set()

    async def _send(self, held: HeldShare) -> None:
        failure: Exception | None = None
        try:
            conditions = own_conditions(self.prepared.options.stop_if)
            await held.send(self.prepared, self.environment, conditions)
            failure = held.outcome.failure
        except Exception as error:  # noqa: BLE001 - others are still being sent
            failure = error
        now = held.progress().at_rest()
        with anyio.CancelScope(shield=True):
            try:
                await anyio.to_thread.run_sync(self._give_back, held, now, failure)
            except Exception as error:  # noqa: BLE001 - as above
                failure = failure or error
        del self.held[held.share]
        if failure is not None and not held.is_lost:
            self._fail(failure)
        self._news.set()

    def _give_back(self, held: HeldShare, now: ShareProgress, failure: Exception | None) -> None:
        """Record how the work on a share ended, and let others take it."""
        with held.lease as lease:
            if not (held.is_lost or not lease.renew()):
                self._record_end(held, now, failure)

    def _record_end(self, held: HeldShare, now: ShareProgress, failure: Exception | None) -> None:
        runs, run, share = self._store.runs, self.prepared.run, held.share
        reason = held.outcome.stopped.get(share.account)
        was_asked = failure is None and held.outcome.signal is not None
        if failure is None and not was_asked and reason is None:
            self._record_done(held, now)
            return
        as_before = held.attempts if was_asked else None  # it is no failure of the share then
        attempts = 0 if now.rows > held.before.rows else as_before
        runs.change_share(run, share, ShareChange(progress=now.text, attempts=attempts))
        if failure is None and not was_asked:
            for each in siblings(runs.shares(run), share.account):
                runs.change_share(run, each, ShareChange(stopped=reason))

    def _record_done(self, held: HeldShare, now: ShareProgress) -> None:
        runs, run, share = self._store.runs, self.prepared.run, held.share
        states = runs.shares(run)
        following = None if held.has_opened else next_opener(states, share)
        self._open_others(self._store, states, held)
        if following is not None:
            runs.change_share(run, following, ShareChange(is_open=True))
        is_open = None if following is None else False  # of two that are open, one was proven
        done = ShareChange(is_done=True, is_open=is_open, progress=now.text, attempts=0)
        runs.change_share(run, share, done)


def _check_limits(run: str, before: ShareProgress, account: Account) -> None:
    """Raise ConfigError if this worker would send an account at other limits than the others."""
    limits = limits_text(account)
    if before.limits and before.limits != limits:
        raise ConfigError(
            [
                Fault(
                    what=f"run {run} sends account {account.name} at {before.limits}, and the "
                    f"configuration of this worker says {limits}",
                    todo="Give all workers of a run the same configuration",
                )
            ]
        )

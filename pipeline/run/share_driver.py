"""Watches the workers of a run: starts them, shows what they do, and passes on who stops it.

The workers need none of this: if this process dies, they go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import anyio
import anyio.to_thread

from pipeline.jobs.shares import shares_for
from pipeline.model import AccountProgress, NoWorkerError, RunAborted
from pipeline.model.errors import first_of
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.run.account_shares import whole_progress
from pipeline.run.environment import RunEnvironment
from pipeline.run.live_overrides import LiveOverrides
from pipeline.run.outcome import RunOutcome
from pipeline.run.prepared import Prepared
from pipeline.run.share_closing import close_shares
from pipeline.run.share_progress import ShareProgress, as_account, limits_text, parse_progress
from pipeline.run.share_rules import (
    CRASHED,
    KILLED_AT_START,
    IdleWatch,
    first_shares,
    idle_words,
    is_left,
    is_over,
    kinds,
    restart,
    stops,
)
from pipeline.run.share_stops import SharedStopCheck
from pipeline.run.worker_processes import Workers
from pipeline.runs.registry import held_shares, open_store
from pipeline.store.seam import (
    LeaseHolder,
    LeaseLostError,
    Order,
    Share,
    ShareChange,
    ShareState,
    Store,
)
from pipeline.vendors import Account

LOOK_EVERY_S = 0.5
KILL_AFTER_S = 10.0
"""Seconds beyond their grace time after which own workers that do not stop are killed."""
GIVE_UP_AFTER_S = 60.0
"""Seconds after that, in which nobody has a share and own workers are still not known to have
ended: what started them cannot be reached. They have nothing left to do."""


def give_out_shares(prepared: Prepared) -> None:
    """Record the shares of a run, all as not done, and give out the first of each account.

    The rows of the run MUST have been compared with those of other runs, whose shares are closed.
    """
    runs, run = open_store(prepared.config).runs, prepared.run
    accounts = {account.name: account for account in prepared.accounts}
    runs.share(run, _shares(prepared))
    states = runs.shares(run)
    firsts = first_shares(states)
    for state in states:
        share = state.share
        progress = replace(_progress(state), limits=limits_text(accounts[share.account]))
        afresh = ShareChange(
            is_open=share in firsts,
            is_done=False,
            stopped="",
            attempts=0,
            progress=progress.at_rest().text,
        )
        runs.change_share(run, share, afresh)


def _shares(prepared: Prepared) -> list[Share]:
    """All shares of a run. A few rows are sent as one, at its limits."""
    numbers = {
        account.name: shares_for(prepared.bound.jobs[account.name].rows, account.shares)
        for account in prepared.accounts
    }
    return sorted(Share(name, number, of) for name, of in numbers.items() for number in range(of))


async def drive(prepared: Prepared, environment: RunEnvironment, outcome: RunOutcome) -> None:
    """Start workers, and wait until no share of the run is left or it is stopped.

    Their results are on record then; `outcome` gets what else happened. Raises RunAborted if the
    store cannot be used; the workers end by themselves, or go on, as they find it.
    """
    if environment.workers is None:
        return
    workers = environment.workers(prepared.run)
    driver = _Driver(prepared, environment, outcome, workers, environment.count)
    limits: list[tuple[Account, Sequence[AccountLimiter], int]]
    limits = [(account, (), 1) for account in driver.accounts]
    overrides = LiveOverrides(prepared, limits, environment.window, environment.tell, outcome)
    outcome.pool = driver
    if outcome.signal is not None:  # it came before there was anything to stop
        driver.stop(outcome.interruption)
    failure: Exception | None = None
    with environment.watch(driver.progress):
        try:
            async with overrides.applied(driver):
                await driver.run()
        except* RunAborted as group:
            failure = first_of(group)
    if failure is not None:
        raise RunAborted(
            f"the run ended early: {failure}. `pipeline resume {prepared.run}` continues it"
        ) from failure
    driver.note_stops()


@dataclass(slots=True)
class _Driver:
    prepared: Prepared
    environment: RunEnvironment
    outcome: RunOutcome
    workers: Workers
    count: int
    clock: Callable[[], float] = time.monotonic
    states: list[ShareState] = field(default_factory=list)
    held: Mapping[Share, LeaseHolder | None] = field(default_factory=dict)
    _stop_check: SharedStopCheck = field(init=False)
    _stopping: list[str] = field(default_factory=list)  # a reason for each call of `stop`
    _stopped_s: float | None = None
    _is_passed_on: bool = False
    _news: anyio.Event = field(default_factory=anyio.Event)
    _deaths: int = 0  # in a row, while the run made no progress
    _rows: int = 0
    _due_s: dict[int, float] = field(default_factory=dict)  # worker -> when it is started
    _gone: dict[int, str] = field(default_factory=dict)  # workers that are not started again
    _idle: IdleWatch = field(init=False)

    def __post_init__(self) -> None:
        self._idle = IdleWatch(self.clock())
        self._stop_check = SharedStopCheck(self.prepared.options.stop_if)
        self._due_s = dict.fromkeys(range(1, self.count + 1), -1.0)

    @property
    def accounts(self) -> Sequence[Account]:
        """The accounts of the run, without secrets."""
        return self.prepared.accounts

    @property
    def is_stopped(self) -> bool:
        """True once `stop` was called."""
        return bool(self._stopping)

    @property
    def _is_replaced(self) -> bool:
        """True if another process has the run by now: its workers are none of our business."""
        return isinstance(self.outcome.failure, LeaseLostError)

    @property
    def _may_act(self) -> bool:
        """True while no other process can have the run, whose shares and orders they would be."""
        return self.prepared.lease.is_sure

    def stop(self, reason: str) -> None:
        """Let all workers stop; a second call ends own workers at once."""
        self._stopping.append(reason)
        self._news.set()

    async def run(self) -> None:
        while True:
            self._news = anyio.Event()
            codes = self.workers.ended()  # first: what is read then tells why they ended
            order = await anyio.to_thread.run_sync(self._look)
            if order != self.outcome.order:
                self.outcome.obey(order)
            self._start_and_bury(codes)
            self._tell_idle()
            if self._is_over() and (self._is_replaced or self._may_act):
                break
            with anyio.move_on_after(LOOK_EVERY_S):
                await self._news.wait()
        if self._is_replaced:
            return
        self.workers.stop(at_once=False)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(close_shares, self.prepared.config, self.prepared.run)
            await self._see_them_off()

    # The store...

    @property
    def _store(self) -> Store:
        return open_store(self.prepared.config)

    def _look(self) -> Order:
        """Read what the shares do, and the order for the run; tell workers to stop if they must."""
        store, run = self._store, self.prepared.run
        with store.together():
            self.states = store.runs.shares(run)
            if self._may_act:
                self._stop_if_due()
            if self._stopping and not self._is_passed_on:
                self._pass_on(store, self._stopping[0])
            order = store.orders.given(run)
        self.held = held_shares(self.prepared.config, run)
        return order

    def _stop_if_due(self) -> None:
        reason = self._stop_check.reason(parse_progress(each.progress) for each in self.states)
        if reason is not None:
            self._stop_shares(reason)

    def _pass_on(self, store: Store, reason: str) -> None:
        """Stop all workers, wherever they are: as an order, or for good if the time is up."""
        self._stopped_s = self._stopped_s or self.clock()
        if not self._may_act:
            return
        self._is_passed_on = True
        if self.outcome.signal is None:
            self._stop_shares(reason)
        else:
            order = store.orders.given(self.prepared.run)
            store.orders.give(self.prepared.run, order._replace(is_stop=True))

    def _stop_shares(self, reason: str) -> None:
        stop = ShareChange(stopped=reason)
        for state in filter(is_left, self.states):
            self._store.runs.change_share(self.prepared.run, state.share, stop)
        self.states = self._store.runs.shares(self.prepared.run)

    def _tell_idle(self) -> None:
        is_idle = not (self.held or self.is_stopped or is_over(self.states))
        if self._idle.is_due(self.clock(), is_idle=is_idle):
            self.environment.tell(idle_words(self.prepared.run, self.workers.alive()))

    def _is_over(self) -> bool:
        """True if nobody works on the run, and nobody will."""
        if self._is_replaced:
            return True
        if self.held or is_over(self.states):
            return not self.held
        if self.is_stopped:
            return self._is_passed_on and (
                not self.workers.alive() or self._is_later(GIVE_UP_AFTER_S)
            )
        if self._due_s or self.workers.alive() or not self.count:
            return False
        if self._store.orders.given(self.prepared.run).is_stop:
            return False  # they obeyed an order that this process has yet to read
        is_killed = self._deaths > KILLED_AT_START  # as a row that breaks them would
        why = f"no worker is left: {kinds(self._gone)}"
        self.outcome.failure = RunAborted(why) if is_killed else NoWorkerError(why)
        return True

    # Own workers...

    def _start_and_bury(self, codes: Mapping[int, int]) -> None:
        """Start workers that are due; decide what becomes of those that ended.

        codes  of those -> their exit codes
        """
        rows = sum(each.rows for each in map(_progress, self.states))
        if rows > self._rows:
            self._rows, self._deaths = rows, 0
        for number, code in codes.items():
            self._deaths += code < 0 or code == CRASHED
            again = restart(code, self._deaths)
            if again.delay_s is None:
                self._gone[number] = again.why or "found nothing to do"
            else:
                self._due_s[number] = self.clock() + again.delay_s
            if again.why and not self.is_stopped:
                self.environment.tell(f"worker {number} {again.why}")
        if self.is_stopped or is_over(self.states):
            self._due_s.clear()
            self._hurry()
        for number in [each for each, due_s in self._due_s.items() if self.clock() >= due_s]:
            del self._due_s[number]
            try:
                self.workers.start(number)
            except NoWorkerError as error:
                self._gone[number] = str(error)
                self.environment.tell(f"worker {number} {error}")

    def _hurry(self) -> None:
        """End own workers at once after a second signal, or if they do not end by themselves."""
        if len(self._stopping) > 1 or self._is_later(0.0):
            self.workers.stop(at_once=True)

    def _is_later(self, by_s: float) -> bool:
        """True if own workers should have stopped so long ago."""
        late_s = self.prepared.options.grace_s + KILL_AFTER_S + by_s
        return self._stopped_s is not None and self.clock() > self._stopped_s + late_s

    async def _see_them_off(self) -> None:
        """Wait for own workers, which have nothing left to do."""
        until_s = self.clock() + KILL_AFTER_S
        while alive := self.workers.alive():
            self.workers.ended()
            if self.clock() > until_s + GIVE_UP_AFTER_S or self._is_later(GIVE_UP_AFTER_S):
                self.environment.tell(f"{alive} workers are not known to have ended")
                return
            if self.clock() > until_s:
                self.workers.stop(at_once=True)
            await anyio.sleep(LOOK_EVERY_S / 10)

    # Shown, and reported...

    def progress(self) -> tuple[AccountProgress, ...]:
        """The progress of each account, all workers together."""
        by_account = {
            name: [*states]
            for name, states in groupby(self.states, key=lambda each: each.share.account)
        }
        return tuple(
            whole_progress(
                account,
                [_part(each) for each in by_account[account.name]],
                self.prepared.bound.jobs[account.name].rows,
            )
            for account in self.accounts
            if account.name in by_account
        )

    def note_stops(self) -> None:
        """Why accounts stopped."""
        over, found = self.environment.window.over, stops(self.states)
        self.outcome.stopped = found
        self.outcome.over = over if over and over in found.values() else ""
        for state in self.states:
            if state.stopped and _progress(state).is_permanent:
                self.environment.shared.stop_reasons[state.share.account] = state.stopped


def _progress(state: ShareState) -> ShareProgress:
    return parse_progress(state.progress)


def _part(state: ShareState) -> AccountProgress:
    return as_account(state.share.account, _progress(state), state.stopped)

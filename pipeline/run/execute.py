"""Sends a prepared run in this process, stopped by signals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import anyio
import anyio.abc
import anyio.to_thread

from pipeline.model import ConfigError, Fault
from pipeline.run.canary import canary_result, canary_rows
from pipeline.run.credentials import keep_credentials
from pipeline.run.environment import RunEnvironment
from pipeline.run.links import AccountLinks, open_links, shares_of
from pipeline.run.outcome import RunOutcome
from pipeline.run.prepared import Prepared
from pipeline.run.recorded_state import RecordedState
from pipeline.run.schedule_window import READY_AHEAD_S
from pipeline.run.session import Session
from pipeline.run.stop_signals import stop_signals
from pipeline.run.stretch import SerializedLedger, Stretch
from pipeline.sign_in.tokens import REFUSED, sign_in_ahead
from pipeline.store import Ledger


async def await_window(
    prepared: Prepared, environment: RunEnvironment, outcome: RunOutcome
) -> bool:
    """Sign in, then wait until READY_AHEAD_S before the start; False if the run was called off.

    Raises ConfigError if an account cannot sign in: the person who set the time may still be there.
    """
    if environment.window.start_at is None or prepared.refusal is not None:
        return True
    for name in prepared.bound.jobs:
        account = prepared.config.account(name, environment.environ)
        limiter = environment.limiter(prepared, account, 0, environment.tell)
        async with environment.open_link(account.part(0), limiter) as send:
            refused = await sign_in_ahead(send)
        if refused is not None and refused.reason == REFUSED:
            raise ConfigError(Fault(what=f"account {name} cannot sign in: {refused.detail}"))
    return await environment.await_start(outcome, ahead_s=READY_AHEAD_S)


async def send_or_refuse(
    prepared: Prepared,
    environment: RunEnvironment,
    ledger: Ledger,
    before: RecordedState,
    outcome: RunOutcome,
    *,
    only_first: bool = False,
) -> bool:
    """Send every row that has no result, unless the run is refused. `outcome` gets what
    happened.

    only_first  wait for the start, and send the canary if there is one: others send the rest

    Returns True if the rows after the canary might be sent.
    """
    if prepared.refusal is not None:
        return False
    accounts = [prepared.config.account(name, environment.environ) for name in prepared.bound.jobs]
    await anyio.to_thread.run_sync(keep_credentials, prepared, accounts)
    async with AsyncExitStack() as stack:
        links: list[AccountLinks] = []
        for account in accounts:
            jobs = prepared.bound.jobs[account.name]
            shares = await anyio.to_thread.run_sync(shares_of, account, jobs)
            limiter = partial(environment.limiter, prepared)
            opened = open_links(
                account,
                shares,
                open_link=environment.open_link,
                limiter=limiter,
                announce=environment.tell,
            )
            links.append(await stack.enter_async_context(opened))
            if environment.window.start_at is not None:
                await sign_in_ahead(links[-1].shares[0].wire)
        if _records_previous_states(prepared):
            ledger.has_previous_states()  # raises if those of an earlier process are damaged
        outcome.leg = 1 + max((leg.number for leg in ledger.legs()), default=0)
        stretch = Stretch(prepared, environment, links, SerializedLedger(ledger), outcome)
        if not await environment.await_start(outcome):
            return False
        if not await _passes_canary(stretch, before, ledger):
            return False
        if not only_first:
            await stretch.send(RecordedState.of(ledger) if prepared.options.canary else before)
        return True


def _records_previous_states(prepared: Prepared) -> bool:
    prechecks = prepared.prechecks
    return bool(prepared.bound.keeps) or prechecks.skips or prechecks.remembers


async def _passes_canary(stretch: Stretch, before: RecordedState, ledger: Ledger) -> bool:
    """Send the canary, if there is one; True if the other rows may be sent."""
    prepared, outcome = stretch.prepared, stretch.outcome
    jobs = prepared.bound.jobs
    total = sum(file.rows for file in jobs.values())
    if not 0 < prepared.options.canary < total:
        return True
    rows = await anyio.to_thread.run_sync(canary_rows, jobs, prepared.options.canary)
    if not rows - ledger.ended(sorted(rows)).keys():
        return True  # an earlier process tried them
    stop_check = await stretch.send(before, rows)
    if outcome.stopped or outcome.failure is not None or outcome.signal is not None:
        return False
    reason = stop_check.at_end()
    if reason is None:
        result = canary_result(rows, total, ledger)
        if not await anyio.to_thread.run_sync(stretch.environment.agree, result):
            reason = f"stopped after the canary of {len(rows)} rows"
    if reason is not None:
        outcome.stopped = dict.fromkeys(jobs, reason)
    return reason is None and outcome.signal is None


@asynccontextmanager
async def signals_obeyed(shared: Session) -> AsyncIterator[None]:
    """`stop_signals` stop sending; reports are still written. For the main thread."""
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        await tasks.start(_receive_signals, shared)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised below, where no group wraps it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _receive_signals(shared: Session, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(*stop_signals()) as received:
        task_status.started()
        async for number in received:
            shared.interrupt(number)

"""One run as a whole: its rows sent, its report written, its state put on record."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio.to_thread

from pipeline.config import Config, load_config
from pipeline.model import (
    ConfigError,
    InputError,
    NoWorkerError,
    PipelineError,
    RunAborted,
    Status,
)
from pipeline.model.exit_codes import NOTHING_SENT, STOPPED
from pipeline.model.object_path import ObjectPath, is_object, object_path
from pipeline.reporter import ReconciliationError, ReportError, Summary
from pipeline.run.delivery import deliver
from pipeline.run.destination_locks import BusyError, places_held
from pipeline.run.environment import RunEnvironment
from pipeline.run.event_loop import run_async
from pipeline.run.execute import await_window, send_or_refuse
from pipeline.run.live_overrides import orders_obeyed
from pipeline.run.outcome import RunOutcome
from pipeline.run.prepare import prepare
from pipeline.run.prepared import Prepared, discard
from pipeline.run.recorded_state import RecordedState
from pipeline.run.report_facts import report
from pipeline.run.schedule_window import CalledOffError
from pipeline.run.share_closing import close_and_wait, others_closed
from pipeline.run.share_driver import drive, give_out_shares
from pipeline.run.stale_rows import settle_stale_rows
from pipeline.runs.options import RunOptions
from pipeline.runs.registry import open_store, workers_of
from pipeline.runs.retention import tidy
from pipeline.store import Ledger, State
from pipeline.store.contract import RecordGoneError
from pipeline.store.seam import LostRecordError
from pipeline.vendors import load_vendors

_KILLED = "its process was killed"


async def run_file_async(
    path: str | Path,
    *,
    config: Config | None = None,
    options: RunOptions | None = None,
    confirm: bool = False,
) -> Summary:
    """Send the rows of one file, write the report, then remove old runs.

    path     of a file, or the URL of an object
    config   the configuration; None reads it as the command does
    confirm  must be True if an account is not simulated: it replaces the question of the command

    Raises InputError or ConfigError if nothing was sent, RunAborted if results could not be
    written, ReportError if the report could not.
    """
    if config is None:
        config = load_config(None, environ=os.environ, vendors=load_vendors(), cwd=Path.cwd())
        with closing(config.kept_store):
            return await run_file_async(path, config=config, options=options, confirm=confirm)
    prepared = await anyio.to_thread.run_sync(
        prepare, _input_path(path), config, options or RunOptions()
    )
    if not confirm and not all(account.is_simulated for account in prepared.accounts):
        raise InputError("nothing was sent: pass confirm=True to send to real accounts")
    summary = await carry_out(prepared)
    await anyio.to_thread.run_sync(deliver, config, summary.run)
    await anyio.to_thread.run_sync(tidy, config, lambda _words: None)
    return summary


def _input_path(path: str | Path) -> Path | ObjectPath:
    try:
        return object_path(path) if isinstance(path, str) and is_object(path) else Path(path)
    except ValueError as error:
        raise InputError(f"the URL of an object {error}") from None


def run_file(
    path: str | Path,
    *,
    config: Config | None = None,
    options: RunOptions | None = None,
    confirm: bool = False,
) -> Summary:
    """`run_file_async` for code without an event loop."""

    async def main() -> Summary:
        return await run_file_async(path, config=config, options=options, confirm=confirm)

    return run_async(main)


async def carry_out(prepared: Prepared, environment: RunEnvironment | None = None) -> Summary:
    """Send the rows of a prepared run that have no result, unless it is refused; write the report.

    Raises ConfigError, BusyError or CalledOffError if nothing was sent, ReportError if the report
    could not be written, RunAborted if the run ended early; a report is written then as well.
    """
    environment = environment or RunEnvironment()
    outcome = RunOutcome()
    with _held(prepared), ExitStack() as opened:
        try:
            with environment.shared.interruptible(outcome):
                async with orders_obeyed(prepared, outcome):
                    if environment.workers is None or prepared.refusal is not None:
                        ledger, before = await _sent(prepared, environment, opened, outcome)
                    else:
                        await _sent_by_workers(prepared, environment, outcome)
                        ledger = opened.enter_context(_ledger(prepared))
                        before = RecordedState.of(ledger)
        except (BusyError, CalledOffError, ConfigError):
            discard(prepared)
            raise
        return await _finished(prepared, outcome, ledger, before)


async def _finished(
    prepared: Prepared, outcome: RunOutcome, ledger: Ledger, before: RecordedState
) -> Summary:
    """Write the report, and put the state of the run on record."""
    _record_late(ledger, outcome)
    try:
        summary = await _reported(prepared, outcome, ledger, before)
    except ReportError as error:
        _note_unreported(prepared, ledger)
        if isinstance(error, ReconciliationError):
            raise
        raise ReportError(
            f"{error}. All results are on record. Fix the cause, then `pipeline runs "
            f"{prepared.run}` makes the report"
        ) from error
    _change_state(prepared, _state_after(summary, ledger), ledger, summary)
    return summary


def _note_unreported(prepared: Prepared, ledger: Ledger) -> None:
    """Record how rows ended although there is no report."""
    counts = ledger.counts()
    counts[Status.UNKNOWN] = counts.get(Status.UNKNOWN, 0) + sum(1 for _ in ledger.claimed())
    ended = sum(counts.values()) - counts.get(Status.NOT_ATTEMPTED, 0)
    counts[Status.NOT_ATTEMPTED] = prepared.bound.rows - ended
    open_store(prepared.config).runs.change_state(
        prepared.run, "sending", counts=counts, exit_code=STOPPED, commits=ledger.commits
    )


async def _sent(
    prepared: Prepared,
    environment: RunEnvironment,
    opened: ExitStack,
    outcome: RunOutcome,
) -> tuple[Ledger, RecordedState]:
    """Send within the schedule window; the ledger, and the recorded state when sending began.

    Both are of after its workers, if there are some, have ended: they record until then.

    opened  keeps the ledger open
    """
    async with _in_its_places(prepared, environment, outcome) as may_wait:
        await close_and_wait(prepared.config, prepared.run, wait=may_wait, tell=environment.tell)
        ledger = opened.enter_context(_ledger(prepared))
        before = await _settled(prepared, environment, ledger, RecordedState.of(ledger))
        await send_or_refuse(prepared, environment, ledger, before, outcome)
    return ledger, before


async def _sent_by_workers(
    prepared: Prepared, environment: RunEnvironment, outcome: RunOutcome
) -> None:
    """Send the canary, let workers send the rest, and wait for them.

    If workers are there already, as those of a process that was killed, nothing is prepared: no
    other run was sent to the same places since.
    """
    config, run = prepared.config, prepared.run
    async with _in_its_places(prepared, environment, outcome) as may_wait:
        if not await anyio.to_thread.run_sync(workers_of, config, run):
            await close_and_wait(config, run, wait=may_wait, tell=environment.tell)
            with _ledger(prepared) as ledger:
                before = await _settled(prepared, environment, ledger, RecordedState.of(ledger))
                may_go_on = await send_or_refuse(
                    prepared, environment, ledger, before, outcome, only_first=True
                )
            if not may_go_on:
                return
            outcome.progress, outcome.leg = (), 0  # it is on record
            await anyio.to_thread.run_sync(give_out_shares, prepared)
        await drive(prepared, environment, outcome)


@asynccontextmanager
async def _in_its_places(
    prepared: Prepared, environment: RunEnvironment, outcome: RunOutcome
) -> AsyncIterator[Callable[[], bool]]:
    """Wait for the schedule window, and lock the destinations while the block runs.

    The function tells whether the run may wait for other processes. Raises CalledOffError.
    """
    off = CalledOffError("nothing was sent: the run was interrupted before its start")
    if not await await_window(prepared, environment, outcome):
        raise off
    may_wait = lambda: environment.may_wait() and outcome.signal is None  # noqa: E731
    async with places_held(prepared, wait=may_wait, tell=environment.tell):
        await others_closed(prepared, wait=may_wait, tell=environment.tell)
        yield may_wait
    if outcome.is_off:
        raise off


async def _settled(
    prepared: Prepared, environment: RunEnvironment, ledger: Ledger, before: RecordedState
) -> RecordedState:
    _change_state(prepared, "sending", ledger)
    return await anyio.to_thread.run_sync(
        settle_stale_rows, prepared, ledger, before, environment.tell
    )


def _record_late(ledger: Ledger, outcome: RunOutcome) -> None:
    """Try again to put results on record for which there was no disk space."""
    if outcome.unrecorded:
        with suppress(RunAborted):
            ledger.record((), outcome.unrecorded)
            outcome.unrecorded = []


def report_only(prepared: Prepared) -> Summary:
    """Write the report of a recorded run without sending anything.

    A row that may have been sent and has no result is `unknown`. Raises as `carry_out` does.
    """
    with _held(prepared), _ledger(prepared) as ledger:
        summary = report(prepared, RunOutcome(over=_KILLED), ledger, RecordedState.of(ledger))
        _change_state(prepared, _state_after(summary, ledger), ledger, summary)
    return summary


@contextmanager
def _held(prepared: Prepared) -> Iterator[None]:
    """Release the run's lease at the end of the block."""
    try:
        yield
    finally:
        prepared.lease.release()


def _ledger(prepared: Prepared) -> AbstractContextManager[Ledger]:
    """The run's ledger, to write."""
    store = open_store(prepared.config)
    commits, results = prepared.commits, prepared.results
    return store.ledger(prepared.run, None, prepared.lease, commits=commits, results=results)


def _state_after(summary: Summary, ledger: Ledger) -> State:
    """Unfinished while a row is not sent or in doubt; a refused run is finished."""
    is_open = bool(summary.statuses[Status.NOT_ATTEMPTED]) or any(True for _ in ledger.claimed())
    return "sending" if is_open and summary.exit_code != NOTHING_SENT else "reported"


def _change_state(
    prepared: Prepared, state: State, ledger: Ledger, summary: Summary | None = None
) -> None:
    open_store(prepared.config).runs.change_state(
        prepared.run,
        state,
        ended=None if summary is None else datetime.now(UTC),
        counts=None if summary is None else summary.statuses,
        exit_code=None if summary is None else summary.exit_code,
        commits=ledger.commits,
    )


async def _reported(
    prepared: Prepared, outcome: RunOutcome, ledger: Ledger, before: RecordedState
) -> Summary:
    write = partial(report, prepared, outcome, ledger, before)
    if outcome.failure is None:
        return await anyio.to_thread.run_sync(write)
    where = "there is no report"
    with suppress(PipelineError):  # the failure of the run comes first
        await anyio.to_thread.run_sync(write)
        where = f"the report is in {prepared.report_folder}"
    why = outcome.failure if isinstance(outcome.failure, PipelineError) else repr(outcome.failure)
    todo = f". `pipeline resume {prepared.run}` continues it"
    if isinstance(outcome.failure, LostRecordError):
        todo = ""  # its words say more
    elif isinstance(outcome.failure, RecordGoneError):
        todo = ". It cannot be resumed: check at the vendor which of its rows arrived"
    kind = NoWorkerError if isinstance(outcome.failure, NoWorkerError) else RunAborted
    raise kind(f"the run ended early: {why}; {where}{todo}") from outcome.failure

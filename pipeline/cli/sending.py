"""Prepared files are shown, asked about, sent and told of: what `run` and `resume` share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path

import anyio
import click
from rich.console import Console

from pipeline.cli.console import emit, terminal
from pipeline.cli.estimate import RunEstimate
from pipeline.cli.messages import question_about, tell_error
from pipeline.cli.screens import show_trial
from pipeline.cli.side_by_side import RunDisplay, SideBySide
from pipeline.model import ConfigError, PipelineError, RowResult, RunAborted, UsageError
from pipeline.model.formatting import one_line
from pipeline.notify import Notifier
from pipeline.reporter import Summary
from pipeline.run import (
    BusyError,
    CalledOffError,
    Prepared,
    Progress,
    RunEnvironment,
    ScheduleWindow,
    Session,
    carry_out,
    check_secrets,
    discard,
    signals_obeyed,
    to_the_minute,
)
from pipeline.run.canary import CanaryResult
from pipeline.runs import tidy
from pipeline.ui.terminal import LiveDisplay, PlainDisplay, closing, show_question

FAILED_ROWS, NOTHING_SENT, STOPPED, BUSY = 1, 2, 3, 4
INTERRUPTED = 128  # and above, by the number of the signal

Prepare = Callable[[], Prepared]


class CommandSession:
    """One command over one or more files.

    goes_on      after a canary that holds nobody is asked
    appointment  when rows may be sent; None: at any time
    outcomes     of files by their number from 0: the summary of the run, or why none was begun.
                 Nothing where somebody said no, a signal came first, the configuration was at fault
                 or the run broke off
    teller       is told what happens; where it keeps a log, nothing else is shown. None: nobody is
    """

    def __init__(
        self,
        *,
        quiet: bool,
        as_json: bool,
        wait: bool = True,
        goes_on: bool = False,
        appointment: ScheduleWindow | None = None,
        teller: Notifier | None = None,
    ) -> None:
        self._goes_on = goes_on
        self._teller = teller
        self._has_log = teller is not None and teller.has_log
        self._console = terminal(stderr=True, quiet=quiet or self._has_log)
        self._as_json = as_json
        self._wait = wait
        self._appointment = appointment or ScheduleWindow()
        self._outlook = RunEstimate(self._appointment)
        self.outcomes: dict[int, Summary | str] = {}

    def run(self, files: Sequence[tuple[str, Prepare]], *, is_agreed: bool) -> int:
        """Prepare all, ask once, send. Gives back the exit code.

        files  what each is called, and what prepares it
        """
        found: list[Prepared | None] = []
        try:
            for number, (name, prepare) in enumerate(files):
                found.append(self._prepare(number, name, prepare))
            if not is_agreed:
                self._ask([one for one in found if one is not None])
        except BaseException:
            for one in filter(None, found):
                discard(one)
            raise
        code = together(anyio.run(self._send_all, found))
        prepared = [one for one in found if one is not None]
        if prepared and code < INTERRUPTED:
            tidy(prepared[0].config, self.say)
        return code

    def say(self, words: str) -> None:
        """One line for people."""
        self._console.print(one_line(words), markup=False)
        if self._teller is not None:
            self._teller.said(words)

    def tell_nothing_came(self, folder: Path) -> None:
        """Nothing lies in the drop folder."""
        self.say(f"No files in {folder}: nothing to do.")
        if self._teller is not None:
            self._teller.nothing_arrived(str(folder))

    def tell_failure(self, file: str, error: object) -> None:
        """A file was not sent, or cannot be put away."""
        if not self._has_log:
            tell_error(error)
        if self._teller is not None:
            self._teller.run_failed(file, error)

    async def _send_all(self, found: Sequence[Prepared | None]) -> list[int]:
        """One event loop for all files: they share the gates of their accounts."""
        codes = [NOTHING_SENT] * len(found)
        self._tell_start(found)
        shared, board = Session(), RunDisplay(self._open_display)
        turns = SideBySide(() if one is None else one.places for one in found)

        async def send_one(number: int, one: Prepared) -> None:
            async with turns.wait_for(number):
                codes[number] = await self._carry_out(number, one, shared, board)

        async with signals_obeyed(shared), anyio.create_task_group() as tasks:
            for number, one in enumerate(found):
                if one is not None:
                    tasks.start_soon(send_one, number, one)
        return codes

    def _tell_start(self, found: Sequence[Prepared | None]) -> None:
        start_at = self._appointment.start_at
        if start_at is not None and any(one is not None and one.refusal is None for one in found):
            self.say(f"Waiting until {to_the_minute(start_at)}. Ctrl-C calls it off.")

    def _prepare(self, number: int, name: str, prepare: Prepare) -> Prepared | None:
        try:
            with self._console.status(f"Reading {name}", spinner="dots"):
                prepared = prepare()
        except RunAborted:
            raise
        except PipelineError as error:
            self._tell_why(number, name, error)
            return None
        try:
            check_secrets(prepared, os.environ)
        except ConfigError as error:
            discard(prepared)
            self._tell_why(number, name, error)
            return None
        show_question(self._console, question_about(prepared, self._outlook))
        return prepared

    def _tell_why(self, number: int, file: str, error: object) -> None:
        if not isinstance(error, ConfigError | BusyError):  # these are not the file's fault
            self.outcomes[number] = str(error)
        self.tell_failure(file, error)

    def _ask(self, ready: Sequence[Prepared]) -> None:
        if not any(one.bound.jobs and one.refusal is None for one in ready):
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "nothing was sent: there is no terminal to ask at. --yes says yes beforehand, "
                "--simulate sends to the simulator"
            )
        with suppress(click.Abort):  # Ctrl-C or Ctrl-D at the question is a no
            if click.confirm("Send this?", default=False, err=True):
                return
        raise UsageError("nothing was sent")

    def _agree(self, trial: CanaryResult) -> bool:
        """Show what came of the rows that went first; whether the others may go."""
        show_trial(self._console, trial)
        if self._goes_on:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        with suppress(click.Abort):
            return click.confirm("Send the rest?", default=False, err=True)
        return False

    async def _carry_out(
        self, number: int, prepared: Prepared, shared: Session, board: RunDisplay
    ) -> int:
        source = str(prepared.snapshot.source)
        if shared.interrupted is not None:
            why = f"{source}: nothing was sent: the command was interrupted"
            self.tell_failure(source, why)
            discard(prepared)
            return NOTHING_SENT
        self._tell_begin(prepared)
        try:
            way = RunEnvironment(
                watch=board.watch,
                shared=shared,
                wait=self._wait,
                appointment=self._appointment,
                tell=self.say,
                failed=self._failed(prepared.run),
                agree=self._agree,
            )
            summary: Summary = await carry_out(prepared, way)
        except CalledOffError as error:
            self.tell_failure(source, error)
            return INTERRUPTED + (shared.interrupted or 0)
        except (BusyError, RunAborted) as error:
            self.tell_failure(source, error)
            return _code_of(error)
        except PipelineError as error:
            self._tell_why(number, source, error)
            return _code_of(error)
        except Exception as error:  # noqa: BLE001 - other files are being sent: they go on
            why = f"{source}: an internal error broke it off: {error!r}"
            self._tell_why(number, source, why)
            return STOPPED
        self.outcomes[number] = summary
        self.tell_end(summary, prepared.report_folder)
        return summary.exit_code

    def _tell_begin(self, prepared: Prepared) -> None:
        if self._teller is not None and prepared.refusal is None:
            bound = prepared.bound
            rows = {name: file.rows for name, file in bound.jobs.items()}
            source = prepared.snapshot.source
            invalid = bound.invalid
            self._teller.run_started(prepared.run, source, invalid=invalid, accounts=rows)

    def _failed(self, run: str) -> Callable[[Sequence[RowResult]], None] | None:
        return None if self._teller is None else partial(self._teller.rows_failed, run)

    def tell_end(self, summary: Summary, folder: Path) -> None:
        """How a run ended, for people and, where they asked for it, for programs."""
        closing(self._console, summary, folder)
        if self._teller is not None:
            self._teller.run_ended(summary, folder)
        if self._as_json:
            emit(summary.one_line())

    def _open_display(self, poll: Progress) -> AbstractContextManager[object]:
        return open_display(self._console, poll)


def open_display(console: Console, poll: Progress) -> AbstractContextManager[object]:
    """What shows the progress that `poll` tells: a table on a terminal, lines elsewhere."""
    if console.quiet:
        return nullcontext()
    return (LiveDisplay if console.is_terminal else PlainDisplay)(console, poll)


def _code_of(error: PipelineError) -> int:
    if isinstance(error, BusyError):
        return BUSY
    return NOTHING_SENT if isinstance(error, ConfigError) else STOPPED


def together(codes: Sequence[int]) -> int:
    """One exit code for several files: among them one that was not sent counts as failed rows.

    >>> together([0, 2]), together([2]), together([1, 3, 0]), together([0, 130])
    (1, 2, 3, 130)
    """
    if len(set(codes)) == 1:
        return codes[0]
    return max(FAILED_ROWS if code == NOTHING_SENT else code for code in codes)

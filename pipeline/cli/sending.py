"""Show prepared files, ask, send and report: shared by `run`, `resume` and `undo`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from importlib import import_module
from pathlib import PurePath
from threading import Thread
from typing import TYPE_CHECKING

import anyio
import click
from rich.console import Console

from pipeline import run as engine  # its parts that send are imported when they are first used
from pipeline.cli.console import OutputError, emit, terminal
from pipeline.cli.estimate import RunEstimate
from pipeline.cli.messages import no_files, print_error, question_about, warn
from pipeline.cli.side_by_side import RunDisplay, SideBySide
from pipeline.cli.workers_on import started_by
from pipeline.config import Config
from pipeline.model import ConfigError, PipelineError, RowResult, RunAborted, UsageError
from pipeline.model.exit_codes import BUSY, FAILED_ROWS, INTERRUPTED, NOTHING_SENT, STOPPED
from pipeline.model.formatting import one_line
from pipeline.notify import Notifier
from pipeline.reporter import Summary
from pipeline.run import (
    CalledOffError,
    Prepared,
    ScheduleWindow,
    check_secrets,
    discard,
    to_the_minute,
)
from pipeline.run.canary import CanaryResult
from pipeline.run.event_loop import event_loop, rare_collections, run_async
from pipeline.runs import tidy
from pipeline.ui import terminal as screen
from pipeline.ui.terminal import show_question

if TYPE_CHECKING:
    from pipeline.cli.workers_on import Open
    from pipeline.run.worker_processes import StartWorkers

Prepare = Callable[[], Prepared]


class CommandSession:
    """One command over one or more files.

    continues  send the remaining rows after a canary without asking
    window     when rows may be sent; None: at any time
    workers    number of workers that send the rows; None: this process sends them
    place      where they are started; None: as processes of this machine
    outcomes   number of a file, from 0 -> summary of its run, or why none was started; no entry if
               the user declined, a signal came first, the configuration was wrong or
               the run failed
    notifier   gets every event; if it writes a log, nothing else is printed. None: no notifications
    """

    def __init__(
        self,
        *,
        quiet: bool,
        as_json: bool,
        wait: bool = True,
        continues: bool = False,
        window: ScheduleWindow | None = None,
        workers: int | None = None,
        place: Open | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._continues = continues
        self._notifier = notifier
        self._has_log = notifier is not None and notifier.has_log
        self._console = terminal(stderr=True, quiet=quiet or self._has_log)
        self._as_json = as_json
        self._wait = wait
        self._window = window or ScheduleWindow()
        self._workers = workers
        self._place = place
        self._placed: StartWorkers | None = None  # what `place` opened
        self._estimate = RunEstimate(self._window)
        self._has_several = False
        self._shown: set[str] = set()  # warnings
        self.outcomes: dict[int, Summary | str] = {}

    def run(self, files: Sequence[tuple[str, Prepare]], *, is_agreed: bool) -> int:
        """Prepare all files, ask once, send them; return the exit code.

        files  name of each file, and a function that prepares it
        """
        event_loop(os.environ)  # a wrong one is refused before anything is prepared
        place = nullcontext() if self._place is None else self._place(self.say)
        with rare_collections(), place as self._placed:
            return self._run(files, is_agreed=is_agreed)

    def _run(self, files: Sequence[tuple[str, Prepare]], *, is_agreed: bool) -> int:
        found: list[Prepared | None] = []
        self._has_several = len(files) > 1
        Thread(target=_import_what_sends).start()
        try:
            for number, (name, prepare) in enumerate(files):
                found.append(self._prepare(number, name, prepare, is_agreed=is_agreed))
            if is_agreed:
                self._console.print()  # between what is sent and what became of it
            else:
                self._ask([one for one in found if one is not None])
        except BaseException:
            for one in filter(None, found):
                discard(one)
            raise
        code = together(run_async(self._send_all, found))
        ended = [one for one in self.outcomes.values() if not isinstance(one, str)]
        if len(ended) > 1:
            screen.show_total(self._console, ended)
        prepared = [one for one in found if one is not None]
        if prepared and code < INTERRUPTED:
            tidy(prepared[0].config, self.say)
        return code

    def say(self, words: str) -> None:
        """Print and notify one line."""
        self._console.print(one_line(words), markup=False)
        if self._notifier is not None:
            self._notifier.said(words)

    def report_no_files(self, folder: PurePath) -> None:
        """The drop folder is empty."""
        self.say(no_files(folder))
        if self._notifier is not None:
            self._notifier.nothing_arrived(str(folder))

    def report_failure(self, file: str, error: object) -> None:
        """A file was not sent, or cannot be moved."""
        if not self._has_log:
            print_error(error)
        if self._notifier is not None:
            self._notifier.run_failed(file, error)

    async def _send_all(self, found: Sequence[Prepared | None]) -> list[int]:
        """Send all files in one event loop, so that they share rate limiters."""
        codes = [NOTHING_SENT] * len(found)
        self._announce_start(found)
        shared, display = engine.Session(), RunDisplay(self._open_display)
        turns = SideBySide(() if one is None else one.places for one in found)

        async def send_one(number: int, one: Prepared) -> None:
            async with turns.wait_for(number):
                codes[number] = await self._send_one(number, one, shared, display)

        async with engine.signals_obeyed(shared), anyio.create_task_group() as tasks:
            for number, one in enumerate(found):
                if one is not None:
                    tasks.start_soon(send_one, number, one)
        return codes

    def _announce_start(self, found: Sequence[Prepared | None]) -> None:
        start_at = self._window.start_at
        if start_at is not None and any(one is not None and one.refusal is None for one in found):
            self.say(f"Waiting until {to_the_minute(start_at)}. Press Ctrl-C to cancel.")

    def _prepare(
        self, number: int, name: str, prepare: Prepare, *, is_agreed: bool
    ) -> Prepared | None:
        try:
            with self._shown_as_read(name):
                prepared = prepare()
        except RunAborted:
            raise
        except PipelineError as error:
            self._report_error(number, name, error)
            return None
        try:
            check_secrets(prepared, os.environ)
        except ConfigError as error:
            discard(prepared)
            self._report_error(number, name, error)
            return None
        question = question_about(prepared, self._estimate)
        self._shown |= set(question.warnings)
        show_question(self._console, question, is_agreed=is_agreed)
        return prepared

    def _shown_as_read(self, name: str) -> AbstractContextManager[object]:
        """Show on a terminal that a file is being read; elsewhere nothing would be shown."""
        if self._console.quiet or not self._console.is_terminal:
            return nullcontext()
        return self._console.status(f"Reading {name}", spinner="dots")

    def _report_error(self, number: int, file: str, error: object) -> None:
        if not isinstance(error, ConfigError | engine.BusyError):  # not an error of the file
            self.outcomes[number] = str(error)
        self.report_failure(file, error)

    def _ask(self, ready: Sequence[Prepared]) -> None:
        if not any(one.bound.jobs and one.refusal is None for one in ready):
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "nothing was sent: a question needs a terminal. Add --yes to send without asking"
            )
        with suppress(click.Abort):  # Ctrl-C or Ctrl-D means no
            if click.confirm("Send this?", default=False, err=True):
                return
        raise UsageError("nothing was sent")

    def _agree(self, canary: CanaryResult) -> bool:
        """Show the results of the canary; True if the remaining rows may be sent."""
        from pipeline.cli.screens import show_canary  # noqa: PLC0415 - needs what makes plans

        show_canary(self._console, canary)
        if self._continues:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        with suppress(click.Abort):
            return click.confirm("Send the rest?", default=False, err=True)
        return False

    async def _send_one(
        self, number: int, prepared: Prepared, shared: engine.Session, display: RunDisplay
    ) -> int:
        source = str(prepared.snapshot.source)
        if shared.interrupted is not None:
            why = f"{source}: nothing was sent: the command was interrupted"
            self.report_failure(source, why)
            discard(prepared)
            return NOTHING_SENT
        self._notify_start(prepared)
        try:
            environment = engine.RunEnvironment(
                watch=display.watch,
                shared=shared,
                wait=self._wait,
                window=self._window,
                tell=self.say,
                failed=self._on_failed(prepared.run),
                agree=self._agree,
                workers=started_by(
                    self._workers, self._placed, self.say, prepared.config, self._window.until
                ),
                count=self._workers or 0,
            )
            summary: Summary = await engine.carry_out(prepared, environment)
        except CalledOffError as error:
            self.report_failure(source, error)
            return INTERRUPTED + (shared.interrupted or 0)
        except (engine.BusyError, RunAborted) as error:
            self.report_failure(source, error)
            return _code_of(error)
        except PipelineError as error:
            self._report_error(number, source, error)
            return _code_of(error)
        except Exception as error:  # noqa: BLE001 - other files are still being sent
            why = f"{source}: stopped by an internal error: {error!r}"
            self._report_error(number, source, why)
            return STOPPED
        self.outcomes[number] = summary
        self.report_end(summary, prepared.config.report_place(summary.run))
        is_there = await anyio.to_thread.run_sync(self.delivered, prepared.config, summary)
        return summary.exit_code if is_there else max(summary.exit_code, STOPPED)

    def delivered(self, config: Config, summary: Summary) -> bool:
        """Copy the report to where reports go; False if it could not be: that was reported."""
        try:
            engine.deliver(config, summary.run)
        except PipelineError as error:
            self.report_failure(summary.input.file, error)
            return False
        return True

    def _notify_start(self, prepared: Prepared) -> None:
        if self._notifier is not None and prepared.refusal is None:
            bound = prepared.bound
            rows = {name: file.rows for name, file in bound.jobs.items()}
            source = prepared.snapshot.source
            invalid = bound.invalid
            self._notifier.run_started(prepared.run, source, invalid=invalid, accounts=rows)

    def _on_failed(self, run: str) -> Callable[[Sequence[RowResult]], None] | None:
        return None if self._notifier is None else partial(self._notifier.rows_failed, run)

    def report_end(self, summary: Summary, folder: PurePath) -> None:
        """Print, notify and, with --json, emit the end of a run."""
        screen.show_result(
            self._console,
            summary,
            folder,
            shown=self._shown,
            is_one_of_several=self._has_several,
        )
        if self._notifier is not None:
            self._notifier.run_ended(summary, folder)
        if self._as_json:
            try:
                emit(summary.one_line())
            except OutputError as error:  # the exit code tells of rows, and the report has it all
                warn(str(error))

    def _open_display(self, poll: engine.Progress) -> AbstractContextManager[object]:
        return open_display(self._console, poll)


def _import_what_sends() -> None:
    """Import it while files are read, which mostly leaves the interpreter to others."""
    import_module("pipeline.run.whole_run")
    anyio.run(anyio.sleep, 0)  # the first event loop of a process imports a lot, too


def open_display(console: Console, poll: engine.Progress) -> AbstractContextManager[object]:
    """A display of the progress that `poll` returns: a table on a terminal, else plain lines."""
    if console.quiet:
        return nullcontext()
    return (screen.LiveDisplay if console.is_terminal else screen.PlainDisplay)(console, poll)


def _code_of(error: PipelineError) -> int:
    if isinstance(error, engine.BusyError):
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

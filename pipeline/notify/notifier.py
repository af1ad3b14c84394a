"""Tells events to those who asked for them: a log, a webhook, metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from pipeline.config import Config
from pipeline.model import ConfigError, PipelineError, RowResult, Status
from pipeline.model.formatting import one_line
from pipeline.notify.events import (
    LEVELS,
    AccountEnded,
    Event,
    Level,
    NothingArrived,
    Output,
    Quarantined,
    RowFailed,
    RowsLeftOut,
    RunEnded,
    RunFailed,
    RunStarted,
    Warned,
)
from pipeline.notify.formatting import as_json, as_text, body, level_of, occasion_of
from pipeline.notify.metrics import Metrics
from pipeline.notify.webhook import Webhook
from pipeline.reporter import Summary

ROWS_PER_S = 20
"""So many failed rows are told one by one in a second; the others are counted."""

_CODE_CHARS = 64


class LogStream(Protocol):
    """Where lines of a log go: what `print` needs of a file."""

    def write(self, text: str, /) -> object:
        """Append `text`."""

    def flush(self) -> object:
        """Let go of what is buffered."""


class Notifier:
    """Safe to call from any thread; no call waits for a receiver or raises because of one.

    config   says what a webhook is told
    log      where lines go; None: there is no log
    webhook  None: there is none
    warn     is told of what could not be told, where there is no log
    """

    def __init__(
        self,
        config: Config,
        *,
        log: LogStream | None = None,
        level: Level = "info",
        is_json: bool = False,
        webhook: Webhook | None = None,
        metrics_file: Path | None = None,
        warn: Callable[[str], None] = lambda _words: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = Metrics()
        self.beat_s: float | None = None
        self.webhook = webhook
        self._config = config
        self._log = log
        self._most = LEVELS.index(level)
        self._render = as_json if is_json else as_text
        self._metrics_file = metrics_file
        self._warn = warn
        self._clock = clock
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._is_lost = False  # the log
        self._second = 0.0
        self._told_rows = 0
        self._left_out: dict[str, int] = {}

    @property
    def has_log(self) -> bool:
        """Whether lines are written in place of what a person sees."""
        return self._log is not None

    def tell(self, event: Event) -> None:
        """To the log and, where its occasion was asked for, to the webhook."""
        now = datetime.now(UTC)
        if self._log is not None and LEVELS.index(level_of(event)) <= self._most:
            self._write(self._render(event, now))
        if self.webhook is not None and occasion_of(event) in self._config.notify.on:
            self.webhook.send(body(event, now, self._config.notify.format))

    def _write(self, line: str) -> None:
        """To the log, as long as it can be written: a full disk or a closed pipe stops no run."""
        with self._lock:
            if self._is_lost or self._log is None:
                return
            try:
                print(line, file=self._log, flush=True)
            except (OSError, ValueError) as error:
                self._is_lost = True
                self._warn(f"the log cannot be written: {getattr(error, 'strerror', error)}")

    def warn(self, words: str) -> None:
        """Something could not be told."""
        if self.has_log:
            self.tell(Warned(what=words))
        else:
            self._warn(words)

    def said(self, words: str) -> None:
        """A line for people."""
        self.tell(Output(what=words))

    def run_started(
        self, run: str, file: Path, *, invalid: int, accounts: Mapping[str, int]
    ) -> None:
        """A prepared file is about to be sent; `accounts` are rows by account."""
        rows = sum(accounts.values())
        told = RunStarted(run=run, file=str(file), rows=rows, invalid=invalid, accounts=accounts)
        self.tell(told)

    def rows_failed(self, run: str, results: Sequence[RowResult]) -> None:
        """Rows that leave something to do, at the level `row`."""
        if self._log is None or self._most < LEVELS.index("row"):
            return
        for result in results:
            if result.status is not Status.NOT_ATTEMPTED and self._may_tell_row(run):
                self.tell(_row_failed(run, result))

    def _may_tell_row(self, run: str) -> bool:
        """Whether there is room in this second; runs side by side share it."""
        now_s = self._clock()
        with self._counting:
            is_new = now_s - self._second >= 1.0
            if is_new:
                self._second, self._told_rows = now_s, 0
            self._told_rows += 1
            has_room = self._told_rows <= ROWS_PER_S
            if not has_room:
                self._left_out[run] = self._left_out.get(run, 0) + 1
        if is_new:
            self._tell_left_out(run)
        return has_room

    def _tell_left_out(self, run: str) -> None:
        with self._counting:
            left = self._left_out.pop(run, 0)
        if left:
            self.tell(RowsLeftOut(run=run, rows=left))

    def run_ended(self, summary: Summary, report: Path) -> None:
        """A run has its report: per account, warnings, metrics, and in the end the whole."""
        self._tell_left_out(summary.run)
        for name, account in summary.accounts.items():
            self.tell(
                AccountEnded(
                    run=summary.run,
                    account=name,
                    rows=account.rows,
                    statuses={s.value: n for s, n in account.statuses.items()},
                    requests=account.requests,
                    retries=account.retries,
                    sending_s=account.sending_s,
                    stopped=account.stopped,
                )
            )
        for warning in summary.warnings:
            self.tell(Warned(run=summary.run, what=warning))
        self.metrics.ended(summary, time.time())
        self._write_metrics()
        self.tell(_run_ended(summary, report))

    def run_failed(self, file: str, why: object) -> None:
        """A file was not sent, or its run broke off."""
        self.metrics.not_sent()
        self._write_metrics()
        words = why.without_values() if isinstance(why, PipelineError) else str(why)
        self.tell(RunFailed(file=file, why=words))

    def set_aside(self, file: Path, why: str) -> None:
        """A dropped file was put away, and nothing of it was sent, or not all."""
        self.metrics.set_aside()
        self.tell(Quarantined(file=str(file), why=why))

    def nothing_arrived(self, where: str, expected: str = "") -> None:
        """No file lay where one was expected."""
        self.metrics.nothing_arrived()
        self.tell(NothingArrived(where=where, expected=expected))

    def beat(self) -> None:
        """The loop of a watcher went round."""
        self.beat_s = self._clock()
        self.metrics.beat(time.time())

    def _write_metrics(self) -> None:
        if self._metrics_file is None:
            return
        try:
            self.metrics.write(self._metrics_file)
        except OSError as error:
            self.warn(f"{self._metrics_file}: the metrics were not written: {error.strerror}")


@contextmanager
def open_teller(
    config: Config,
    environ: Mapping[str, str],
    *,
    log: LogStream,
    log_format: str | None = None,
    level: Level | None = None,
    metrics_file: Path | None = None,
    warn: Callable[[str], None] = lambda _words: None,
) -> Iterator[Notifier]:
    """A teller as the configuration wants it; in the end what waits is still told, for a while.

    A webhook whose URL cannot be read is warned of: who is told of a night must not stop it.

    log_format, level, metrics_file  what the command says; None: the configuration's
    """
    chosen = log_format or config.log.format
    notifier = Notifier(
        config,
        log=None if chosen is None else log,
        level=level or config.log.level,
        is_json=chosen == "json",
        metrics_file=metrics_file or config.metrics_file,
        warn=warn,
    )
    try:
        url = config.webhook_url(environ)
    except ConfigError as error:
        url = None
        notifier.warn(f"nobody is told by webhook: {error}")
    if url is not None:
        notifier.webhook = Webhook(url, config.notify.timeout_s, notifier.warn)
    try:
        yield notifier
    finally:
        if notifier.webhook is not None:
            notifier.webhook.close()


def _row_failed(run: str, result: RowResult) -> RowFailed:
    return RowFailed(
        run=run,
        row=result.row,
        account=result.account,
        operation=result.operation,
        status=result.status.value,
        code=one_line(result.error_code)[:_CODE_CHARS],
        http_status=result.http_status,
        attempts=result.attempts,
        request_id=one_line(result.request_id)[:_CODE_CHARS],
    )


def _run_ended(summary: Summary, report: Path) -> RunEnded:
    stops = [f"{name}: {one.stopped}" for name, one in summary.accounts.items() if one.stopped]
    return RunEnded(
        run=summary.run,
        file=summary.input.file,
        why=summary.why,
        exit_code=summary.exit_code,
        rows=summary.rows,
        statuses={s.value: n for s, n in summary.statuses.items()},
        requests=summary.requests,
        retries=summary.retries,
        seconds=summary.seconds,
        stopped=summary.stopped or "; ".join(stops),
        unusual=summary.unusual,
        report=str(report),
    )

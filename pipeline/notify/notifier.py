"""Sends events of runs to the log, the webhook and the metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Protocol

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
from pipeline.notify.webhook import Webhook
from pipeline.reporter import Summary

if TYPE_CHECKING:
    from pipeline.notify.metrics import Metrics

ROWS_PER_S = 20
"""Failed rows logged one by one per second; the others are counted."""

_CODE_CHARS = 64


class LogStream(Protocol):
    """The target of log lines: the part of a file that `print` needs."""

    def write(self, text: str, /) -> object:
        """Append `text`."""

    def flush(self) -> object:
        """Write what is buffered."""


class Notifier:
    """Thread-safe. No call waits for a receiver, or raises if one fails.

    config   decides which events go to the webhook
    log      target of log lines; None: no log
    webhook  None: no webhook
    metrics  None: nobody reads them
    warn     receives notification failures if there is no log
    """

    def __init__(
        self,
        config: Config,
        *,
        log: LogStream | None = None,
        level: Level = "info",
        is_json: bool = False,
        webhook: Webhook | None = None,
        metrics: Metrics | None = None,
        metrics_file: Path | None = None,
        warn: Callable[[str], None] = lambda _text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = metrics
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
        self._is_lost = False  # the log failed
        self._second = 0.0
        self._logged_rows = 0
        self._left_out: dict[str, int] = {}

    @property
    def has_log(self) -> bool:
        """True if log lines replace the output for people."""
        return self._log is not None

    def notify(self, event: Event) -> None:
        """Write an event to the log and, if configured, send it to the webhook."""
        now = datetime.now(UTC)
        if self._log is not None and LEVELS.index(level_of(event)) <= self._most:
            self._write(self._render(event, now))
        if self.webhook is not None and occasion_of(event) in self._config.notify.on:
            self.webhook.send(body(event, now, self._config.notify.format))

    def _write(self, line: str) -> None:
        """Write to the log until that fails: a full disk or a closed pipe stops no run."""
        with self._lock:
            if self._is_lost or self._log is None:
                return
            try:
                print(line, file=self._log, flush=True)
            except (OSError, ValueError) as error:
                self._is_lost = True
                self._warn(f"the log cannot be written: {getattr(error, 'strerror', error)}")

    def warn(self, text: str) -> None:
        """Log a failed notification, or pass it to `warn`."""
        if self.has_log:
            self.notify(Warned(what=text))
        else:
            self._warn(text)

    def said(self, text: str) -> None:
        """Notify a line of the output for people."""
        self.notify(Output(what=text))

    def run_started(
        self, run: str, file: PurePath, *, invalid: int, accounts: Mapping[str, int]
    ) -> None:
        """A prepared file is about to be sent; `accounts` are rows by account."""
        rows = sum(accounts.values())
        self.notify(
            RunStarted(run=run, file=str(file), rows=rows, invalid=invalid, accounts=accounts)
        )

    def rows_failed(self, run: str, results: Sequence[RowResult]) -> None:
        """Log failed rows at level `row`, at most `ROWS_PER_S`."""
        if self._log is None or self._most < LEVELS.index("row"):
            return
        for result in results:
            if result.status is not Status.NOT_ATTEMPTED and self._may_log_row(run):
                self.notify(_row_failed(run, result))

    def _may_log_row(self, run: str) -> bool:
        """True if this second has room for a row; concurrent runs share it."""
        now_s = self._clock()
        with self._counting:
            is_new = now_s - self._second >= 1.0
            if is_new:
                self._second, self._logged_rows = now_s, 0
            self._logged_rows += 1
            has_room = self._logged_rows <= ROWS_PER_S
            if not has_room:
                self._left_out[run] = self._left_out.get(run, 0) + 1
        if is_new:
            self._log_left_out(run)
        return has_room

    def _log_left_out(self, run: str) -> None:
        with self._counting:
            left = self._left_out.pop(run, 0)
        if left:
            self.notify(RowsLeftOut(run=run, rows=left))

    def run_ended(self, summary: Summary, report: PurePath) -> None:
        """Notify the end of a run: accounts, warnings, metrics, then the run itself."""
        self._log_left_out(summary.run)
        for name, account in summary.accounts.items():
            self.notify(
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
            self.notify(Warned(run=summary.run, what=warning))
        if self.metrics is not None:
            self.metrics.ended(summary, time.time())
        self._write_metrics()
        self.notify(_run_ended(summary, report))

    def run_failed(self, file: str, why: object) -> None:
        """A file was not sent, or its run failed."""
        if self.metrics is not None:
            self.metrics.not_sent()
        self._write_metrics()
        text = why.without_values() if isinstance(why, PipelineError) else str(why)
        self.notify(RunFailed(file=file, why=text))

    def quarantined(self, file: PurePath, why: str) -> None:
        """A dropped file was quarantined: it was not or not completely sent."""
        if self.metrics is not None:
            self.metrics.quarantined()
        self.notify(Quarantined(file=str(file), why=why))

    def nothing_arrived(self, where: str, expected: str = "") -> None:
        """An expected file did not arrive."""
        if self.metrics is not None:
            self.metrics.nothing_arrived()
        self.notify(NothingArrived(where=where, expected=expected))

    def beat(self) -> None:
        """A watcher completed a loop."""
        self.beat_s = self._clock()
        if self.metrics is not None:
            self.metrics.beat(time.time())

    def _write_metrics(self) -> None:
        if self.metrics is None or self._metrics_file is None:
            return
        try:
            self.metrics.write(self._metrics_file)
        except OSError as error:
            self.warn(f"{self._metrics_file}: the metrics were not written: {error.strerror}")


@contextmanager
def open_notifier(
    config: Config,
    environ: Mapping[str, str],
    *,
    log: LogStream,
    log_format: str | None = None,
    level: Level | None = None,
    metrics_file: Path | None = None,
    serves_metrics: bool = False,
    warn: Callable[[str], None] = lambda _text: None,
) -> Iterator[Notifier]:
    """Open a notifier; on exit, waiting messages are sent for a limited time.

    A webhook whose URL cannot be read causes a warning: notifications must not stop a run.

    log_format, level, metrics_file  given by the command; None: by the configuration
    serves_metrics                   keep metrics although no file is written
    """
    file = metrics_file or config.metrics_file
    chosen = log_format or config.log.format
    notifier = Notifier(
        config,
        log=None if chosen is None else log,
        level=level or config.log.level,
        is_json=chosen == "json",
        metrics=_new_metrics() if serves_metrics or file is not None else None,
        metrics_file=file,
        warn=warn,
    )
    try:
        url = config.webhook_url(environ)
    except ConfigError as error:
        url = None
        notifier.warn(f"the webhook is off: {error}")
    if url is not None:
        notifier.webhook = Webhook(url, config.notify.timeout_s, notifier.warn)
    try:
        yield notifier
    finally:
        if notifier.webhook is not None:
            notifier.webhook.close()


def _new_metrics() -> Metrics:
    from pipeline.notify.metrics import Metrics  # noqa: PLC0415 - slow, and most runs keep none

    return Metrics()


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


def _run_ended(summary: Summary, report: PurePath) -> RunEnded:
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

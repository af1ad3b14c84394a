"""Ends rows: builds their results, has them recorded, and releases the next rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from pipeline.exchanges.log import ExchangeLog
from pipeline.model import Answer, JobRow, RowResult, Status
from pipeline.model.exchange import Exchange
from pipeline.sign_in.auth import mask_of
from pipeline.vendors import Account
from pipeline.vendors.kit.classify import without_secrets
from pipeline.workers.backlog import Backlog
from pipeline.workers.batches import Row
from pipeline.workers.recorder import Recorder
from pipeline.workers.row import END_OF_BLOCKED, Finish, Then, after_stop, end_of_covered


class ResultWriter:
    """Ends rows of an account: writes their results, and releases the next rows.

    clock      monotonic seconds
    on_end     called with the status of each row that ends

    counts     rows that have a result, per status
    exchanges  remembers the exchanges of rows that may not succeed
    """

    def __init__(
        self,
        account: Account,
        backlog: Backlog,
        recorder: Recorder,
        clock: Callable[[], float],
        on_end: Callable[[Status], None] = lambda _status: None,
    ) -> None:
        self._on_end = on_end
        self._account = account.name
        self._hide = mask_of(account).hide
        self._can_be_read = {op.name: op.reading is not None for op in account.vendor.operations}
        self._backlog = backlog
        self._recorder = recorder
        self._clock = clock
        self.counts: Counter[Status] = Counter()
        self.exchanges = ExchangeLog(account)

    def end(self, ended: Sequence[tuple[Row, Finish]]) -> None:
        """Record how rows ended, all with the same status.

        The next rows of their entities wait for the commit.
        """
        rows, status, now_s = [row for row, _ in ended], ended[0][1].status, self._clock()
        results = list[RowResult]()
        for row, finish in ended:
            seconds = round(now_s - row.first_sent_s, 3) if row.attempts else 0.0
            results.append(self._result(row.job, finish, row.attempts, seconds))
        self._record(
            results,
            status,
            partial(self._committed, rows, status),
            exchanges=self.exchanges.take(results),
            is_awaited=self._backlog.rows.are_awaited(rows),
        )
        for row in rows:
            if row.covered and (end := end_of_covered(row, status)) is not None:
                # in one commit with its result: else a resumed run would send them after it
                covered, row.covered = row.covered, []
                self._end_unsent(covered, end)

    def end_blocked(self) -> None:
        """End the rows that wait behind a row of their entity that ended `unknown`."""
        if blocked := self._backlog.rows.take_blocked():
            self._end_unsent(blocked, END_OF_BLOCKED)

    def _end_unsent(self, jobs: Sequence[JobRow], end: Finish) -> None:
        """Record how rows ended that were never given out."""
        results = [self._result(job, end) for job in jobs]
        self._record(results, end.status, self._backlog.on_news)

    def _result(
        self, job: JobRow, finish: Finish, attempts: int = 0, seconds: float = 0.0
    ) -> RowResult:
        answer = without_secrets(finish.answer, self._hide)  # it may quote what a read showed
        return RowResult(  # without names, which would take a third longer
            job.row,
            job.operation,
            self._account,
            finish.status,
            answer.http_status,
            answer.code,
            answer.message,
            answer.hint,
            attempts,
            seconds,
            answer.request_id,
            answer.receipt,
        )

    def _record(
        self,
        results: Sequence[RowResult],
        status: Status,
        on_recorded: Callable[[], None],
        *,
        exchanges: Sequence[Exchange] = (),
        is_awaited: bool = False,
    ) -> None:
        self.counts[status] += len(results)
        self._recorder.end(results, on_recorded, exchanges=exchanges, is_awaited=is_awaited)
        for _ in results:
            self._on_end(status)

    def _committed(self, rows: Sequence[Row], status: Status) -> None:
        for row in rows:
            self._backlog.rows.done(row, status)
        self._backlog.on_news()
        self.end_blocked()

    def on_stop(self, row: Row, reason: str | None, held: Answer | None = None) -> None:
        """End a row that was given out when the account stopped, or leave it to `resume`.

        reason  None if the run was interrupted
        held    the refusal for which it was held; None if it was not
        """
        can_be_read = self._can_be_read[row.job.operation]
        action = after_stop(row, reason, can_be_read=can_be_read, held=held)
        if isinstance(action, Finish):
            self.end([(row, action)])
        elif action is Then.RELEASE:
            self._recorder.release_claims([row.job.row])

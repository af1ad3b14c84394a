"""Holds rows whose end depends on whether their account works: refused, or never connected.

`refusals.py` decides when an account is suspected and when it is given up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from pipeline.model import Answer, Verdict
from pipeline.workers.answers import is_judged
from pipeline.workers.backlog import Backlog
from pipeline.workers.batches import Batch, Row, halves
from pipeline.workers.environment import SenderEnvironment
from pipeline.workers.fail_fast import FailFastCheck
from pipeline.workers.own_answers import INTERRUPTED
from pipeline.workers.refusals import AccountRefusals
from pipeline.workers.result_writer import ResultWriter
from pipeline.workers.row import Finish, Step, after_connection, after_refusal
from pipeline.workers.stop_reason import describe


@dataclass(slots=True)
class _HeldRows:
    """Rows of one refused request.

    step      what the request was
    came_s    when the answer arrived
    is_group  True if none of the rows was sent alone
    """

    rows: Batch
    step: Step
    answer: Answer
    came_s: float
    is_group: bool


class Undecided:
    """Holds rows until other answers show whether the account works.

    refused_before  rows that an earlier process got refused without a decision -> HTTP status

    probe           the batch that is being sent to learn whether the account works; None if none is
    updated_row     a row that was updated; None if none was
    """

    def __init__(
        self,
        backlog: Backlog,
        result_writer: ResultWriter,
        environment: SenderEnvironment,
        refused_before: Mapping[int, int],
    ) -> None:
        self._backlog = backlog
        self._result_writer = result_writer
        self._clock = environment.clock
        statuses = refused_before.values()
        not_credentials = sum(status != HTTPStatus.UNAUTHORIZED for status in statuses)
        self._updates = AccountRefusals(not_credentials)
        self._reads = AccountRefusals(not_credentials)
        self._held: list[_HeldRows] = []
        self._unreached: list[Row] = []
        self._refusal = INTERRUPTED
        self.fail_fast = FailFastCheck(environment.fail_fast_after)
        self.refused_before = refused_before
        self.probe: Batch | None = None
        self.updated_row: Row | None = None

    # Rows that wait...

    def hold(self, rows: Batch, step: Step, answer: Answer, *, is_group: bool = False) -> None:
        """Hold refused rows."""
        self._held.append(_HeldRows(rows, step, answer, self._clock(), is_group))

    def hold_unreached(self, row: Row) -> None:
        """Hold a row that never got a connection; it is sent again once a request gets one."""
        self._unreached.append(row)

    @property
    def count(self) -> int:
        """How many rows are held."""
        return sum(len(held.rows) for held in self._held) + len(self._unreached)

    # Answers...

    def on_answer(
        self, batch: Batch, answers: Sequence[Answer], sent_s: float, *, is_read: bool
    ) -> None:
        """Learn from the answers to a request for `batch`, sent at `sent_s`."""
        is_probe = self.probe is batch
        for answer in answers:
            if answer.http_status is not None:
                self._on_connected()
            if is_judged(answer):
                self._judged(batch, answer, sent_s, is_read=is_read)
            elif answer.verdict is Verdict.FATAL and not self._was_refused_before(batch, answer):
                refusals = self._reads if is_read else self._updates
                refusals.on_refusal(batch[0].job.entity, self._clock(), is_probe=is_probe)
                self._refusal = answer
            if not is_read:
                self.fail_fast.on_answer(answer, is_probe=is_probe)
        if self._held:
            self._release()

    @property
    def is_calm(self) -> bool:
        """True if no row is held and no refusal is open: `on_success` is enough."""
        return (
            self.fail_fast.is_over
            and self._updates.is_clear
            and self._reads.is_clear
            and self.probe is None
            and not (self._held or self._unreached)
        )

    def on_success(self, row: Row, latest_s: float) -> None:
        """As `on_answer` for updates that were OK, the last of them of `row`.

        Only while `is_calm`.

        latest_s  when the last of them was sent
        """
        self._reads.on_judged(latest_s)
        self._updates.on_judged(latest_s)
        self.updated_row = row

    def _judged(self, batch: Batch, answer: Answer, sent_s: float, *, is_read: bool) -> None:
        self._reads.on_judged(sent_s)
        if is_read:
            return
        self._updates.on_judged(sent_s)
        if answer.verdict is Verdict.OK:
            self.updated_row = batch[0]

    def _was_refused_before(self, batch: Batch, answer: Answer) -> bool:
        """True if an earlier process got `batch` refused too, so that this says nothing new.

        A 401 always counts: it is about credentials.
        """
        was_refused = all(row.job.row in self.refused_before for row in batch)
        return was_refused and answer.http_status != HTTPStatus.UNAUTHORIZED

    def _on_connected(self) -> None:
        """Send held rows that never got a connection again."""
        rows, self._unreached = self._unreached, []
        for row in rows:
            self._backlog.retry([row], self._clock() + after_connection(row).delay_s)

    def _release(self) -> None:
        """Release the rows whose refusal is known to be about them."""
        held, self._held = self._held, []
        for each in held:
            if self._refusals_of(each).is_about_row(each.came_s):
                self._decide(each, is_about_row=True)
            else:
                self._held.append(each)

    def _refusals_of(self, held: _HeldRows) -> AccountRefusals:
        return self._updates if held.step is Step.UPDATE else self._reads

    def _decide(self, held: _HeldRows, *, is_about_row: bool) -> None:
        """End the rows of one request, or split them."""
        for row in held.rows:
            action = after_refusal(
                row,
                held.step,
                held.answer,
                was_in_group=held.is_group,
                is_about_row=is_about_row,
            )
            if not isinstance(action, Finish):
                self._backlog.send_apart(halves(held.rows))
                return
            self._result_writer.end([(row, action)])

    @property
    def is_suspected(self) -> bool:
        """True if only probes are sent, to learn whether the account works."""
        return self._updates.is_suspected or self._reads.is_suspected or self.fail_fast.is_suspected

    @property
    def had_refusals(self) -> bool:
        """True if an update got a refusal that may be about its row or about the account."""
        return self._updates.had_any

    @property
    def stop_reason(self) -> str | None:
        """Why the account must stop: the probes were refused as well. None if they were not."""
        is_given_up = self._updates.is_given_up or self._reads.is_given_up
        return self._refusal_reason() if is_given_up else None

    def _refusal_reason(self) -> str:
        return f"{describe(self._refusal)}. No other row was accepted since"

    @property
    def is_about_credentials(self) -> bool:
        """True if the last refusal was a 401: every request would get it."""
        return self._refusal.http_status == HTTPStatus.UNAUTHORIZED

    # Probing...

    def may_send(self, batch: Batch) -> bool:
        """True if a batch that was taken from the queue may still be sent."""
        return self.probe is batch or not self.is_suspected

    def row_of_held_group(self) -> Batch:
        """Take one row of a refused group, to be sent alone; empty if no group is held."""
        for held in self._held:
            if held.is_group:
                row = held.rows.pop(0)
                if not held.rows:
                    self._held.remove(held)
                return [row]
        return []

    # If nothing else is left to send...

    @property
    def has_open_refusals(self) -> bool:
        """True if refusals that may be about the account put it under suspicion."""
        return self._updates.is_suspected or self._reads.is_suspected

    def stuck_reason(self) -> str | None:
        """Return why the account must stop if no row is left as a probe, or None."""
        if self.has_open_refusals:
            return self._refusal_reason()
        if self._held:
            return None
        if self.fail_fast.is_suspected:
            return self.fail_fast.reason
        if self._unreached:
            return f"no connection was made: {describe(self._unreached[0].answer or INTERRUPTED)}"
        return None

    def account_works(self) -> None:
        """Release the held rows: the account works, so their refusals are about them."""
        now_s = self._clock()
        self._updates.on_judged(now_s)
        self._reads.on_judged(now_s)
        self._release()

    def decide(self) -> None:
        """End the held rows: no row is left as a probe and the account is not suspected.

        If nothing was ever judged, all rows were refused in two processes, and it stays unknown
        whether the refusals are about them.
        """
        held, self._held = self._held, []
        for each in held:
            self._decide(each, is_about_row=self._refusals_of(each).is_proven)

    def on_stop(self, reason: str | None) -> None:
        """End or keep the held rows of an account that has stopped, without a judgement."""
        held, self._held = self._held, []
        for each in held:
            for row in each.rows:
                self._result_writer.on_stop(row, reason, each.answer)
        unreached, self._unreached = self._unreached, []
        for row in unreached:
            self._result_writer.on_stop(row, reason)

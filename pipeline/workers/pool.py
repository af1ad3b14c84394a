"""The worker pool: runs the senders of all accounts side by side, and stops them together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import anyio

from pipeline.model import AccountProgress, PipelineError
from pipeline.model.sample import Sample
from pipeline.workers.recorder import Recorder


class Sender(Protocol):
    """Sends the rows of one account, as `AccountSender` does."""

    async def run(self) -> None:
        """Send every row, or stop."""

    def stop(self, reason: str) -> None:
        """Send no further row; requests in flight finish."""

    def progress(self) -> AccountProgress:
        """Return the progress of the account."""

    def take_latencies(self) -> tuple[int, ...]:
        """Return the answers since the last call, counted per bucket of LATENCY_BOUNDS_S."""

    def take_throttled(self) -> int:
        """Return the number of 429 answers since the last call."""


class WorkerPool:
    """Runs account senders until every row has ended or the pool is stopped.

    grace_s  seconds for requests in flight to finish after `stop`
    """

    def __init__(self, senders: Sequence[Sender], recorder: Recorder, *, grace_s: float) -> None:
        self._senders = senders
        self._recorder = recorder
        self._grace_s = grace_s
        self._working = anyio.CancelScope()
        recorder.on_failure = self._cannot_record

    async def run(self) -> None:
        """Send all rows; then every row that was sent has its result or its claim on record.

        raises  an exception group with the PipelineError that prevented recording results
        """
        async with anyio.create_task_group() as recording:
            recording.start_soon(self._recorder.run)
            try:
                with self._working:
                    async with anyio.create_task_group() as working:
                        for sender in self._senders:
                            working.start_soon(sender.run)
            finally:
                self._recorder.close()

    def _cannot_record(self, error: PipelineError) -> None:
        """Send nothing more, because it could not be recorded; requests in flight finish."""
        if not self.is_stopped:
            self.stop(str(error))

    def stop(self, reason: str) -> None:
        """Send no further row; a second call cancels what is in flight."""
        if self.is_stopped:
            self._working.cancel()
            return
        for sender in self._senders:
            sender.stop(reason)
        self._working.deadline = anyio.current_time() + self._grace_s

    def stop_feeding(self, reason: str) -> None:
        """Send no further row; requests in flight finish, however long they take."""
        for sender in self._senders:
            sender.stop(reason)

    @property
    def is_stopped(self) -> bool:
        """True once `stop` was called."""
        return self._working.deadline < math.inf

    def progress(self) -> tuple[AccountProgress, ...]:
        """Return the progress of each account."""
        return tuple(sender.progress() for sender in self._senders)

    def samples(self, at_s: float, seconds: float, before: Mapping[str, int]) -> list[Sample]:
        """Return what each account did in the last `seconds`.

        before  account -> requests that it had sent until then
        """
        return [
            Sample(
                account=each.account,
                at_s=at_s,
                seconds=seconds,
                sent=each.sent - before.get(each.account, 0),
                in_flight=each.in_flight,
                in_flight_limit=each.in_flight_limit,
                pause_left_s=each.pause_left_s,
                latencies=sender.take_latencies(),
                allowed_per_s=each.quota_per_s,
                throttled=sender.take_throttled(),
                is_probing=each.is_probing,
            )
            for sender, each in zip(self._senders, self.progress(), strict=True)
        ]

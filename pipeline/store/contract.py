"""What a record of one run promises, whatever keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline.model import RowResult, RunAborted, Status
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import Sample

MOST_EXCHANGE_CHARS = 4_000_000
"""Exchanges of a run hold so much text at most."""


class LedgerError(RunAborted):
    """The record is damaged, or was about to contradict itself. Nothing of that was recorded."""


class Ledger(Protocol):
    """The record of one run: which rows may have been sent, and how rows ended.

    A row is untouched, claimed, or has a result. Calls MUST NOT overlap, nor the steps of an
    iterator with a call, but may come from any thread. What a call has returned for survives
    `kill -9` and loss of power. Every call may raise RunAborted, in words, where the disk refuses,
    and LedgerError where the record is damaged; after either the record is what it was before.
    """

    @property
    def commits(self) -> int:
        """Number of the last commit; what was recorded before it is there as long as it is."""

    def record(
        self,
        claims: Sequence[int],
        results: Sequence[RowResult],
        exchanges: Sequence[Exchange] = (),
    ) -> None:
        """In one commit: rows that may be sent from now on, how rows ended, and exchanges of those.

        Claiming a claimed row again changes nothing; a result ends the claim. A result stands:
        another one for its row, or another claim, is a LedgerError that names the row. Only
        `not_attempted` gives way to either. Exchanges beyond MOST_EXCHANGE_CHARS in all are left
        out. Where this raises, none of it is on record.
        """

    def release(self, rows: Sequence[int]) -> None:
        """Take claims back: these rows were certainly never sent."""

    def results(self, first: int, last: int) -> Iterator[RowResult]:
        """The results with first <= row <= last, in row order."""

    def claimed(self) -> Iterator[int]:
        """The rows that are claimed and have no result, rising."""

    def ended(self, rows: Sequence[int]) -> dict[int, Status]:
        """Those of these rows that must not be sent again: a result other than `not_attempted`."""

    def counts(self) -> dict[Status, int]:
        """How many results there are of each status; none of a status, no entry."""

    def exchanges(self, row: int | None = None) -> Iterator[Exchange]:
        """Those that are kept, in row order; of one row at most one."""

    def sample(self, samples: Sequence[Sample], legs: Sequence[Leg] = ()) -> None:
        """Add samples, and put legs in the place of what was noted of them before."""

    def samples(self) -> Iterator[Sample]:
        """All samples, in the order in which they were added."""

    def legs(self) -> list[Leg]:
        """What each process did for each account, by number and account."""

    def close(self) -> None:
        """Let go of files; the record stays."""

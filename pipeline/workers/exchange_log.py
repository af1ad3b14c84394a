"""Exchanges about rows that may not succeed: remembered while they are under way, a few kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.model import SUCCESS, NoReply, Reply, RowResult, Status
from pipeline.model.exchange import Exchange
from pipeline.vendors import Account
from pipeline.workers.batches import Batch, Row
from pipeline.workers.exchange_text import (
    format_reply,
    format_request,
    mask_with_headers,
    masked,
    shown_request,
    truncated,
)

MOST_OF_A_KIND = 20
"""So many are kept of rows that ended with one status and code."""

MOST_REMEMBERED = 200
"""Of so many rows that wait the last exchange is remembered."""


class _PendingExchange(NamedTuple):
    """An exchange as it came, its body cut; secrets are hidden in what is kept of it.

    jobs  their JSON, those of one request
    """

    operation: str
    jobs: tuple[str, ...]
    is_read: bool
    reply: Reply | NoReply


class ExchangeLog:
    """The exchanges of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._mask = mask_with_headers(account)
        self._seen: dict[int, _PendingExchange] = {}
        self._kept: Counter[tuple[Status, str]] = Counter()

    def on_reply(self, batch: Batch, reply: Reply | NoReply) -> None:
        """`reply` came to an attempt for the rows of `batch`."""
        jobs = tuple(row.text for row in batch)
        self._remember(
            batch, _PendingExchange(batch[0].job.operation, jobs, False, _truncated(reply))
        )

    def on_read(self, row: Row, reply: Reply | NoReply) -> None:
        """`reply` came to a read; an attempt tells more."""
        if row.job.row not in self._seen:
            self._remember(
                [row], _PendingExchange(row.job.operation, (row.text,), True, _truncated(reply))
            )

    def _remember(self, rows: Sequence[Row], seen: _PendingExchange) -> None:
        for row in rows:
            self._seen.pop(row.job.row, None)
            self._seen[row.job.row] = seen
        while len(self._seen) > max(MOST_REMEMBERED, len(rows)):
            del self._seen[next(iter(self._seen))]  # it waits longest

    def pop(self, result: RowResult) -> Exchange | None:
        """What to keep of the row that ended so; None where nothing is."""
        seen = self._seen.pop(result.row, None) if self._seen else None
        kind = result.status, result.error_code
        if seen is None or result.status in SUCCESS or self._kept[kind] >= MOST_OF_A_KIND:
            return None
        self._kept[kind] += 1
        operation = self._account.operation(seen.operation)
        request = shown_request(self._account, operation, seen.jobs, is_read=seen.is_read)
        return Exchange(
            result.row,
            *kind,
            format_request(self._account, request, self._mask),
            format_reply(masked(seen.reply, self._mask)),
        )


def _truncated(reply: Reply | NoReply) -> Reply | NoReply:
    return truncated(reply) if isinstance(reply, Reply) else reply

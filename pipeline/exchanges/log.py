"""Remembers the last exchange of each row that may not succeed, and keeps some for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from pipeline.exchanges.text import (
    format_reply,
    format_request,
    mask_with_headers,
    masked,
    shown_request,
    truncated,
)
from pipeline.model import SUCCESS, NoReply, Reply, RowResult, Status
from pipeline.model.exchange import Exchange
from pipeline.vendors import Account

MAX_OF_A_KIND = 20
"""Exchanges kept per status and error code."""

MAX_REMEMBERED = 200
"""Rows whose last exchange is remembered until they end."""


class _PendingExchange(NamedTuple):
    """An exchange before secrets are masked, its body truncated.

    jobs  the jobs of the request, as JSON
    """

    operation: str
    jobs: tuple[str, ...]
    is_read: bool
    reply: Reply | NoReply


class ExchangeLog:
    """Exchanges of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._mask = mask_with_headers(account)
        self._seen: dict[int, _PendingExchange] = {}
        self._kept: Counter[tuple[Status, str]] = Counter()

    def on_reply(self, operation: str, sent: Mapping[int, str], reply: Reply | NoReply) -> None:
        """Remember the reply to an update of the rows of `sent`: row -> its job as JSON."""
        jobs = tuple(sent.values())
        self._remember(sent, _PendingExchange(operation, jobs, False, truncated(reply)))

    def on_read(self, operation: str, row: int, job: str, reply: Reply | NoReply) -> None:
        """Remember the reply to a read, unless an update is remembered: that shows more."""
        if row not in self._seen:
            self._remember([row], _PendingExchange(operation, (job,), True, truncated(reply)))

    def _remember(self, rows: Collection[int], seen: _PendingExchange) -> None:
        for row in rows:
            self._seen.pop(row, None)
            self._seen[row] = seen
        while len(self._seen) > max(MAX_REMEMBERED, len(rows)):
            del self._seen[next(iter(self._seen))]  # the oldest

    def take(self, results: Iterable[RowResult]) -> list[Exchange]:
        """Forget the exchanges of rows that ended; return those that are kept for the report."""
        found = (self._taken(result) for result in results if result.row in self._seen)
        return [exchange for exchange in found if exchange is not None]

    def _taken(self, result: RowResult) -> Exchange | None:
        seen, kind = self._seen.pop(result.row), (result.status, result.error_code)
        if result.status in SUCCESS or self._kept[kind] >= MAX_OF_A_KIND:
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

"""Selects an example exchange for each kind of error. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.model.exchange import Exchange
from pipeline.reporter.summary import ErrorSummary


def sample_exchanges(
    kinds: Sequence[ErrorSummary], stored: Iterable[Exchange]
) -> dict[int, Exchange]:
    """Index in `kinds` -> the exchange of one of its rows.

    The first of the rows that the kind names and that have a stored exchange; else another row with
    the same status and code. Kinds without either are left out.
    """
    of_row: dict[int, Exchange] = {}
    of_code: dict[tuple[str, str], Exchange] = {}
    for exchange in stored:
        of_row[exchange.row] = exchange
        of_code.setdefault((exchange.status, exchange.error_code), exchange)
    found = {}
    for number, kind in enumerate(kinds):
        own = (of_row[row] for row in kind.rows if row in of_row)
        best = next(own, of_code.get((kind.status, kind.code)))
        if best is not None:
            found[number] = best
    return found

"""Which exchange shows best what a kind of error is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.model.exchange import Exchange
from pipeline.reporter.summary import ErrorSummary


def met(kinds: Sequence[ErrorSummary], kept: Iterable[Exchange]) -> dict[int, Exchange]:
    """Place among `kinds` -> what one of its rows met.

    The first of its own rows of which an exchange is kept; else another row that ended with the
    same status and code, for an exchange names its row. Kinds without either are left out.
    """
    of_row: dict[int, Exchange] = {}
    of_code: dict[tuple[str, str], Exchange] = {}
    for exchange in kept:
        of_row[exchange.row] = exchange
        of_code.setdefault((exchange.status, exchange.error_code), exchange)
    found = {}
    for place, kind in enumerate(kinds):
        own = (of_row[row] for row in kind.rows if row in of_row)
        best = next(own, of_code.get((kind.status, kind.code)))
        if best is not None:
            found[place] = best
    return found

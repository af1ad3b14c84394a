"""Makes a new record of a run in the database from what is left of the old one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import LiteralString

from pipeline.model import RowResult
from pipeline.store.postgres.connections import PgConnection, PgConnections, durable
from pipeline.store.postgres.ledger import Fence, Part, PgLedger
from pipeline.store.postgres.text import stored

_NEW = "new"
_FORGET = "update pipeline.ledgers set run = null where run = %s"
_ADD = "insert into pipeline.ledgers (run) values (%s) returning number"
_NUMBER = "select number from pipeline.ledgers where run = %s"
_RENAME = "update pipeline.ledgers set run = %s where run = %s"
_COUNT = "select count(*) from pipeline.commits where ledger = %s"
_FILL: LiteralString = """
insert into pipeline.commits
select %(ledger)s, 0, n, %(epoch)s, 0, pipeline.digest(concat_ws(
    ' ', %(seed)s::bigint, 0, n, n, array[]::bigint[]::text
)), n, array[]::bigint[], null from generate_series(%(from)s::bigint, %(to)s::bigint) n
"""


class PgRecovery:
    """What is left of the record of a run, and the new record."""

    def __init__(self, old: PgLedger | None, ledger: PgLedger) -> None:
        self._old = old
        self.ledger = ledger

    def results(self) -> Iterator[RowResult]:
        """The intact results."""
        return iter(()) if self._old is None else self._old.sound_results()

    def previous_states(self) -> Iterator[tuple[int, str]]:
        """The intact previous states."""
        return iter(()) if self._old is None else self._old.sound_previous_states()


@contextmanager
def recovery(
    connections: PgConnections, run: str, fence: Fence, commits: int
) -> Iterator[PgRecovery]:
    """As `Store.recovery`; the old record is kept under the name of the run and the time."""
    aside = stored(aside_name(run, _NEW))
    connections.change(_FORGET, (aside,))
    number = int(connections.change(_ADD, (aside,))[0][0])
    ledger = PgLedger(connections, run, Part(number, 0, 0), fence)
    found = connections.rows(_NUMBER, (stored(run),))
    old, known = None, commits
    if found:
        old = PgLedger(connections, run, Part(found[0][0], 0, 0), None)
        known = max(commits, int(connections.rows(_COUNT, (found[0][0],))[0][0]))
    yield PgRecovery(old, ledger)
    lost = stored(aside_name(run, f"lost {datetime.now(UTC):%Y%m%dT%H%M%SZ}"))
    filled = {
        "ledger": number,
        "epoch": fence.epoch,
        "seed": ledger.seed,
        "from": ledger.commits + 1,
        "to": known,
    }

    def publish(connection: PgConnection) -> None:
        with durable(connection):
            connection.execute(_FILL, filled)
            connection.execute(_RENAME, (lost, stored(run)))
            connection.execute(_RENAME, (stored(run), aside))

    connections.do(publish)


def aside_name(run: str, why: str) -> str:
    """The name of a record of the run beside its own; names of runs have no spaces.

    >>> aside_name("monday", "new")
    'monday (new)'
    """
    return f"{run} ({why})"

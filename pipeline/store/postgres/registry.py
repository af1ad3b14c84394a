"""The registry of runs, their shares and their orders in the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, LiteralString, get_args
from zlib import crc32

from psycopg import errors

from pipeline.model import Status, UsageError
from pipeline.model.quota import parse_quota
from pipeline.store.contract import LedgerError
from pipeline.store.postgres.connections import PgConnection, PgConnections, damaged, durable
from pipeline.store.postgres.run_record import checksum_of, record_of, run_of
from pipeline.store.postgres.text import stored, unstored
from pipeline.store.run_entry import Run, State, is_taken
from pipeline.store.seam import Order, Share, ShareChange, ShareState

_SELECT: LiteralString = "select sequence, checksum, record from pipeline.runs "
_PUT = """
update pipeline.runs set run_id = %s, state = %s, started = %s, ended = %s, checksum = %s,
    record = %s where sequence = %s
"""
_ADD = """
insert into pipeline.runs (name, run_id, sha256, state, started, ended, checksum, record)
values (%s, %s, %s, %s, %s, %s, 0, '') returning sequence
"""
_ADD_SHARE = """
insert into pipeline.shares (run, account, number, parts, is_open) values (%s, %s, %s, %s, %s)
on conflict do nothing
"""
_SHARES = """
select account, number, parts, is_open, is_done, stopped, attempts, progress
from pipeline.shares where run = %s order by account, number
"""
_CHANGE_SHARE = """
update pipeline.shares set is_open = coalesce(%s, is_open), is_done = coalesce(%s, is_done),
    stopped = coalesce(%s, stopped), attempts = coalesce(%s, attempts),
    progress = coalesce(%s, progress)
where run = %s and account = %s and number = %s and parts = %s returning 1
"""
_GIVE = """
insert into pipeline.orders values (%s, %s, %s)
on conflict (run) do update set checksum = excluded.checksum, record = excluded.record
"""


class PgRegistry:
    """Which runs there are."""

    def __init__(self, connections: PgConnections) -> None:
        self._connections = connections

    def add(self, run: Run) -> Run:
        """Add a run. One at a time, so that no lower sequence becomes visible later."""

        def step(connection: PgConnection) -> Run:
            with durable(connection):
                connection.execute("lock table pipeline.runs in share row exclusive mode")
                if (found := self._one(connection, "where name = %s", run.name)) is not None:
                    if replace(found, sequence=0) == replace(run, sequence=0):
                        return found  # its answer was lost
                    raise LedgerError(f"run {run.name} is in {self._label} already")
                self._refuse_id(connection, run, run.run_id)
                cursor = connection.execute(_ADD, (stored(run.name), *_columns(run, run.sha256)))
                added = replace(run, sequence=cursor.fetchall()[0][0])
                self._put(connection, added)
                return added

        return self._connections.do(step)

    def change_state(
        self,
        name: str,
        state: State,
        *,
        ended: datetime | None = None,
        counts: Mapping[Status, int] | None = None,
        exit_code: int | None = None,
        commits: int = 0,
    ) -> Run:
        """Change the state of a run."""

        def changed(run: Run) -> Run:
            return replace(
                run,
                state=state,
                ended=run.ended if ended is None else ended,
                counts=run.counts if counts is None else counts,
                exit_code=run.exit_code if exit_code is None else exit_code,
                commits=max(run.commits, commits),
            )

        return self._change(name, changed)

    def keep_credentials(self, name: str, credentials: Mapping[str, str]) -> None:
        """Add digests of credentials."""
        self._change(name, lambda run: replace(run, credentials={**run.credentials, **credentials}))

    def give_id(self, name: str, run_id: str) -> None:
        """Set the `run_id` of a run that has none."""
        self._change(
            name, lambda run: run if run.run_id is not None else replace(run, run_id=run_id), run_id
        )

    def _change(self, name: str, change: Callable[[Run], Run], run_id: str | None = None) -> Run:
        def step(connection: PgConnection) -> Run:
            with durable(connection):
                run = self._one(connection, "where name = %s for update", name)
                if run is None:
                    raise LedgerError(f"run {name} is not in {self._label}")
                self._refuse_id(connection, run, run_id)
                changed = change(run)
                self._put(connection, changed)
                return changed

        try:
            return self._connections.do(step)
        except errors.UniqueViolation as error:  # given to two runs at once
            raise UsageError(f"run id {run_id} belongs to another run") from error

    def _refuse_id(self, connection: PgConnection, run: Run, run_id: str | None) -> None:
        """Raise UsageError if an id belongs to another run."""
        if run_id is not None:
            owner = self._one(connection, "where run_id = %s", run_id)
            if owner is not None and owner.name != run.name:
                raise is_taken(owner, run_id, run.sha256, run.source)

    def _put(self, connection: PgConnection, run: Run) -> None:
        record = record_of(run)
        run_id, _, *columns = _columns(run, run.sha256)
        values = run_id, *columns, checksum_of(run.sequence, record), record, run.sequence
        connection.execute(_PUT, values)

    def get(self, name: str) -> Run | None:
        """The run of this name."""
        return next(iter(self._select("where name = %s", stored(name))), None)

    def by_run_id(self, run_id: str) -> Run | None:
        """The run with this `run_id`."""
        return next(iter(self._select("where run_id = %s", stored(run_id))), None)

    def find(self, sha256: str) -> list[Run]:
        """Runs of an input with this digest, newest first."""
        return self._select("where sha256 = %s order by sequence desc", sha256)

    def unfinished(self, fingerprints: Sequence[str]) -> list[Run]:
        """Prepared or sending runs to any of these accounts, oldest first."""
        wanted = set(fingerprints)
        runs = self._select("where state in ('prepared', 'sending') order by sequence")
        return [run for run in runs if not wanted.isdisjoint(run.accounts.values())]

    def all(
        self,
        *,
        states: Sequence[State] = get_args(State),
        since: datetime | None = None,
        most: int | None = None,
    ) -> list[Run]:
        """Runs in one of `states`, newest first."""
        where: LiteralString = (
            "where state = any (%s) and started >= coalesce(%s, '-infinity'::timestamptz) "
            "order by sequence desc limit %s"
        )
        return self._select(where, list(states), since, most)

    def older_than(self, moment: datetime) -> list[Run]:
        """Runs that ended before `moment`, oldest first."""
        return self._select("where coalesce(ended, started) < %s order by sequence", moment)

    def since(self, sequence: int) -> list[Run]:
        """Runs with this sequence or a later one, newest first."""
        return self._select("where sequence >= %s order by sequence desc", sequence)

    def names(self) -> set[str]:
        """The names of all runs."""
        return {
            unstored(name) for (name,) in self._connections.rows("select name from pipeline.runs")
        }

    def forget(self, name: str) -> None:
        """Remove a run, its shares and its order."""

        def step(connection: PgConnection) -> None:
            with durable(connection):
                connection.execute("delete from pipeline.shares where run = %s", (stored(name),))
                connection.execute("delete from pipeline.orders where run = %s", (stored(name),))
                connection.execute("delete from pipeline.runs where name = %s", (stored(name),))

        self._connections.do(step)

    def share(self, name: str, shares: Sequence[Share]) -> None:
        """Record the shares of a run."""

        def step(connection: PgConnection) -> None:
            with durable(connection):
                if self._one(connection, "where name = %s for update", name) is None:
                    raise LedgerError(f"run {name} is not in {self._label}")
                found = connection.execute(_SHARES, (stored(name),)).fetchall()
                known = {Share(unstored(account), *numbers[:2]) for account, *numbers in found}
                if known and known != set(shares):
                    raise UsageError(f"run {name} has other shares")
                for account, number, parts in shares:
                    values = stored(name), stored(account), number, parts, number == 0
                    connection.execute(_ADD_SHARE, values)

        self._connections.do(step)

    def shares(self, name: str) -> list[ShareState]:
        """The shares of a run."""
        found = [
            ShareState(
                Share(unstored(account), number, parts),
                *(is_open, is_done, unstored(stopped), attempts, unstored(progress)),
            )
            for account, number, parts, is_open, is_done, stopped, attempts, progress in (
                self._connections.rows(_SHARES, (stored(name),))
            )
        ]
        return sorted(found, key=lambda state: state.share)  # the database's order of texts differs

    def change_share(self, name: str, share: Share, change: ShareChange) -> None:
        """Change the state of a share."""
        texts = _maybe_stored(change.stopped), _maybe_stored(change.progress)
        changed = change._replace(stopped=texts[0], progress=texts[1])
        values = *changed, stored(name), stored(share.account), share.number, share.of
        if not self._connections.change(_CHANGE_SHARE, values):
            raise LedgerError(f"{share.name} of run {name} is not in {self._label}")

    @property
    def _label(self) -> str:
        return self._connections.address.label

    def _one(self, connection: PgConnection, where: LiteralString, value: str) -> Run | None:
        found = connection.execute(_SELECT + where, (stored(value),)).fetchone()
        return None if found is None else self._run(*found)

    def _select(self, where: LiteralString, *values: object) -> list[Run]:
        return [self._run(*row) for row in self._connections.rows(_SELECT + where, values)]

    def _run(self, sequence: int, checksum: int, record: str) -> Run:
        if checksum_of(sequence, record) != checksum:
            raise damaged(self._connections.address, f"run {sequence} is not what was written")
        return run_of(sequence, record)


class PgOrders:
    """Orders for running runs."""

    def __init__(self, connections: PgConnections) -> None:
        self._connections = connections

    def give(self, run: str, order: Order) -> None:
        """Replace the order of a run."""
        quotas = {account: str(quota) for account, quota in order.quotas.items()}
        record = json.dumps([order.is_stop, quotas])
        self._connections.change(_GIVE, (stored(run), _sum(run, record), record))

    def given(self, run: str) -> Order:
        """The order of a run."""
        query = "select checksum, record from pipeline.orders where run = %s"
        for checksum, record in self._connections.rows(query, (stored(run),)):
            if checksum != _sum(run, record):
                what = f"the order of run {run} is not what was written"
                raise damaged(self._connections.address, what)
            is_stop, quotas = json.loads(record)
            return Order(is_stop, {name: parse_quota(text) for name, text in quotas.items()})
        return Order()

    def clear(self, run: str) -> None:
        """Forget the order of a run."""
        self._connections.change("delete from pipeline.orders where run = %s", (stored(run),))


def _columns(run: Run, sha256: str) -> tuple[Any, ...]:
    started, ended = run.started, run.ended
    return (
        *(_maybe_stored(run.run_id), sha256, run.state, started.astimezone(UTC)),
        None if ended is None else ended.astimezone(UTC),
    )


def _maybe_stored(text: str | None) -> str | None:
    return None if text is None else stored(text)


def _sum(run: str, record: str) -> int:
    return crc32(f"{run} {record}".encode("utf-8", "surrogatepass"))

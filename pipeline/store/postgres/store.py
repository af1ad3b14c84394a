"""The store in a PostgreSQL database."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, LiteralString, Self

from pipeline.model import RunAborted
from pipeline.model.sample import Sample
from pipeline.store.postgres.address import read_address
from pipeline.store.postgres.connections import (
    OUTAGE,
    WAITING,
    Outage,
    PgConnection,
    PgConnections,
    Waiting,
    durable,
)
from pipeline.store.postgres.files import PgFiles
from pipeline.store.postgres.leases import TTL_S, Member, PgLease
from pipeline.store.postgres.ledger import Fence, Part, PgLedger, sample_of
from pipeline.store.postgres.migrate import installation_of, migrate
from pipeline.store.postgres.quotas import PgQuotas
from pipeline.store.postgres.recovery import PgRecovery, recovery
from pipeline.store.postgres.registry import PgOrders, PgRegistry
from pipeline.store.postgres.server import refuse_unfit
from pipeline.store.postgres.text import array, stored, unstored
from pipeline.store.seam import Lease, LeaseName, LostRecordError, Share

TORN_AFTER_S = 86_400.0
OPEN_S = 10.0
"""How long to wait for a database when a command begins."""

_ADD_PART = """
insert into pipeline.parts (ledger, part, account, number, parts)
select %(ledger)s, 1 + coalesce(max(part), 0), %(account)s, %(number)s, %(parts)s
from pipeline.parts where ledger = %(ledger)s
on conflict do nothing
"""
_PART = """
select part from pipeline.parts
where ledger = %(ledger)s and account = %(account)s and number = %(number)s and parts = %(parts)s
"""
_COMMITS: LiteralString = """
select part, max(number), count(*) from pipeline.commits
where ledger = %(ledger)s and (%(parts)s::smallint[] is null or part = any (%(parts)s))
group by part
"""
# Those that are there, and how many the last commit of each part says; of one moment
_RESULTS: LiteralString = """
select (
    select count(*) from pipeline.results where ledger = %s and status <> 'not_attempted'
), (
    select coalesce(sum(k.count), 0) from (
        select ledger, part, max(number) as number from pipeline.commits
        where ledger = %s group by ledger, part
    ) n, unnest(pipeline.counts_at(n.ledger, n.part, n.number)) k (count)
)
"""
_TORN = """
select run from (
    select run, made from pipeline.files union all select run, made from pipeline.ledgers
) f where run is not null and run not like '%% (%%)' and made < clock_timestamp() - interval '1 day'
and not exists (select from pipeline.runs r where r.name = f.run) group by run
"""


def _folders_in(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.is_dir()]


def _is_old(path: Path) -> bool:
    """True if nothing was added for TORN_AFTER_S; False if it is gone."""
    try:
        return path.stat().st_mtime < time.time() - TORN_AFTER_S
    except OSError:
        return False


class PgStore:
    """All that runs share, in a database.

    url       without secrets, see `address`
    environ   where the URL says nothing; libpq reads PGPASSWORD and the password file itself
    password  None: libpq finds it, if it needs one
    scratch   folder for the files of runs on this machine; None: a temporary one, removed by
              `close`
    ttl_s     how long a lease lasts without being renewed

    Raises RunAborted if the database cannot be used: it is away for OPEN_S, older than version 14,
    only a copy of another, or does not survive loss of power; or its tables are those of a newer
    version.
    """

    def __init__(
        self,
        url: str,
        *,
        environ: Mapping[str, str] = os.environ,
        password: str | None = None,
        scratch: Path | None = None,
        ttl_s: float = TTL_S,
        outage: Outage = OUTAGE,
        waiting: Waiting = WAITING,
        command: str | None = None,
    ) -> None:
        try:
            address = read_address(url, environ)
        except ValueError as error:
            raise RunAborted(f"the URL of the database {error}") from None
        command = shlex.join(sys.argv) if command is None else command
        self._member = Member(platform.node(), os.getpid(), command)
        self._ttl_s = ttl_s
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if scratch is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="pipeline-")
            scratch = Path(self._temporary.name)
        self._scratch = scratch
        self._connections = PgConnections(
            address, outage=outage, silence_s=ttl_s / 3, waiting=waiting, password=password
        )
        try:
            self._connections.do(refuse_unfit, most_s=OPEN_S)
            self._connections.do(migrate, most_s=OPEN_S)
            self._installation = self._connections.do(installation_of)
        except BaseException:
            self.close()
            raise

    @property
    def runs(self) -> PgRegistry:
        """The registry of runs."""
        return PgRegistry(self._connections)

    @property
    def quotas(self) -> PgQuotas:
        """The use of quotas."""
        return PgQuotas(self._connections)

    @property
    def orders(self) -> PgOrders:
        """Orders for running runs."""
        return PgOrders(self._connections)

    def lease(self, name: LeaseName) -> PgLease:
        """A lease that lasts `ttl_s`."""
        return PgLease(self._connections, name, self._member, ttl_s=self._ttl_s)

    def new_ledger(self, run: str) -> PgLedger:
        """Make the record of a new run."""
        query = (
            "insert into pipeline.ledgers (run) values (%s) on conflict do nothing returning number"
        )
        found = self._connections.change(query, (stored(run),))
        if not found:
            raise RunAborted(f"run {run} has a record in {self._label} already")
        return PgLedger(self._connections, run, Part(found[0][0], 0, 0), Fence())

    def ledger(
        self,
        run: str,
        share: Share | None,
        held: Lease | None,
        *,
        commits: int = 0,
        results: int | None = None,
    ) -> PgLedger:
        """The record of a share, or of the whole run."""
        found = self._connections.rows(
            "select number from pipeline.ledgers where run = %s", (stored(run),)
        )
        if not found:
            raise LostRecordError.of(
                run, f"run {run} has no record in {self._label}. Nothing was sent"
            )
        number = found[0][0]
        part = 0 if share is None else self._part(number, share)
        reads = None if share is None else (part,) if held is not None else (0, part)
        last = self._last_commits(run, number, reads)
        all_parts = sum(last.values())
        if all_parts < commits:
            raise LostRecordError.of(
                run,
                f"the record of run {run} in {self._label} has {all_parts} commits, and {commits} "
                "were on record: an older copy of the database was put in its place. Nothing was "
                "sent",
            )
        if results is not None:
            ((there, kept),) = self._connections.rows(_RESULTS, (number, number))
            LostRecordError.unless_all(run, int(there), max(results, int(kept)))
        if held is None:
            return PgLedger(self._connections, run, Part(number, part, all_parts, reads), None)
        fence = Fence(held.key, held.epoch)
        own = Part(number, part, last.get(part, 0), reads)
        return PgLedger(self._connections, run, own, fence)

    def _last_commits(self, run: str, ledger: int, parts: tuple[int, ...] | None) -> dict[int, int]:
        """Number of the last commit of each part, or of some."""
        found: dict[int, int] = {}
        chosen = {"ledger": ledger, "parts": parts and [*parts]}
        for part, number, count in self._connections.rows(_COMMITS, chosen):
            if number != count:
                raise LostRecordError.of(
                    run,
                    f"the record of run {run} in {self._label} is damaged: of {number} commits "
                    f"{count} are there. Nothing was sent",
                )
            found[part] = number
        return found

    def _part(self, ledger: int, share: Share) -> int:
        """The number of the part for a share; it is new the first time."""
        chosen = {
            "ledger": ledger,
            "account": stored(share.account),
            "number": share.number,
            "parts": share.of,
        }

        def step(connection: PgConnection) -> int:
            with durable(connection):
                query = "select 1 from pipeline.ledgers where number = %(ledger)s for update"
                connection.execute(query, chosen)
                connection.execute(_ADD_PART, chosen)
                return int(connection.execute(_PART, chosen).fetchall()[0][0])

        return self._connections.do(step)

    def recovery(
        self,
        run: str,
        shares: Sequence[Share],  # noqa: ARG002 - their records are parts of that of the run
        held: Lease,
        *,
        commits: int,
    ) -> AbstractContextManager[PgRecovery]:
        """A record under another name, renamed at the end."""
        return recovery(self._connections, run, Fence(held.key, held.epoch), commits)

    def ended_among(self, run: str, rows: Sequence[int]) -> set[int]:
        """The rows with a final result, unchecked."""
        query = """
        select row from pipeline.results r join pipeline.ledgers l on l.number = r.ledger
        where l.run = %s and r.row = any (%s::bigint[]) and r.status <> 'not_attempted'
        """
        return {row for (row,) in self._connections.rows(query, (stored(run), array(rows)))}

    def recent_samples(self, run: str, account: str, *, most: int) -> list[Sample]:
        """The last samples of an account, newest first, unchecked."""
        query = """
        select s.record from pipeline.samples s join pipeline.ledgers l on l.number = s.ledger
        where l.run = %s and s.account = %s order by s.at_s desc, s.number desc limit %s
        """
        found = self._connections.rows(query, (stored(run), stored(account), most))
        return [sample_of(json.loads(record)) for (record,) in found]

    def torn(self) -> list[str]:
        """Names of runs with files and no entry, a day old: in the database, or in a folder of this
        machine, if another one removed the run.
        """
        torn = {unstored(run) for (run,) in self._connections.rows(_TORN)}
        old = {path.name for path in _folders_in(self._scratch) if _is_old(path)}
        return sorted(torn | (old - self.runs.names() if old else old))

    def together(self) -> AbstractContextManager[Any]:
        """Nothing to share: a call is one trip."""
        return nullcontext()

    def check(self) -> None:
        """Raise RunAborted if the database was replaced or emptied."""
        if self._connections.do(installation_of) != self._installation:
            raise RunAborted(f"the database {self._label} is not the one that was opened")

    def files(self, run: str) -> PgFiles:
        """The files of a run."""
        return PgFiles(self._connections, run, self._scratch / run)

    @property
    def _label(self) -> str:
        return self._connections.address.label

    def close(self) -> None:
        """End all connections, and remove the temporary folder."""
        self._connections.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

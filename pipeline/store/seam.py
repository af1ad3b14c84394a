"""The contract of a store: what runs share, wherever it is kept.

On files it is SQLite and locks of the kernel, for the processes of one machine; in PostgreSQL it is
for many machines. Nothing here is a time of day: clocks of two machines differ, so the store speaks
of ages, and of seconds that are left, at the moment of the call.

Calls may come from any thread, and may overlap unless a class says otherwise. The effect of a call
that returned survives `kill -9` and loss of power, except where it says otherwise. Every call may
raise RunAborted if the store cannot be used, and LedgerError if what it holds is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol, Self

from pipeline.model import RowResult, Status
from pipeline.model.quota import Quota
from pipeline.model.sample import Sample
from pipeline.store.contract import Ledger, LedgerError
from pipeline.store.run_entry import Run, State


class LeaseLostError(LedgerError):
    """Another process holds the lease by now. The call recorded nothing."""


class LostRecordError(LedgerError):
    """The record of a run is damaged, gone, or older than it was; the message says what to do.

    >>> print(LostRecordError.of("monday", "ledger.db is gone"))
    ledger.db is gone. `pipeline runs monday` keeps the results that can still be read, and...
    """

    @classmethod
    def of(cls, run: str, why: str) -> Self:
        """The error for a run, and why its record cannot be used."""
        return cls(
            f"{why}. `pipeline runs {run}` keeps the results that can still be read, and reports "
            "every other row as `unknown`, since it may have been sent"
        )

    @classmethod
    def unless_all(cls, run: str, found: int, expected: int) -> None:
        """Raise the error if fewer results are found than were on record."""
        if found < expected:
            what = f"{found} results of run {run} are there, and {expected} were on record"
            raise cls.of(run, f"{what}: another program removed some. Nothing was sent")


class LeaseHolder(NamedTuple):
    """The process that holds a lease.

    host   name of its machine; empty if it can only be this one
    since  UTC, by the store's clock
    """

    host: str
    pid: int
    command: str
    since: datetime

    @property
    def text(self) -> str:
        """The process, for messages.

        >>> LeaseHolder("", 17, "pipeline run", datetime(2026, 5, 1)).text
        'process 17 (pipeline run)'
        >>> LeaseHolder("worker-2", 17, "pipeline run", datetime(2026, 5, 1)).text
        'process 17 on worker-2 (pipeline run)'
        """
        where = f" on {self.host}" if self.host else ""
        return f"process {self.pid}{where} ({self.command})"


class Share(NamedTuple):
    """A part of a run: the rows of an account, or a part of its entities.

    number  from 0
    of      how many parts the account has
    """

    account: str
    number: int = 0
    of: int = 1

    @property
    def name(self) -> str:
        """The name in records and messages.

        >>> Share("shop").name, Share("shop", 2, 4).name
        ('shop', 'shop 3 of 4')
        """
        return self.account if self.of == 1 else f"{self.account} {self.number + 1} of {self.of}"


class LeaseName(NamedTuple):
    """The name of a lease. The functions below make those that there are.

    kind  "run", "share", "quota" or "place"
    text  any text
    """

    kind: str
    text: str
    share: Share | None = None


def run_lease(run: str) -> LeaseName:
    """The lease of the process that works on a whole run."""
    return LeaseName("run", run)


def share_lease(run: str, share: Share) -> LeaseName:
    """The lease of the process that works on a share of a run."""
    return LeaseName("share", run, share)


def quota_lease(group: str) -> LeaseName:
    """The lease of the process that sends at the whole quota of a group."""
    return LeaseName("quota", group)


def place_lease(place: str) -> LeaseName:
    """The lease of the process that sends to a vendor's project, sandbox or site."""
    return LeaseName("place", place)


class Lease(Protocol):
    """The right of one process at a time to do something, as long as it renews it.

    Calls MUST NOT overlap. Leaving it as a context releases it.
    """

    @property
    def key(self) -> str:
        """Its name in the store."""

    @property
    def epoch(self) -> int:
        """How often the lease was taken, so far as this process knows; 0 before it is taken."""

    @property
    def sure_until_s(self) -> float:
        """Monotonic time until which certainly no other process takes it, whatever happens; minus
        infinity if it is not held, infinity if it ends only with the process.
        """

    def take(self) -> bool:
        """Take the lease, without waiting. False if another holds it: then the holder hears, within
        a second, that it is wanted, as long as this is called again at least once a second.

        Of those that call again so, the first in line gets it: the others, and whoever released
        it, are refused meanwhile. Who stopped calling loses the place within seconds.
        """

    def renew(self) -> bool:
        """Hold it for longer. False if another process has taken it: it is lost for good."""

    def is_wanted(self) -> bool:
        """True if another process wants it, by its calls of `take`."""

    def is_held(self) -> bool:
        """True if a process holds it, this one included. Asking is no wish to have it."""

    def is_alive(self) -> bool:
        """True if the process that holds it lives; False once it can be taken.

        If only a renewal tells, this waits for it, at most for as long as the lease lasts.
        """

    def holder(self) -> LeaseHolder | None:
        """Who holds it, or held it if nobody does; None if nobody ever did, or it was released."""

    def release(self) -> None:
        """Let others take it at once, if it is held."""

    def abandon(self) -> None:
        """Hold it no more, as if this process had been killed: `holder` names it until another
        takes the lease.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_error: object) -> None: ...


class Departed(NamedTuple):
    """An entry of requests that a quota group sent, at the moment of the call.

    number      position in the record, ascending
    counts      (seconds since requests count, their number), oldest first; the age may be negative
    under_way   number of further requests of which is not known from when they count
    """

    number: int
    counts: tuple[tuple[float, int], ...]
    under_way: int


class StoredPause(NamedTuple):
    """A pause that a vendor asked for, at the moment of the call.

    left_s  seconds until its end; negative if it is over
    age_s   seconds since the vendor asked for it; infinity if unknown
    run     run whose request the vendor answered; empty if none or unknown
    words   the vendor's message; empty if unknown
    """

    left_s: float
    age_s: float
    run: str = ""
    words: str = ""


class Quotas(Protocol):
    """What quota groups have sent, and their pauses."""

    def left(
        self,
        group: str,
        counts: Sequence[tuple[float, int]],
        *,
        under_way: int,
        forget_s: float,
    ) -> int:
        """Record requests that left; the number of the entry, 0 if there is nothing to record.

        counts    (seconds since requests count, their number)
        forget_s  entries of which all requests are older than this may be removed
        """

    def since(self, group: str, *, after: int) -> list[Departed]:
        """The entries with a higher number than `after`, in the order in which they were made."""

    def pause(self, group: str, pause: StoredPause) -> None:
        """Record a pause, unless a longer one is on record."""

    def pauses(self, prefix: str) -> dict[str, StoredPause]:
        """The last pause of each group whose name begins so; they may be over."""

    def lift_pause(self, group: str) -> StoredPause | None:
        """Remove the pause of a group and return it; None if there is none."""


class Order(NamedTuple):
    """What somebody asks of the processes that work on a run.

    is_stop  send nothing more
    quotas   account -> the most that it may use; the configured quota holds where none is named
    """

    is_stop: bool = False
    quotas: Mapping[str, Quota] = MappingProxyType({})


class Orders(Protocol):
    """Orders for running runs. The processes that work on a run ask once a second."""

    def give(self, run: str, order: Order) -> None:
        """Replace the order of a run."""

    def given(self, run: str) -> Order:
        """The order of a run; an empty one if there is none."""

    def clear(self, run: str) -> None:
        """Forget the order of a run: it ended, or a new process begins with it."""


class ShareState(NamedTuple):
    """A share of a run as it is on record.

    is_open   it may be taken: the first share of an account is, the others once it has opened
    is_done   nothing of it is left to send
    stopped   why it stopped; empty if it did not
    attempts  processes that took it and ended without progress since
    progress  the last progress that was recorded, as JSON; empty if none was
    """

    share: Share
    is_open: bool
    is_done: bool
    stopped: str
    attempts: int
    progress: str


class ShareChange(NamedTuple):
    """A change of the state of a share: fields as there; those that are None stay unchanged."""

    is_open: bool | None = None
    is_done: bool | None = None
    stopped: str | None = None
    attempts: int | None = None
    progress: str | None = None

    def applied(self, state: ShareState) -> ShareState:
        """The state after the change.

        >>> state = ShareState(Share("shop"), True, False, "", 2, "")
        >>> ShareChange(is_done=True, attempts=0).applied(state)[1:]
        (True, True, '', 0, '')
        """
        changed = {name: value for name, value in self._asdict().items() if value is not None}
        return state._replace(**changed)


class Registry(Protocol):
    """The registry: which runs there are."""

    def add(self, run: Run) -> Run:
        """Add a run, and return it with its sequence.

        Raises UsageError if its `run_id` belongs to another run.
        """

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
        """Change the state of a run; fields given as None stay unchanged.

        Raises LedgerError for an unknown run.
        """

    def keep_credentials(self, name: str, credentials: Mapping[str, str]) -> None:
        """Add digests of credentials of a run's accounts. Raises LedgerError for an unknown run."""

    def give_id(self, name: str, run_id: str) -> None:
        """Set the `run_id` of a run that has none.

        Raises UsageError if `run_id` belongs to another run, LedgerError for an unknown run.
        """

    def get(self, name: str) -> Run | None:
        """The run of this name, or None."""

    def by_run_id(self, run_id: str) -> Run | None:
        """The run with this `run_id`, or None."""

    def find(self, sha256: str) -> list[Run]:
        """Runs of an input with this digest, newest first."""

    def unfinished(self, fingerprints: Sequence[str]) -> list[Run]:
        """Prepared or sending runs to any of these accounts, oldest first."""

    def all(
        self,
        *,
        states: Sequence[State],
        since: datetime | None = None,
        most: int | None = None,
    ) -> list[Run]:
        """Runs in one of `states`, started at `since` or later, newest first, at most `most`."""

    def older_than(self, moment: datetime) -> list[Run]:
        """Runs that ended, or without a known end started, before `moment`, oldest first."""

    def since(self, sequence: int) -> list[Run]:
        """Runs with this sequence or a later one, newest first."""

    def names(self) -> set[str]:
        """The names of all runs."""

    def forget(self, name: str) -> None:
        """Remove a run, its shares and its order; its sequence is not reused."""

    def share(self, name: str, shares: Sequence[Share]) -> None:
        """Record the shares of a run; the first of each account may be taken.

        The same shares again change nothing; raises UsageError if the run has other shares.
        """

    def shares(self, name: str) -> list[ShareState]:
        """The shares of a run, by account and number; empty if none were recorded."""

    def change_share(self, name: str, share: Share, change: ShareChange) -> None:
        """Change the state of a share."""


class Files(Protocol):
    """The files of one run: the copy of its input, its jobs, its description."""

    @property
    def folder(self) -> Path:
        """The folder of the run on this machine: files are written here before they are put, and
        `fetch` leaves its copies here.
        """

    def make_folder(self) -> Path:
        """Make the folder of a new run, readable by its owner only, and return it.

        Raises RunAborted if it exists or cannot be made.
        """

    def names(self) -> list[str]:
        """The names of the files that were put, in order."""

    def has(self, name: str) -> bool:
        """True if a file of this name was put."""

    def put(self, path: Path) -> None:
        """Keep a file of the folder under its name. It does not change afterwards."""

    def fetch(self, name: str) -> Path:
        """Path of a copy of the file that was kept, for reading. Raises DamagedError if there is
        none, or it is not what was put.
        """

    def size_bytes(self) -> int:
        """Disk space of all files and of the record of the run."""

    def remove(self) -> None:
        """Remove all files and the record of the run."""


class Recovery(Protocol):
    """What is left of the record of a run, and the new record that is made of it."""

    @property
    def ledger(self) -> Ledger:
        """The new record."""

    def results(self) -> Iterator[RowResult]:
        """The intact results, in any order."""

    def previous_states(self) -> Iterator[tuple[int, str]]:
        """The intact previous states, in any order."""


class Store(Protocol):
    """All that runs share. Opened once per command; `close` ends its connections."""

    @property
    def runs(self) -> Registry:
        """The registry of runs."""

    @property
    def quotas(self) -> Quotas:
        """The use of quotas."""

    @property
    def orders(self) -> Orders:
        """Orders for running runs."""

    def lease(self, name: LeaseName) -> Lease:
        """The lease of this name. Two objects of one name exclude each other."""

    def new_ledger(self, run: str) -> AbstractContextManager[Ledger]:
        """Make the record of a new run, and open it to write. Raises RunAborted if there is one."""

    def ledger(
        self,
        run: str,
        share: Share | None,
        held: Lease | None,
        *,
        commits: int = 0,
        results: int | None = None,
    ) -> AbstractContextManager[Ledger]:
        """Open the record of a share, or of the whole run.

        share    the part whose rows are recorded, in a record that nobody else writes; None: the
                 whole run. What is read is of all shares together then, in row order
        held     the lease of the share, or of the run if `share` is None: with it lost, `record`
                 raises LeaseLostError and records nothing. None: to read, nothing can be recorded;
                 with a share, what was recorded of it and by processes that sent the whole run
        commits  number of its last commit, as the registry knows it; 0: unknown
        results  that it has at least, `not_attempted` left out, as the registry knows it: they are
                 counted, which takes seconds at ten million rows. None: not counted

        Raises LostRecordError if a recorded commit or result is missing or damaged.
        """

    def recovery(
        self, run: str, shares: Sequence[Share], held: Lease, *, commits: int
    ) -> AbstractContextManager[Recovery]:
        """Make a new record of a run, which replaces the old ones at the end of the block, unless
        it raises. The old ones are kept beside it until the run is removed.

        shares   whose records become one with that of the run
        held     the lease of the run
        commits  as in `ledger`
        """

    def ended_among(self, run: str, rows: Sequence[int]) -> set[int]:
        """The rows with a final result; none if the record cannot be read.

        The record is not checked, which takes long: for estimates, never to decide what is sent.
        """

    def recent_samples(self, run: str, account: str, *, most: int) -> list[Sample]:
        """The last samples of an account, newest first; unchecked, as with `ended_among`."""

    def torn(self) -> list[str]:
        """Names of runs with files and without an entry in the registry, whose preparation was
        interrupted a day ago or earlier.
        """

    def together(self) -> AbstractContextManager[object]:
        """Calls in the block, by this thread, share what it costs to begin one: it is no
        transaction. Calls by other threads may wait for its end.
        """

    def check(self) -> None:
        """Raise RunAborted if what the store keeps was removed or replaced since it was opened."""

    def files(self, run: str) -> Files:
        """The files of a run."""

    def close(self) -> None:
        """End it; nothing may be called afterwards."""

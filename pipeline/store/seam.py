"""The contract of a store: what runs share, wherever it is kept.

On files it is SQLite and locks of the kernel, for the processes of one machine; in PostgreSQL it is
for many machines. Nothing here is a time of day: clocks of two machines differ, so the store speaks
of ages, and of seconds that are left, at the moment of the call.

Calls may come from any thread, and may overlap unless a class says otherwise. The effect of a call
that returned survives `kill -9` and loss of power, except where it says otherwise. Every call may
raise RunAborted if the store cannot be used, and LedgerError if what it holds is damaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol, Self

from pipeline.model import Status
from pipeline.model.quota import Quota
from pipeline.store.contract import Ledger, LedgerError
from pipeline.store.runs_file import Run, State


class LeaseLostError(LedgerError):
    """Another process holds the lease by now. The call recorded nothing."""


class LeaseHolder(NamedTuple):
    """The process that holds a lease.

    host   name of its machine
    since  UTC, by the store's clock
    """

    host: str
    pid: int
    command: str
    since: datetime


class Lease(Protocol):
    """The right of one process at a time to do something, as long as it renews it.

    Calls MUST NOT overlap. Leaving it as a context releases it.
    """

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
        """

    def renew(self) -> bool:
        """Hold it for longer. False if another process has taken it: it is lost for good."""

    def is_wanted(self) -> bool:
        """True if another process wants it, by its calls of `take`."""

    def holder(self) -> LeaseHolder | None:
        """Who holds it, or held it if nobody does; None if nobody ever did, or it was released."""

    def release(self) -> None:
        """Let others take it at once, if it is held."""

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

    def change_share(
        self,
        name: str,
        share: Share,
        *,
        is_open: bool | None = None,
        is_done: bool | None = None,
        stopped: str | None = None,
        attempts: int | None = None,
        progress: str | None = None,
    ) -> None:
        """Change the state of a share; fields given as None stay unchanged."""


class Files(Protocol):
    """The files of one run: the copy of its input, its jobs, its description."""

    def put(self, path: Path) -> None:
        """Keep a file under its name. It does not change afterwards."""

    def fetch(self, name: str) -> Path:
        """Path of a copy of the file that was kept, for reading. Raises RunAborted if there is
        none, DamagedError if it is not what was put.
        """

    def remove(self) -> None:
        """Remove all files of the run."""


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

    def lease(self, name: str) -> Lease:
        """The lease of this name: any text. Two objects of one name exclude each other."""

    def ledger(
        self, run: str, share: Share | None, held: Lease | None, *, commits: int = 0
    ) -> AbstractContextManager[Ledger]:
        """Open the record of a share, to write; or of the whole run, to read.

        share    None: of all shares together; nothing can be recorded then
        held     the lease of the share: with it lost, `record` raises LeaseLostError and records
                 nothing
        commits  number of its last commit, as the registry knows it; 0: unknown
        """

    def files(self, run: str) -> Files:
        """The files of a run."""

    def close(self) -> None:
        """End it; nothing may be called afterwards."""

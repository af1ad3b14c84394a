"""The store of a ledger file: everything is in the folder of that file.

ledger.db          the registry: runs, shares, quotas, orders
runs/NAME/         the files and the records of a run, and its lock
locks/             the locks of quotas and destinations
marks/             witnesses of the records
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pipeline.model import RunAborted, Status
from pipeline.model.sample import Sample
from pipeline.store.contract import Ledger, LedgerError
from pipeline.store.on_files.boot_clock import Moment
from pipeline.store.on_files.files import DESCRIPTION, UNSENT, FolderFiles, may_send
from pipeline.store.on_files.leases import LOCKS, FileLease
from pipeline.store.on_files.orders import FileOrders
from pipeline.store.on_files.quotas import FileQuotas
from pipeline.store.on_files.records import (
    LEDGER,
    WITNESSES,
    has_share_record,
    open_record,
    open_share_record,
    share_record_of,
)
from pipeline.store.on_files.recovery import FileRecovery, recovery
from pipeline.store.on_files.registry import FileRegistry
from pipeline.store.on_files.registry_file import RegistryFile
from pipeline.store.on_files.whole_ledger import WholeLedger
from pipeline.store.page_checks import PageChecks
from pipeline.store.run_entry import STATES
from pipeline.store.run_ledger import RunLedger, ended_among, recent_samples
from pipeline.store.seam import Lease, LeaseLostError, LeaseName, LostRecordError, Share

TORN_AFTER = timedelta(days=1)
RUNS = "runs"

_RUN_FOLDER = re.compile(r"\d{8}T\d{6}Z-.+-[a-z]{4}")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE = Path("/proc/self/ns/time")  # a container may count from another moment


def this_moment() -> Moment:
    """Read the clocks of this machine.

    If the system names no boot, the wall clock is used alone: processes cannot compare another one.
    """
    utc_s = time.time()
    if sys.platform == "linux":
        with suppress(OSError):
            boot = f"{_BOOT_ID.read_text().strip()} {_TIME_NAMESPACE.readlink()}"
            return Moment(boot, time.clock_gettime(time.CLOCK_BOOTTIME), utc_s)
    return Moment("", utc_s, utc_s)


def witness_of_registry(path: Path) -> Path:
    """Path of the witness of a registry.

    >>> witness_of_registry(Path(".pipeline/ledger.db")).as_posix()
    '.pipeline/marks/ledger.db'
    """
    return path.parent / WITNESSES / path.name


class FileStore:
    """A store on files of this machine.

    path    of the registry; everything else is in its folder
    checks  remembers recent page checks of the registry; None always checks
    now     reads all clocks
    """

    def __init__(
        self,
        path: Path,
        *,
        checks: PageChecks | None = None,
        now: Callable[[], Moment] = this_moment,
    ) -> None:
        self._path = path
        self._folder = path.parent
        self._now = now
        self._file = RegistryFile(path, witness=witness_of_registry(path), checks=checks)
        self._registry = FileRegistry(self._file)
        self._quotas = FileQuotas(self._file, now)
        self._orders = FileOrders(self._file)
        self._seen: os.stat_result | None = None  # the registry's file, at the last `check`

    @property
    def runs(self) -> FileRegistry:
        """The registry of runs."""
        return self._registry

    @property
    def quotas(self) -> FileQuotas:
        """The use of quotas."""
        return self._quotas

    @property
    def orders(self) -> FileOrders:
        """Orders for running runs."""
        return self._orders

    def lease(self, name: LeaseName) -> FileLease:
        """A lock in the folder of the run, or among those of all runs."""
        kind, text, share = name
        key = f"{kind} {text} {share.name if share else ''}"
        return FileLease(key, self._lock_of(kind, text, share), self._file, self._now)

    def _lock_of(self, kind: str, text: str, share: Share | None) -> Path:
        if share is not None:
            path = share_record_of(self._run_folder(text), share)
            return path.with_name(f"{path.stem.replace('ledger', 'lock', 1)}")
        if kind == "run":
            return self._run_folder(text) / "lock"
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        prefix = "" if kind == "place" else f"{kind}-"
        return self._folder / LOCKS / f"{prefix}{digest}"

    def new_ledger(self, run: str) -> RunLedger:
        """The ledger in the folder of the run, which exists."""
        return RunLedger.create(self._run_folder(run) / LEDGER, run=run)

    def ledger(
        self,
        run: str,
        share: Share | None,
        held: Lease | None,
        *,
        commits: int = 0,
        results: int | None = None,
    ) -> AbstractContextManager[Ledger]:
        """A file for the run, and one for each share of which something was recorded."""
        folder, may_record = self._run_folder(run), partial(_check_lease, run, held)
        if held is not None:
            may_send(folder)
        if share is not None and held is not None:
            return open_share_record(folder, share, may_record=may_record)
        chosen = [share] if share else [each.share for each in self._registry.shares(run)]
        with ExitStack() as opened:
            own = opened.enter_context(open_record(folder, commits, may_record=may_record))
            shares = [
                opened.enter_context(open_share_record(folder, each))
                for each in chosen
                if has_share_record(folder, each)
            ]
            whole = WholeLedger(own, shares) if shares else own
            if results is not None:
                counts = whole.counts()
                found = sum(counts.values()) - counts.get(Status.NOT_ATTEMPTED, 0)
                LostRecordError.unless_all(run, found, results)
            opened.pop_all()
        return whole

    def recovery(
        self, run: str, shares: Sequence[Share], held: Lease, *, commits: int
    ) -> AbstractContextManager[FileRecovery]:
        """A file beside the record, renamed at the end."""
        _check_lease(run, held)
        return recovery(self._run_folder(run), shares, commits)

    def ended_among(self, run: str, rows: Sequence[int]) -> set[int]:
        """Read from all files, which are not checked."""
        paths = self._run_folder(run).glob("ledger*.db")
        return set().union(*(ended_among(path, rows) for path in paths))

    def recent_samples(self, run: str, account: str, *, most: int) -> list[Sample]:
        """Read from all files, which are not checked."""
        paths = self._run_folder(run).glob("ledger*.db")
        found = [each for path in paths for each in recent_samples(path, account, most=most)]
        return sorted(found, key=lambda each: each.at_s, reverse=True)[:most]

    def files(self, run: str) -> FolderFiles:
        """The folder of the run."""
        return FolderFiles(self._run_folder(run))

    def torn(self) -> list[str]:
        """Folders of runs of which nothing was sent, unchanged for TORN_AFTER. Others without an
        entry stay: their registry may be lost.
        """
        base = self._folder / RUNS
        if not base.is_dir():
            return []
        oldest_s = (datetime.now(UTC) - TORN_AFTER).timestamp()
        with os.scandir(base) as entries:  # there may be tens of thousands
            names = {each.name for each in entries}
        found = [name for name in names - self._registry.names() if _is_torn(base / name, oldest_s)]
        # `names` does not check the rows of the registry, and `all` does
        known = {run.name for run in self._registry.all(states=STATES)} if found else set()
        return sorted(set(found) - known)

    def together(self) -> AbstractContextManager[object]:
        """Look at the file of the registry once, not for each call."""
        return self._file.opened()

    def check(self) -> None:
        """Compare the file of the registry with the one at the last call."""
        now = _stat(self._path)
        if self._seen is not None and (now is None or not os.path.samestat(self._seen, now)):
            raise RunAborted(
                f"{self._path} was removed or replaced while it was in use: nothing more is sent, "
                "because it could not be recorded. Restore it, then start again"
            )
        self._seen = now

    def close(self) -> None:
        """Close the file of the registry."""
        self._file.close()

    def _run_folder(self, run: str) -> Path:
        return self._folder / RUNS / run


def _check_lease(run: str, held: Lease | None) -> None:
    """Raise LedgerError unless the lease is held."""
    if held is None:
        raise LedgerError(f"the record of run {run} was opened to read")
    if held.sure_until_s < time.monotonic():
        raise LeaseLostError(f"this process has lost its hold on run {run}: nothing was recorded")


def _is_torn(folder: Path, oldest_s: float) -> bool:
    """True if it is the folder of an interrupted preparation."""
    return (
        _RUN_FOLDER.fullmatch(folder.name) is not None
        and folder.is_dir()
        and ((folder / UNSENT).exists() or not (folder / DESCRIPTION).exists())
        and folder.stat().st_mtime < oldest_s
    )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None

"""Reads what other recorded runs sent for the entities of a run, also if records are damaged."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from pipeline.jobs.entity_join import JoinedFile, origin_runs, unreadable
from pipeline.jobs.jobs_file import JOBS
from pipeline.model import DamagedError, JobRow, RunAborted
from pipeline.run.prepared import Prepared
from pipeline.runs.run_folder import is_stored, load
from pipeline.store import Ledger, LedgerError, Run
from pipeline.store.checksums import check_is
from pipeline.store.seam import Files, Store

ReadStates = Callable[[Ledger | None, frozenset[int], Sequence[JobRow]], list[str]]
"""Returns one row state as text per job, from its ledger and the rows claimed there. Without a
ledger each row may have been sent."""


class OtherRuns:
    """The other runs of one configuration that reach the same destinations as a run.

    store     of the configuration
    reaches   vendor, origin and scope, as an entity's text begins
    tell      called once for each run whose record is needed and cannot be read

    Nothing is known of a run whose folder is gone, as if it was pruned.
    """

    def __init__(
        self,
        prepared: Prepared,
        store: Store,
        reaches: frozenset[str],
        tell: Callable[[str], None],
    ) -> None:
        self._run = prepared.run
        self._store = store
        self._reaches = reaches
        self._tell = tell
        self._runs: dict[str, Run | None] = {}
        self.damaged: set[str] = set()
        self._found: dict[str, list[Path]] = {}

    def earliest(self, jobs: Path) -> int:
        """Sequence number of the earliest origin run of a row; 0 if that is not on record.

        jobs  jobs file of the run itself

        Raises RunAborted if the jobs of an origin run are damaged.
        """
        found = self._sequence(self._run)
        seen: set[str] = set()
        ahead = origin_runs(jobs, self._run)
        while ahead:
            seen.add(name := ahead.pop())
            found = min(found, self._sequence(name))
            for path in self._paths(name):
                ahead |= origin_runs(path, name) - seen
        return found

    def since(self, earliest: int) -> list[Run]:
        """Runs from that sequence number on that may have sent something."""
        newer = self._store.runs.since(earliest)
        self._runs.update((run.name, run) for run in newer)
        return [
            run
            for run in newer
            if run.name != self._run
            and run.state != "prepared"  # nothing of it was sent
            and self._paths(run.name)
        ]

    @property
    def sequences(self) -> dict[str, int]:
        """Sequence numbers by name: after `since`, of every run from the earliest on.

        A run that is missing here is older than all of these.
        """
        return {name: self._sequence(name) for name in self._runs}

    def _sequence(self, name: str) -> int:
        run = self._known(name)
        return 0 if run is None else run.sequence

    def _known(self, name: str) -> Run | None:
        if name not in self._runs:
            self._runs[name] = self._store.runs.get(name)
        return self._runs[name]

    def jobs_files(self, runs: Iterable[Run], read_states: ReadStates) -> Iterator[JoinedFile]:
        """The jobs files of `runs`. A record is opened when a state of it is needed."""
        for run in runs:
            with _Record(self._store, run, read_states, self._report_damage) as record:
                for path in self._paths(run.name):
                    yield JoinedFile(path=path, run=run.name, state=record.state)

    def _report_damage(self, name: str, why: str) -> None:
        self.damaged.add(name)
        self._tell(
            f"the record of run {name} cannot be read: its rows count as possibly applied, and "
            f"older rows of the same entities are not sent. {why}"
        )

    def _paths(self, name: str) -> list[Path]:
        """Kept jobs files of a run that may contain the same entities."""
        if name not in self._found:
            known = self._known(name)
            self._found[name] = [] if known is None else self._paths_of(known)
        return self._found[name]

    def _paths_of(self, known: Run) -> list[Path]:
        name, own = known.name, self._store.files(known.name)
        try:
            stored = load(own, known.description) if is_stored(own) else None
            files = None if stored is None else stored.bound.jobs.values()
        except RunAborted:
            files = None
        if files is None:  # the files say which entities they contain
            return [_fetched(name, own, each) for each in fnmatch.filter(own.names(), JOBS)]
        found = [file for file in files if file.reaches & self._reaches]
        return [_fetched(name, own, file.path.name, file.checksum) for file in found]


def _fetched(run: str, files: Files, name: str, checksum: str = "") -> Path:
    """The path of a jobs file that is what was written. Raises RunAborted if it is not."""
    path = files.folder / name
    try:
        path = files.fetch(name)
        check_is(path, checksum)
    except (DamagedError, OSError) as error:
        raise unreadable(path, run, str(error)) from error
    return path


class _Record:
    """The ledger of a run, opened when it is needed; a damaged one counts as missing.

    tell  called with its name and the damage

    Raises RunAborted if the file is intact and cannot be used.
    """

    def __init__(
        self, store: Store, run: Run, read_states: ReadStates, tell: Callable[[str, str], None]
    ) -> None:
        self._store = store
        self._run = run
        self._read_states = read_states
        self._tell = tell
        self._opened = ExitStack()
        self._ledger: Ledger | None = None
        self._claimed: frozenset[int] = frozenset()
        self._is_damaged = False

    def state(self, jobs: Sequence[JobRow]) -> list[str]:
        """States of these jobs, in row order."""
        if not self._is_damaged:
            try:
                return self._read_states(self._open(), self._claimed, jobs)
            except LedgerError as error:
                self._is_damaged = True
                self._tell(self._run.name, str(error))
        return self._read_states(None, frozenset(), jobs)

    def _open(self) -> Ledger:
        if self._ledger is None:
            ledger = self._store.ledger(self._run.name, None, None, commits=self._run.commits)
            self._ledger = self._opened.enter_context(ledger)
            self._claimed = frozenset(self._ledger.claimed())
        return self._ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._opened.close()

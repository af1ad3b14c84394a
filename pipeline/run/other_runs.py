"""What other runs on record left about the entities of a run, and what to make of damage in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from pipeline.jobs.entity_join import JoinedFile, origin_runs, unreadable
from pipeline.model import DamagedError, JobRow, RunAborted
from pipeline.run.prepare import Prepared
from pipeline.runs.record import open_record
from pipeline.runs.run_folder import is_stored, load
from pipeline.store import Ledger, LedgerError, Run, RunLedger, Runs
from pipeline.store.checksums import check_is

Stands = Callable[[Ledger | None, frozenset[int], Sequence[JobRow]], list[str]]
"""What is to be known of jobs, one text each: from their record and the rows claimed there; without
a record, what can be said of rows that may have been sent."""


class OtherRuns:
    """The other runs of one configuration, as far as they reach what a run of it reaches.

    registry where they are on record, open as long as this is used
    reaches  places: vendor, origin and scope, as the text of an entity begins
    tell     is told, once, of each whose record cannot be read though it is asked for

    A run whose folder is gone is as one that was pruned: nothing is known of it.
    """

    def __init__(
        self,
        prepared: Prepared,
        registry: Runs,
        reaches: frozenset[str],
        tell: Callable[[str], None],
    ) -> None:
        self._run = prepared.run
        self._folder = prepared.folder
        self._reaches = reaches
        self._tell = tell
        self._registry = registry
        self._runs: dict[str, Run | None] = {}
        self.damaged: set[str] = set()
        self._found: dict[str, list[Path]] = {}

    def earliest(self, jobs: Path) -> int:
        """Sequence of the earliest run whose place a row keeps; 0 for one that is forgotten.

        jobs  of the run itself. Raises RunAborted where those of a run that they name are damaged.
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
        """Those from that place in time on that may have sent something."""
        newer = self._registry.since(earliest)
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
        """Places in time by name, of all that were asked about: after `since`, of every run from
        the earliest on. Any other is older than what the run itself has to say.
        """
        return {name: self._sequence(name) for name in self._runs}

    def _sequence(self, name: str) -> int:
        run = self._known(name)
        return 0 if run is None else run.sequence

    def _known(self, name: str) -> Run | None:
        if name not in self._runs:
            self._runs[name] = self._registry.get(name)
        return self._runs[name]

    def guests(self, runs: Iterable[Run], stands: Stands) -> Iterator[JoinedFile]:
        """Their files of jobs. A record is opened once a row of it is asked about."""
        for run in runs:
            with _Record(
                self._folder.with_name(run.name), run.commits, stands, self._note
            ) as record:
                for path in self._paths(run.name):
                    yield JoinedFile(path=path, run=run.name, state=record.state)

    def _note(self, folder: Path, why: str) -> None:
        name = folder.name
        self.damaged.add(name)
        self._tell(
            f"the record of run {name} cannot be read: what it was to send counts as perhaps sent, "
            f"and older rows of the same entities are held back. {why}"
        )

    def _paths(self, name: str) -> list[Path]:
        """Files of jobs of a run that may be about the same entities, as far as they are kept."""
        if name not in self._found:
            known = self._known(name)
            self._found[name] = [] if known is None else self._paths_of(known)
        return self._found[name]

    def _paths_of(self, known: Run) -> list[Path]:
        name, folder = known.name, self._folder.with_name(known.name)
        try:
            stored = load(folder, known.description) if is_stored(folder) else None
            files = None if stored is None else stored.bound.jobs.values()
        except RunAborted:
            files = None
        if files is None:  # what stands there tells by itself what it is about
            return sorted(folder.glob("jobs-*.parquet"))
        found = [file for file in files if file.reaches & self._reaches]
        return [_own(name, folder / file.path.name, file.checksum) for file in found]


def _own(run: str, path: Path, checksum: str) -> Path:
    """A file of jobs that is the one that was written. Raises RunAborted where it is another."""
    try:
        check_is(path, checksum)
    except (DamagedError, OSError) as error:
        raise unreadable(path, run, str(error)) from error
    return path


class _Record:
    """The record of a run, opened when it is needed; one that is damaged is as none.

    commits  number of the last one that is known from elsewhere
    tell     is told of its folder and of what is wrong

    Raises RunAborted where the file is sound and cannot be used.
    """

    def __init__(
        self, folder: Path, commits: int, stands: Stands, tell: Callable[[Path, str], None]
    ) -> None:
        self._folder = folder
        self._commits = commits
        self._stands = stands
        self._tell = tell
        self._ledger: RunLedger | None = None
        self._claimed: frozenset[int] = frozenset()
        self._is_damaged = False

    def state(self, jobs: Sequence[JobRow]) -> list[str]:
        """What is to be known of these jobs, in row order."""
        if not self._is_damaged:
            try:
                return self._stands(self._opened(), self._claimed, jobs)
            except LedgerError as error:
                self._is_damaged = True
                self._tell(self._folder, str(error))
        return self._stands(None, frozenset(), jobs)

    def _opened(self) -> RunLedger:
        if self._ledger is None:
            self._ledger = open_record(self._folder, self._commits)
            self._claimed = frozenset(self._ledger.claimed())
        return self._ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._ledger is not None:
            self._ledger.close()

"""What became of runs: which are on record, their reports, who touched an entity."""

from __future__ import annotations

import heapq
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pipeline.config import Config
from pipeline.model import PipelineError, RowResult, RunAborted, Status, UsageError
from pipeline.model.plan import MadeOf
from pipeline.model.quota import Quota
from pipeline.reporter import Summary, read_summary
from pipeline.reporter.summary import NOTHING_SENT, SUMMARY_NAME
from pipeline.run import report_only
from pipeline.run.live_overrides import write_override
from pipeline.run.prepare import Prepared, reopen
from pipeline.run.recorded_state import RecordedState
from pipeline.run.recover import recover
from pipeline.runs.record import LostRecordError, open_record
from pipeline.runs.registry import UNFINISHED, is_alive, lock_of, open_registry
from pipeline.runs.run_folder import StoredRun, is_stored, load
from pipeline.store import Holder, Run, State
from pipeline.store.checksums import check_is
from pipeline.ui.terminal.runs_table import EntityQuery, EntityRequest, asked_of

LOOK_AGAIN_S = 0.2
"""Who holds a lock only to see whether it is free has let go of it by then."""

_UNFINISHED: tuple[State, ...] = tuple(state for state in get_args(State) if state in UNFINISHED)

Condition = Literal["finished", "refused", "unfinished", "under_way"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """A run on record as it stands now.

    condition  refused: nothing was sent, and nothing will be until the file is mended
    holder     the process that works on it; None where none does or it has not written that down
    is_kept    whether its own files are there
    report     the folder of its report; None where no summary vouches for one
    made_of    what its rows came from; "file" where its own files are gone
    is_rehearsal  whether it was sent to a simulator; False where its own files are gone
    """

    run: Run
    condition: Condition
    holder: Holder | None
    is_kept: bool
    report: Path | None
    made_of: MadeOf = "file"
    is_rehearsal: bool = False

    @property
    def not_sent(self) -> int | None:
        """Rows that wait to be sent; None where that was not counted, as after a kill."""
        if self.condition in {"finished", "refused"}:
            return 0
        return self.run.counts.get(Status.NOT_ATTEMPTED, 0) if self.run.counts else None


def entries(
    config: Config,
    *,
    only_unfinished: bool = False,
    since: datetime | None = None,
    most: int | None = None,
) -> list[RunEntry]:
    """Runs on record that started at `since` or later, newest first, at most `most`."""
    states = _UNFINISHED if only_unfinished else get_args(State)
    return [_entry(config, run) for run in _runs(config, states, since, most)]


def entry(config: Config, name: str) -> RunEntry:
    """The run of that name. Raises UsageError where there is none."""
    run = None
    if config.ledger.exists():
        with open_registry(config) as runs:
            run = runs.get(name)
    if run is None:
        raise UsageError(f"there is no run {name}; `pipeline runs` lists those there are")
    return _entry(config, run)


def _runs(
    config: Config,
    states: tuple[State, ...] = get_args(State),
    since: datetime | None = None,
    most: int | None = None,
) -> list[Run]:
    if not config.ledger.exists():  # looking at nothing makes nothing
        return []
    with open_registry(config) as runs:
        return runs.all(states=states, since=since, most=most)


def _entry(config: Config, run: Run) -> RunEntry:
    report = config.reports / run.name
    condition: Condition = "refused" if run.exit_code == NOTHING_SENT else "finished"
    holder = None
    if run.state in UNFINISHED:
        condition = "unfinished"
        if is_alive(config, run):
            condition, holder = "under_way", lock_of(config, run.name).holder()
    stored = _stored(config, run.name)
    return RunEntry(
        run=run,
        condition=condition,
        holder=holder,
        is_kept=is_stored(_folder(config, run.name)),
        report=report if (report / SUMMARY_NAME).exists() else None,
        made_of=stored.made_of if stored else "file",
        is_rehearsal=stored.is_simulated if stored else False,
    )


def _stored(config: Config, name: str) -> StoredRun | None:
    """A run's description; None where it is gone or damaged: `resume` says which."""
    with suppress(RunAborted):
        folder = _folder(config, name)
        return load(folder) if is_stored(folder) else None
    return None


def _folder(config: Config, name: str) -> Path:
    return config.ledger_folder / "runs" / name


# Its report


def report_of(
    config: Config, name: str, tell: Callable[[str], None] = lambda _words: None
) -> tuple[Summary, bool]:
    """The summary of a run that no process works on, and whether its report was made just now.

    A report that is there stands, unless the record has more than it tells: the process that
    carried the run on was killed. Where its record is damaged, or older than it was, a new one is
    made of what is left of it, and then the report. Nothing is sent.

    tell    is told what was wrong with the record
    raises  UsageError where there is nothing to make a report of, else as `reopen` and
            `report_only` do
    """
    try:
        return _report_of(config, name)
    except LostRecordError as error:
        tell(str(error))
    prepared = _reopened(config, name)
    with prepared.lock:
        count = recover(prepared, entry(config, name).run.commits)
    tell(f"{count} rows of run {name} are unknown now; the old record is kept beside the new one")
    return report_only(_reopened(config, name)), True


def _report_of(config: Config, name: str) -> tuple[Summary, bool]:
    known = entry(config, name)
    if known.report is not None:
        summary = read_summary(known.report / SUMMARY_NAME)
        if known.condition != "unfinished" or _tells_all(config, known, summary):
            return summary, False
    if not known.is_kept:
        raise UsageError(
            f"run {name} has no report, and none can be made: its files in "
            f"{_folder(config, name)} are gone"
        )
    return report_only(_reopened(config, name)), True


def _tells_all(config: Config, known: RunEntry, summary: Summary) -> bool:
    """Whether the record of an unfinished run has nothing that its report does not tell.

    Then the run is given the state that the report says: its process may have been killed between
    the two. Results on record stay as they are, and a report may have some that could not be put
    there: so whatever is new shows as more of a status, or as more rows.
    """
    if not known.is_kept:
        return True
    lock = lock_of(config, known.run.name)
    if not lock.acquire(wait=False):
        raise UsageError(f"another process works on run {known.run.name}")
    with lock, open_record(_folder(config, known.run.name), known.run.commits) as ledger:
        before = RecordedState.of(ledger)
        told = Counter(summary.statuses)
        waiting = told.pop(Status.NOT_ATTEMPTED, 0)
        has_more_rows = before.counts.total() + len(before.claimed) > told.total()
        if has_more_rows or set(before.counts - told) - {Status.UNKNOWN}:
            return False
        is_open = (waiting or before.claimed) and summary.exit_code != NOTHING_SENT
        with open_registry(config) as runs:
            runs.change_state(
                known.run.name,
                "sending" if is_open else "reported",
                ended=datetime.fromisoformat(summary.ended),
                counts=summary.statuses,
                exit_code=summary.exit_code,
            )
    return True


def _reopened(config: Config, name: str) -> Prepared:
    """The run as `reopen` gives it; where it was sent to an embedded simulator, that is gone.

    A report needs only its address.
    """
    stored = load(_folder(config, name))
    if stored.is_simulated:
        config = config.simulated(
            dict(reached.split("|")[:2] for reached in stored.accounts.values())
        )
    return reopen(name, config, is_for_report=True)


# A process that works on it


def stop(config: Config, name: str) -> Holder:
    """Tell the process that works on a run to drain it: the process that was told.

    Raises UsageError where none works on it, or it cannot be told.
    """
    holder = _holder(config, name)
    time.sleep(LOOK_AGAIN_S)
    if holder is None or _holder(config, name) != holder:
        raise UsageError(f"run {name} is not under way: no process works on it")
    try:
        os.kill(holder.pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError) as error:
        raise UsageError(
            f"process {holder.pid} ({holder.command}) works on run {name} and cannot be told: "
            f"{error.strerror}. It may belong to another user or another container"
        ) from error
    return holder


def slow(config: Config, name: str, account: str, quota: Quota | None) -> Holder:
    """Ask the process that works on a run for at most `quota` on an account, within a second.

    quota   None takes back what was asked for
    raises  UsageError where no process works on the run, it has no such account, or the quota is
            more than the configured one: a run is slowed down only
    """
    holder = _holder(config, name)
    if holder is None:
        raise UsageError(f"run {name} is not under way: no process works on it")
    folder = _folder(config, name)
    accounts = load(folder).accounts if is_stored(folder) else {}
    if account not in accounts:
        raise UsageError(
            f"run {name} has no account {account!r}; it has: {', '.join(accounts) or 'none yet'}"
        )
    if quota is not None and account in config.accounts:
        configured = config.outline(account)
        if configured.quotas and quota.per_second > configured.mean_per_s:
            raise UsageError(
                f"{quota} is more than the quota of {account}, {configured.quota}: a run that is "
                "under way can only be slowed down. Stop it, change the configuration, resume it"
            )
    write_override(folder, holder, account, quota)
    return holder


def _holder(config: Config, name: str) -> Holder | None:
    """Who holds the lock of a run now; None where nobody does."""
    folder = _folder(config, name)
    if Path(name).name != name or not folder.is_dir():
        raise UsageError(f"there is no run {name}; `pipeline runs` lists those there are")
    lock = lock_of(config, name)
    with lock:
        if lock.acquire(wait=False):
            return None
    holder = lock.holder()
    if holder is None or holder.pid <= 1:  # to lower numbers a signal means whole groups
        raise UsageError(f"a process works on run {name} and has not written down which it is")
    return holder


# Rows of an entity


class Touch(NamedTuple):
    """A row that is about an entity, and what became of it.

    status  `unknown` where it may be on its way or was when its process died
    result  None where none is on record
    """

    entry: RunEntry
    account: str
    asked: EntityRequest
    status: Status
    result: RowResult | None


def touches(config: Config, wanted: EntityQuery, tell: Callable[[str], None]) -> Iterator[Touch]:
    """Every row of every kept run that is about an entity, oldest first.

    tell  is told of runs that cannot be looked into, or not to their end
    """
    for run in reversed(_runs(config)):
        if not any(_is_at(wanted.vendor, reached) for reached in run.accounts.values()):
            continue
        if not is_stored(_folder(config, run.name)):
            tell(f"run {run.name} is left out: its files are gone")
            continue
        try:
            yield from _touches_of(_entry(config, run), _folder(config, run.name), wanted)
        except PipelineError as error:
            tell(f"run {run.name} could not be looked into: {error}")


def _is_at(vendor: str, reached: str) -> bool:
    return reached.partition("|")[0] == vendor


def _touches_of(known: RunEntry, folder: Path, wanted: EntityQuery) -> Iterator[Touch]:
    stored = load(folder, known.run.description)
    for file in stored.bound.jobs.values():
        check_is(folder / file.path.name, file.checksum)
    rows = _asked(stored, folder, wanted)
    first = next(rows, None)
    if first is None:
        return
    with open_record(folder, known.run.commits) as ledger:
        claimed = frozenset(ledger.claimed())
        for asked, account in chain([first], rows):
            result = next(iter(ledger.results(asked.row, asked.row)), None)
            status = Status.UNKNOWN if asked.row in claimed else Status.NOT_ATTEMPTED
            yield Touch(known, account, asked, result.status if result else status, result)


def _asked(
    stored: StoredRun, folder: Path, wanted: EntityQuery
) -> Iterator[tuple[EntityRequest, str]]:
    """What was asked, and of which account, in row order."""

    def of(account: str, path: Path) -> Iterator[tuple[EntityRequest, str]]:
        return ((asked, account) for asked in asked_of(path, wanted))

    found = [
        of(account, folder / jobs.path.name)
        for account, jobs in stored.bound.jobs.items()
        if _is_at(wanted.vendor, stored.accounts[account])
    ]
    return heapq.merge(*found, key=itemgetter(0))

"""Queries and commands about recorded runs: their condition, report, process and entities."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pipeline import run as engine
from pipeline.config import Config
from pipeline.model import PipelineError, RowResult, RunAborted, Status, UsageError
from pipeline.model.exit_codes import NOTHING_SENT
from pipeline.model.formatting import counted
from pipeline.model.plan import MadeOf
from pipeline.model.quota import Quota
from pipeline.reporter import Summary, read_summary
from pipeline.reporter.summary import SUMMARY_NAME
from pipeline.run.prepared import Prepared
from pipeline.run.recorded_state import LAST_ROW, RecordedState, results_of
from pipeline.run.recover import recover
from pipeline.run.reopen import reopen
from pipeline.runs.registry import UNFINISHED, held_shares, open_store, run_lease_of, workers_of
from pipeline.runs.run_folder import StoredRun, is_stored, load
from pipeline.store import Run, State
from pipeline.store.checksums import check_is
from pipeline.store.seam import LeaseHolder, LostRecordError, Order, Store
from pipeline.ui.terminal.runs_table import EntityQuery, EntityRequest, requests_of

CHECK_AGAIN_S = 0.2
"""Seconds after which a process that only tested a lock has released it."""

_UNFINISHED: tuple[State, ...] = tuple(state for state in get_args(State) if state in UNFINISHED)

Condition = Literal["finished", "refused", "unfinished", "under_way"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """A recorded run and its present condition.

    condition     refused: nothing was sent, since the file must be fixed first
    holder        the process that works on it; None if there is none or it is not written down
    is_kept       its own files exist
    report        folder of its report; None without a summary
    made_of       origin of its rows; "file" if its own files are gone
    is_simulated  it was sent to a simulator; False if its own files are gone
    """

    run: Run
    condition: Condition
    holder: LeaseHolder | None
    is_kept: bool
    report: Path | None
    made_of: MadeOf = "file"
    is_simulated: bool = False

    @property
    def not_sent(self) -> int | None:
        """Rows that are not sent yet; None if they were not counted, as after a kill."""
        if self.condition in {"finished", "refused"}:
            return 0
        return self.run.counts.get(Status.NOT_ATTEMPTED, 0) if self.run.counts else None


def entries(
    config: Config,
    *,
    only_unfinished: bool = False,
    since: datetime | None = None,
    run_id: str | None = None,
    most: int | None = None,
) -> list[RunEntry]:
    """Recorded runs that started at `since` or later, newest first, at most `most`.

    run_id  only the run with this id of a scheduler
    """
    states = _UNFINISHED if only_unfinished else get_args(State)
    if run_id is None:
        return [_entry(config, run) for run in _runs(config, states, since, most)]
    run = open_store(config).runs.by_run_id(run_id)
    is_meant = run is not None and run.state in states and (since is None or run.started >= since)
    return [_entry(config, run)] if run is not None and is_meant else []


def entry(config: Config, name: str) -> RunEntry:
    """The run of that name. Raises UsageError if there is none."""
    run = open_store(config).runs.get(name)
    if run is None:
        raise UsageError(f"there is no run {name}; `pipeline runs` lists those there are")
    return _entry(config, run)


def _runs(
    config: Config,
    states: tuple[State, ...] = get_args(State),
    since: datetime | None = None,
    most: int | None = None,
) -> list[Run]:
    return open_store(config).runs.all(states=states, since=since, most=most)


def _entry(config: Config, run: Run) -> RunEntry:
    report = config.reports / run.name
    condition: Condition = "refused" if run.exit_code == NOTHING_SENT else "finished"
    holder = None
    if run.state in UNFINISHED:
        condition = "unfinished"
        lease = run_lease_of(config, run.name)
        if lease.is_held():
            condition, holder = "under_way", lease.holder()
        elif workers := held_shares(config, run.name):
            condition, holder = "under_way", next(iter(workers.values()))
    stored = _stored(config, run.name)
    return RunEntry(
        run=run,
        condition=condition,
        holder=holder,
        is_kept=is_stored(open_store(config).files(run.name)),
        report=report if (report / SUMMARY_NAME).exists() else None,
        made_of=stored.made_of if stored else "file",
        is_simulated=stored.is_simulated if stored else False,
    )


def _stored(config: Config, name: str) -> StoredRun | None:
    """The content of `run.json`; None if it is gone or damaged: `resume` says which."""
    with suppress(RunAborted):
        files = open_store(config).files(name)
        return load(files) if is_stored(files) else None
    return None


# Its report


def report_of(
    config: Config,
    name: str,
    tell: Callable[[str], None] = lambda _words: None,
    *,
    checks_record: bool = False,
) -> tuple[Summary, bool]:
    """The summary of a run that no process works on, and True if its report is new.

    An existing report is used unless the record has more results, since a process that resumed the
    run was killed. If the record is damaged or older than it was, a new record is made of what is
    left, and then the report; an earlier report stays beside it. Nothing is sent.

    tell           called with text about damage of the record
    checks_record  read the record even if the report needs nothing of it

    raises  UsageError if there is nothing to report, else as `reopen` and `report_only`
    """
    try:
        found = _report_of(config, name)
        if checks_record and not found[1]:
            _check_record(config, name)
    except LostRecordError as error:
        tell(str(error))
    else:
        return found
    prepared = _reopened(config, name)
    with prepared.lease:
        count = recover(prepared, entry(config, name).run.commits)
    tell(
        f"unknown now: {counted(count, 'row')} of run {name}. The old record is kept beside the "
        "new one"
    )
    if earlier := _kept_report(config, name):
        tell(f"the report that was made before is in {earlier}")
    return engine.report_only(_reopened(config, name)), True


def _check_record(config: Config, name: str) -> None:
    """Read all results of a finished run. Raises LostRecordError if they are not as recorded."""
    known = entry(config, name)
    if known.condition != "finished" or not known.is_kept:
        return
    commits, results = known.run.commits, results_of(known.run)
    store = open_store(config)
    with store.ledger(name, None, None, commits=commits, results=results) as ledger:
        for _ in ledger.results(0, LAST_ROW):
            pass


def _kept_report(config: Config, name: str) -> Path | None:
    """Rename the report of a run, since another one replaces it; None if there is none."""
    report = entry(config, name).report
    if report is None:
        return None
    kept = report.with_name(f"{name}-before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    try:
        return report.rename(kept)
    except OSError as error:
        raise RunAborted(f"{report} cannot be renamed to {kept}: {error.strerror}") from error


def _report_of(config: Config, name: str) -> tuple[Summary, bool]:
    known = entry(config, name)
    if known.report is not None:
        summary = read_summary(known.report / SUMMARY_NAME)
        if known.condition != "unfinished" or _is_complete(config, known, summary):
            return summary, False
    if not known.is_kept:
        raise UsageError(
            f"run {name} has no report, and none can be made: its files in "
            f"{open_store(config).files(name).folder} are gone"
        )
    return engine.report_only(_reopened(config, name)), True


def _is_complete(config: Config, known: RunEntry, summary: Summary) -> bool:
    """True if the report of an unfinished run contains all results of its record.

    Then the run gets the state that the report says: its process may have been killed between the
    two. Recorded results do not change, and a report may include results that could not be
    recorded. So a new result shows as more rows of a status, or as more rows.
    """
    if not known.is_kept:
        return True
    store, lease, name = open_store(config), run_lease_of(config, known.run.name), known.run.name
    if not lease.take():
        lease.release()  # nor does it wait
        raise UsageError(f"another process works on run {name}")
    if workers_of(config, name):
        lease.release()
        raise UsageError(f"workers send the shares of run {name}")
    with lease, store.ledger(name, None, None, commits=known.run.commits, results=0) as ledger:
        before = RecordedState.of(ledger)
        reported = Counter(summary.statuses)
        waiting = reported.pop(Status.NOT_ATTEMPTED, 0)
        has_more_rows = before.counts.total() + len(before.claimed) > reported.total()
        if has_more_rows or set(before.counts - reported) - {Status.UNKNOWN}:
            return False
        is_open = (waiting or before.claimed) and summary.exit_code != NOTHING_SENT
        store.runs.change_state(
            name,
            "sending" if is_open else "reported",
            ended=datetime.fromisoformat(summary.ended),
            counts=summary.statuses,
            exit_code=summary.exit_code,
        )
    return True


def _reopened(config: Config, name: str) -> Prepared:
    """Reopen a run for its report, also one of an embedded simulator that is gone.

    A report needs only the address of the simulator.
    """
    stored = load(open_store(config).files(name))
    if stored.is_simulated:
        config = config.simulated(
            dict(reached.split("|")[:2] for reached in stored.accounts.values())
        )
    return reopen(name, config, is_for_report=True)


# A process that works on it


def stop(config: Config, name: str) -> LeaseHolder:
    """Order the process that works on a run to stop it gracefully, within a second.

    Raises UsageError if no process works on it.
    """
    holder = _holder(config, name)
    orders = open_store(config).orders
    orders.give(name, orders.given(name)._replace(is_stop=True))
    return holder


def slow(config: Config, name: str, account: str, quota: Quota | None) -> LeaseHolder:
    """Limit an account of a running run to `quota`, within a second.

    quota   None removes the limit
    raises  UsageError if no process works on the run, it has no such account, or the quota is more
            than the configured one: a run can only be slowed down
    """
    holder = _holder(config, name)
    store = open_store(config)
    files = store.files(name)
    accounts = load(files).accounts if is_stored(files) else {}
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
    store.orders.give(name, with_quota(store.orders.given(name), account, quota))
    return holder


def with_quota(order: Order, account: str, quota: Quota | None) -> Order:
    """An order that also limits an account to `quota`; None removes its limit.

    >>> with_quota(Order(), "shop", Quota(5, 1.0)).quotas
    {'shop': Quota(limit=5, per_s=1.0, is_burst=False)}
    >>> with_quota(Order(quotas={"shop": Quota(5, 1.0)}), "shop", None).quotas
    {}
    """
    quotas = {name: each for name, each in order.quotas.items() if name != account}
    if quota is not None:
        quotas[account] = quota
    return order._replace(quotas=quotas)


def _holder(config: Config, name: str) -> LeaseHolder:
    """The process that works on a run. Raises UsageError if there is no run, or no process."""
    if Path(name).name != name or open_store(config).runs.get(name) is None:
        raise UsageError(f"there is no run {name}; `pipeline runs` lists those there are")
    lease = run_lease_of(config, name)
    for is_second in (False, True):  # a process that only looks at the run is gone then
        if not lease.is_held():
            workers = held_shares(config, name)
            if not workers:
                raise UsageError(f"run {name} is not under way: no process works on it")
            if (worker := next(iter(workers.values()))) is not None:
                return worker
        if not is_second:
            time.sleep(CHECK_AGAIN_S)
    holder = lease.holder()
    if holder is None:
        raise UsageError(f"a process works on run {name} and has not written down which it is")
    return holder


# Rows of an entity


class Touch(NamedTuple):
    """A row of an entity and its result.

    request  the update of the row
    status   `unknown` if it is in flight or was when its process ended
    result   None if none is recorded
    """

    entry: RunEntry
    account: str
    request: EntityRequest
    status: Status
    result: RowResult | None


def touches(config: Config, wanted: EntityQuery, tell: Callable[[str], None]) -> Iterator[Touch]:
    """Every row of an entity in all kept runs, oldest first.

    tell  called with text about each run that cannot be read completely
    """
    for run in reversed(_runs(config)):
        if not any(_is_at(wanted.vendor, reached) for reached in run.accounts.values()):
            continue
        files = open_store(config).files(run.name)
        if not is_stored(files):
            tell(f"run {run.name} is left out: its files are gone")
            continue
        try:
            yield from _touches_of(_entry(config, run), open_store(config), wanted)
        except PipelineError as error:
            tell(f"run {run.name} could not be read: {error}")


def _is_at(vendor: str, reached: str) -> bool:
    return reached.partition("|")[0] == vendor


def _touches_of(known: RunEntry, store: Store, wanted: EntityQuery) -> Iterator[Touch]:
    files, run = store.files(known.run.name), known.run
    stored = load(files, run.description)
    for file in stored.bound.jobs.values():
        check_is(files.fetch(file.path.name), file.checksum)
    rows = _requests(stored, files.folder, wanted)
    first = next(rows, None)
    if first is None:
        return
    with store.ledger(run.name, None, None, commits=run.commits) as ledger:
        claimed = frozenset(ledger.claimed())
        for request, account in chain([first], rows):
            result = next(iter(ledger.results(request.row, request.row)), None)
            status = Status.UNKNOWN if request.row in claimed else Status.NOT_ATTEMPTED
            yield Touch(known, account, request, result.status if result else status, result)


def _requests(
    stored: StoredRun, folder: Path, wanted: EntityQuery
) -> Iterator[tuple[EntityRequest, str]]:
    """Requests for the entity with their accounts, in row order."""

    def of(account: str, path: Path) -> Iterator[tuple[EntityRequest, str]]:
        return ((request, account) for request in requests_of(path, wanted))

    found = [
        of(account, folder / jobs.path.name)
        for account, jobs in stored.bound.jobs.items()
        if _is_at(wanted.vendor, stored.accounts[account])
    ]
    return heapq.merge(*found, key=itemgetter(0))

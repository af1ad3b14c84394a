"""Collects the facts of a run for its report, and writes the report."""

from __future__ import annotations

import heapq
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

from pipeline.config import public_settings
from pipeline.jobs import JobsFile
from pipeline.model import DamagedError, RowResult, Status
from pipeline.model.exit_codes import NOTHING_SENT
from pipeline.model.leg import Leg
from pipeline.reporter import (
    AccountFacts,
    ReportSource,
    RunFacts,
    Summary,
    WorkerSummary,
    write_report,
)
from pipeline.run.baseline import failure_anomaly
from pipeline.run.legs import legs_of, one_after_another
from pipeline.run.outcome import RunOutcome
from pipeline.run.prepared import Prepared
from pipeline.run.recorded_state import RecordedState
from pipeline.run.share_progress import by_worker, parse_progress
from pipeline.run.warnings import warnings_about
from pipeline.runs.registry import open_store
from pipeline.store import Ledger
from pipeline.store.checksums import check_whole
from pipeline.store.result_lines import Line, line_of
from pipeline.ui.html.write import HtmlPages

LIBRARIES = ("aiohttp", "anyio", "aiolimiter", "polars", "pydantic")


def report(
    prepared: Prepared, outcome: RunOutcome, ledger: Ledger, before: RecordedState
) -> Summary:
    """Write the report of a run that was sent or refused. Raises ReportError."""
    claimed = frozenset(ledger.claimed())
    claimed -= {result.row for result in outcome.unrecorded}
    recorded = _recorded(outcome, before, len(claimed))
    if sum(recorded.values()) - recorded[Status.NOT_ATTEMPTED] == prepared.bound.rows:
        _clear_time_stop(outcome)
    odd = "" if prepared.refusal else failure_anomaly(prepared, recorded)
    legs = _legs(outcome, ledger)
    facts = RunFacts(
        started=min([outcome.started, *(_moment(leg.began_at_s) for leg in legs)]),
        ended=_moment(outcome.now_at_s),
        legs=tuple(legs),
        workers=tuple(_workers(prepared)),
        accounts=tuple(_account_facts(prepared, outcome, legs)),
        is_simulated=bool(prepared.accounts) and all(a.is_simulated for a in prepared.accounts),
        stopped_by=_stopped_by(prepared, outcome),
        warnings=(*warnings_about(prepared), *([odd] if odd else ())),
        unusual=odd,
        made_of=prepared.made_of,
        cleared=_cleared(prepared),
        kept=prepared.bound.keeps,
        settings=_settings(prepared),
        versions=_versions(),
        tolerance=prepared.options.tolerate,
        exit_code=_exit_code(prepared, outcome),
    )
    source = ReportSource(
        snapshot=prepared.snapshot,
        run=prepared.run,
        lines=partial(_lines, ledger, outcome.unrecorded),
        facts=facts,
        claimed=claimed,
        recorded=recorded,
        routes={name: jobs.path for name, jobs in prepared.bound.jobs.items() if _is_whole(jobs)},
        stopped=outcome.stopped,
        samples=ledger.samples,
        exchanges=ledger.exchanges,
    )
    return write_report(source, prepared.report_folder, HtmlPages())


def _is_whole(jobs: JobsFile) -> bool:
    """True if the jobs file is intact: it gives the operation of rows without a result."""
    try:
        check_whole(jobs.path, jobs.checksum)
    except DamagedError:
        return False
    return True


def _lines(
    ledger: Ledger, unrecorded: Sequence[RowResult], first: int, last: int
) -> Iterable[Line]:
    """Recorded results and the few that could not be recorded, in row order."""
    if not unrecorded:
        return ledger.lines(first, last)
    more = (line_of(each, seed=0) for each in sorted(unrecorded) if first <= each.row <= last)
    return heapq.merge(ledger.lines(first, last), more, key=itemgetter(0))


def _clear_time_stop(outcome: RunOutcome) -> None:
    """Nothing was stopped: only the last rows were in flight when the time came."""
    outcome.stopped = {name: why for name, why in outcome.stopped.items() if why != outcome.over}
    outcome.over = ""


def _recorded(outcome: RunOutcome, before: RecordedState, claimed: int) -> Counter[Status]:
    """Results per status: recorded before, counted by this process, and rows in doubt."""
    counts = Counter(before.counts)
    for account in outcome.progress:
        counts.update(account.done)
    counts[Status.UNKNOWN] += claimed
    return counts


def _legs(outcome: RunOutcome, ledger: Ledger) -> list[Leg]:
    """All legs; those of this process from memory, since the disk may have refused them."""
    now = legs_of(outcome, (), is_over=True)
    return one_after_another([*(leg for leg in ledger.legs() if leg.number != outcome.leg), *now])


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _stopped_by(prepared: Prepared, outcome: RunOutcome) -> str:
    if outcome.failure is not None:
        return f"ended early: {outcome.failure}"
    if outcome.signal is not None:
        return outcome.interruption
    return prepared.refusal or outcome.over


def _account_facts(
    prepared: Prepared, outcome: RunOutcome, legs: Sequence[Leg]
) -> Iterator[AccountFacts]:
    progress = {each.account: each for each in outcome.progress}
    for account in prepared.accounts:
        done = progress.get(account.name)
        parts = [leg for leg in legs if leg.account == account.name]
        yield AccountFacts(
            name=account.name,
            vendor=account.vendor.name,
            host=urlsplit(account.link.base_url).netloc,
            scope=account.vendor.scope(account.settings),
            quota=account.quota,
            quota_assumed=account.is_assumed,
            quota_per_s=account.mean_per_s if account.quotas else 0.0,
            rate_per_s=round(done.rate_per_s, 3) if done else 0.0,
            slowed_to=str(outcome.slowed.get(account.name, "")),
            requests=sum(leg.requests for leg in parts),
            retries=sum(leg.retries for leg in parts),
            sending_s=round(sum(leg.sending_s for leg in parts), 3),
        )


def _workers(prepared: Prepared) -> Iterator[WorkerSummary]:
    """The work of each process that sent shares of the run."""
    states = open_store(prepared.config).runs.shares(prepared.run)
    for work in by_worker([parse_progress(each.progress) for each in states]).values():
        yield WorkerSummary(name=work.who, rows=work.rows, requests=work.requests)


def _cleared(prepared: Prepared) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for cleared in prepared.bound.cleared:
        found[cleared.operation].append(cleared.field)
    return {operation: tuple(fields) for operation, fields in found.items()}


def _settings(prepared: Prepared) -> dict[str, Any]:
    options = prepared.options
    return {
        "configuration": str(prepared.config.file) if prepared.config.file else None,
        "operation": options.operation,
        "account": options.account,
        "rows": str(options.rows) if options.rows else None,
        "max_invalid": options.max_invalid,
        "use_brake": options.fail_fast,
        "force_order": options.force_order,
        "allow_irreversible": options.allow_irreversible,
        "skip_unchanged": options.skip_unchanged,
        "keep_before": options.record_previous,
        "canary": options.canary,
        "tolerate": options.tolerate,
        "stop_if": [each.text for each in options.stop_if],
        "grace_s": options.grace_s,
        "accounts": [public_settings(account) for account in prepared.accounts],
    }


def _versions() -> dict[str, str]:
    return {
        "offer-pipeline": metadata.version("offer-pipeline"),
        "python": sys.version.split()[0],
        **{name: metadata.version(name) for name in LIBRARIES},
    }


def _exit_code(prepared: Prepared, outcome: RunOutcome) -> int | None:
    """The exit code; None if it follows from the results."""
    if outcome.failure is not None:
        return 3
    if outcome.signal is not None:
        return 128 + outcome.signal
    if prepared.refusal is not None:
        return NOTHING_SENT
    return 3 if outcome.stopped else None

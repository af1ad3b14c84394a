"""What a report says about a run beside its rows, and the report itself."""

from __future__ import annotations

import heapq
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit

from pipeline.config import public_settings
from pipeline.jobs import JobsFile
from pipeline.model import DamagedError, RowResult, Snapshot, Status
from pipeline.model.leg import Leg
from pipeline.reporter import AccountFacts, ReportSource, RunFacts, Summary, write_report
from pipeline.reporter.summary import NOTHING_SENT
from pipeline.run.baseline import unusual_failures
from pipeline.run.legs import legs_of
from pipeline.run.prepare import CUT_LAST_LINE, Prepared
from pipeline.run.recorded_state import RecordedState
from pipeline.run.session import RunOutcome
from pipeline.runs.registry import fingerprint, is_alive, is_rehearsal, open_registry
from pipeline.store import Ledger, Run
from pipeline.store.checksums import check_whole
from pipeline.ui.html.write import HtmlPages

LIBRARIES = ("aiohttp", "anyio", "aiolimiter", "polars", "pydantic")


def report(prepared: Prepared, sent: RunOutcome, ledger: Ledger, before: RecordedState) -> Summary:
    """Write the report of a run that was sent or refused. Raises ReportError."""
    claimed = frozenset(ledger.claimed())
    claimed -= {result.row for result in sent.unrecorded}
    recorded = _recorded(sent, before, len(claimed))
    if sum(recorded.values()) - recorded[Status.NOT_ATTEMPTED] == prepared.bound.rows:
        _forgive_the_time(sent)
    odd = "" if prepared.refusal else unusual_failures(prepared, recorded)
    legs = _legs(sent, ledger)
    facts = RunFacts(
        started=min([sent.started, *(_moment(leg.began_at_s) for leg in legs)]),
        ended=datetime.now(UTC),
        legs=tuple(legs),
        accounts=tuple(_account_facts(prepared, sent, legs)),
        is_simulated=bool(prepared.accounts) and all(a.is_simulated for a in prepared.accounts),
        stopped_by=_stopped_by(prepared, sent),
        warnings=(*warnings_about(prepared), *([odd] if odd else ())),
        unusual=odd,
        made_of=prepared.made_of,
        cleared=_cleared(prepared),
        kept=prepared.bound.keeps,
        settings=_settings(prepared),
        versions=_versions(),
        tolerance=prepared.options.tolerate,
        exit_code=_exit_code(prepared, sent),
    )
    source = ReportSource(
        snapshot=prepared.snapshot,
        run=prepared.run,
        results=partial(_results, ledger, sent.unrecorded),
        facts=facts,
        claimed=claimed,
        recorded=recorded,
        routes={name: jobs.path for name, jobs in prepared.bound.jobs.items() if _is_whole(jobs)},
        stopped=sent.stopped,
        samples=ledger.samples,
        exchanges=ledger.exchanges,
    )
    return write_report(source, prepared.report_folder, HtmlPages())


def _is_whole(jobs: JobsFile) -> bool:
    """Whether it can be told what rows without a result asked for: of damaged jobs it cannot."""
    try:
        check_whole(jobs.path, jobs.checksum)
    except DamagedError:
        return False
    return True


def _results(
    ledger: Ledger, unrecorded: Sequence[RowResult], first: int, last: int
) -> Iterable[RowResult]:
    """What is on record and, few, what could not be put there, in row order."""
    if not unrecorded:
        return ledger.results(first, last)
    more = sorted(each for each in unrecorded if first <= each.row <= last)
    return heapq.merge(ledger.results(first, last), more, key=attrgetter("row"))


def _forgive_the_time(sent: RunOutcome) -> None:
    """What was in flight when the time came was the last of it: nothing was stopped."""
    sent.stopped = {name: why for name, why in sent.stopped.items() if why != sent.over}
    sent.over = ""


def _recorded(sent: RunOutcome, before: RecordedState, claimed: int) -> Counter[Status]:
    """Results per status: those on record before, those counted when they came, rows in doubt."""
    counts = Counter(before.counts)
    for account in sent.progress:
        counts.update(account.done)
    counts[Status.UNKNOWN] += claimed
    return counts


def _legs(sent: RunOutcome, ledger: Ledger) -> list[Leg]:
    """What each process did, this one as far as it got: the disk may have refused to note it."""
    now = legs_of(sent, (), time.time(), is_over=True)
    return [*(leg for leg in ledger.legs() if leg.number != sent.leg), *now]


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _stopped_by(prepared: Prepared, sent: RunOutcome) -> str:
    if sent.failure is not None:
        return f"broken off: {sent.failure}"
    if sent.signal is not None:
        return f"interrupted by {sent.signal.name}"
    return prepared.refusal or sent.over


def _account_facts(
    prepared: Prepared, sent: RunOutcome, legs: Sequence[Leg]
) -> Iterator[AccountFacts]:
    progress = {each.account: each for each in sent.progress}
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
            slowed_to=str(sent.slowed.get(account.name, "")),
            requests=sum(leg.requests for leg in parts),
            retries=sum(leg.retries for leg in parts),
            sending_s=round(sum(leg.sending_s for leg in parts), 3),
        )


def warnings_about(prepared: Prepared) -> Iterator[str]:
    """What is doubtful about a run but does not stop it."""
    if prepared.is_resumed:
        yield f"carries on run {prepared.run}: rows with a result on record are not sent again"
    if prepared.repeats:
        yield f"the same content was run before: {prepared.repeats}"
    yield from _unfinished_others(prepared)
    yield from _about_file(prepared.snapshot)
    if prepared.bound.repeated:
        yield (
            f"{prepared.bound.repeated} rows share their entity with another row: "
            "they are sent one after the other, in row order"
        )
    for operation, rows in prepared.bound.irreversible.items():
        yield f"{rows} rows of {operation} cannot be taken back"
    for warning in prepared.bound.warnings:
        places = list(map(str, warning.examples))
        if warning.rows > len(places):
            places.append("...")
        yield f"{warning.text} ({warning.rows} rows: {', '.join(places)})"
    for account in prepared.accounts:
        for doubt in account.vendor.doubts(account.settings):
            yield f"account {account.name}: {doubt.what}. {doubt.advice}"
        if account.link.tls == "legacy":
            yield f'account {account.name} uses tls = "legacy": old, weak encryption is allowed'


_SHOWN = 5


def _about_file(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.lacks_last_end:
        yield CUT_LAST_LINE
    if snapshot.zoneless:
        yield (
            f"timestamps of 96 bits ({', '.join(snapshot.zoneless[:_SHOWN])}) do not say their "
            "zone and are read in `timezone`, but Spark and Hive write them in UTC"
        )
    if not snapshot.rows:
        yield "the file has no rows"


def _unfinished_others(prepared: Prepared) -> Iterator[str]:
    """Runs to the same accounts that nobody carries on, each with the rows that it did not send."""
    config = prepared.config
    with open_registry(config) as runs:
        found = runs.unfinished(map(fingerprint, prepared.accounts))
    for run in found:
        if run.name == prepared.run or is_alive(config, run) or is_rehearsal(config, run.name):
            continue
        yield f"run {run.name} is not finished ({_how_far(run)}): `pipeline resume {run.name}`"


def _how_far(run: Run) -> str:
    rows = run.counts.get(Status.NOT_ATTEMPTED)
    if rows is None:
        return "it was killed"
    return f"{rows} rows were not sent" if rows else "rows are in doubt that it can settle"


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


def _exit_code(prepared: Prepared, sent: RunOutcome) -> int | None:
    """None where it follows from the rows."""
    if sent.failure is not None:
        return 3
    if sent.signal is not None:
        return 128 + sent.signal
    if prepared.refusal is not None:
        return NOTHING_SENT
    return 3 if sent.stopped else None

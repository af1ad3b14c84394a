"""Makes the summary of a run from its facts and the totals of its results. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pipeline.model import Snapshot, Status
from pipeline.model.formatting import verdict
from pipeline.model.leg import Leg
from pipeline.reporter.source import ReportSource
from pipeline.reporter.summary import (
    AccountFacts,
    AccountSummary,
    Counts,
    InputSummary,
    LegSummary,
    OutputSummary,
    RunFacts,
    Summary,
    exit_code,
)
from pipeline.reporter.tally import Tally

SHORTEST_S = 2.0
"""An account that sent for less time has no meaningful share of its quota: most of it was the
initial burst of a window."""

UNSENT = (Status.UNCHANGED, Status.SUPERSEDED, Status.INVALID, Status.NOT_ATTEMPTED)


def summarise(source: ReportSource, tally: Tally, outputs: dict[str, OutputSummary]) -> Summary:
    """Make the whole summary; `outputs` are the files whose checksums it holds."""
    facts, counts = source.facts, tally.counts()
    legs = _legs(facts)
    seconds = sum(leg.seconds for leg in legs) or _seconds(facts.started, facts.ended)
    code = exit_code(counts, facts.tolerance) if facts.exit_code is None else facts.exit_code
    return Summary(
        run=source.run,
        why=verdict(counts),
        exit_code=code,
        is_simulated=facts.is_simulated,
        input=_input_summary(source.snapshot),
        rows=tally.rows,
        statuses=counts,
        accounts=_account_summaries(source, tally),
        without_account=tally.counts(""),
        operations=_operations(tally),
        requests=sum(account.requests for account in facts.accounts),
        retries=sum(account.retries for account in facts.accounts),
        started=_utc(facts.started),
        ended=_utc(facts.ended),
        seconds=round(seconds, 3),
        rows_per_s=round(_rows_sent(counts) / seconds, 1) if seconds else 0.0,
        legs=legs,
        workers=facts.workers,
        stopped=facts.stopped_by,
        errors=tally.errors(),
        errors_not_listed=tally.errors_not_listed(),
        warnings=facts.warnings,
        cleared=dict(facts.cleared),
        kept=facts.kept,
        unusual=facts.unusual,
        made_of=facts.made_of,
        outputs=outputs,
        settings=dict(facts.settings),
        versions=dict(facts.versions),
    )


def _seconds(started: datetime, ended: datetime) -> float:
    return max(0.0, (ended - started).total_seconds())


def _legs(facts: RunFacts) -> tuple[LegSummary, ...]:
    """One leg per process, all accounts together, in order."""
    numbers = sorted({leg.number for leg in facts.legs})
    return tuple(_leg([leg for leg in facts.legs if leg.number == each]) for each in numbers)


def _leg(parts: Sequence[Leg]) -> LegSummary:
    started = datetime.fromtimestamp(min(part.began_at_s for part in parts), UTC)
    ended = datetime.fromtimestamp(max(part.last_at_s for part in parts), UTC)
    return LegSummary(
        started=_utc(started),
        ended=_utc(ended),
        seconds=round(_seconds(started, ended), 3),
        requests=sum(part.requests for part in parts),
        retries=sum(part.retries for part in parts),
        was_killed=not all(part.is_over for part in parts),
    )


def _operations(tally: Tally) -> dict[str, Counts]:
    found: dict[str, Counts] = {}
    for (_, operation), counts in tally.outcomes().items():
        known = found.setdefault(operation, dict.fromkeys(Status, 0))
        for status, count in counts.items():
            known[status] += count
    return found


def _rows_sent(counts: Mapping[Status, int]) -> int:
    """Number of rows for which a request was sent."""
    return sum(counts.values()) - sum(counts.get(status, 0) for status in UNSENT)


def _input_summary(snapshot: Snapshot) -> InputSummary:
    return InputSummary(
        file=str(snapshot.source),
        kind=snapshot.kind,
        sha256=snapshot.sha256,
        bytes=snapshot.size_bytes,
        rows=snapshot.rows,
        selected=snapshot.selected,
        blank_lines=snapshot.blank_lines,
    )


def _account_summaries(source: ReportSource, tally: Tally) -> dict[str, AccountSummary]:
    known = {account.name: account for account in source.facts.accounts}
    for name in tally.accounts():
        known.setdefault(name, AccountFacts(name=name, vendor="", host=""))
    return {
        name: _account_summary(account, tally, source.stopped.get(name), _legs_with(source, name))
        for name, account in known.items()
    }


def _legs_with(source: ReportSource, account: str) -> int:
    """Number of processes that sent requests for an account."""
    return sum(leg.requests > 0 for leg in source.facts.legs if leg.account == account)


def _account_summary(
    account: AccountFacts, tally: Tally, stopped: str | None, legs: int
) -> AccountSummary:
    counts = tally.counts(account.name)
    allowed = account.quota_per_s * account.sending_s if account.sending_s >= SHORTEST_S else 0.0
    between = account.requests - max(1, legs)  # without the first request of each leg
    return AccountSummary(
        vendor=account.vendor,
        host=account.host,
        scope=account.scope,
        quota=account.quota,
        quota_assumed=account.quota_assumed,
        quota_used=round(min(1.0, between / allowed), 4) if allowed else None,
        requests=account.requests,
        retries=account.retries,
        sending_s=round(account.sending_s, 3),
        rows=sum(counts.values()),
        statuses=counts,
        stopped=stopped,
        rate_per_s=account.rate_per_s if account.rate_per_s and account.requests else None,
        slowed_to=account.slowed_to or None,
    )


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

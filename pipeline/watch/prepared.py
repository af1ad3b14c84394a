"""A claimed file becomes a run, and goes where it belongs once that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.config import Config
from pipeline.model import Fault, InputError, UsageError
from pipeline.report import Summary
from pipeline.run import BusyError, Prepared, RunOptions, check_secrets, discard, prepare, reopen
from pipeline.run.history import Condition, entry, report_of
from pipeline.watch.claims import Claim, Drops, refusal_of
from pipeline.watch.events import Ended, SetAside

ENDED = (0, 1)
"""Exit codes of runs that have nothing left to send."""

REFUSED, INTERRUPTED = 2, 128
_OVER = ("finished", "refused")


def ended(claim: Claim, config: Config) -> Summary | None:
    """How the run of a claim ended whose process was killed before it put the file away; else None.

    Raises as `report_of` does.
    """
    known = _known(claim, config)
    return report_of(config, claim.run)[0] if known in _OVER else None


def prepare_claim(
    claim: Claim, drops: Drops, config: Config, options: RunOptions, environ: Mapping[str, str]
) -> Prepared:
    """The run of a claimed file, anew or to be carried on.

    Raises InputError or UsageError where the file is to be set aside, BusyError where somebody
    carries its run on, ConfigError where that is at fault, RunAborted where the disk refuses.
    """
    if reason := refusal_of(claim.path):
        raise InputError(f"{claim.file}: {reason}")
    known = _known(claim, config)
    if known == "under_way":
        raise BusyError(f"another process works on run {claim.run}")
    if known is not None:
        prepared = reopen(claim.run, config)
    else:
        prepared = _prepared(claim, drops, config, options)
    try:
        drops.note_run(claim, prepared.run)
        check_secrets(prepared, environ)
    except BaseException:
        discard(prepared)
        raise
    return prepared


def _prepared(claim: Claim, drops: Drops, config: Config, options: RunOptions) -> Prepared:
    shown = claim.file.relative_to(drops.inputs.parent)
    try:
        return prepare(claim.path, config, options, shown=shown)
    except InputError as error:
        here, there = str(claim.path.parent), str(shown.parent)
        raise InputError(_elsewhere(fault, here, there) for fault in error.faults) from error


def _elsewhere(fault: Fault, here: str, there: str) -> Fault:
    """The same fault of a file that people know by another folder."""

    def there_of(text: str | None) -> str | None:
        return text and text.replace(here, there)

    return replace(
        fault,
        what=fault.what.replace(here, there),
        file=there_of(fault.file),
        todo=there_of(fault.todo),
    )


def _known(claim: Claim, config: Config) -> Condition | None:
    """How far the run is that was noted; None where it was taken back before anything was sent."""
    try:
        return entry(config, claim.run).condition if claim.run else None
    except UsageError:
        return None


def is_begun(claim: Claim, config: Config) -> bool:
    """Whether something of it may have been sent."""
    return _known(claim, config) is not None


def is_left(summary: Summary, config: Config) -> bool:
    """Whether a run was interrupted before its end: its file stays where it is until the next."""
    if summary.exit_code < INTERRUPTED:
        return False
    return entry(config, summary.run).condition not in _OVER


def finish(claim: Claim, drops: Drops, config: Config, summary: Summary) -> Ended | SetAside:
    """Put the file away after its run has ended, whatever came of it.

    A signal that came after the last row has kept nothing back.
    """
    report = config.reports / summary.run
    if summary.exit_code in ENDED or summary.exit_code >= INTERRUPTED:
        return Ended(claim.file, drops.done(claim, report), summary)
    reason = reason_of(summary)
    return SetAside(claim.file, drops.set_aside(claim, reason, report), reason, summary)


def reason_of(summary: Summary) -> str:
    """Why not all was sent, and what to do."""
    stops = [f"{name}: {each.stopped}" for name, each in summary.accounts.items() if each.stopped]
    why = "; ".join(filter(None, [summary.stopped, *stops])) or summary.why
    if summary.exit_code == REFUSED:
        return f"{why}. Mend the file and drop it again"
    return f"{summary.why}. {why}. `pipeline resume {summary.run}` carries it on"

"""Prepares the run of a claimed file, and moves the file after the run ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.config import Config
from pipeline.model import InputError, OtherSharesError, Status, UsageError
from pipeline.model.exit_codes import INTERRUPTED, NOTHING_SENT
from pipeline.model.formatting import counted
from pipeline.model.object_path import ObjectPath
from pipeline.model.panics import is_panic
from pipeline.reporter import Summary
from pipeline.run import (
    BusyError,
    Prepared,
    check_secrets,
    discard,
    prepare,
    reopen,
    same_unfinished,
    sent_before,
)
from pipeline.run.history import Condition, entry, report_of
from pipeline.run.same_accounts import check_shares
from pipeline.runs import Origin, RunOptions
from pipeline.runs.origin import origin_of_object, path_of
from pipeline.runs.registry import open_store, run_lease_of
from pipeline.runs.run_folder import load
from pipeline.watch.drop_place import DropPlace
from pipeline.watch.events import FileEnded, FileQuarantined
from pipeline.watch.notes import Claim

ENDED = (0, 1)
"""Exit codes of runs that have nothing left to send."""

_OVER = ("finished", "refused")


def ended(claim: Claim, drops: DropPlace, config: Config) -> tuple[Claim, Summary | None]:
    """Find the run that already sent the file; None if the file must be sent.

    It is the claim's own run, if its process was killed before it moved the file, or a run of
    `run FILE` on the dropped file. The returned claim has that run, and the identity and digest of
    the file.

    Raises InputError if the file must not be read, and what `report_of` raises.
    """
    if _known(claim, config) in _OVER:
        return claim, report_of(config, claim.run)[0]
    if claim.run and not claim.is_adopted:
        return claim, _sent_in_other_shares(claim, config)
    claim = drops.read(claim)
    if _known(claim, config) in _OVER:  # recorded by an earlier version, and of this content
        return claim, report_of(config, claim.run)[0]
    origin = _origin(claim)
    run = None if origin is None else sent_before(config, claim.sha256, origin)
    if run is None:
        return claim, None
    return replace(claim, run=run, is_sent=True), report_of(config, run)[0]


def _sent_in_other_shares(claim: Claim, config: Config) -> Summary | None:
    """The report of a run that cannot be resumed in as many shares as there are by now, if workers
    have sent all of it; else None.
    """
    store = open_store(config)
    states = store.runs.shares(claim.run)
    if not states or not all(each.is_done for each in states):
        return None
    if _known(claim, config) != "unfinished":
        return None
    try:
        check_shares(load(store.files(claim.run)), config)
    except OtherSharesError:
        return report_of(config, claim.run)[0]
    return None


def _origin(claim: Claim) -> Origin | None:
    """The identity of the dropped file; None unless it is certainly the file that was read."""
    before, read = claim.before, claim.read
    if isinstance(claim.file, ObjectPath):
        return origin_of_object(claim.file, before.size_bytes, claim.etag) if before else None
    if before is None or read is None or replace(before, changed_ns=read.changed_ns) != read:
        return None
    values = {name: getattr(before, name) for name in before.__dataclass_fields__}
    return Origin(path=path_of(Path(claim.file)), **values)


def prepare_claim(
    claim: Claim, drops: DropPlace, config: Config, options: RunOptions, environ: Mapping[str, str]
) -> Prepared:
    """Prepare the run of a claimed file, or reopen it; workers of a killed process may send it.

    Raises InputError or UsageError if the file must be quarantined, BusyError if another process
    resumes its run, ConfigError if the configuration is at fault, and RunAborted if the disk
    refuses to write.
    """
    known = _known(claim, config)
    if known == "under_way" and run_lease_of(config, claim.run).is_alive():
        raise BusyError(f"another process works on run {claim.run}")
    if known is not None and not claim.is_adopted:
        prepared = reopen(claim.run, config, beside_workers=True)
    else:
        is_begun = known is not None
        claim, prepared = _prepared(claim, drops, config, options, must_resume=is_begun)
    try:
        drops.record_run(claim, prepared.run)
        check_secrets(prepared, environ)
    except BaseException:
        discard(prepared)
        raise
    return prepared


def _prepared(
    claim: Claim, drops: DropPlace, config: Config, options: RunOptions, *, must_resume: bool
) -> tuple[Claim, Prepared]:
    """Read the file and prepare its run; return the claim with the file's identity, and the run.

    must_resume  True if the run must be the one that an earlier version began for the file
    """
    shown = drops.shown(claim.file)
    with drops.copy(claim) as (copy, read):
        if must_resume and same_unfinished(copy, config, options) != claim.run:
            raise UsageError(
                f"{claim.file}: run {claim.run} sent a part of it with other options. Continue "
                f"with `pipeline resume {claim.run}`"
            )
        try:
            dropped = claim.home / claim.file.name
            prepared = prepare(copy, config, options, shown=shown, dropped=dropped)
        except BaseException as error:
            if isinstance(error, Exception) or not is_panic(error):
                raise
            raise InputError(
                f"{claim.file}: a library failed while it read the file: {error}"
            ) from error
        return read, prepared


def _known(claim: Claim, config: Config) -> Condition | None:
    """The condition of the claim's run; None if it was discarded before anything was sent.

    A run of other content than the file's is not its run, whatever the record says.
    """
    if not claim.run:
        return None
    try:
        known = entry(config, claim.run)
    except UsageError:
        return None
    return known.condition if known.run.sha256 == claim.sha256 else None


def is_free_run(config: Config, run: str, sha256: str) -> bool:
    """Return whether a run of this content is on record here, and no process works on it."""
    try:
        known = entry(config, run)
    except UsageError:
        return False
    is_free = known.condition != "under_way" or not run_lease_of(config, run).is_alive()
    return is_free and known.run.sha256 == sha256


def is_begun(claim: Claim, config: Config) -> bool:
    """Return whether rows of the file may have been sent."""
    return _known(claim, config) is not None


def is_left(summary: Summary, config: Config) -> bool:
    """Return whether a run was interrupted before its end, so that its file stays claimed."""
    if summary.exit_code < INTERRUPTED:
        return False
    return entry(config, summary.run).condition not in _OVER


def finish(
    claim: Claim, drops: DropPlace, config: Config, summary: Summary
) -> FileEnded | FileQuarantined:
    """Move the file after its run ended, whatever the result.

    A signal after the last row counts as an ordinary end. A file that changed after it was read is
    quarantined even if its run succeeded. Raises DropError if the file cannot be moved.
    """
    is_object = isinstance(claim.file, ObjectPath)
    report = config.report_place(summary.run) if is_object else config.reports / summary.run
    reason = _change(drops.change_of(claim), summary)
    if summary.exit_code not in ENDED and summary.exit_code < INTERRUPTED:
        reason = ". ".join(filter(None, [reason_of(summary), reason]))
    if not reason:
        return FileEnded(claim.file, drops.done(claim, report), summary, claim.is_sent)
    return FileQuarantined(claim.file, drops.quarantine(claim, reason, report), reason, summary)


def _change(change: str, summary: Summary) -> str:
    if not change:
        return ""
    unsent = sum(summary.statuses.get(each, 0) for each in (Status.INVALID, Status.NOT_ATTEMPTED))
    return (
        f"the file changed after it was claimed: {counted(summary.rows - unsent, 'row')} were "
        f"sent, {change}; drop it again"
    )


def reason_of(summary: Summary) -> str:
    """Why not all was sent, and what to do."""
    stops = [f"{name}: {each.stopped}" for name, each in summary.accounts.items() if each.stopped]
    why = "; ".join(filter(None, [summary.stopped, *stops])) or summary.why
    if summary.exit_code == NOTHING_SENT:
        return f"{why}. Correct the file and drop it again"
    return f"{summary.why}. {why}. Continue with `pipeline resume {summary.run}`"

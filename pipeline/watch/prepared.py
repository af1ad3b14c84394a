"""A claimed file becomes a run, and goes where it belongs once that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.config import Config
from pipeline.model import Fault, InputError, Status, UsageError
from pipeline.model.formatting import counted
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
from pipeline.runs import Origin, RunOptions
from pipeline.runs.origin import path_of
from pipeline.watch.claims import Drops
from pipeline.watch.events import FileEnded, FileQuarantined
from pipeline.watch.notes import Claim
from pipeline.watch.panic import is_panic

ENDED = (0, 1)
"""Exit codes of runs that have nothing left to send."""

REFUSED, INTERRUPTED = 2, 128
_OVER = ("finished", "refused")


def ended(claim: Claim, drops: Drops, config: Config) -> tuple[Claim, Summary | None]:
    """How all was sent before: by a run of the claim whose process was killed before it put the
    file away, or by `run FILE` where the file was dropped. None where it has to be sent.

    The claim given back has the run, and what was read of the file.

    Raises InputError where the file is not to be read, else as `report_of` does.
    """
    if _known(claim, config) in _OVER:
        return claim, report_of(config, claim.run)[0]
    if claim.run and not claim.is_adopted:
        return claim, None
    claim = drops.read(claim)
    if _known(claim, config) in _OVER:  # noted by an earlier version, and of this content
        return claim, report_of(config, claim.run)[0]
    origin = _origin(claim)
    run = None if origin is None else sent_before(config, claim.sha256, origin)
    if run is None:
        return claim, None
    return replace(claim, run=run, is_sent=True), report_of(config, run)[0]


def _origin(claim: Claim) -> Origin | None:
    """The file as it lay where it was dropped; None where that is not known to be what was read."""
    before, read = claim.before, claim.read
    if before is None or read is None or replace(before, changed_ns=read.changed_ns) != read:
        return None
    values = {name: getattr(before, name) for name in before.__dataclass_fields__}
    return Origin(path=path_of(claim.file), **values)


def prepare_claim(
    claim: Claim, drops: Drops, config: Config, options: RunOptions, environ: Mapping[str, str]
) -> Prepared:
    """The run of a claimed file, anew or to be carried on.

    Raises InputError or UsageError where the file is to be set aside, BusyError where somebody
    carries its run on, ConfigError where that is at fault, RunAborted where the disk refuses.
    """
    known = _known(claim, config)
    if known == "under_way":
        raise BusyError(f"another process works on run {claim.run}")
    if known is not None and not claim.is_adopted:
        prepared = reopen(claim.run, config)
    else:
        is_begun = known is not None
        claim, prepared = _prepared(claim, drops, config, options, must_carry_on=is_begun)
    try:
        drops.note_run(claim, prepared.run)
        check_secrets(prepared, environ)
    except BaseException:
        discard(prepared)
        raise
    return prepared


def _prepared(
    claim: Claim, drops: Drops, config: Config, options: RunOptions, *, must_carry_on: bool
) -> tuple[Claim, Prepared]:
    """The claim with what was read, and the run.

    must_carry_on  a run that an earlier version began for the file has to be the one
    """
    shown = claim.file.relative_to(drops.inputs.parent)
    with drops.copy(claim) as (copy, read):
        if must_carry_on and same_unfinished(copy, config, options) != claim.run:
            raise UsageError(
                f"{claim.file}: run {claim.run} sent a part of it, with other options than now. "
                f"`pipeline resume {claim.run}` carries it on"
            )
        try:
            dropped = claim.home / claim.file.name
            prepared = prepare(copy, config, options, shown=shown, dropped=dropped)
        except InputError as error:
            raise InputError(_elsewhere(each, copy, shown) for each in error.faults) from error
        except BaseException as error:
            if isinstance(error, Exception) or not is_panic(error):
                raise
            raise InputError(
                f"{claim.file}: a library failed while it read the file: {error}"
            ) from error
        return read, prepared


def _elsewhere(fault: Fault, copy: Path, shown: Path) -> Fault:
    """The same fault of a file that people know by another path."""

    def there_of(text: str) -> str:
        return text.replace(str(copy), str(shown)).replace(str(copy.parent), str(shown.parent))

    return replace(
        fault,
        what=there_of(fault.what),
        file=fault.file and there_of(fault.file),
        todo=fault.todo and there_of(fault.todo),
    )


def _known(claim: Claim, config: Config) -> Condition | None:
    """How far the run is that was noted; None where it was taken back before anything was sent.

    A run of other content than the file is not its run, whatever a note says.
    """
    if not claim.run:
        return None
    try:
        known = entry(config, claim.run)
    except UsageError:
        return None
    return known.condition if known.run.sha256 == claim.sha256 else None


def is_begun(claim: Claim, config: Config) -> bool:
    """Whether something of it may have been sent."""
    return _known(claim, config) is not None


def is_left(summary: Summary, config: Config) -> bool:
    """Whether a run was interrupted before its end: its file stays where it is until the next."""
    if summary.exit_code < INTERRUPTED:
        return False
    return entry(config, summary.run).condition not in _OVER


def finish(
    claim: Claim, drops: Drops, config: Config, summary: Summary
) -> FileEnded | FileQuarantined:
    """Put the file away after its run has ended, whatever came of it.

    A signal that came after the last row has kept nothing back. A file that is not what was read
    of it is set aside, however well its run ended. Raises DropError where it cannot be moved.
    """
    report = config.reports / summary.run
    reason = _change(drops.change_of(claim), summary)
    if summary.exit_code not in ENDED and summary.exit_code < INTERRUPTED:
        reason = ". ".join(filter(None, [reason_of(summary), reason]))
    if not reason:
        return FileEnded(claim.file, drops.done(claim, report), summary, claim.is_sent)
    return FileQuarantined(claim.file, drops.set_aside(claim, reason, report), reason, summary)


def _change(change: str, summary: Summary) -> str:
    if not change:
        return ""
    unsent = sum(summary.statuses.get(each, 0) for each in (Status.INVALID, Status.NOT_ATTEMPTED))
    return (
        f"the file changed after it was taken: {counted(summary.rows - unsent, 'row')} were sent, "
        f"{change}; drop it again"
    )


def reason_of(summary: Summary) -> str:
    """Why not all was sent, and what to do."""
    stops = [f"{name}: {each.stopped}" for name, each in summary.accounts.items() if each.stopped]
    why = "; ".join(filter(None, [summary.stopped, *stops])) or summary.why
    if summary.exit_code == REFUSED:
        return f"{why}. Mend the file and drop it again"
    return f"{summary.why}. {why}. `pipeline resume {summary.run}` carries it on"

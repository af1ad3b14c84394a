"""Messages of commands: errors, warnings, and the question before a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from pipeline.cli.console import terminal
from pipeline.cli.estimate import AccountEstimate, RunEstimate
from pipeline.model import ConfigError, InputError
from pipeline.model.formatting import counted, one_line
from pipeline.run import Prepared, warnings_about
from pipeline.ui.terminal import Question, SendTarget

EXAMPLES = 5


def print_error(error: object) -> None:
    """Print an error to stderr, without wrapping.

    Only a list of faults may have several lines; a line end in any other error is foreign text.
    """
    console = terminal(stderr=True, soft_wrap=True)
    console.print("Error:", style="bold red", end=" ")
    has_lines = isinstance(error, ConfigError | InputError)
    console.print(str(error) if has_lines else one_line(str(error)), markup=False)


def warn(text: str) -> None:
    """Print a warning to stderr."""
    console = terminal(stderr=True, soft_wrap=True)
    console.print("Warning:", style="bold yellow", end=" ")
    console.print(one_line(text), markup=False)


def no_files(folder: PurePath) -> str:
    """A message that the drop folder is empty."""
    return f"No files in {from_here(folder)}: nothing to do. Name a file, or drop one there."


def question_about(prepared: Prepared, estimate: RunEstimate) -> Question:
    """The question that a user confirms before a run is sent."""
    bound = prepared.bound
    accounts = estimate.accounts(prepared)
    until, is_in_time = estimate.until(accounts)
    warnings = [*warnings_about(prepared), *filter(None, (each.warning for each in accounts))]
    warnings += filter(None, (each.pause_text for each in accounts))
    if not is_in_time:
        warnings.append(until)
        until = ""
    if prepared.refusal:
        warnings.append(prepared.refusal)
    is_simulated = bool(prepared.accounts) and all(a.is_simulated for a in prepared.accounts)
    return Question(
        file=from_here(prepared.snapshot.source),
        rows=bound.rows,
        done=bound.rows - bound.invalid - sum(sum(each.rows.values()) for each in accounts),
        invalid=bound.invalid,
        targets=tuple(map(_target, accounts)),
        blank_lines=prepared.snapshot.blank_lines,
        examples=tuple(
            str(replace(kind.examples[0], file=None)) for kind in bound.faults[:EXAMPLES]
        ),
        cleared=cleared_fields(prepared),
        warnings=tuple(warnings),
        until=until,
        undo=() if is_simulated else tuple(_not_undoable(prepared)),
        is_simulated=is_simulated,
    )


def from_here(path: PurePath) -> PurePath:
    """A path for messages: relative if it is below the working folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def cleared_fields(prepared: Prepared) -> dict[str, tuple[str, ...]]:
    """Operation -> fields that some rows omit, so the vendor clears them."""
    found: dict[str, list[str]] = defaultdict(list)
    for cleared in prepared.bound.cleared:
        found[cleared.operation].append(f"{cleared.field} ({counted(cleared.jobs, 'row')})")
    return {operation: tuple(fields) for operation, fields in found.items()}


def _not_undoable(prepared: Prepared) -> Iterator[str]:
    """Operations that cannot be undone, and why."""
    operations = {
        name: account.operation(name)
        for account in prepared.accounts
        for name in prepared.bound.jobs[account.name].operations
    }
    whys = defaultdict[str, list[str]](list)
    for name, operation in sorted(operations.items()):
        if operation.change is None:
            whys["cannot be undone"].append(name)
        elif operation.reading is None:
            whys["only rows with previous_status can be undone"].append(name)
        elif not _records_previous(prepared, name):
            whys[_NOT_RECORDED].append(name)
    return (f"{', '.join(names)}: {why}" for why, names in whys.items())


_NOT_RECORDED = "previous values are not recorded; add --record-previous to allow undo"


def _records_previous(prepared: Prepared, operation: str) -> bool:
    """True if the run records the previous values of an operation."""
    bound, options = prepared.bound, prepared.options
    is_read = options.skip_unchanged or options.record_previous or operation in bound.keeps
    return bound.has_previous_states or is_read


def _target(estimate: AccountEstimate) -> SendTarget:
    account = estimate.account
    return SendTarget(
        account=account.name,
        vendor=account.vendor.name,
        host=urlsplit(account.link.base_url).netloc,
        rows=estimate.rows,
        scope=account.vendor.scope(account.settings),
        quota=f"{account.quota} in {account.shares} shares"
        if account.shares > 1
        else account.quota,
        quota_is=account.quota_is,
        requests=estimate.requests,
        lasts_s=estimate.seconds,
        bound=estimate.bound,
    )

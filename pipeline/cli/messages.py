"""What commands say: an error, and what a prepared file means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.cli.console import terminal
from pipeline.cli.estimate import AccountEstimate, RunEstimate
from pipeline.model import ConfigError, InputError
from pipeline.model.formatting import counted, one_line
from pipeline.run import Prepared, warnings_about
from pipeline.ui.terminal import Question, SendTarget

EXAMPLES = 5


def tell_error(error: object) -> None:
    """An error on stderr, each of its lines as long as it is.

    Only an error that is a list of faults has several: a line end in any other is foreign.
    """
    console = terminal(stderr=True, soft_wrap=True)
    console.print("Error:", style="bold red", end=" ")
    has_lines = isinstance(error, ConfigError | InputError)
    console.print(str(error) if has_lines else one_line(str(error)), markup=False)


def warn(words: str) -> None:
    """A warning on stderr, beside what a command says."""
    console = terminal(stderr=True, soft_wrap=True)
    console.print("Warning:", style="bold yellow", end=" ")
    console.print(one_line(words), markup=False)


def question_about(prepared: Prepared, outlook: RunEstimate) -> Question:
    """All that a person should know before agreeing."""
    bound = prepared.bound
    prospects = outlook.prospects(prepared)
    until, is_in_time = outlook.until(prospects)
    warnings = [*warnings_about(prepared), *filter(None, (each.warning for each in prospects))]
    warnings += filter(None, (each.pause_words for each in prospects))
    if not is_in_time:
        warnings.append(f"not through in time: until {until}")
        until = ""
    if prepared.refusal:
        warnings.append(prepared.refusal)
    return Question(
        file=from_here(prepared.snapshot.source),
        rows=bound.rows,
        done=bound.rows - bound.invalid - sum(sum(each.rows.values()) for each in prospects),
        invalid=bound.invalid,
        targets=tuple(map(_target, prospects)),
        blank_lines=prepared.snapshot.blank_lines,
        examples=tuple(str(kind.examples[0]) for kind in bound.faults[:EXAMPLES]),
        cleared=cleared_fields(prepared),
        warnings=tuple(warnings),
        until=until,
        undo=tuple(_not_taken_back(prepared)),
        is_simulated=bool(prepared.accounts) and all(a.is_simulated for a in prepared.accounts),
    )


def from_here(path: Path) -> Path:
    """A path as short as it can be said: relative, where it lies below the working folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def cleared_fields(prepared: Prepared) -> dict[str, tuple[str, ...]]:
    """Fields that some rows leave out and the vendor hence clears, by operation."""
    found: dict[str, list[str]] = defaultdict(list)
    for cleared in prepared.bound.cleared:
        found[cleared.operation].append(f"{cleared.field} ({counted(cleared.jobs, 'row')})")
    return {operation: tuple(fields) for operation, fields in found.items()}


def _not_taken_back(prepared: Prepared) -> Iterator[str]:
    """What could not be undone, said before it is done."""
    operations = {
        name: account.operation(name)
        for account in prepared.accounts
        for name in prepared.bound.jobs[account.name].operations
    }
    for name, operation in sorted(operations.items()):
        if operation.change is None:
            yield f"{name}: nothing takes it back"
        elif operation.reading is None:
            yield f"{name}: only rows that give previous_status can be taken back"
        elif not _records_previous(prepared, name):
            yield f"{name}: previous values are not recorded; add --record-previous to allow undo"


def _records_previous(prepared: Prepared, operation: str) -> bool:
    """Whether what rows of an operation overwrite is on record afterwards."""
    bound, options = prepared.bound, prepared.options
    is_read = options.skip_unchanged or options.record_previous or operation in bound.keeps
    return bound.has_previous_states or is_read


def _target(prospect: AccountEstimate) -> SendTarget:
    account = prospect.account
    return SendTarget(
        account=account.name,
        vendor=account.vendor.name,
        host=urlsplit(account.link.base_url).netloc,
        rows=prospect.rows,
        scope=account.vendor.scope(account.settings),
        quota=account.quota,
        quota_is=account.quota_is,
        requests=prospect.requests,
        lasts_s=prospect.seconds,
        bound=prospect.bound,
    )

"""Removes runs on record; reports stay."""

from __future__ import annotations

from datetime import timedelta

from pipeline.cli.runs_output import RunsOutput
from pipeline.cli.runs_shown import state_of
from pipeline.config import Config
from pipeline.model.formatting import counted
from pipeline.run.history import entry
from pipeline.runs.retention import prune, remove

_MB = 1_000_000


def prune_runs(
    config: Config, output: RunsOutput, run: str | None, *, older_than: int | None, is_dry: bool
) -> None:
    """Remove old runs, or `run` regardless of its age."""
    days = config.keep_days if older_than is None else older_than
    if run is None:
        pruned = prune(config, older_than=timedelta(days=days), is_dry=is_dry)
    else:
        pruned = remove(config, run, is_dry=is_dry)
    done = "would be removed" if is_dry else "removed"
    if output.is_json:
        for gone in pruned.gone:
            state = "torn" if gone.is_torn else "finished"
            output.line(run=gone.name, removed=not is_dry, state=state, bytes=gone.bytes)
        for each in pruned.unfinished:
            output.line(run=each.name, removed=False, state="unfinished", bytes=None)
        return
    for gone in pruned.gone:
        why = "; it was not fully prepared" if gone.is_torn else ""
        output.say(f"{done}  {gone.name}  {_size(gone.bytes)}{why}")
    output.say(
        f"{counted(len(pruned.gone), 'run')} {done}: {_size(pruned.bytes)}. Reports are kept."
        if pruned.gone
        else f"Nothing to remove: no finished run is older than {counted(days, 'day')}."
    )
    if pruned.unfinished:
        output.say("\nKept because unfinished:")
    stay = [entry(config, each.name) for each in pruned.unfinished]
    for known in stay:
        output.say(f"  {known.run.name}  {state_of(known)}")
    if any(known.is_kept for known in stay):
        output.say(
            "Continue one with `pipeline resume RUN`, or write its report with `pipeline runs RUN`."
        )
    if stay:
        output.say("Remove one anyway with `pipeline runs RUN --prune`.")


def _size(count: int) -> str:
    """A size in MB, rounded up.

    >>> _size(400), _size(52_000), _size(3_400_000), _size(0)
    ('0.1 MB', '0.1 MB', '3.4 MB', '0.0 MB')
    """
    return f"{-(-count * 10 // _MB) / 10:,.1f} MB"

"""Warnings about a prepared run, for its question and its report."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.model import Snapshot, Status
from pipeline.model.formatting import counted
from pipeline.run.prepared import Prepared
from pipeline.run.refusal import CUT_LAST_LINE
from pipeline.runs.registry import fingerprint, is_simulated, open_store, run_lease_of
from pipeline.store import Run


def warnings_about(prepared: Prepared) -> Iterator[str]:
    """Warnings about a run, which do not stop it."""
    if prepared.is_resumed:
        yield f"resumes run {prepared.run}: rows with a recorded result are not sent again"
    if prepared.repeats:
        yield f"the same content was sent before: {prepared.repeats}"
    yield from _unfinished_others(prepared)
    yield from _about_file(prepared.snapshot)
    if prepared.bound.repeated:
        yield (
            f"{prepared.bound.repeated} rows share an entity with another row: sent in row order"
        )
    for operation, rows in prepared.bound.irreversible.items():
        yield f"{counted(rows, 'row')} of {operation} cannot be undone"
    for warning in prepared.bound.warnings:
        places = list(map(str, warning.examples))
        if warning.rows > len(places):
            places.append("...")
        yield f"{warning.text} ({counted(warning.rows, 'row')}: {', '.join(places)})"
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
    """Unfinished runs to the same accounts that no process works on."""
    config = prepared.config
    reached = [*map(fingerprint, prepared.accounts)]
    for run in open_store(config).runs.unfinished(reached):
        is_held = run_lease_of(config, run.name).is_held()
        if run.name == prepared.run or is_held or is_simulated(config, run.name):
            continue
        yield f"run {run.name} is not finished ({_how_far(run)}): `pipeline resume {run.name}`"


def _how_far(run: Run) -> str:
    rows = run.counts.get(Status.NOT_ATTEMPTED)
    if rows is None:
        return "it was killed"
    return f"{counted(rows, 'row')} not sent" if rows else "rows are in doubt"

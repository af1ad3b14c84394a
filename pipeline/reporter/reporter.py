"""Writes the report of a run: two result files, a page and a summary.

Each row of the snapshot is in exactly one of the two files, or there is no summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import polars as pl

from pipeline.model import SUCCESS, DamagedError, Status
from pipeline.reporter.aggregate import Aggregate
from pipeline.reporter.columns import InputColumns
from pipeline.reporter.errors import ReportError
from pipeline.reporter.matching import match_results
from pipeline.reporter.outputs import open_output
from pipeline.reporter.publish import file_sha256, point_latest, private_folder, remove
from pipeline.reporter.reconcile import check_recorded, check_totals
from pipeline.reporter.source import ReportSource
from pipeline.reporter.summarise import summarise
from pipeline.reporter.summary import PAGE_NAME, SUMMARY_NAME, OutputSummary, Summary
from pipeline.reporter.tally import Tally
from pipeline.store.files import aside, atomic_write, publish, removed_on_error, sync_folder
from pipeline.store.parquet import ahead, row_count


class Pages(Protocol):
    """Writes the pages that show reports to people."""

    def publish_page(
        self,
        folder: Path,
        summary: Summary,
        source: ReportSource,
        tally: Tally,
        aggregate: Aggregate,
    ) -> Summary:
        """Write the page of a run into `folder`; return the summary with its checksum.

        Raises OSError.
        """
        ...

    def publish_index(self, reports: Path, run: str) -> None:
        """Rewrite the list of runs in `reports`; `run` names the temporary file. Never raises."""
        ...


_SUCCESSES = [status.value for status in Status if status in SUCCESS]


def write_report(source: ReportSource, folder: Path, pages: Pages) -> Summary:
    """Write the report of a run into `folder`, `summary.json` last, and point `latest` to it.

    An existing report is replaced. Raises ReconciliationError if rows and results do not agree,
    ReportError if a file cannot be read or written; no summary is left then.
    """
    try:
        return _write_report(source, folder, pages)
    except OSError as error:
        raise _not_written(folder, error.strerror or str(error)) from error
    except (DamagedError, pl.exceptions.PolarsError) as error:
        raise _not_written(folder, str(error).partition("\n")[0]) from error


def _not_written(folder: Path, why: str) -> ReportError:
    return ReportError(f"{folder}: the report cannot be written: {why}")


def _write_report(source: ReportSource, folder: Path, pages: Pages) -> Summary:
    private_folder(folder)
    for name in (SUMMARY_NAME, PAGE_NAME):
        remove(folder / name)
    names = [folder / f"{stem}.{source.snapshot.kind}" for stem in ("success", "errors")]
    parts = [aside(name) for name in names]
    with removed_on_error(*parts):
        tally, aggregate, rows = _write_parts(source, parts)
        _check(source, tally, written=sum(rows))
        outputs = {
            name.stem: _output_summary(name.name, part, count)
            for name, part, count in zip(names, parts, rows, strict=True)
        }
        publish(dict(zip(parts, names, strict=True)))
    summary = summarise(source, tally, outputs)
    summary = pages.publish_page(folder, summary, source, tally, aggregate)
    atomic_write(folder / SUMMARY_NAME, summary.text().encode())
    sync_folder(folder.parent)
    point_latest(folder)
    pages.publish_index(folder.parent, summary.run)
    return summary


def _write_parts(source: ReportSource, parts: Sequence[Path]) -> tuple[Tally, Aggregate, list[int]]:
    """Write the two files to `parts`; return their totals, figures and numbers of rows."""
    columns = InputColumns(source.snapshot, _stored_schema(source.snapshot.path))
    tally, aggregate = Tally(), Aggregate(source.snapshot)
    with ExitStack() as stack:
        success, errors = (
            stack.enter_context(open_output(source.snapshot, part, columns.header, columns.schema))
            for part in parts
        )
        for frame, results in ahead(match_results(source)):
            tally.add(results)
            rows = columns.join(frame, results)
            is_success = rows["_status"].is_in(_SUCCESSES)
            if is_success.all():
                success.write(rows)
                aggregate.add(frame, results, shown=())
                continue
            success.write(rows.filter(is_success))
            errors.write(rows.filter(~is_success))
            shown = tally.add_errors(results.filter(~is_success))
            aggregate.add(frame, results, shown)
    return tally, aggregate, [success.rows, errors.rows]


def _stored_schema(path: Path) -> pl.Schema:
    with path.open("rb") as file:  # polars reads `[` and `*` in a name as a pattern
        return pl.Schema(pl.read_parquet_schema(file))


def _check(source: ReportSource, tally: Tally, written: int) -> None:
    check_totals(
        selected=source.snapshot.selected,
        stored=row_count(source.snapshot.path),
        with_result=tally.rows,
        written=written,
    )
    if source.recorded is not None:
        check_recorded(source.recorded, tally.counts())


def _output_summary(name: str, part: Path, rows: int) -> OutputSummary:
    return OutputSummary(name=name, rows=rows, bytes=part.stat().st_size, sha256=file_sha256(part))

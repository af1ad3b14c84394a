"""Writes pages: that of a run beside its result files, and the list of runs above them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pipeline.reporter.aggregate import Aggregate
from pipeline.reporter.publish import file_sha256
from pipeline.reporter.source import ReportSource
from pipeline.reporter.summary import PAGE_NAME, PageSummary, Summary
from pipeline.reporter.tally import Tally
from pipeline.store.files import atomic_write
from pipeline.ui.html.render import (
    MAX_IN_FULL,
    MAX_INDEXED,
    MAX_KINDS,
    Outcome,
    PageFacts,
    index_page,
    report_page,
)
from pipeline.ui.html.run_index import INDEX_NAME, cards_in, read_cards
from pipeline.ui.html.sample_exchanges import sample_exchanges
from pipeline.ui.html.timeline import Timelines


def publish_page(
    folder: Path, summary: Summary, source: ReportSource, tally: Tally, aggregate: Aggregate
) -> Summary:
    """Write the page of a run into `folder`; return the summary with its checksum.

    Raises OSError.
    """
    timelines = Timelines()
    for sample in source.samples():
        timelines.add(sample)
    kinds = tally.errors(MAX_KINDS)
    facts = PageFacts(
        summary=summary,
        outcomes=[
            Outcome(account=account, operation=operation, statuses=counts)
            for (account, operation), counts in tally.outcomes().items()
        ],
        kinds=kinds,
        not_listed=tally.errors_not_listed(MAX_KINDS),
        exchanges=sample_exchanges(kinds[:MAX_IN_FULL], source.exchanges()),
        aggregate=aggregate,
        timelines=timelines,
        allowed={account.name: account.quota_per_s for account in source.facts.accounts},
        cards=cards_in(folder.parent),
    )
    path = folder / PAGE_NAME
    atomic_write(path, report_page(facts).encode())
    page = PageSummary(name=PAGE_NAME, bytes=path.stat().st_size, sha256=file_sha256(path))
    return summary.model_copy(update={"page": page})


def publish_index(reports: Path, run: str) -> None:
    """Rewrite the list of runs; `run` keeps temporary files of parallel processes apart."""
    with suppress(OSError):  # a convenience like `latest`: reports are complete without it
        cards = read_cards(reports, MAX_INDEXED + 1)
        part = reports / f".{INDEX_NAME}.{run}"
        atomic_write(reports / INDEX_NAME, index_page(cards).encode(), part=part)


class HtmlPages:
    """Writes the pages of a report."""

    publish_page = staticmethod(publish_page)
    publish_index = staticmethod(publish_index)

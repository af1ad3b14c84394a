"""The runs of a folder of reports, read from their summaries."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from statistics import median

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.model import SUCCESS
from pipeline.reporter.summary import SUMMARY_NAME, Counts, Summary
from pipeline.ui.html.advice import Tone, headline, tone_of

INDEX_NAME = "index.html"
MAX_RUNS = 500
MAX_COMPARED = 5


class _Input(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)

    file: str


class _Page(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)

    name: str


class Card(BaseModel):
    """The part of a summary that the list of runs shows."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    run: str
    why: str
    exit_code: int
    is_simulated: bool
    input: _Input
    rows: int
    statuses: Counts
    operations: dict[str, Counts] = {}
    requests: int
    retries: int
    started: datetime
    seconds: float
    rows_per_s: float
    page: _Page | None = None

    @property
    def has_page(self) -> bool:
        """True if the report has a page."""
        return self.page is not None

    @property
    def headline(self) -> str:
        """The result in one short sentence."""
        return headline(self.why, self.statuses)

    @property
    def tone(self) -> Tone:
        """Good, attention or bad."""
        return tone_of(self.exit_code)

    @property
    def wrong(self) -> int:
        """Number of rows that did not succeed."""
        return sum(count for status, count in self.statuses.items() if status not in SUCCESS)


def card_of(summary: Summary) -> Card:
    """Make the card of a summary that is not on disk yet."""
    return Card.model_validate_json(summary.model_dump_json())


def cards_in(reports: Path, most: int = MAX_RUNS) -> Iterator[Card]:
    """Yield the cards of the newest reports in a folder, newest first, at most `most`.

    Folders without a readable summary are left out. Raises OSError if `reports` cannot be read.
    """
    with os.scandir(reports) as entries:  # there may be tens of thousands
        names = (each.name for each in entries if each.is_dir(follow_symlinks=False))
        newest = heapq.nlargest(most, names)  # names begin with the time
    yield from filter(None, (_read(reports / name) for name in newest))


def read_cards(reports: Path, most: int = MAX_RUNS) -> list[Card]:
    """Read all of `cards_in`, sorted by start time, newest first."""
    return sorted(cards_in(reports, most), key=attrgetter("started"), reverse=True)


def _read(folder: Path) -> Card | None:
    try:
        return Card.model_validate_json((folder / SUMMARY_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def earlier(cards: Iterable[Card], this: Card, most: int = MAX_COMPARED) -> list[Card]:
    """The last runs before `this` with the same operations, newest first.

    Simulated runs are compared with simulated runs only. Runs that sent nothing are left out.
    """
    alike = (
        card
        for card in cards
        if card.started < this.started
        and card.run != this.run
        and card.requests
        and card.is_simulated == this.is_simulated
        and set(card.operations) - {""} == set(this.operations) - {""}
    )
    return [card for card, _ in zip(alike, range(most), strict=False)]


def comparison(this: Card, before: Sequence[Card]) -> str:
    """Compare a run with the median of earlier ones, in one sentence; empty if there are none."""
    if not before:
        return ""
    baseline = median(card.wrong / card.rows if card.rows else 0.0 for card in before)
    share = this.wrong / this.rows if this.rows else 0.0
    baseline_pace = median(card.rows_per_s for card in before)
    runs = f"Median of the last {len(before)} runs" if len(before) > 1 else "The run before"
    return (
        f"{share:.1%} of the rows did not succeed, at {this.rows_per_s:,.1f} rows/s. "
        f"{runs}: {baseline:.1%}, at {baseline_pace:,.1f} rows/s."
    )
